//! [`FakeNodes`]: the operator's [`Nodes`] over pools in memory.
//!
//! Keeps what `node.proto` promises: calls are safe to repeat, a commit covers all volumes of a head, what is
//! tombstoned takes nothing new. Tombstoned things are collected at once. Counts how often each thing was made, so
//! that a test can tell "found again" from "made twice".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_csi_proto::node::{
    AttachRequest, AttachResponse, CommitRecord, CommitRequest, CommitResponse, DeleteBranchRequest,
    DeleteCommitRequest, DeleteDotRequest, DeleteResponse, DescribeDotRequest, DescribeDotResponse, DetachRequest,
    DetachResponse, DotInPool, EnsureBranchRequest, EnsureBranchResponse, EnsureDotRequest, EnsureDotResponse,
    EnsurePoolRequest, EnsurePoolResponse, FindMissingRequest, FindMissingResponse, Missing, Origin, PoolState,
    Recorded, RecordedVolume, SnapshotState, StoredBranch, StoredCommit, StoredVolume, Volume, VolumeState, WatchEvent,
};
use dotmesh_operator::nodes::{NodeError, NodeErrorKind, Nodes, PoolEvents};
use dotmesh_operator::pool::POOL_NAME;
use futures::StreamExt;

use tell::{describe, describe_dot, missing, not_found};

mod tell;

#[derive(Debug, Default)]
struct State {
    /// By node and zpool.
    pools: BTreeMap<(String, String), Pool>,
    unreachable: BTreeSet<String>,
    calls: Vec<String>,
    made: BTreeMap<String, u32>,
    failing: Option<(usize, NodeErrorKind, bool)>,
    /// Snapshots of others.
    given: BTreeSet<String>,
    counter: u64,
    /// The pools as they were before something was destroyed.
    whole: Option<BTreeMap<(String, String), Pool>>,
}

#[derive(Debug, Clone, Default)]
struct Pool {
    name: String,
    guid: u64,
    file_bytes: u64,
    /// Bytes that are not free any more.
    filled: u64,
    dots: BTreeMap<String, Dot>,
}

#[derive(Debug, Clone, Default)]
struct Dot {
    /// Branch to head.
    branches: BTreeMap<String, String>,
    heads: BTreeMap<String, BTreeMap<String, VolumeState>>,
    origins: BTreeMap<String, String>,
    commits: BTreeMap<String, (String, CommitResponse)>,
    /// What is said of branches and commits, and of volumes by their ids.
    branch_names: BTreeMap<String, (String, String)>,
    head_origins: BTreeMap<String, Origin>,
    records: BTreeMap<String, CommitRecord>,
    volume_names: BTreeMap<String, String>,
    identity: (String, String),
    claims: BTreeSet<String>,
}

/// Nodes in memory; shared by cloning.
#[derive(Debug, Clone, Default)]
pub struct FakeNodes(Arc<Mutex<State>>);

impl FakeNodes {
    /// Calls so far, by name of the RPC; empties the list.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Somebody else's snapshot is there, for any volume.
    pub fn give(&self, snapshot: &str) {
        self.lock().given.insert(snapshot.to_owned());
    }

    /// How often each thing was made, by kind and id.
    pub fn made(&self) -> BTreeMap<String, u32> {
        self.lock().made.clone()
    }

    /// What is there, one line each, sorted.
    pub fn contents(&self) -> Vec<String> {
        let state = self.lock();
        let mut lines = Vec::new();
        for ((node, zpool), pool) in &state.pools {
            let node = place(node, zpool);
            for (id, dot) in &pool.dots {
                lines.push(format!("{node}/{id}"));
                lines.extend(dot.heads.keys().map(|head| format!("{node}/{id}/{head}")));
                lines.extend(
                    dot.commits
                        .iter()
                        .map(|(commit, (head, _))| format!("{node}/{id}/{head}@{commit}")),
                );
                lines.extend(dot.claims.iter().map(|claim| format!("{node}/{id} claim {claim}")));
            }
        }
        lines.sort();
        lines
    }

