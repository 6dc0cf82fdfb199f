//! What the Controller does standing alone, over the pools of this node, without Kubernetes.
//!
//! A volume that begins empty is a Dot of its own with one volume and one branch; a snapshot is a commit of its branch; a
//! volume from a snapshot or from another volume is a branch in the same Dot. Each is deleted by itself, in any order:
//! the Dot keeps what others need of it, and goes with the last of them. What was not made here is left alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_model::handle::{Handle, SnapshotId};
use dotmesh_model::id::{BranchId, CommitId, DotId, HeadId, VolumeId};
use dotmesh_model::name::VolumeName;
use dotmesh_model::tuning::Tuning;
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tokio::sync::OwnedRwLockWriteGuard;
use uuid::Uuid;

use super::ids::{VOLUME, VolumeKey, is_own_dot};
use super::mark::{Mark, Purpose};
use crate::layout::BranchRecord;
use crate::ops::{
    BranchRequest, CommitDescription, CommitRecord, CommitRequest, DotDescription, Error, HeadDescription, KeyedLocks,
    Ops, Pools, VolumeRequest, VolumeState,
};

/// The pools, and who works on what.
#[derive(Debug)]
pub(super) struct Alone<Z, M> {
    pub(super) pools: Arc<Pools<Z, M>>,
    /// Names that something is being made for; one who has one may wait for a Dot.
    names: KeyedLocks<Uuid>,
    /// Dots in which something is being made or deleted.
    dots: KeyedLocks<DotId>,
}

/// A volume that was made here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume<'a> {
    pub key: VolumeKey,
    pub dot: DotId,
    pub head: &'a HeadDescription,
    pub state: &'a VolumeState,
}

/// A snapshot that was taken here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot<'a> {
    pub id: SnapshotId,
    pub mark: Mark,
    pub commit: &'a CommitDescription,
}

/// All Dots of the node.
pub(super) type All<Z, M> = Vec<(Arc<Ops<Z, M>>, BTreeMap<DotId, DotDescription>)>;

impl<Z: Zfs, M: Mount> Alone<Z, M> {
    pub(super) fn new(pools: Arc<Pools<Z, M>>) -> Self {
        Self {
            pools,
            names: KeyedLocks::default(),
            dots: KeyedLocks::default(),
        }
    }

    pub(super) async fn lock_name(&self, key: Uuid) -> OwnedRwLockWriteGuard<()> {
        self.names.exclusive(key).await
    }

    pub(super) async fn lock_dot(&self, dot: DotId) -> OwnedRwLockWriteGuard<()> {
        self.dots.exclusive(dot).await
    }

    /// The pool where new Dots are made: the node's first.
    pub(super) async fn first_pool(&self) -> Result<Arc<Ops<Z, M>>, Error> {
        let first = self.pools.all().await?.into_iter().next();
        first.ok_or_else(|| Error::PoolMissing("this node has no pool yet".to_owned()))
    }

    /// What all pools hold. A pool that cannot be read is an error: nobody knows what is in it.
    pub(super) async fn everything(&self) -> Result<All<Z, M>, Error> {
        let mut all = Vec::new();
        for ops in self.pools.all().await? {
            let dots = ops.describe_dots().await?;
            all.push((ops, dots));
        }
        Ok(all)
    }

    /// The pool where a Dot lies, if it is in any.
    pub(super) async fn pool_of(&self, dot: DotId) -> Result<Option<Arc<Ops<Z, M>>>, Error> {
        match self.pools.of_dot(dot).await {
            Err(Error::NotFound(_)) => Ok(None),
            found => found.map(Some),
        }
    }

