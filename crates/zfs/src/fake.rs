//! [`FakeZfs`]: pools in memory, with switches for what can go wrong.
//!
//! It keeps what the callers rely on: GUIDs and transaction groups, clones and their origins, holds, deferred destroys,
//! inherited properties with their sources, quotas. It does not keep file contents. What it does and refuses is what
//! [`crate::contract`] found on the real thing.

mod datasets;
mod pools;
mod properties;
mod snapshots;
mod state;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{
    CloneRequest, CommandCounts, CreateRequest, DatasetName, ErrorKind, GetRequest, Guid, Health, Hold, HoldTag,
    ImportRequest, ImportablePool, ListRequest, PoolName, PoolSpec, PoolStatus, PropName, Properties, PropertyRow,
    Release, Row, SnapName, SnapshotName, Verb, Versions, Zfs, ZfsError,
};
use state::State;

/// Whether an injected failure comes before or after the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailWhen {
    /// Nothing was done.
    Before,
    /// It was done, but the caller is told that it failed, as at a deadline or a crash.
    After,
}

/// Pools and datasets in memory. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct FakeZfs {
    state: Arc<Mutex<State>>,
    counts: Arc<CommandCounts>,
}

impl FakeZfs {
    /// A host with OpenZFS 2.3.9 and no pools.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next such command fail. Several are taken in order.
    pub fn fail_next(&self, verb: Verb, when: FailWhen, kind: ErrorKind) {
        self.lock().failures.entry(verb).or_default().push_back((when, kind));
    }

    /// Replaces the release that both programs and module say they are.
    pub fn set_version(&self, release: Release) {
        self.lock().version = release;
    }

    /// Imports or takes away a pool without a command, as somebody else would. An import makes a new `load_guid`.
    pub fn set_imported(&self, pool: &PoolName, imported: bool) {
        self.lock().set_imported(pool, imported);
    }

    /// Sets a pool's state, as [`Health::Suspended`].
    pub fn set_health(&self, pool: &PoolName, health: Health) {
        if let Some(pool) = self.lock().pool_mut(pool) {
            pool.health = health;
        }
    }

    /// Gives a pool another identity, as `zpool reguid` or a pool of the same name does.
    pub fn set_pool_guid(&self, pool: &PoolName, guid: Guid) {
        if let Some(pool) = self.lock().pool_mut(pool) {
            pool.guid = guid;
        }
    }

    /// Makes everything that needs room fail with [`ErrorKind::OutOfSpace`].
    pub fn set_full(&self, pool: &PoolName, full: bool) {
        if let Some(pool) = self.lock().pool_mut(pool) {
            pool.full = full;
        }
    }

    /// Makes a dataset busy: somebody uses its mount.
    pub fn set_busy(&self, dataset: &DatasetName, busy: bool) {
        if let Some(dataset) = self.lock().dataset_mut(dataset) {
            dataset.busy = busy;
        }
    }

    /// Makes a snapshot busy: it is mounted, sent, or walked through.
    pub fn set_snapshot_busy(&self, snapshot: &SnapshotName, busy: bool) {
        if let Some(snapshot) = self.lock().snapshot_mut(snapshot) {
            snapshot.busy = busy;
        }
    }

    /// Says that a dataset is mounted, which makes it busy for being destroyed and its pool for being exported.
    pub fn set_mounted(&self, dataset: &DatasetName, mounted: bool) {
        if let Some(dataset) = self.lock().dataset_mut(dataset) {
            dataset.mounted = mounted;
        }
    }

    /// Whether a dataset is there and said to be mounted.
    #[must_use]
    pub fn is_mounted(&self, dataset: &DatasetName) -> bool {
        self.lock().dataset(dataset).is_ok_and(|dataset| dataset.mounted)
    }

    /// Writes new bytes to a dataset.
    pub fn write(&self, dataset: &DatasetName, bytes: u64) {
        if let Some(dataset) = self.lock().dataset_mut(dataset) {
            dataset.referenced += bytes;
            dataset.written += bytes;
        }
    }

    /// What somebody asked to destroy although it was mounted: a caller that looks first leaves this empty.
    #[must_use]
    pub fn destroyed_while_mounted(&self) -> Vec<DatasetName> {
        self.lock().destroyed_while_mounted.clone()
    }

    /// Every dataset and snapshot of all pools, imported or not, in order: what a test compares before and after.
    #[must_use]
    pub fn all_names(&self) -> Vec<String> {
        self.lock().all_names()
    }

    fn perform<T>(&self, verb: Verb, work: impl FnOnce(&mut State) -> Result<T, ErrorKind>) -> Result<T, ZfsError> {
        let mut state = self.lock();
        let failure = state
            .failures
            .get_mut(&verb)
            .and_then(std::collections::VecDeque::pop_front);
        let result = match failure {
            Some((FailWhen::Before, kind)) => Err(kind),
            Some((FailWhen::After, kind)) => work(&mut state).and(Err(kind)),
            None => work(&mut state),
        };
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
        self.perform(Verb::PoolCreate, |state| state.pool_create(spec))
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

    async fn pool_export(&self, pool: &PoolName) -> Result<(), ZfsError> {
        self.perform(Verb::PoolExport, |state| state.pool_export(pool))
    }

    async fn create(&self, request: &CreateRequest) -> Result<(), ZfsError> {
        self.perform(Verb::Create, |state| state.create(request))
    }

    async fn clone_snapshot(&self, request: &CloneRequest) -> Result<(), ZfsError> {
        self.perform(Verb::Clone, |state| state.clone_snapshot(request))
    }

    async fn snapshot(&self, snapshots: &[SnapshotName], properties: &Properties) -> Result<(), ZfsError> {
        if snapshots.is_empty() {
            return Ok(());
        }
        self.perform(Verb::Snapshot, |state| state.take_snapshots(snapshots, properties))
    }

    async fn hold_recursive(&self, tag: &HoldTag, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        self.perform(Verb::Hold, |state| state.hold(tag, snapshot))
    }

    async fn release_recursive(&self, tag: &HoldTag, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        self.perform(Verb::Release, |state| state.release(tag, snapshot))
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

    async fn destroy_snapshot_deferred_recursive(&self, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        self.perform(Verb::Destroy, |state| state.destroy_recursive(snapshot))
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
        self.perform(Verb::List, |state| state.list(request))
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<PropertyRow>, ZfsError> {
        if request.targets.is_empty() {
            return Ok(Vec::new());
        }
        self.perform(Verb::Get, |state| state.get(request))
    }

    async fn holds(&self, snapshots: &[SnapshotName]) -> Result<Vec<Hold>, ZfsError> {
        if snapshots.is_empty() {
            return Ok(Vec::new());
        }
        self.perform(Verb::Holds, |state| state.holds(snapshots))
    }

    async fn written(&self, dataset: &DatasetName, since: Option<&SnapName>) -> Result<u64, ZfsError> {
        self.perform(Verb::Get, |state| state.written(dataset, since))
    }

    fn counts(&self) -> Arc<CommandCounts> {
        Arc::clone(&self.counts)
    }
}

#[cfg(test)]
mod tests;