    /// The call after the next `skip` ones fails; `after`: it happens all the same.
    pub fn fail_call(&self, skip: usize, kind: NodeErrorKind, after: bool) {
        self.lock().failing = Some((skip, kind, after));
    }

    /// Whether the call that was to fail has not come yet.
    pub fn is_failure_due(&self) -> bool {
        self.lock().failing.is_some()
    }

    /// Whether a node answers.
    pub fn set_reachable(&self, node: &str, reachable: bool) {
        let mut state = self.lock();
        match reachable {
            true => state.unreachable.remove(node),
            false => state.unreachable.insert(node.to_owned()),
        };
    }

    /// Bytes of the node's `dotmesh` are in use. Its next answer about the pool tells.
    pub fn fill_pool(&self, node: &str, bytes: u64) {
        let key = (node.to_owned(), POOL_NAME.to_owned());
        self.lock().pools.entry(key).and_modify(|pool| pool.filled = bytes);
    }

    /// The sizes of a head's volumes, by id, in bytes.
    pub fn sizes_of(&self, head: &str) -> BTreeMap<String, u64> {
        let state = self.lock();
        let dots = state.pools.values().flat_map(|pool| pool.dots.values());
        let volumes = dots.filter_map(|dot| dot.heads.get(head)).flatten();
        volumes.map(|(id, volume)| (id.clone(), volume.size_bytes)).collect()
    }

    /// Another pool takes the place of the node's `dotmesh`.
    pub fn replace_pool(&self, node: &str, guid: u64) {
        let pool = Pool {
            name: POOL_NAME.to_owned(),
            guid,
            ..Pool::default()
        };
        self.lock().pools.insert((node.to_owned(), POOL_NAME.to_owned()), pool);
    }

    /// A claim's handle resolves, whoever attached it.
    pub fn put_claim(&self, dot: &str, claim: &str) {
        let mut state = self.lock();
        let dots = state.pools.values_mut().filter_map(|pool| pool.dots.get_mut(dot));
        dots.for_each(|dot| dot.claims.extend([claim.to_owned()]));
    }

    /// Claims whose handles resolve.
    pub fn claims(&self, dot: &str) -> BTreeSet<String> {
        let state = self.lock();
        let dots = state.pools.values().filter_map(|pool| pool.dots.get(dot));
        dots.flat_map(|dot| dot.claims.iter().cloned()).collect()
    }

    /// Somebody destroys the Dot, head, or commit of this id with other tools; of a head or commit one volume, if one is
    /// named.
    pub fn destroy(&self, id: &str, volume: Option<&str>) {
        let mut state = self.lock();
        if state.whole.is_none() {
            state.whole = Some(state.pools.clone());
        }
        for pool in state.pools.values_mut() {
            if volume.is_none() {
                pool.dots.remove(id);
            }
            for dot in pool.dots.values_mut() {
                match volume {
                    None => {
                        dot.heads.remove(id);
                        dot.commits.remove(id);
                        dot.commits.retain(|_, (head, _)| head != id);
                    }
                    Some(volume) => {
                        dot.heads
                            .entry(id.to_owned())
                            .and_modify(|head| drop(head.remove(volume)));
                        dot.commits.entry(id.to_owned()).and_modify(|(_, commit)| {
                            commit.snapshots.retain(|snapshot| snapshot.volume_id != volume);
                        });
                    }
                }
            }
        }
    }

