//! [`Killed`]: a ZFS under which the program stops at a command of choice.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dotmesh_zfs::{
    BlockFilesystem, CloneRequest, CommandCounts, CreateRequest, DatasetName, ErrorKind, FakeZfs, GetRequest, Hold,
    HoldTag, ImportRequest, ImportablePool, ListRequest, PoolName, PoolSpec, PoolStatus, PropName, Properties,
    PropertyRow, Row, SnapName, SnapshotName, Verb, Versions, VolumeDevice, Zfs, ZfsError,
};

/// A ZFS for a program that gets only so many commands done before it is killed.
#[derive(Clone)]
pub(super) struct Killed {
    zfs: FakeZfs,
    left: Arc<AtomicI64>,
}

impl Killed {
    pub(super) fn after(zfs: &FakeZfs, commands: i64) -> Self {
        Self {
            zfs: zfs.clone(),
            left: Arc::new(AtomicI64::new(commands)),
        }
    }

    fn alive(&self) -> Result<(), ZfsError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            Ok(())
        } else {
            Err(ZfsError::new(Verb::Get, ErrorKind::Timeout))
        }
    }
}

macro_rules! passed_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Zfs for Killed {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$result, ZfsError> {
                // A real command takes its time, in which others run.
                tokio::task::yield_now().await;
                self.alive()?;
                self.zfs.$name($($arg),*).await
            })*

            fn counts(&self) -> Arc<CommandCounts> {
                self.zfs.counts()
            }
        }
    };
}

/// Hands every call of [`Zfs`] but `counts` to a macro, which passes it on.
macro_rules! each_zfs_call {
    ($pass_on:ident) => {
        $pass_on! {
            version() -> Versions;
            pool_create(spec: &PoolSpec) -> ();
            pool_import(request: &ImportRequest) -> ();
            pools_importable(search: &[PathBuf]) -> Vec<ImportablePool>;
            pool_get(pool: &PoolName) -> PoolStatus;
            pool_expand(pool: &PoolName, vdev: &Path) -> ();
            pool_export(pool: &PoolName) -> ();
            create(request: &CreateRequest) -> ();
            clone_snapshot(request: &CloneRequest) -> ();
            snapshot(snapshots: &[SnapshotName], properties: &Properties) -> ();
            hold_recursive(tag: &HoldTag, snapshot: &SnapshotName) -> ();
            release_recursive(tag: &HoldTag, dataset: &DatasetName, snaps: &[SnapName]) -> ();
            destroy_dataset(dataset: &DatasetName) -> ();
            destroy_snapshots_deferred(dataset: &DatasetName, snaps: &[SnapName]) -> ();
            destroy_snapshots_deferred_recursive(dataset: &DatasetName, snaps: &[SnapName]) -> ();
            rollback_to_newest(snapshot: &SnapshotName) -> ();
            set(dataset: &DatasetName, properties: &Properties) -> ();
            inherit(dataset: &DatasetName, property: &PropName) -> ();
            list(request: &ListRequest) -> Vec<Row>;
            get(request: &GetRequest) -> Vec<PropertyRow>;
            holds(snapshots: &[SnapshotName]) -> Vec<Hold>;
            written(dataset: &DatasetName, since: Option<&SnapName>) -> u64;
            make_filesystem(volume: &VolumeDevice, filesystem: BlockFilesystem) -> ();
            check_filesystem(volume: &VolumeDevice, filesystem: BlockFilesystem) -> ();
        }
    };
}
pub(crate) use each_zfs_call;

each_zfs_call!(passed_on);
