//! Volumes that begin as clones although their head begins with no commit: of snapshots that are not ours ([`adopt`]), and
//! of commits of other Dots, from which volumes are restored and cloned.
//!
//! [`adopt`]: super::adopt

use std::collections::BTreeMap;

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{CommitId, DotId, HeadId, VolumeId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{Guid, Kind, ListRequest, ObjectName, Row, SnapshotName, Zfs};

use super::{GUID, REFERENCED, VOLSIZE, VolumeRequest, check_format, check_source};
use crate::layout::{DotState, Layout, VOLUME};
use crate::ops::{Error, KnownPool, Ops};

/// What a volume of a head is cloned from that begins with no commit of its own Dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seed {
    /// A snapshot that is not ours.
    Adopted(SnapshotName),
    /// A volume in a commit of another Dot.
    Commit(SeedCommit),
}

/// A volume in a commit of another Dot of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedCommit {
    /// The Dot.
    pub dot: DotId,
    /// The head that the commit was taken of.
    pub head: HeadId,
    /// The volume there.
    pub volume: VolumeId,
    /// The commit.
    pub commit: CommitId,
    /// What was recorded of its snapshot.
    pub guid: Guid,
    /// A device may become one of another format.
    pub convert: bool,
}

impl Seed {
    /// The snapshot.
    pub(super) fn snapshot(&self, layout: &Layout) -> SnapshotName {
        match self {
            Self::Adopted(snapshot) => snapshot.clone(),
            Self::Commit(of) => layout.volume_snapshot(of.dot, of.head, of.volume, of.commit),
        }
    }
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// The snapshots that missing volumes begin with.
    ///
    /// # Errors
    /// Why one cannot be what its volume begins with; those of the pool.
    pub(super) async fn check_seeds(
        &self,
        pool: &KnownPool,
        state: &DotState,
        missing: &[&VolumeRequest],
    ) -> Result<BTreeMap<VolumeId, SnapshotName>, Error> {
        let mut seeds = BTreeMap::new();
        for volume in missing {
            let Some(seed) = &volume.seed else { continue };
            if is_planted(Mutant::WhatIsAdoptedBeginsEmpty) {
                continue;
            }
            let snapshot = seed.snapshot(&pool.layout);
            match seed {
                Seed::Adopted(snapshot) => self.check_adopted(pool, state, volume, snapshot).await?,
                Seed::Commit(of) => self.check_commit(pool, state, volume, of, &snapshot).await?,
            }
            seeds.insert(volume.id, snapshot);
        }
        Ok(seeds)
    }

    /// A volume in a commit of another Dot. One that is deleted in this moment is cloned or it is not: ZFS keeps what
    /// has a clone.
    async fn check_commit(
        &self,
        pool: &KnownPool,
        state: &DotState,
        volume: &VolumeRequest,
        of: &SeedCommit,
        snapshot: &SnapshotName,
    ) -> Result<(), Error> {
        let what = format!("commit {} of Dot {}", of.commit, of.dot);
        let other = self.fetch_dot(pool, of.dot).await?;
        let other =
            other.ok_or_else(|| Error::NotFound(format!("Dot {} is not in pool {}", of.dot, pool.layout.pool())))?;
        check_namespace(state, &other, volume, of)?;
        if other.deleted || other.is_dead(of.commit) {
            return Err(Error::Deleted(format!("{what} is being deleted")));
        }
        let list = ListRequest {
            roots: vec![ObjectName::from(snapshot.clone())],
            depth: Some(0),
            kinds: vec![Kind::Snapshot],
            columns: vec![GUID, REFERENCED, VOLSIZE, VOLUME],
        };
        let rows = match self.host.zfs.list(&list).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(pool, &format!("reading {what}"), &what, &error).await),
        };
        let row = rows.first().ok_or_else(|| Error::NotFound(what.clone()))?;
        check_source(volume, snapshot, of.guid, Some(row), &what)?;
        match of.convert {
            true => check_devices(volume, snapshot, row),
            false => check_format(volume, snapshot, row),
        }
    }
}

/// Data never comes into another namespace this way, whoever asks for it.
fn check_namespace(state: &DotState, other: &DotState, volume: &VolumeRequest, of: &SeedCommit) -> Result<(), Error> {
    let namespace = |state: &DotState| state.identity.as_ref().map(|identity| identity.namespace.clone());
    let (own, others) = (namespace(state), namespace(other));
    if own == others || is_planted(Mutant::WhatIsClonedIsAnybodys) {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "volume {}: Dot {} is of namespace {}, and not of {}",
        volume.name,
        of.dot,
        others.unwrap_or_default(),
        own.unwrap_or_default()
    )))
}

/// Of a device another one can be made, whatever is on it; of files nothing but files.
fn check_devices(volume: &VolumeRequest, snapshot: &SnapshotName, row: &Row) -> Result<(), Error> {
    if row.number(&VOLSIZE).is_ok() && volume.format != VolumeFormat::Zfs {
        return Ok(());
    }
    check_format(volume, snapshot, row)
}
