//! [`FakeZfs`]: pools in memory, with switches for what can go wrong.
//!
//! It keeps what the callers rely on: GUIDs and transaction groups, clones and their origins, holds, deferred destroys,
//! inherited properties with their sources, sizes and quotas. It does not keep file contents. What it does and refuses
//! is what [`crate::contract`] and the generated sequences of this crate's tests found on the real thing; it has no
//! clock and no randomness, so the same calls have the same answers.

mod datasets;
mod inventory;
mod native;
mod pools;
mod properties;
mod snapshots;
mod space;
mod state;
mod switches;
mod tamper;
mod volumes;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::request::one_pool;
use crate::{
    BlockFilesystem, CloneRequest, CommandCounts, CreateRequest, DatasetName, ErrorKind, GetRequest, Hold, HoldTag,
    ImportRequest, ImportablePool, ListRequest, ObjectName, PoolName, PoolSpec, PoolStatus, PropName, Properties,
    PropertyRow, Row, SnapName, SnapshotName, Verb, Versions, VolumeDevice, Zfs, ZfsError,
};
pub use inventory::{FakeObject, Inventory};
use state::State;
pub use tamper::Tampering;
pub use volumes::FakeVolume;

/// Whether an injected failure comes before or after the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailWhen {
    /// Nothing was done.
    Before,
    /// It was done, but the caller is told that it failed, as at a deadline or a crash.
    After,
}

/// Who is asked about the host, if anybody.
struct Watched<F: ?Sized>(Arc<Mutex<Option<Arc<F>>>>);

/// Tells what is mounted.
type Mounts = Watched<dyn Fn() -> BTreeSet<String> + Send + Sync>;

/// Tells how many bytes a file or device has; nothing: it is not there.
type Devices = Watched<dyn Fn(&Path) -> Option<u64> + Send + Sync>;

impl<F: ?Sized> Watched<F> {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<F>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: ?Sized> Clone for Watched<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: ?Sized> Default for Watched<F> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<F: ?Sized> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.lock().is_some() {
            "watched"
        } else {
            "not watched"
        };
        f.write_str(word)
    }
}

/// Pools and datasets in memory. Clones share one state.
#[derive(Debug, Clone)]
pub struct FakeZfs {
    state: Arc<Mutex<State>>,
    counts: Arc<CommandCounts>,
    mounts: Mounts,
    devices: Devices,
    /// Whether its commands take the failures that [`FakeZfs::fail_next`] sets.
    takes_failures: bool,
}

impl Default for FakeZfs {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            counts: Arc::default(),
            mounts: Mounts::default(),
            devices: Devices::default(),
            takes_failures: true,
        }
    }
}

impl FakeZfs {
    /// A host with OpenZFS 2.3.9 and no pools.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Self::new`], with GUIDs that no other host's are like.
    #[must_use]
    pub fn of_host(number: u8) -> Self {
        let fake = Self::new();
        fake.locked(|state| state.skip_guids(u64::from(number.saturating_sub(1)) << 32));
        fake
    }

    /// Does something with the state, which knows the mount table of this moment.
    fn locked<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let watch = self.mounts.lock().clone();
        let mounted = watch.map(|watch| watch());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.mount_table = mounted.unwrap_or_default();
        work(&mut state)
    }

    /// Bytes of these files and devices together.
    fn length(&self, vdevs: &[PathBuf]) -> Result<u64, ErrorKind> {
        let devices = self.devices.lock().clone();
        let length = |vdev: &PathBuf| match &devices {
            None => Ok(pools::SIZE),
            Some(devices) => devices(vdev).ok_or(ErrorKind::DeviceMissing),
        };
        vdevs.iter().map(length).sum()
    }

    fn perform<T>(&self, verb: Verb, work: impl FnOnce(&mut State) -> Result<T, ErrorKind>) -> Result<T, ZfsError> {
        let result = self.locked(|state| {
            let failures = state.failures.get_mut(&verb).filter(|_| self.takes_failures);
            match failures.and_then(VecDeque::pop_front) {
                Some((FailWhen::Before, kind)) => Err(kind),
                Some((FailWhen::After, kind)) => work(state).and(Err(kind)),
                None => work(state),
            }
        });
        self.counts.record(verb, result.is_err(), Duration::ZERO);
        result.map_err(|kind| ZfsError::new(verb, kind))
    }
}

impl Zfs for FakeZfs {
    async fn version(&self) -> Result<Versions, ZfsError> {
        self.perform(Verb::Version, |state| {
            Ok(Versions {
                userland: state.version.clone(),
                kernel: state.version.clone(),
            })
        })
    }

    async fn pool_create(&self, spec: &PoolSpec) -> Result<(), ZfsError> {
        let size = self.length(&spec.vdevs);
        self.perform(Verb::PoolCreate, |state| state.pool_create(spec, size?))
    }

    async fn pool_import(&self, request: &ImportRequest) -> Result<(), ZfsError> {
        self.perform(Verb::PoolImport, |state| state.pool_import(request))
    }

    async fn pools_importable(&self, search: &[PathBuf]) -> Result<Vec<ImportablePool>, ZfsError> {
        self.perform(Verb::PoolSearch, |state| Ok(state.pools_importable(search)))
    }

