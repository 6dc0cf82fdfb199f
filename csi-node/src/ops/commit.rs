//! Commits: one atomic snapshot of all volumes of a head, with the record of the commit on it.
//!
//! The head's lock is held from finding the parent to the answer, the Dot's lock is shared: heads of one Dot commit
//! together. What the answer says is read from the snapshots; a repeated call gives the same answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dotmesh_model::id::{BranchId, CommitId, DotId, HeadId, VolumeId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{
    ErrorKind, GetRequest, Guid, Kind, ListRequest, ObjectName, PropName, SnapshotName, Source, Txg, Zfs,
};

use super::batch::{self, CREATETXG, CREATION, GUID, Item, MAX_SNAPSHOTS, REFERENCED, Rows, WRITTEN};
use super::cache::HeadState;
use super::{Error, KnownPool, Ops};
use crate::layout::{
    BranchRecord, DotState, MAX_RECORD_LEN, StoredCommit, decode_commits, is_commit_property, snapshot,
};

/// A commit to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRequest {
    /// The Dot.
    pub dot: DotId,
    /// Its branch.
    pub branch: BranchId,
    /// The head that the branch points at.
    pub head: HeadId,
    /// The commit.
    pub commit: CommitId,
    /// All volumes of the head.
    pub volumes: BTreeSet<VolumeId>,
    /// What is stored beside the snapshots.
    pub record: CommitRecord,
}

/// What its object says of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitRecord {
    /// Of its object.
    pub namespace: String,
    /// Of its object.
    pub name: String,
    /// As git would call the branch.
    pub branch_name: String,
    /// Why.
    pub message: String,
    /// Who, as people say.
    pub author: String,
    /// Who asked for it, as the API server knows them; empty when it did not say.
    pub committer: String,
    /// What else.
    pub metadata: BTreeMap<String, String>,
}

/// A commit as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitState {
    /// Its snapshots, one per volume, in the order of the volumes' ids.
    pub snapshots: Vec<SnapshotState>,
    /// Orders the commits of a head.
    pub createtxg: Txg,
    /// Seconds since the epoch.
    pub created: i64,
    /// The commit before it on the head, else the one the head was cloned from.
    pub parent: Option<CommitId>,
}

