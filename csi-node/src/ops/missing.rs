//! What the operator has recorded and is not in the pool: somebody destroyed it with other tools. And what is in the
//! pool, so that the operator sees what no object stands for.
//!
//! One `zfs list` of everything below the root answers for all that is asked for at once. Only a positive look counts:
//! the pool is the known one, was compared, and is both still after the look. What cannot be read is an error.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dotmesh_model::id::{BranchId, ClaimUid, CommitId, DotId, HeadId, VolumeId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{Guid, Kind, ListRequest, ObjectName, PropName, Zfs};

use super::{Error, KnownPool, Ops};
use crate::layout::{DotState, Layout};

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

/// A look at a whole pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock {
    /// Of what was recorded, what is not in the pool or is another than the recorded one: its index, and which of its
    /// volumes; none of them when only that is missing which holds them together.
    pub missing: Vec<(usize, BTreeSet<VolumeId>)>,
    /// The Dots that have no tombstone.
    pub dots: Vec<DotInPool>,
}

/// How much of a Dot has no tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotInPool {
    /// Its id.
    pub dot: DotId,
    /// Its branches.
    pub branches: Vec<BranchId>,
    /// Claims whose handles resolve.
    pub claims: Vec<ClaimUid>,
    /// Snapshots of its heads that are named like commits; there may be others' among them.
    pub commits: u64,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// What of this is not in the pool, and which Dots are.
    ///
    /// # Errors
    /// [`Error::Busy`] and [`Error::Rewound`] when the pool was not compared; those of the pool.
    pub async fn find_missing(&self, recorded: &[Recorded]) -> Result<Stock, Error> {
        self.check_compared()?;
        let pool = self.known_pool()?;
        let states = match self.read_dots(&pool).await {
            Ok(states) => states,
            Err(error) if error.is_not_found() => BTreeMap::new(),
            Err(error) => return Err(Error::zfs("looking for Dots", &error)),
        };
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
        Ok(Stock {
            missing: all,
            dots: count(&pool.layout, states, &found),
        })
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

/// How much there is of each Dot that was read before the list: what was made in between is not counted, or not yet.
fn count(layout: &Layout, states: BTreeMap<DotId, DotState>, found: &HashMap<ObjectName, u64>) -> Vec<DotInPool> {
    let mut commits: HashMap<DotId, u64> = HashMap::new();
    for name in found.keys() {
        let Some(snapshot) = name.snapshot() else { continue };
        let head = snapshot.dataset();
        let Some(dot) = head.parent().and_then(|parent| parent.base().parse::<DotId>().ok()) else {
            continue;
        };
        let is_head = head.parent() == Some(layout.dot(dot)) && head.base().parse::<HeadId>().is_ok();
        let id = snapshot.snap().as_str().parse::<CommitId>().ok().filter(|_| is_head);
        let state = states.get(&dot);
        if id.is_some_and(|id| state.is_some_and(|state| !state.is_dead(id))) {
            *commits.entry(dot).or_default() += 1;
        }
    }
    let living = states.into_iter().filter(|(_, state)| !state.deleted);
    let all = living.map(|(dot, state)| DotInPool {
        dot,
        branches: state
            .branches
            .keys()
            .copied()
            .filter(|branch| state.live_head(*branch).is_some())
            .collect(),
        claims: state.claims.keys().copied().collect(),
        commits: commits.get(&dot).copied().unwrap_or_default(),
    });
    all.collect()
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