    async fn pool_get(&self, pool: &PoolName) -> Result<PoolStatus, ZfsError> {
        self.perform(Verb::PoolGet, |state| state.pool_get(pool))
    }

    async fn pool_expand(&self, pool: &PoolName, vdev: &Path) -> Result<(), ZfsError> {
        self.perform(Verb::PoolOnline, |state| {
            state.pool_expand(pool, vdev, |vdevs| self.length(vdevs))
        })
    }

    async fn pool_export(&self, pool: &PoolName) -> Result<(), ZfsError> {
        self.perform(Verb::PoolExport, |state| state.pool_export(pool))
    }

    async fn create(&self, request: &CreateRequest) -> Result<(), ZfsError> {
        self.perform(Verb::Create, |state| state.create(request))
    }

    async fn clone_snapshot(&self, request: &CloneRequest) -> Result<(), ZfsError> {
        one_pool(Verb::Clone, [request.snapshot.dataset(), &request.dataset])?;
        self.perform(Verb::Clone, |state| state.clone_snapshot(request))
    }

    async fn snapshot(&self, snapshots: &[SnapshotName], properties: &Properties) -> Result<(), ZfsError> {
        if snapshots.is_empty() {
            return Ok(());
        }
        one_pool(Verb::Snapshot, snapshots.iter().map(SnapshotName::dataset))?;
        self.perform(Verb::Snapshot, |state| state.take_snapshots(snapshots, properties))
    }

    async fn hold_recursive(&self, tag: &HoldTag, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        self.perform(Verb::Hold, |state| state.hold(tag, snapshot))
    }

    async fn release_recursive(
        &self,
        tag: &HoldTag,
        dataset: &DatasetName,
        snaps: &[SnapName],
    ) -> Result<(), ZfsError> {
        if snaps.is_empty() {
            return Ok(());
        }
        self.perform(Verb::Release, |state| state.release(tag, dataset, snaps))
    }

    async fn destroy_dataset(&self, dataset: &DatasetName) -> Result<(), ZfsError> {
        self.perform(Verb::Destroy, |state| state.destroy_dataset(dataset))
    }

    async fn destroy_snapshots_deferred(&self, dataset: &DatasetName, snaps: &[SnapName]) -> Result<(), ZfsError> {
        if snaps.is_empty() {
            return Ok(());
        }
        self.perform(Verb::Destroy, |state| state.destroy_snapshots(dataset, snaps))
    }

    async fn destroy_snapshots_deferred_recursive(
        &self,
        dataset: &DatasetName,
        snaps: &[SnapName],
    ) -> Result<(), ZfsError> {
        if snaps.is_empty() {
            return Ok(());
        }
        self.perform(Verb::Destroy, |state| state.destroy_recursive(dataset, snaps))
    }

    async fn rollback_to_newest(&self, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        self.perform(Verb::Rollback, |state| state.rollback(snapshot))
    }

    async fn set(&self, dataset: &DatasetName, properties: &Properties) -> Result<(), ZfsError> {
        if properties.is_empty() {
            return Ok(());
        }
        self.perform(Verb::Set, |state| state.set(dataset, properties))
    }

    async fn inherit(&self, dataset: &DatasetName, property: &PropName) -> Result<(), ZfsError> {
        self.perform(Verb::Inherit, |state| state.inherit(dataset, property))
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<Row>, ZfsError> {
        if request.roots.is_empty() {
            return Ok(Vec::new());
        }
        one_pool(Verb::List, request.roots.iter().map(ObjectName::dataset))?;
        self.perform(Verb::List, |state| state.list(request))
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<PropertyRow>, ZfsError> {
        if request.targets.is_empty() {
            return Ok(Vec::new());
        }
        one_pool(Verb::Get, request.targets.iter().map(ObjectName::dataset))?;
        self.perform(Verb::Get, |state| state.get(request))
    }

    async fn holds(&self, snapshots: &[SnapshotName]) -> Result<Vec<Hold>, ZfsError> {
        if snapshots.is_empty() {
            return Ok(Vec::new());
        }
        one_pool(Verb::Holds, snapshots.iter().map(SnapshotName::dataset))?;
        self.perform(Verb::Holds, |state| state.holds(snapshots))
    }

    async fn written(&self, dataset: &DatasetName, since: Option<&SnapName>) -> Result<u64, ZfsError> {
        self.perform(Verb::Get, |state| state.written(dataset, since))
    }

    async fn make_filesystem(&self, volume: &VolumeDevice, filesystem: BlockFilesystem) -> Result<(), ZfsError> {
        self.perform(Verb::MakeFilesystem, |state| {
            state.make_filesystem(&volume.dataset, filesystem)
        })
    }

    async fn check_filesystem(&self, volume: &VolumeDevice, filesystem: BlockFilesystem) -> Result<(), ZfsError> {
        match filesystem {
            BlockFilesystem::Ext4 => self.perform(Verb::CheckFilesystem, |state| {
                state.check_filesystem(&volume.dataset, filesystem)
            }),
            BlockFilesystem::Xfs => Ok(()),
        }
    }

    fn counts(&self) -> Arc<CommandCounts> {
        Arc::clone(&self.counts)
    }
}

#[cfg(test)]
mod tests;