    /// The pools are as they were before something was destroyed.
    pub fn bring_back(&self) {
        let mut state = self.lock();
        if let Some(whole) = state.whole.take() {
            state.pools = whole;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<T>(
        &self,
        rpc: &str,
        node: &str,
        effect: impl FnOnce(&mut State) -> Result<T, (NodeErrorKind, String)>,
    ) -> Result<T, NodeError> {
        let mut state = self.lock();
        state.calls.push(rpc.to_owned());
        let error = |(kind, message): (NodeErrorKind, String)| NodeError {
            node: node.to_owned(),
            kind,
            message,
        };
        if state.unreachable.contains(node) {
            return Err(error((NodeErrorKind::Unreachable, "does not answer".to_owned())));
        }
        let lost = match state.failing.take() {
            Some((0, kind, after)) => Some((kind, after)),
            Some((skip, kind, after)) => {
                state.failing = Some((skip - 1, kind, after));
                None
            }
            None => None,
        };
        let failed = |kind| error((kind, format!("{rpc} failed on purpose")));
        match lost {
            Some((kind, false)) => Err(failed(kind)),
            Some((kind, true)) => {
                let _ = effect(&mut state);
                Err(failed(kind))
            }
            None => effect(&mut state).map_err(error),
        }
    }
}

impl State {
    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn make(&mut self, kind: &str, id: &str) {
        *self.made.entry(format!("{kind} {id}")).or_default() += 1;
    }

    fn pool(&mut self, node: &str, guid: u64) -> Result<&mut Pool, (NodeErrorKind, String)> {
        let mut pools = self.pools.iter_mut();
        let found = pools.find(|((of, _), pool)| of == node && pool.guid == guid);
        found
            .map(|(_, pool)| pool)
            .ok_or_else(|| (NodeErrorKind::PoolMissing, format!("no pool with GUID {guid}")))
    }

    /// The snapshots of all commits of a pool, by Dot, commit and volume: namespace and GUID.
    #[expect(clippy::type_complexity, reason = "used once")]
    fn kept_snapshots(
        &mut self,
        node: &str,
        guid: u64,
    ) -> Result<BTreeMap<(String, String, String), (String, u64)>, (NodeErrorKind, String)> {
        let mut all = BTreeMap::new();
        for (id, dot) in &self.pool(node, guid)?.dots {
            for (commit, (_, response)) in &dot.commits {
                for snapshot in &response.snapshots {
                    let key = (id.clone(), commit.clone(), snapshot.volume_id.clone());
                    all.insert(key, (dot.identity.0.clone(), snapshot.guid));
                }
            }
        }
        Ok(all)
    }

    fn dot(&mut self, (node, guid): (&str, u64), id: &str) -> Result<&mut Dot, (NodeErrorKind, String)> {
        let pool = self.pool(node, guid)?;
        pool.dots
            .get_mut(id)
            .ok_or_else(|| (NodeErrorKind::NotFound, format!("no Dot {id}")))
    }

    /// Whether the commit can be taken, or was.
    fn check_commit(&mut self, node: &str, request: &CommitRequest) -> Result<(), (NodeErrorKind, String)> {
        let dot = self.dot((node, request.pool_guid), &request.dot_id)?;
        if dot.commits.contains_key(&request.commit_id) {
            return Ok(());
        }
        let head = dot.heads.get(&request.head_id);
        let head = head.ok_or_else(|| not_found("head", &request.head_id))?;
        match head.keys().eq(&request.volume_ids) {
            true => Ok(()),
            false => Err((NodeErrorKind::Conflict, "not all volumes of the head".to_owned())),
        }
    }

    /// Takes a commit that can be taken; nothing when it was.
    fn take_commit(&mut self, node: &str, request: &CommitRequest, txg: u64) -> Result<(), (NodeErrorKind, String)> {
        let dot = self.dot((node, request.pool_guid), &request.dot_id)?;
        if dot.commits.contains_key(&request.commit_id) {
            return Ok(());
        }
        let on_head = dot.commits.iter().filter(|(_, (head, _))| *head == request.head_id);
        let parent = on_head
            .max_by_key(|(_, (_, commit))| commit.createtxg)
            .map(|(id, _)| id.clone());
        let parent = parent.or_else(|| dot.origins.get(&request.head_id).cloned());
        let snapshots = request.volume_ids.iter().zip(1..).map(|(volume, index)| SnapshotState {
            volume_id: volume.clone(),
            guid: txg * 1000 + index,
            referenced_bytes: 4096,
            written_bytes: 512,
        });
        let response = CommitResponse {
            snapshots: snapshots.collect(),
            createtxg: txg,
            created_unix: 1_767_225_600,
            parent_commit_id: parent.unwrap_or_default(),
        };
        let record = request.record.clone().unwrap_or_default();
        dot.records.insert(request.commit_id.clone(), record);
        dot.commits
            .insert(request.commit_id.clone(), (request.head_id.clone(), response));
        self.make("commit", &request.commit_id);
        Ok(())
    }
}

/// A node, and of other zpools than `dotmesh` the name.
fn place(node: &str, zpool: &str) -> String {
    match zpool {
        POOL_NAME => node.to_owned(),
        zpool => format!("{node}/{zpool}"),
    }
}

impl Nodes for FakeNodes {
    async fn watch(&self, node: &str) -> Result<PoolEvents, NodeError> {
        let pools = self.call("Watch", node, |state| {
            let of_node = state.pools.iter().filter(|((of, _), _)| of == node);
            Ok(of_node.map(|(_, pool)| describe(pool)).collect())
        })?;
        let event = WatchEvent {
            pools,
            ..WatchEvent::default()
        };
        Ok(futures::stream::iter([Ok(event)])
            .chain(futures::stream::pending())
            .boxed())
    }

    async fn ensure_pool(&self, node: &str, request: EnsurePoolRequest) -> Result<EnsurePoolResponse, NodeError> {
        self.call("EnsurePool", node, |state| {
            let key = (node.to_owned(), request.name.clone());
            let created = !state.pools.contains_key(&key);
            if created {
                if request.known_guid != 0 {
                    return Err((NodeErrorKind::PoolMissing, "never made anew".to_owned()));
                }
                let guid = 1000 + state.next();
                state.make("pool", &place(node, &request.name));
                let pool = Pool {
                    name: request.name.clone(),
                    guid,
                    ..Pool::default()
                };
                state.pools.insert(key.clone(), pool);
            }
            let Some(pool) = state.pools.get_mut(&key) else {
                return Err((NodeErrorKind::PoolMissing, "no pool".to_owned()));
            };
            if request.known_guid != 0 && pool.guid != request.known_guid {
                return Err((NodeErrorKind::PoolForeign, format!("the pool's GUID is {}", pool.guid)));
            }
            if let Some(Source::File(file)) = request.source {
                pool.file_bytes = pool.file_bytes.max(file.size_bytes);
            }
            let pool = Some(describe(pool));
            Ok(EnsurePoolResponse { pool, created })
        })
    }

    async fn ensure_dot(&self, node: &str, request: EnsureDotRequest) -> Result<EnsureDotResponse, NodeError> {
        self.call("EnsureDot", node, |state| {
            let pool = state.pool(node, request.pool_guid)?;
            if let Some(dot) = pool.dots.get_mut(&request.dot_id) {
                let identity = (request.namespace, request.name);
                if request.take_over {
                    dot.identity = identity;
                } else if dot.identity != identity {
                    return Err((NodeErrorKind::Conflict, format!("it is {:?}", dot.identity)));
                }
            } else if request.take_over {
                return Err(not_found("Dot", &request.dot_id));
            } else {
                let dot = Dot {
                    identity: (request.namespace, request.name),
                    ..Dot::default()
                };
                pool.dots.insert(request.dot_id.clone(), dot);
                state.make("dot", &request.dot_id);
            }
            Ok(EnsureDotResponse {})
        })
    }

    async fn ensure_branch(&self, node: &str, request: EnsureBranchRequest) -> Result<EnsureBranchResponse, NodeError> {
        self.call("EnsureBranch", node, |state| {
            let mut next = state.next() * 1000;
            let given = state.given.clone();
            let kept = state.kept_snapshots(node, request.pool_guid)?;
            let dot = state.dot((node, request.pool_guid), &request.dot_id)?;
            let found = |id: &str| Some(dot.heads.get(&request.head_id)?.get(id)?.guid);
            let is_lost = |volume: &&Volume| volume.known_guid != 0 && found(&volume.id) != Some(volume.known_guid);
            if let Some(lost) = request.volumes.iter().find(is_lost) {
                return Err(not_found("volume", &lost.id));
            }
            let is_new = |volume: &&Volume| found(&volume.id).is_none() && !volume.adopted_snapshot.is_empty();
            let adopted = request.volumes.iter().filter(is_new);
            let adopted: BTreeMap<&String, &String> =
                adopted.map(|volume| (&volume.id, &volume.adopted_snapshot)).collect();
            if let Some(snapshot) = adopted.values().find(|name| !given.contains(**name)) {
                return Err((NodeErrorKind::Invalid, format!("snapshot {snapshot} does not exist")));
            }
            let mut cloned: BTreeSet<String> = adopted.into_keys().cloned().collect();
            let begun = |volume: &&Volume| found(&volume.id).is_none();
            for volume in request.volumes.iter().filter(begun) {
                let Some(origin) = &volume.origin else { continue };
                let wanted = (
                    origin.dot_id.clone(),
                    origin.commit_id.clone(),
                    origin.volume_id.clone(),
                );
                match kept.get(&wanted) {
                    None => return Err(not_found("commit", &origin.commit_id)),
                    Some((namespace, _)) if *namespace != dot.identity.0 => {
                        return Err((NodeErrorKind::Invalid, format!("it is of namespace {namespace}")));
                    }
                    Some((_, guid)) if *guid != origin.snapshot_guid => {
                        return Err((NodeErrorKind::Conflict, "another snapshot".to_owned()));
                    }
                    Some(_) => cloned.insert(volume.id.clone()),
                };
            }
            if let Some(origin) = &request.origin {
                let (_, commit) = dot
                    .commits
                    .get(&origin.commit_id)
                    .ok_or_else(|| not_found("commit", &origin.commit_id))?;
                for snapshot in &commit.snapshots {
                    if origin.snapshot_guids.get(&snapshot.volume_id) != Some(&snapshot.guid) {
                        return Err((NodeErrorKind::Conflict, "another snapshot".to_owned()));
                    }
                    cloned.insert(snapshot.volume_id.clone());
                }
                dot.origins.insert(request.head_id.clone(), origin.commit_id.clone());
            }
            let is_new = !dot.heads.contains_key(&request.head_id);
            if is_new {
                let names = (request.branch_name.clone(), request.object_name.clone());
                dot.branch_names.insert(request.branch_id.clone(), names);
                dot.head_origins
                    .extend(request.origin.clone().map(|origin| (request.head_id.clone(), origin)));
            }
            dot.branches.insert(request.branch_id.clone(), request.head_id.clone());
            let head = dot.heads.entry(request.head_id.clone()).or_default();
            for volume in &request.volumes {
                dot.volume_names.insert(volume.id.clone(), volume.name.clone());
                next += 1;
                let state = head.entry(volume.id.clone()).or_insert_with(|| VolumeState {
                    id: volume.id.clone(),
                    guid: next,
                    size_bytes: 0,
                    format: volume.format,
                    tuning: None,
                    cloned: cloned.contains(&volume.id),
                });
                state.size_bytes = state.size_bytes.max(volume.size_bytes);
                state.tuning = volume.tuning.clone().or(state.tuning.take());
            }
            let volumes = head.values().cloned().collect();
            if is_new {
                state.make("head", &request.head_id);
            }
            Ok(EnsureBranchResponse { volumes })
        })
    }

    async fn commit(&self, node: &str, mut request: CommitRequest) -> Result<CommitResponse, NodeError> {
        let together = std::mem::take(&mut request.together);
        self.call("Commit", node, |state| {
            let txg = state.next();
            let all = || std::iter::once(&request).chain(&together);
            for one in all() {
                state.check_commit(node, one)?;
            }
            for one in all() {
                state.take_commit(node, one, txg)?;
            }
            let dot = state.dot((node, request.pool_guid), &request.dot_id)?;
            let taken = dot.commits.get(&request.commit_id);
            taken
                .map(|(_, taken)| taken.clone())
                .ok_or_else(|| not_found("commit", &request.commit_id))
        })
    }

    async fn attach(&self, node: &str, request: AttachRequest) -> Result<AttachResponse, NodeError> {
        self.call("Attach", node, |state| {
            let dot = state.dot((node, request.pool_guid), &request.dot_id)?;
            if dot.claims.insert(request.claim_uid.clone()) {
                state.make("claim", &request.claim_uid);
            }
            Ok(AttachResponse {})
        })
    }

    async fn detach(&self, node: &str, request: DetachRequest) -> Result<DetachResponse, NodeError> {
        self.call("Detach", node, |state| {
            state
                .dot((node, request.pool_guid), &request.dot_id)?
                .claims
                .remove(&request.claim_uid);
            Ok(DetachResponse {})
        })
    }

    async fn delete_commit(&self, node: &str, request: DeleteCommitRequest) -> Result<DeleteResponse, NodeError> {
        self.call("DeleteCommit", node, |state| {
            let dot = state.dot((node, request.pool_guid), &request.dot_id)?;
            match dot.commits.remove(&request.commit_id) {
                Some((head, _)) if head != request.head_id => Err((NodeErrorKind::Conflict, "another head".to_owned())),
                Some(_) => Ok(DeleteResponse { collected: true }),
                None => Err(not_found("commit", &request.commit_id)),
            }
        })
    }

    async fn delete_branch(&self, node: &str, request: DeleteBranchRequest) -> Result<DeleteResponse, NodeError> {
        self.call("DeleteBranch", node, |state| {
            let dot = state.dot((node, request.pool_guid), &request.dot_id)?;
            for head in &request.head_ids {
                dot.heads.remove(head);
            }
            match dot.branches.remove(&request.branch_id) {
                Some(_) => Ok(DeleteResponse { collected: true }),
                None => Err(not_found("branch", &request.branch_id)),
            }
        })
    }

    async fn delete_dot(&self, node: &str, request: DeleteDotRequest) -> Result<DeleteResponse, NodeError> {
        self.call("DeleteDot", node, |state| {
            state.dot((node, request.pool_guid), &request.dot_id)?;
            state.pool(node, request.pool_guid)?.dots.remove(&request.dot_id);
            Ok(DeleteResponse { collected: true })
        })
    }

    async fn describe_dot(&self, node: &str, request: DescribeDotRequest) -> Result<DescribeDotResponse, NodeError> {
        self.call("DescribeDot", node, |state| {
            let dot = state.dot((node, request.pool_guid), &request.dot_id)?;
            Ok(describe_dot(dot, &request.after_commit_id))
        })
    }

    async fn find_missing(&self, node: &str, request: FindMissingRequest) -> Result<FindMissingResponse, NodeError> {
        self.call("FindMissing", node, |state| {
            let pool = &*state.pool(node, request.pool_guid)?;
            let all = (0..).zip(&request.recorded);
            let missing = all.filter_map(|(index, recorded)| {
                let volume_ids = missing(pool, recorded)?;
                Some(Missing { index, volume_ids })
            });
            let dots = pool.dots.iter().map(|(id, dot)| DotInPool {
                dot_id: id.clone(),
                branch_ids: dot.branches.keys().cloned().collect(),
                claim_uids: dot.claims.iter().cloned().collect(),
                commits: dot.commits.len() as u64,
            });
            Ok(FindMissingResponse {
                missing: missing.collect(),
                dots: dots.collect(),
            })
        })
    }
}
