//! The trait that does things to pools and datasets.
//!
//! What is *not* here is as deliberate as what is: no `destroy -r` of datasets, no `-R`, no `-f`, no `promote`, no
//! `rename`, no `rollback -r`, no `zpool destroy`.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use crate::{
    BlockFilesystem, CloneRequest, CommandCounts, CreateRequest, DatasetName, GetRequest, Hold, HoldTag, ImportRequest,
    ImportablePool, ListRequest, PoolName, PoolSpec, PoolStatus, PropName, Properties, PropertyRow, Row, SnapName,
    SnapshotName, Versions, VolumeDevice, ZfsError,
};

/// Pools and datasets of one host. Each function is one process, except that an answer "does not exist" is confirmed
/// by one more look at the pool. All names given to one function lie in one pool.
///
/// Errors are typed by [`crate::ErrorKind`]. Only [`crate::ErrorKind::DatasetNotFound`] and
/// [`crate::ErrorKind::SnapshotNotFound`] mean that something is absent: they are returned only when the pool was
/// imported before and after the question. After [`crate::ErrorKind::Timeout`] an effect may or may not have happened.
pub trait Zfs: Send + Sync + 'static {
    /// The releases of programs and kernel module. Fails with [`crate::ErrorKind::ModuleMissing`] when there is no module.
    fn version(&self) -> impl Future<Output = Result<Versions, ZfsError>> + Send;

    /// Creates a pool. Never by force: a device that is in use is refused.
    fn pool_create(&self, spec: &PoolSpec) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Imports a pool without mounting anything.
    fn pool_import(&self, request: &ImportRequest) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// The pools that could be imported from these folders, files or devices (empty: the host's devices).
    fn pools_importable(
        &self,
        search: &[std::path::PathBuf],
    ) -> impl Future<Output = Result<Vec<ImportablePool>, ZfsError>> + Send;

    /// An imported pool's identity and state; [`crate::ErrorKind::PoolMissing`] when none of that name is imported.
    fn pool_get(&self, pool: &PoolName) -> impl Future<Output = Result<PoolStatus, ZfsError>> + Send;

    /// Lets an imported pool use all that one of its files or devices has grown by. The pool may show its new size a
    /// moment later; part of it that is smaller than the pool's unit of space stays unused.
    /// [`crate::ErrorKind::DeviceMissing`] when that file or device is none of the pool's.
    fn pool_expand(&self, pool: &PoolName, vdev: &Path) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Exports a pool; it is busy while something of it is mounted or open, and that stays so.
    fn pool_export(&self, pool: &PoolName) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Creates a filesystem or volume.
    fn create(&self, request: &CreateRequest) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Makes a clone.
    fn clone_snapshot(&self, request: &CloneRequest) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Takes all these snapshots in one transaction, all or none, each with all these user properties, and returns
    /// when they are on stable storage. At most one per dataset, all of one pool.
    fn snapshot(
        &self,
        snapshots: &[SnapshotName],
        properties: &Properties,
    ) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Holds the snapshots of this name on the dataset and everything below it, in one transaction: all that are
    /// there, or none when the tag is on one of them already ([`crate::ErrorKind::HoldExists`]).
    fn hold_recursive(
        &self,
        tag: &HoldTag,
        snapshot: &SnapshotName,
    ) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Releases what [`Zfs::hold_recursive`] holds under each of these names, in a transaction for each.
    /// [`crate::ErrorKind::HoldNotFound`] when under one of them the tag is on nothing, whether or not it is there; the
    /// others are released all the same.
    fn release_recursive(
        &self,
        tag: &HoldTag,
        dataset: &DatasetName,
        snaps: &[SnapName],
    ) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Destroys exactly this filesystem or volume, which must have no children, snapshots or clones.
    ///
    /// One that is mounted anywhere is busy and stays mounted.
    fn destroy_dataset(&self, dataset: &DatasetName) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Destroys these snapshots of one dataset, or marks those with holds or clones to vanish with the last of them.
    /// Those that are absent are skipped; when all are, it is [`crate::ErrorKind::SnapshotNotFound`]. One that is
    /// mounted or being sent fails all.
    fn destroy_snapshots_deferred(
        &self,
        dataset: &DatasetName,
        snaps: &[SnapName],
    ) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// The same for the snapshots of these names on the dataset and everything below it, in one transaction. Touches no
    /// clone and no dataset.
    fn destroy_snapshots_deferred_recursive(
        &self,
        dataset: &DatasetName,
        snaps: &[SnapName],
    ) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Puts a dataset back to its newest snapshot; [`crate::ErrorKind::NewerSnapshots`] when this is not the newest.
    /// One that is mounted is *not* refused: whoever uses it sees its files change.
    fn rollback_to_newest(&self, snapshot: &SnapshotName) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Sets several properties in one command; user properties in one transaction. Sizes are set one by one: when one
    /// of them is refused, everything else that was asked for is set all the same.
    fn set(&self, dataset: &DatasetName, properties: &Properties) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Removes a dataset's own value of a property, so that the inherited or default one shows.
    fn inherit(&self, dataset: &DatasetName, property: &PropName) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Lists datasets and snapshots with some columns.
    fn list(&self, request: &ListRequest) -> impl Future<Output = Result<Vec<Row>, ZfsError>> + Send;

    /// Reads properties with their sources.
    fn get(&self, request: &GetRequest) -> impl Future<Output = Result<Vec<PropertyRow>, ZfsError>> + Send;

    /// The holds on these snapshots.
    fn holds(&self, snapshots: &[SnapshotName]) -> impl Future<Output = Result<Vec<Hold>, ZfsError>> + Send;

    /// Bytes written to a dataset since that snapshot of it, or since its newest.
    fn written(
        &self,
        dataset: &DatasetName,
        since: Option<&SnapName>,
    ) -> impl Future<Output = Result<u64, ZfsError>> + Send;

    /// Makes an empty filesystem on a volume, *over whatever is on it*: by `mkfs`. [`crate::ErrorKind::Busy`] when it is
    /// mounted.
    fn make_filesystem(
        &self,
        volume: &VolumeDevice,
        filesystem: BlockFilesystem,
    ) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// Repairs what can be repaired without asking of a volume's filesystem that is not mounted: `e2fsck -p`, as the
    /// kubelet does before it mounts ext4. [`crate::ErrorKind::FilesystemDamaged`] when somebody has to look at it. No
    /// process for xfs, which repairs itself when it is mounted.
    fn check_filesystem(
        &self,
        volume: &VolumeDevice,
        filesystem: BlockFilesystem,
    ) -> impl Future<Output = Result<(), ZfsError>> + Send;

    /// What was run so far, shared.
    fn counts(&self) -> Arc<CommandCounts>;
}