/// One volume's snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotState {
    /// The volume.
    pub volume: VolumeId,
    /// The snapshot's identity.
    pub guid: Guid,
    /// Bytes reachable through it.
    pub referenced: u64,
    /// Bytes written since the snapshot before.
    pub written: u64,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Takes the commit, or finds that it was taken. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::Invalid`] without volumes; [`Error::NotFound`], [`Error::Deleted`]; [`Error::Conflict`] when the branch
    /// points elsewhere or the head has other volumes; [`Error::OutOfSpace`].
    pub async fn commit(self: &Arc<Self>, request: &CommitRequest) -> Result<CommitState, Error> {
        let taken = self.commit_together(std::slice::from_ref(request)).await?;
        let taken = taken.into_iter().next();
        taken.ok_or_else(|| Error::Internal(format!("commit {} has no answer; repeat", request.commit)))
    }

    /// Takes commits of several heads of the pool in one transaction group, all of them or none; or finds that they were
    /// taken. Durable when this returns; the answers are in the order of the requests.
    ///
    /// # Errors
    /// Those of [`Ops::commit`]; [`Error::Invalid`] of two commits of one head, and of more than one command can take.
    pub async fn commit_together(self: &Arc<Self>, requests: &[CommitRequest]) -> Result<Vec<CommitState>, Error> {
        let pool = self.known_pool()?;
        if let Some(request) = requests.iter().find(|request| request.volumes.is_empty()) {
            return Err(Error::Invalid(format!(
                "Dot {} has no volumes, so there is nothing to commit",
                request.dot
            )));
        }
        let dots: BTreeSet<DotId> = requests.iter().map(|request| request.dot).collect();
        let heads: BTreeSet<HeadId> = requests.iter().map(|request| request.head).collect();
        if heads.len() < requests.len() {
            return Err(Error::Invalid("of one head, one commit is taken at a time".to_owned()));
        }
        // In one order, so that nobody waits for somebody who waits for him.
        let (mut of_dots, mut of_heads) = (Vec::new(), Vec::new());
        for dot in dots {
            of_dots.push(self.host.dots.shared(dot).await);
        }
        for head in heads {
            of_heads.push(self.heads.exclusive(head).await);
        }
        let mut heads = Vec::new();
        for request in requests {
            let state = self.living_dot_cached(&pool, request.dot).await?;
            check_branch(&state, request)?;
            let head = self.head_state(&pool, &state, request.dot, request.head).await?;
            check_volumes(&head, request)?;
            heads.push(head);
        }
        let is_known = |(request, head): (&CommitRequest, &Arc<HeadState>)| head.is_taken(request.commit);
        let done = if requests.iter().zip(&heads).all(is_known) {
            self.existing_commits(&pool, requests).await?
        } else {
            for (request, head) in requests.iter().zip(&heads) {
                self.flush(&pool, request, head).await?;
            }
            self.new_commits(&pool, requests, &heads).await?
        };
        for request in requests {
            let on_head = pool.layout.head_snapshot(request.dot, request.head, request.commit);
            self.hold_in_background(request.dot, request.commit, on_head);
        }
        Ok(done)
    }

    async fn new_commits(
        &self,
        pool: &KnownPool,
        requests: &[CommitRequest],
        heads: &[Arc<HeadState>],
    ) -> Result<Vec<CommitState>, Error> {
        let wanted = || requests.iter().zip(heads);
        let records = wanted().map(|(request, head)| (request.commit, stored(request, head.parent)));
        let item = Item {
            commits: records.collect(),
            snapshots: requests.iter().flat_map(|request| names(pool, request)).collect(),
        };
        let of_all = requests.iter().map(|request| request.commit.to_string());
        let what = format!("commit {}", of_all.collect::<Vec<_>>().join(", "));
        let len = item.records_len();
        if len > MAX_RECORD_LEN {
            return Err(Error::Invalid(format!(
                "message and metadata of {what} take {len} bytes; at most {MAX_RECORD_LEN} can be kept"
            )));
        }
        if requests.len() > 1 && item.snapshots.len() > MAX_SNAPSHOTS {
            return Err(Error::Invalid(format!(
                "{} commits have {} snapshots; at most {MAX_SNAPSHOTS} can be taken together",
                requests.len(),
                item.snapshots.len()
            )));
        }
        // Whatever happens from here on, the copies may be wrong.
        for request in requests {
            self.cache.drop_head(request.head);
        }
        let rows = match self.batches.take_snapshots(&self.host.zfs, item).await {
            Ok(rows) => rows,
            Err(error) if error.kind == ErrorKind::SnapshotExists && !is_planted(Mutant::ARepeatFindsNothing) => {
                return self.existing_commits(pool, requests).await;
            }
            Err(error) => {
                let heads = requests.iter().map(|request| request.head.to_string());
                let heads = format!("head {}", heads.collect::<Vec<_>>().join(" or "));
                return Err(self.failed(pool, &format!("taking {what}"), &heads, &error).await);
            }
        };
        for (request, head) in wanted() {
            self.cache.put_head(request.head, head.after(request.commit));
        }
        self.note_usage();
        let answers = wanted().map(|(request, head)| answer(pool, request, &rows, head.parent));
        answers.collect()
    }

    async fn existing_commits(&self, pool: &KnownPool, requests: &[CommitRequest]) -> Result<Vec<CommitState>, Error> {
        let mut found = Vec::new();
        for request in requests {
            found.push(self.existing_commit(pool, request).await?);
        }
        Ok(found)
    }

    /// A commit that was taken before: the same answer again.
    async fn existing_commit(&self, pool: &KnownPool, request: &CommitRequest) -> Result<CommitState, Error> {
        let CommitRequest { dot, head, commit, .. } = *request;
        let other = |what: &str| Error::Conflict(format!("commit {commit} of head {head} exists already, {what}"));
        let on_head = pool.layout.head_snapshot(dot, head, commit);
        let stored = self
            .read_record(pool, &on_head)
            .await?
            .ok_or_else(|| other("but it was not taken by this program"))?;
        let parse = |id: &String| id.parse().map_err(|_| other("with a damaged record"));
        // Those that the head had when it was taken: it may have got more since.
        let volumes = stored.volumes.iter().map(parse).collect::<Result<_, _>>()?;
        let request = &CommitRequest {
            volumes,
            ..request.clone()
        };
        let parent = match &stored.parent {
            None => None,
            Some(parent) => Some(parent.parse().map_err(|_| other("with a damaged record"))?),
        };
        match batch::list(&self.host.zfs, names(pool, request)).await {
            Ok(rows) => answer(pool, request, &rows, parent),
            Err(error) => {
                let absent = Err(other("but not on all of its volumes"));
                self.failed(pool, &format!("reading commit {commit}"), "", &error)
                    .await
                    .absent_as(absent)?
            }
        }
    }

    /// The record of the commit that a snapshot is of; nothing when it is no commit of ours.
    pub(super) async fn read_record(
        &self,
        pool: &KnownPool,
        snapshot: &SnapshotName,
    ) -> Result<Option<StoredCommit>, Error> {
        let request = GetRequest::local(vec![ObjectName::from(snapshot.clone())], Vec::new());
        let looked = self.host.zfs.get(&request).await;
        let Some(rows) = self.unless_absent(pool, &format!("reading {snapshot}"), looked).await? else {
            return Ok(None);
        };
        let local = rows.into_iter().filter(|row| row.source == Source::Local);
        let properties: BTreeMap<PropName, String> = local
            .filter(|row| is_commit_property(&row.property))
            .map(|row| (row.property, row.value))
            .collect();
        let commits = decode_commits(&properties)?;
        Ok(commits.and_then(|mut commits| commits.remove(snapshot.snap().as_str())))
    }

    /// What a commit needs to know of its head, from memory or disk. The caller has the head's lock.
    async fn head_state(
        &self,
        pool: &KnownPool,
        state: &DotState,
        dot: DotId,
        head: HeadId,
    ) -> Result<Arc<HeadState>, Error> {
        if let Some(known) = self.cache.head(head) {
            return Ok(known);
        }
        let (volumes, origin) = self.head_volumes(pool, dot, head).await?;
        let parent = match self.newest_commit(pool, state, dot, head).await? {
            Some(commit) => Some(commit),
            None => origin,
        };
        self.cache.put_head(head, HeadState::new(volumes, parent));
        self.cache
            .head(head)
            .ok_or_else(|| Error::Internal("a copy vanished; repeat".into()))
    }

    /// The newest commit of a head that is not deleted.
    async fn newest_commit(
        &self,
        pool: &KnownPool,
        state: &DotState,
        dot: DotId,
        head: HeadId,
    ) -> Result<Option<CommitId>, Error> {
        let dataset = pool.layout.head(dot, head);
        let list = ListRequest {
            roots: vec![ObjectName::from(dataset.clone())],
            depth: Some(1),
            kinds: vec![Kind::Snapshot],
            columns: vec![CREATETXG],
        };
        let what = format!("head {head} of Dot {dot}");
        let rows = match self.host.zfs.list(&list).await {
            Ok(rows) => rows,
            Err(error) => {
                return Err(self
                    .failed(pool, &format!("listing commits of {what}"), &what, &error)
                    .await);
            }
        };
        let mut commits: Vec<(u64, CommitId)> = rows
            .iter()
            .filter(|row| *row.name.dataset() == dataset)
            .filter_map(|row| {
                let commit = row.name.snapshot()?.snap().as_str().parse().ok()?;
                Some((row.number(&CREATETXG).ok()?, commit))
            })
            .filter(|(_, commit)| !state.is_dead(*commit))
            .collect();
        commits.sort_unstable();
        for (_, commit) in commits.into_iter().rev() {
            // Another tool may name snapshots like we do.
            if self
                .read_record(pool, &snapshot(dataset.clone(), commit))
                .await?
                .is_some()
            {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }
}

/// The commit's snapshots, the head's first.
fn names(pool: &KnownPool, request: &CommitRequest) -> Vec<SnapshotName> {
    let CommitRequest { dot, head, commit, .. } = *request;
    let left_out = usize::from(is_planted(Mutant::ACommitLeavesAVolumeOut));
    let volumes = request.volumes.iter().skip(left_out);
    std::iter::once(pool.layout.head_snapshot(dot, head, commit))
        .chain(volumes.map(|volume| pool.layout.volume_snapshot(dot, head, *volume, commit)))
        .collect()
}

fn stored(request: &CommitRequest, parent: Option<CommitId>) -> StoredCommit {
    let CommitRecord {
        namespace,
        name,
        branch_name,
        message,
        author,
        committer,
        metadata,
    } = request.record.clone();
    StoredCommit {
        namespace,
        name,
        branch: request.branch.to_string(),
        branch_name,
        message,
        author,
        committer,
        metadata,
        volumes: request.volumes.iter().map(ToString::to_string).collect(),
        parent: parent.map(|parent| parent.to_string()),
    }
}

fn answer(
    pool: &KnownPool,
    request: &CommitRequest,
    rows: &Rows,
    parent: Option<CommitId>,
) -> Result<CommitState, Error> {
    let CommitRequest { dot, head, commit, .. } = *request;
    let number = |name: &SnapshotName, column: &PropName| {
        let row = rows.get(name).and_then(|row| row.number(column).ok());
        row.ok_or_else(|| Error::Internal(format!("{column} of {name} is unknown; repeat")))
    };
    let on_head = pool.layout.head_snapshot(dot, head, commit);
    let volume = |volume: &VolumeId| {
        let name = pool.layout.volume_snapshot(dot, head, *volume, commit);
        Ok(SnapshotState {
            volume: *volume,
            guid: Guid(number(&name, &GUID)?),
            referenced: number(&name, &REFERENCED)?,
            written: number(&name, &WRITTEN)?,
        })
    };
    Ok(CommitState {
        snapshots: request.volumes.iter().map(volume).collect::<Result<_, Error>>()?,
        createtxg: Txg(number(&on_head, &CREATETXG)?),
        created: i64::try_from(number(&on_head, &CREATION)?).unwrap_or(i64::MAX),
        parent,
    })
}

fn check_branch(state: &DotState, request: &CommitRequest) -> Result<(), Error> {
    let CommitRequest {
        dot,
        branch,
        head,
        commit,
        ..
    } = request;
    if state.is_dead(*commit) {
        return Err(Error::Deleted(format!("commit {commit} of Dot {dot} is being deleted")));
    }
    match state.branches.get(branch) {
        Some(BranchRecord::Live { head: current, .. }) if current == head => Ok(()),
        Some(BranchRecord::Live { head: current, .. }) => Err(Error::Conflict(format!(
            "branch {branch} of Dot {dot} is at head {current}, not {head}"
        ))),
        Some(BranchRecord::Dead { .. }) => {
            Err(Error::Deleted(format!("branch {branch} of Dot {dot} is being deleted")))
        }
        None => Err(Error::NotFound(format!("branch {branch} is not in Dot {dot}"))),
    }
}

fn check_volumes(head: &HeadState, request: &CommitRequest) -> Result<(), Error> {
    let there: BTreeSet<VolumeId> = head.volumes.keys().copied().collect();
    if there == request.volumes {
        return Ok(());
    }
    let list = |volumes: &BTreeSet<VolumeId>| {
        let texts: Vec<String> = volumes.iter().map(ToString::to_string).collect();
        texts.join(", ")
    };
    Err(Error::Conflict(format!(
        "head {} has volumes {}, but commit {} names {}: it covers all of them or none",
        request.head,
        list(&there),
        request.commit,
        list(&request.volumes)
    )))
}
