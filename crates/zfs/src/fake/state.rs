//! What [`super::FakeZfs`] remembers, and how things in it are found.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use super::FailWhen;
use crate::{
    BlockFilesystem, CreateKind, DatasetName, ErrorKind, Guid, Health, Kind, ObjectName, PoolName, PropName, Release,
    SnapName, SnapshotName, Txg, Verb,
};

#[derive(Debug)]
pub(super) struct State {
    /// In the order they came to be. Several may have one name, of which one at most is imported.
    pub(super) pools: Vec<Pool>,
    pub(super) version: Release,
    pub(super) failures: BTreeMap<Verb, VecDeque<(FailWhen, ErrorKind)>>,
    pub(super) destroyed_while_mounted: Vec<DatasetName>,
    /// What the host's mount table showed when the current command began, by source.
    pub(super) mount_table: BTreeSet<String>,
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
            failures: BTreeMap::new(),
            destroyed_while_mounted: Vec::new(),
            mount_table: BTreeSet::new(),
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
    /// Last used by another host, and not exported there.
    pub(super) foreign: bool,
    /// Said to be full, whatever is in it.
    pub(super) full: bool,
    pub(super) size: u64,
    pub(super) vdevs: Vec<PathBuf>,
    pub(super) contents: Contents,
    /// What a rewind brings back.
    pub(super) checkpoint: Option<Contents>,
    /// What a copy of its devices holds.
    pub(super) copy: Option<Contents>,
}

/// What lies in a pool at one moment.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    /// The newest transaction group. A rewind puts it back too, so that numbers come again.
    pub(super) txg: u64,
    /// Shared with inventories: one that changes becomes another.
    pub(super) datasets: BTreeMap<DatasetName, Arc<Dataset>>,
}

#[derive(Debug, Clone)]
pub(super) struct Dataset {
    pub(super) guid: Guid,
    pub(super) createtxg: Txg,
    pub(super) kind: Kind,
    pub(super) origin: Option<SnapshotName>,
    pub(super) local: Arc<BTreeMap<PropName, String>>,
    pub(super) snapshots: BTreeMap<SnapName, Snapshot>,
    /// Of a volume; part of its content, so clones begin with their snapshot's and a rollback brings it back.
    pub(super) volsize: u64,
    /// Of a volume.
    pub(super) block_size: u64,
    /// On a volume; part of its content too.
    pub(super) filesystem: Option<BlockFilesystem>,
    pub(super) referenced: u64,
    /// All bytes ever written, so that differences tell what was written since.
    pub(super) written: u64,
    pub(super) busy: bool,
    pub(super) mounted: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) guid: Guid,
    pub(super) createtxg: Txg,
    pub(super) local: Arc<BTreeMap<PropName, String>>,
    pub(super) holds: BTreeSet<String>,
    pub(super) volsize: u64,
    pub(super) filesystem: Option<BlockFilesystem>,
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

/// What a new dataset begins with.
pub(super) struct Beginning {
    pub(super) kind: Kind,
    pub(super) origin: Option<SnapshotName>,
    pub(super) local: BTreeMap<PropName, String>,
    pub(super) volsize: u64,
    pub(super) block_size: u64,
}

impl Beginning {
    /// An empty filesystem or volume.
    pub(super) fn empty(kind: &CreateKind, local: BTreeMap<PropName, String>) -> Self {
        let (kind, volsize, block_size) = match *kind {
            CreateKind::Filesystem => (Kind::Filesystem, 0, 0),
            CreateKind::Volume { size, block_size, .. } => {
                let block_size = block_size.unwrap_or(super::datasets::BLOCK_SIZE);
                (Kind::Volume, size.next_multiple_of(block_size), block_size)
            }
        };
        Self {
            kind,
            origin: None,
            local,
            volsize,
            block_size,
        }
    }
}

/// Bytes of an empty dataset.
const EMPTY: u64 = 24 << 10;