    /// A Dot with its pool; nothing when it is not there, or goes.
    pub(super) async fn dot(&self, dot: DotId) -> Result<Option<(Arc<Ops<Z, M>>, DotDescription)>, Error> {
        let Some(ops) = self.pool_of(dot).await? else {
            return Ok(None);
        };
        match ops.describe_dot(dot).await {
            Ok(described) => Ok(Some((ops, described))),
            Err(Error::NotFound(_) | Error::Deleted(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A volume's Dot with its pool.
    pub(super) async fn dot_of(&self, handle: Handle) -> Result<(Arc<Ops<Z, M>>, DotDescription), Error> {
        let found = self.dot(handle.dot).await?;
        found.ok_or_else(|| no_volume(handle))
    }

    /// The volume goes; snapshots and clones of it stay. One that is not there is gone.
    ///
    /// # Errors
    /// [`Error::InUse`] while it is published; those of the pool.
    pub(super) async fn delete_volume(&self, handle: Handle) -> Result<(), Error> {
        let Some(ops) = self.pool_of(handle.dot).await? else {
            return Ok(());
        };
        let _alone = self.lock_dot(handle.dot).await;
        let Some(state) = ops.dot_state(handle.dot).await? else {
            return Ok(());
        };
        if state.deleted {
            return ops.collect_now(handle.dot).await;
        }
        let records = state.branches.iter();
        let mut own = records.filter_map(|(branch, record)| {
            let key = VolumeKey::of_branch(handle.dot, *branch, record.name())?;
            (key.handle(handle.dot) == handle).then_some((key, matches!(record, BranchRecord::Live { .. })))
        });
        let own = own.next();
        let is_attached = state
            .claims
            .get(&handle.claim)
            .is_some_and(|claim| claim.volume == handle.volume);
        let made_here = own.is_some() || VolumeKey(handle.dot.uuid()).handle(handle.dot) == handle;
        if made_here {
            let live = own.filter(|(_, is_live)| *is_live).map(|(key, _)| key);
            if let Some(key) = live {
                self.check_unused(handle.dot, key.head()).await?;
            }
            let branch = live.map(VolumeKey::branch);
            if self.delete_parts(&ops, handle.dot, branch, &BTreeMap::new()).await? == Rest::Nothing {
                return Ok(());
            }
        }
        if is_attached {
            ops.detach(handle.dot, handle.claim).await?;
        }
        // An attempt may have been interrupted when its branch was gone already, and not yet what that was made of.
        match !made_here && state.has_tombstones() {
            true => ops.collect_now(handle.dot).await,
            false => Ok(()),
        }
    }

    async fn check_unused(&self, dot: DotId, head: HeadId) -> Result<(), Error> {
        match self.pools.host().users_of(dot, head).await?.first() {
            None => Ok(()),
            Some(user) => Err(Error::InUse(format!(
                "the volume is still published at {}",
                user.display()
            ))),
        }
    }

    /// Deletes a branch and commits of a Dot; the Dot itself, when it was made here and nothing else is left of it. The
    /// caller has its lock.
    pub(super) async fn delete_parts(
        &self,
        ops: &Arc<Ops<Z, M>>,
        dot: DotId,
        branch: Option<BranchId>,
        commits: &BTreeMap<CommitId, HeadId>,
    ) -> Result<Rest, Error> {
        let is_last = |described: &DotDescription| {
            let other_branch = described.branches.iter().any(|head| Some(head.branch) != branch);
            let other_commit = described.commits.iter().any(|commit| {
                let mark = Mark::decode(&commit.record.metadata);
                !commits.contains_key(&commit.id) && mark.is_none_or(|mark| mark.purpose != Purpose::Clone)
            });
            let identity = &described.identity;
            let is_own = identity.namespace.is_empty() && is_own_dot(dot, &identity.name);
            is_own && !other_branch && !other_commit
        };
        let mut described = ops.describe_dot(dot).await;
        if matches!(described, Err(Error::NotFound(_))) {
            // Others destroyed the head of a branch: perhaps of the one that goes.
            bury(ops, dot, branch, commits).await?;
            described = ops.describe_dot(dot).await;
        }
        match described {
            Ok(described) if is_last(&described) => {
                ops.delete_dot(dot).await?;
                return Ok(Rest::Nothing);
            }
            Err(Error::Deleted(_)) => {
                ops.collect_now(dot).await?;
                return Ok(Rest::Nothing);
            }
            Ok(_) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        bury(ops, dot, branch, commits).await?;
        // Of what was deleted before something may be free now.
        ops.collect_now(dot).await?;
        Ok(Rest::Something)
    }
}

/// Each of them has a tombstone.
async fn bury<Z: Zfs, M: Mount>(
    ops: &Arc<Ops<Z, M>>,
    dot: DotId,
    branch: Option<BranchId>,
    commits: &BTreeMap<CommitId, HeadId>,
) -> Result<(), Error> {
    for (commit, head) in commits {
        ops.delete_commit(dot, *commit, *head).await?;
    }
    match branch {
        Some(branch) => ops
            .delete_branch(dot, branch, &[HeadId::first_of(branch)])
            .await
            .map(drop),
        None => Ok(()),
    }
}

/// What is left of a Dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It goes itself.
    Nothing,
    Something,
}

/// The volumes of a Dot that were made here and are complete: a handle was given for them.
pub(super) fn volumes(dot: DotId, described: &DotDescription) -> impl Iterator<Item = Volume<'_>> {
    let complete = move |volume: &Volume<'_>| described.claims.contains(&volume.key.claim());
    branches(dot, described).filter(complete)
}

/// The same, with those whose making was interrupted.
pub(super) fn branches(dot: DotId, described: &DotDescription) -> impl Iterator<Item = Volume<'_>> {
    described.branches.iter().filter_map(move |head| {
        let key = VolumeKey::of_branch(dot, head.branch, &head.name)?;
        let id = VolumeId::derive(dot, VOLUME);
        let (_, state) = head.volumes.iter().find(|(_, state)| state.id == id)?;
        Some(Volume { key, dot, head, state })
    })
}

/// The volume of this handle.
pub(super) fn volume_of(handle: Handle, described: &DotDescription) -> Result<Volume<'_>, Error> {
    let mut all = volumes(handle.dot, described);
    let found = all.find(|volume| volume.key.handle(handle.dot) == handle);
    found.ok_or_else(|| no_volume(handle))
}

pub(super) fn no_volume(handle: Handle) -> Error {
    Error::NotFound(format!("there is no volume {handle} that was made here"))
}

/// The commits of a Dot that were taken here: snapshots, and what clones are made from.
pub(super) fn commits(dot: DotId, described: &DotDescription) -> impl Iterator<Item = Snapshot<'_>> {
    described.commits.iter().filter_map(move |commit| {
        let mark = Mark::decode(&commit.record.metadata)?;
        let (volume, commit_id) = (mark.source.volume, commit.id);
        // One that is gone was destroyed by others.
        commit
            .state
            .snapshots
            .iter()
            .find(|snapshot| snapshot.volume == volume)?;
        let id = SnapshotId {
            dot,
            volume,
            commit: commit_id,
        };
        Some(Snapshot { id, mark, commit })
    })
}

