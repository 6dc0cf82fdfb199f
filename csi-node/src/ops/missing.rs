//! What the operator has recorded and is not in the pool: somebody destroyed it with other tools.
//!
//! One `zfs list` of everything below the root answers for all that is asked for at once. Only a positive look counts:
//! the pool is the known one, was compared, and is both still after the look. What cannot be read is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dotmesh_model::id::{CommitId, DotId, HeadId, VolumeId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{Guid, Kind, ListRequest, ObjectName, PropName, Zfs};

use super::{Error, KnownPool, Ops};
use crate::layout::Layout;

const GUID: PropName = PropName::from_static("guid");

/// Something that was there once, by the operator's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// A Dot's dataset.
    Dot(DotId),
    /// A head with its volumes.
    Head {
        /// Its Dot.
        dot: DotId,
        /// Itself.
        head: HeadId,
        /// GUIDs of the volumes' datasets.
        volumes: BTreeMap<VolumeId, Guid>,
    },
    /// A commit with its snapshots.
    Commit {
        /// Its Dot.
        dot: DotId,
        /// The head that it was taken of.
        head: HeadId,
        /// Itself.
        commit: CommitId,
        /// GUIDs of the volumes' snapshots.
        volumes: BTreeMap<VolumeId, Guid>,
    },
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Of what was recorded, what is not in the pool or is another than the recorded one: its index, and which of its
    /// volumes; none of them when only that is missing which holds them together.
    ///
    /// # Errors
    /// [`Error::Busy`] and [`Error::Rewound`] when the pool was not compared; those of the pool.
    pub async fn find_missing(&self, recorded: &[Recorded]) -> Result<Vec<(usize, BTreeSet<VolumeId>)>, Error> {
        self.check_compared()?;
        let pool = self.known_pool()?;
        let found = self.guids(&pool).await?;
        self.verify_pool(&pool).await?;
        let all: Vec<_> = recorded
            .iter()
            .enumerate()
            .filter_map(|(index, recorded)| Some((index, missing(&pool.layout, recorded, &found)?)))
            .collect();
        for (index, volumes) in &all {
            tracing::debug!(recorded = ?recorded[*index], missing = ?volumes, "not in the pool");
            self.forget_copies(&recorded[*index]);
        }
        if !all.is_empty() {
            tracing::warn!(
                missing = all.len(),
                of = recorded.len(),
                "something else destroyed what was recorded"
            );
        }
        Ok(all)
    }

    /// Everything of ours in the pool.
    async fn guids(&self, pool: &KnownPool) -> Result<HashMap<ObjectName, u64>, Error> {
        let all = ListRequest {
            roots: vec![ObjectName::from(pool.layout.root().clone())],
            depth: None,
            kinds: vec![Kind::Filesystem, Kind::Volume, Kind::Snapshot],
            columns: vec![GUID],
        };
        let rows = match self.host.zfs.list(&all).await {
            Ok(rows) => rows,
            // Not even the root is there; whether the pool is, is looked at after this.
            Err(error) if error.is_not_found() => Vec::new(),
            Err(_) if is_planted(Mutant::WhatCannotBeReadIsLost) => Vec::new(),
            Err(error) => return Err(Error::zfs("looking for what was recorded", &error)),
        };
        let guids = rows.into_iter().map(|row| {
            let guid = row.number(&GUID);
            let guid = guid.map_err(|error| Error::Internal(format!("the GUID of {}: {error}", row.name)))?;
            Ok((row.name, guid))
        });
        guids.collect()
    }

    /// Others have written what this program has copies of.
    fn forget_copies(&self, recorded: &Recorded) {
        match recorded {
            Recorded::Dot(dot) => self.cache.drop_dot(*dot),
            Recorded::Head { head, .. } | Recorded::Commit { head, .. } => self.cache.drop_head(*head),
        }
    }
}

/// What is missing of one; nothing when all of it is there.
fn missing(layout: &Layout, recorded: &Recorded, found: &HashMap<ObjectName, u64>) -> Option<BTreeSet<VolumeId>> {
    let others = |volumes: &BTreeMap<VolumeId, Guid>, name: &dyn Fn(VolumeId) -> ObjectName| {
        let others = volumes
            .iter()
            .filter(|(id, guid)| found.get(&name(**id)) != Some(&guid.0));
        others.map(|(id, _)| *id).collect::<BTreeSet<_>>()
    };
    let (whole, volumes): (ObjectName, _) = match recorded {
        Recorded::Dot(dot) => (layout.dot(*dot).into(), BTreeSet::new()),
        Recorded::Head { dot, head, volumes } => {
            let name = |id| layout.volume(*dot, *head, id).into();
            (layout.head(*dot, *head).into(), others(volumes, &name))
        }
        Recorded::Commit {
            dot,
            head,
            commit,
            volumes,
        } => {
            let name = |id| layout.volume_snapshot(*dot, *head, id, *commit).into();
            (
                layout.head_snapshot(*dot, *head, *commit).into(),
                others(volumes, &name),
            )
        }
    };
    (!found.contains_key(&whole) || !volumes.is_empty()).then_some(volumes)
}