impl State {
    /// A number that was never given before: odd multiples do not repeat.
    pub(super) fn next_guid(&mut self) -> Guid {
        self.last_guid += 1;
        Guid(self.last_guid.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn skip_guids(&mut self, count: u64) {
        self.last_guid += count;
    }

    /// The pool of that name: the imported one if there is.
    pub(super) fn pool_mut(&mut self, name: impl AsRef<str>) -> Option<&mut Pool> {
        let is_it = |pool: &Pool| pool.name.as_str() == name.as_ref();
        let imported = self.pools.iter().position(|pool| is_it(pool) && pool.imported);
        let index = imported.or_else(|| self.pools.iter().position(is_it))?;
        self.pools.get_mut(index)
    }

    /// An imported pool.
    pub(super) fn pool(&self, name: impl AsRef<str>) -> Result<&Pool, ErrorKind> {
        self.pools
            .iter()
            .find(|pool| pool.name.as_str() == name.as_ref() && pool.imported)
            .ok_or(ErrorKind::PoolMissing)
    }

    /// An imported pool whose datasets can be looked at: a suspended one does not answer.
    pub(super) fn readable(&self, name: impl AsRef<str>) -> Result<&Pool, ErrorKind> {
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
        let datasets = &self.readable(name.in_pool())?.contents.datasets;
        datasets.get(name).map(AsRef::as_ref).ok_or(ErrorKind::DatasetNotFound)
    }

    pub(super) fn snapshot(&self, name: &SnapshotName) -> Result<&Snapshot, ErrorKind> {
        let datasets = &self.readable(name.dataset().in_pool())?.contents.datasets;
        datasets
            .get(name.dataset())
            .and_then(|dataset| dataset.snapshots.get(name.snap()))
            .ok_or(ErrorKind::SnapshotNotFound)
    }

    pub(super) fn dataset_mut(&mut self, name: &DatasetName) -> Option<&mut Dataset> {
        self.pool_mut(name.in_pool())?
            .contents
            .datasets
            .get_mut(name)
            .map(Arc::make_mut)
    }

    pub(super) fn snapshot_mut(&mut self, name: &SnapshotName) -> Option<&mut Snapshot> {
        self.dataset_mut(name.dataset())?.snapshots.get_mut(name.snap())
    }

    /// Whether somebody has this dataset mounted, used or not.
    pub(super) fn is_mounted(&self, name: &DatasetName) -> bool {
        let said = self.dataset(name).is_ok_and(|dataset| dataset.mounted || dataset.busy);
        said || self.mount_table.contains(name.as_str())
    }

    /// Whether this snapshot is mounted, sent or walked through.
    pub(super) fn is_snapshot_busy(&self, name: &SnapshotName) -> bool {
        let said = self.snapshot(name).is_ok_and(|snapshot| snapshot.busy);
        said || self.mount_table.contains(&name.to_string())
    }

    /// The next transaction group of a pool.
    pub(super) fn next_txg(&mut self, name: impl AsRef<str>) -> Txg {
        match self.pool_mut(name) {
            Some(pool) => {
                pool.contents.txg += 1;
                Txg(pool.contents.txg)
            }
            None => Txg(0),
        }
    }

    pub(super) fn insert_dataset(&mut self, name: &DatasetName, beginning: Beginning) {
        let Beginning {
            kind,
            origin,
            local,
            volsize,
            block_size,
        } = beginning;
        let guid = self.next_guid();
        let createtxg = self.next_txg(name.in_pool());
        let from = origin.as_ref().and_then(|origin| self.snapshot(origin).ok());
        let referenced = from.map_or(EMPTY, |snapshot| snapshot.referenced);
        let filesystem = from.and_then(|snapshot| snapshot.filesystem);
        let dataset = Dataset {
            guid,
            createtxg,
            kind,
            origin,
            local: Arc::new(local),
            snapshots: BTreeMap::new(),
            volsize,
            block_size,
            filesystem,
            referenced,
            written: 0,
            busy: false,
            mounted: false,
        };
        if let Some(pool) = self.pool_mut(name.in_pool()) {
            pool.contents.datasets.insert(name.clone(), Arc::new(dataset));
        }
    }

    /// The clones that began as this snapshot.
    pub(super) fn clones(&self, origin: &SnapshotName) -> Vec<DatasetName> {
        let pool = self.pool(origin.dataset().in_pool()).ok();
        let datasets = pool.into_iter().flat_map(|pool| &pool.contents.datasets);
        datasets
            .filter(|(_, dataset)| dataset.origin.as_ref() == Some(origin))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The datasets below one, each after those above it.
    pub(super) fn below(&self, name: &DatasetName) -> Vec<DatasetName> {
        let pool = self.pool(name.in_pool()).ok();
        pool.into_iter()
            .flat_map(|pool| pool.contents.datasets.keys())
            .filter(|other| other.is_below(name))
            .cloned()
            .collect()
    }

    /// The snapshots of one dataset.
    pub(super) fn snapshots(&self, name: &DatasetName) -> Vec<SnapshotName> {
        let dataset = self.dataset(name).ok();
        let snaps = dataset.into_iter().flat_map(|dataset| dataset.snapshots.keys());
        snaps.filter_map(|snap| name.at(snap).ok()).collect()
    }

    pub(super) fn all_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (name, dataset) in self.pools.iter().flat_map(|pool| &pool.contents.datasets) {
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

    /// The identity of what the kernel could mount by this name.
    pub(super) fn mountable(&self, source: &str) -> Option<Guid> {
        let name: ObjectName = source.parse().ok()?;
        let dataset = self.dataset(name.dataset()).ok()?;
        let filesystem = dataset.kind == Kind::Filesystem;
        let guid = match &name {
            ObjectName::Dataset(_) => dataset.guid,
            ObjectName::Snapshot(snapshot) => self.snapshot(snapshot).ok()?.guid,
        };
        filesystem.then_some(guid)
    }
}