/// The snapshots of a Dot that were taken here.
pub(super) fn snapshots(dot: DotId, described: &DotDescription) -> impl Iterator<Item = Snapshot<'_>> {
    commits(dot, described).filter(|snapshot| snapshot.mark.purpose != Purpose::Clone)
}

impl Volume<'_> {
    pub(super) fn handle(&self) -> Handle {
        self.key.handle(self.dot)
    }

    /// The request that finds it as it is.
    pub(super) fn request(&self) -> Result<BranchRequest, Error> {
        let VolumeState {
            size, format, tuning, ..
        } = self.state.clone();
        let mut request = branch_request(self.key, self.dot, (size, format), tuning)?;
        request.origin.clone_from(&self.head.origin);
        Ok(request)
    }

    /// The request for a commit of it.
    pub(super) fn commit_request(&self, commit: CommitId, name: &str, purpose: Purpose) -> CommitRequest {
        let mark = Mark {
            purpose,
            source: self.handle(),
            size: self.state.size,
            format: self.state.format,
            block: self.state.tuning.volblocksize.map(|size| size.bytes()),
        };
        CommitRequest {
            dot: self.dot,
            branch: self.head.branch,
            head: self.head.head,
            commit,
            volumes: [self.state.id].into(),
            record: CommitRecord {
                name: name.to_owned(),
                branch_name: self.head.name.clone(),
                metadata: mark.encode(),
                ..CommitRecord::default()
            },
        }
    }
}

/// The branch of a volume that begins empty.
pub(super) fn branch_request(
    key: VolumeKey,
    dot: DotId,
    (size, format): (u64, dotmesh_model::format::VolumeFormat),
    tuning: Tuning,
) -> Result<BranchRequest, Error> {
    let name: VolumeName = VOLUME.parse().map_err(|error| Error::Internal(format!("{error}")))?;
    Ok(BranchRequest {
        dot,
        branch: key.branch(),
        name: key.branch_name(dot),
        head: key.head(),
        volumes: vec![VolumeRequest {
            id: VolumeId::derive(dot, VOLUME),
            name,
            size,
            format,
            tuning,
            known: None,
            seed: None,
        }],
        origin: None,
        checkout: dot == key.own_dot(),
        object: String::new(),
    })
}
