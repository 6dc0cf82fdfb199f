//! What [`super::FakeZfs`] remembers, and how things in it are found.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;

use super::FailWhen;
use crate::{
    CreateKind, DatasetName, ErrorKind, Guid, Health, Kind, ObjectName, PoolName, PropName, Release, SnapName,
    SnapshotName, Txg, Verb,
};

#[derive(Debug)]
pub(super) struct State {
    pub(super) pools: Vec<Pool>,
    pub(super) version: Release,
    pub(super) failures: HashMap<Verb, VecDeque<(FailWhen, ErrorKind)>>,
    pub(super) destroyed_while_mounted: Vec<DatasetName>,
    last_guid: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            pools: Vec::new(),
            version: Release {
                number: (2, 3, 9),
                text: "2.3.9-1".to_owned(),
            },
            failures: HashMap::new(),
            destroyed_while_mounted: Vec::new(),
            last_guid: 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) name: PoolName,
    pub(super) guid: Guid,
    pub(super) load_guid: Guid,
    pub(super) health: Health,
    pub(super) imported: bool,
    pub(super) full: bool,
    pub(super) vdevs: Vec<PathBuf>,
    pub(super) txg: u64,
    pub(super) datasets: BTreeMap<DatasetName, Dataset>,
}

#[derive(Debug)]
pub(super) struct Dataset {
    pub(super) guid: Guid,
    pub(super) createtxg: Txg,
    pub(super) kind: Kind,
    pub(super) origin: Option<SnapshotName>,
    pub(super) local: BTreeMap<PropName, String>,
    pub(super) snapshots: BTreeMap<SnapName, Snapshot>,
    pub(super) referenced: u64,
    /// All bytes ever written, so that differences tell what was written since.
    pub(super) written: u64,
    pub(super) busy: bool,
    pub(super) mounted: bool,
}

#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) guid: Guid,
    pub(super) createtxg: Txg,
    pub(super) local: BTreeMap<PropName, String>,
    pub(super) holds: BTreeSet<String>,
    pub(super) referenced: u64,
    pub(super) written: u64,
    pub(super) defer_destroy: bool,
    pub(super) busy: bool,
}

impl Dataset {
    pub(super) fn newest(&self) -> Option<(&SnapName, &Snapshot)> {
        self.snapshots.iter().max_by_key(|(_, snapshot)| snapshot.createtxg)
    }
}

impl State {
    /// A number that was never given before: odd multiples do not repeat.
    pub(super) fn next_guid(&mut self) -> Guid {
        self.last_guid += 1;
        Guid(self.last_guid.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn pool_mut(&mut self, name: &PoolName) -> Option<&mut Pool> {
        self.pools.iter_mut().find(|pool| pool.name == *name)
    }

    /// An imported pool.
    pub(super) fn pool(&self, name: &PoolName) -> Result<&Pool, ErrorKind> {
        self.pools
            .iter()
            .find(|pool| pool.name == *name && pool.imported)
            .ok_or(ErrorKind::PoolMissing)
    }

    /// An imported pool whose datasets can be looked at: a suspended one does not answer.
    fn readable(&self, name: &PoolName) -> Result<&Pool, ErrorKind> {
        let pool = self.pool(name)?;
        match pool.health {
            Health::Online | Health::Degraded => Ok(pool),
            Health::Suspended => Err(ErrorKind::PoolSuspended),
            Health::Faulted | Health::Offline | Health::Removed | Health::Unavailable | Health::Unknown => {
                Err(ErrorKind::PoolUnavailable)
            }
        }
    }

    pub(super) fn dataset(&self, name: &DatasetName) -> Result<&Dataset, ErrorKind> {
        self.readable(&name.pool())?
            .datasets
            .get(name)
            .ok_or(ErrorKind::DatasetNotFound)
    }

    pub(super) fn snapshot(&self, name: &SnapshotName) -> Result<&Snapshot, ErrorKind> {
        let dataset = self.readable(&name.dataset().pool())?.datasets.get(name.dataset());
        dataset
            .and_then(|dataset| dataset.snapshots.get(name.snap()))
            .ok_or(ErrorKind::SnapshotNotFound)
    }

    pub(super) fn dataset_mut(&mut self, name: &DatasetName) -> Option<&mut Dataset> {
        self.pool_mut(&name.pool())?.datasets.get_mut(name)
    }

    pub(super) fn snapshot_mut(&mut self, name: &SnapshotName) -> Option<&mut Snapshot> {
        self.dataset_mut(name.dataset())?.snapshots.get_mut(name.snap())
    }

    /// What every change needs: an imported pool that writes. With `room`, one that is not full either.
    pub(super) fn check_writable(&self, dataset: &DatasetName, room: bool) -> Result<(), ErrorKind> {
        let pool = self.readable(&dataset.pool())?;
        if room && pool.full {
            return Err(ErrorKind::OutOfSpace);
        }
        Ok(())
    }

    /// The next transaction group of a pool.
    pub(super) fn next_txg(&mut self, name: &PoolName) -> Txg {
        match self.pool_mut(name) {
            Some(pool) => {
                pool.txg += 1;
                Txg(pool.txg)
            }
            None => Txg(0),
        }
    }

    pub(super) fn insert_dataset(
        &mut self,
        name: &DatasetName,
        kind: &CreateKind,
        origin: Option<SnapshotName>,
        local: BTreeMap<PropName, String>,
    ) {
        let guid = self.next_guid();
        let createtxg = self.next_txg(&name.pool());
        let referenced = origin
            .as_ref()
            .and_then(|origin| self.snapshot(origin).ok())
            .map_or(24 << 10, |s| s.referenced);
        let kind = match kind {
            CreateKind::Filesystem => Kind::Filesystem,
            CreateKind::Volume { .. } => Kind::Volume,
        };
        let dataset = Dataset {
            guid,
            createtxg,
            kind,
            origin,
            local,
            snapshots: BTreeMap::new(),
            referenced,
            written: 0,
            busy: false,
            mounted: false,
        };
        if let Some(pool) = self.pool_mut(&name.pool()) {
            pool.datasets.insert(name.clone(), dataset);
        }
    }

    /// The clones that began as this snapshot.
    pub(super) fn clones(&self, origin: &SnapshotName) -> Vec<DatasetName> {
        let datasets = self.pools.iter().flat_map(|pool| &pool.datasets);
        datasets
            .filter(|(_, d)| d.origin.as_ref() == Some(origin))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The datasets below one, each after those above it.
    pub(super) fn below(&self, name: &DatasetName) -> Vec<DatasetName> {
        let pool = self.pool(&name.pool()).ok();
        pool.into_iter()
            .flat_map(|pool| pool.datasets.keys())
            .filter(|other| other.is_below(name))
            .cloned()
            .collect()
    }

    pub(super) fn all_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (name, dataset) in self.pools.iter().flat_map(|pool| &pool.datasets) {
            names.push(name.to_string());
            names.extend(dataset.snapshots.keys().map(|snap| format!("{name}@{snap}")));
        }
        names
    }

    pub(super) fn kind(&self, name: &ObjectName) -> Result<Kind, ErrorKind> {
        match name {
            ObjectName::Dataset(name) => Ok(self.dataset(name)?.kind),
            ObjectName::Snapshot(name) => self.snapshot(name).map(|_| Kind::Snapshot),
        }
    }
}
