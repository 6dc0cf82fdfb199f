//! What is wrong with the pool and its volumes, by ZFS alone: nothing of it is remembered.

use std::collections::BTreeSet;

use dotmesh_model::id::{DotId, HeadId, VolumeId};
use dotmesh_mount::Mount;
use dotmesh_zfs::{Health, Kind, ListRequest, ObjectName, PropName, Zfs};

use super::{Error, Ops};
use crate::layout::parse_volume_dataset;

const AVAILABLE: PropName = PropName::from_static("available");

/// What is wrong with a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PoolTrouble {
    /// It works with less redundancy.
    Degraded,
    /// New data has no room in it.
    Full,
    /// All I/O waits until somebody clears the error.
    Suspended,
    /// It does not work.
    Faulted,
    /// It is not imported, or its devices are away.
    Away,
}

impl PoolTrouble {
    /// Whether nothing of the pool can be used.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        match self {
            Self::Degraded | Self::Full => false,
            Self::Suspended | Self::Faulted | Self::Away => true,
        }
    }

    /// Of a pool of this health, into which so many bytes can still be written.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum may grow; only two of its words are of pools that work"
    )]
    fn of(health: Health, available: u64) -> BTreeSet<Self> {
        let trouble = match health {
            Health::Online => None,
            Health::Degraded => Some(Self::Degraded),
            Health::Suspended => Some(Self::Suspended),
            Health::Faulted => Some(Self::Faulted),
            // What is not one of these is one that does not work either.
            _ => Some(Self::Away),
        };
        let full = (health.is_usable() && available == 0).then_some(Self::Full);
        trouble.into_iter().chain(full).collect()
    }
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// What is wrong with the pool; nothing of a pool that never was.
    pub async fn pool_troubles(&self) -> BTreeSet<PoolTrouble> {
        match self.refresh_state().await {
            Some(state) => PoolTrouble::of(state.health, state.available),
            None => BTreeSet::new(),
        }
    }

    /// The filesystems that take no more data, of one Dot or of all: their size is used up. What a filesystem on a device
    /// has left only its mount tells.
    ///
    /// # Errors
    /// [`Error::NotFound`] of the Dot; those of the pool.
    pub async fn full_volumes(&self, dot: Option<DotId>) -> Result<BTreeSet<(DotId, HeadId, VolumeId)>, Error> {
        let pool = self.known_pool()?;
        let root = dot.map_or_else(|| pool.layout.root().clone(), |dot| pool.layout.dot(dot));
        let list = ListRequest {
            roots: vec![ObjectName::from(root.clone())],
            depth: None,
            kinds: vec![Kind::Filesystem],
            columns: vec![AVAILABLE],
        };
        let rows = match self.host.zfs.list(&list).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(&pool, "reading what is full", root.as_str(), &error).await),
        };
        let full = rows
            .iter()
            .filter(|row| row.number(&AVAILABLE).is_ok_and(|bytes| bytes == 0));
        Ok(full
            .filter_map(|row| parse_volume_dataset(row.name.dataset().as_str()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_health_of_a_pool_is_told() {
        let of = |health, available| PoolTrouble::of(health, available).into_iter().collect::<Vec<_>>();
        assert_eq!(of(Health::Online, 1), []);
        assert_eq!(of(Health::Online, 0), [PoolTrouble::Full]);
        assert_eq!(of(Health::Degraded, 0), [PoolTrouble::Degraded, PoolTrouble::Full]);
        // Nobody knows how much is free in a pool that does not answer.
        assert_eq!(of(Health::Suspended, 0), [PoolTrouble::Suspended]);
        assert_eq!(of(Health::Faulted, 0), [PoolTrouble::Faulted]);
        for health in [Health::Offline, Health::Removed, Health::Unavailable, Health::Unknown] {
            assert_eq!(of(health, 0), [PoolTrouble::Away]);
        }
    }
}
