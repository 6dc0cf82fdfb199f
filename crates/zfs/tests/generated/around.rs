//! What surrounds a pool: writers, mounts, other tools. The fake's; the real one is in the target `node`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use dotmesh_zfs::{DatasetName, ErrorKind, FakeZfs, ObjectName, PoolName, Tampering};

/// What befalls a pool from outside.
pub(crate) trait Around {
    /// The file that a pool is made of, alone in its folder.
    fn vdev(&self) -> PathBuf;
    /// Writes this many new bytes to a filesystem, so that ZFS counts them when this returns.
    fn write(&self, dataset: &DatasetName, bytes: u64);
    /// Mounts a filesystem or a snapshot of one.
    fn mount(&self, object: &ObjectName);
    /// Ends that.
    fn unmount(&self, object: &ObjectName);
    /// Leaves no room in a pool, or gives it back.
    fn set_full(&self, pool: &PoolName, full: bool);
    /// Does what another tool would.
    fn tamper(&self, tampering: &Tampering) -> Result<(), ErrorKind>;
    /// Waits until the host has done what it does by itself after a volume came.
    fn settle(&self);
}

/// Around a fake: its mount table.
#[derive(Clone)]
pub(crate) struct FakeAround {
    zfs: FakeZfs,
    mounted: Arc<Mutex<BTreeSet<String>>>,
}

impl FakeAround {
    pub(crate) fn new(zfs: &FakeZfs) -> Self {
        let mounted: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let table = Arc::clone(&mounted);
        zfs.watch_mounts(move || table.lock().expect("no panic before").clone());
        Self {
            zfs: zfs.clone(),
            mounted,
        }
    }

    fn table(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.mounted.lock().expect("no panic before")
    }
}

impl Around for FakeAround {
    fn vdev(&self) -> PathBuf {
        "/vdevs/pool.img".into()
    }

    fn write(&self, dataset: &DatasetName, bytes: u64) {
        assert!(self.zfs.write(dataset, bytes), "there is room");
    }

    fn mount(&self, object: &ObjectName) {
        self.table().insert(object.to_string());
    }

    fn unmount(&self, object: &ObjectName) {
        self.table().remove(&object.to_string());
    }

    fn set_full(&self, pool: &PoolName, full: bool) {
        self.zfs.set_full(pool, full);
    }

    fn tamper(&self, tampering: &Tampering) -> Result<(), ErrorKind> {
        self.zfs.tamper(tampering)
    }

    fn settle(&self) {}
}
