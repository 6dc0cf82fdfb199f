//! csi-node's [`Zfs`] on the stage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dotmesh_zfs::{
    BlockFilesystem, CloneRequest, CommandCounts, CreateRequest, DatasetName, ErrorKind, FakeZfs, GetRequest, Hold,
    HoldTag, ImportRequest, ImportablePool, ListRequest, PoolName, PoolSpec, PoolStatus, PropName, Properties,
    PropertyRow, Row, SnapName, SnapshotName, Verb, Versions, VolumeDevice, Zfs, ZfsError,
};

use crate::fault::{Class, Failure};
use crate::stage::{Life, Stage};

/// One incarnation's way to the machine's ZFS.
#[derive(Clone)]
pub struct SimZfs {
    stage: Stage,
    life: Life,
    zfs: FakeZfs,
}

impl SimZfs {
    /// For an incarnation of csi-node.
    #[must_use]
    pub fn new(stage: Stage, life: Life, zfs: FakeZfs) -> Self {
        Self { stage, life, zfs }
    }
}

fn names<T: ToString>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join(" ")
}

fn settings(properties: &Properties) -> String {
    let all: Vec<String> = properties
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    all.join(" ")
}

macro_rules! on_stage {
    ($($class:ident $verb:ident $name:ident($($arg:ident: $type:ty),*) -> $result:ty = $text:expr;)*) => {
        impl Zfs for SimZfs {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$result, ZfsError> {
                let failed = |failure| match failure {
                    // An error that says nothing, and one that says that nobody knows.
                    Failure::NotDone | Failure::Conflict => ZfsError::new(Verb::$verb, ErrorKind::Other),
                    Failure::Unknown | Failure::Late | Failure::Delayed => ZfsError::new(Verb::$verb, ErrorKind::Timeout),
                };
                let perform = || self.zfs.$name($($arg),*);
                self.stage.effect(&self.life, Class::$class, || $text, failed, perform).await
            })*

            fn counts(&self) -> Arc<CommandCounts> {
                self.zfs.counts()
            }
        }
    };
}

on_stage! {
    ZfsRead Version version() -> Versions = "version".to_owned();
    ZfsWrite PoolCreate pool_create(spec: &PoolSpec) -> () = format!("create pool {}", spec.name);
    ZfsWrite PoolImport pool_import(request: &ImportRequest) -> () = format!("import pool {:?}", request.pool);
    ZfsRead PoolSearch pools_importable(search: &[PathBuf]) -> Vec<ImportablePool> = format!("search pools in {search:?}");
    ZfsRead PoolGet pool_get(pool: &PoolName) -> PoolStatus = format!("look at pool {pool}");
    ZfsWrite PoolOnline pool_expand(pool: &PoolName, vdev: &Path) -> () = format!("expand {pool} by {}", vdev.display());
    ZfsWrite PoolExport pool_export(pool: &PoolName) -> () = format!("export {pool}");
    ZfsWrite Create create(request: &CreateRequest) -> () = format!("create {} {}", request.dataset, settings(&request.properties));
    ZfsWrite Clone clone_snapshot(request: &CloneRequest) -> () = format!("clone {} as {}", request.snapshot, request.dataset);
    ZfsWrite Snapshot snapshot(snapshots: &[SnapshotName], properties: &Properties) -> () = { let _ = properties; format!("snapshot {}", names(snapshots)) };
    ZfsWrite Hold hold_recursive(tag: &HoldTag, snapshot: &SnapshotName) -> () = { let _ = tag; format!("hold -r {snapshot}") };
    ZfsWrite Release release_recursive(tag: &HoldTag, dataset: &DatasetName, snaps: &[SnapName]) -> () = { let _ = tag; format!("release -r {dataset}@{}", names(snaps)) };
    ZfsWrite Destroy destroy_dataset(dataset: &DatasetName) -> () = format!("destroy {dataset}");
    ZfsWrite Destroy destroy_snapshots_deferred(dataset: &DatasetName, snaps: &[SnapName]) -> () = format!("destroy -d {dataset}@{}", names(snaps));
    ZfsWrite Destroy destroy_snapshots_deferred_recursive(dataset: &DatasetName, snaps: &[SnapName]) -> () = format!("destroy -d -r {dataset}@{}", names(snaps));
    ZfsWrite Rollback rollback_to_newest(snapshot: &SnapshotName) -> () = format!("rollback {snapshot}");
    ZfsWrite Set set(dataset: &DatasetName, properties: &Properties) -> () = format!("set {dataset} {}", settings(properties));
    ZfsWrite Inherit inherit(dataset: &DatasetName, property: &PropName) -> () = format!("inherit {property} {dataset}");
    ZfsRead List list(request: &ListRequest) -> Vec<Row> = format!("list {}", names(&request.roots));
    ZfsRead Get get(request: &GetRequest) -> Vec<PropertyRow> = format!("get {}", names(&request.targets));
    ZfsRead Holds holds(snapshots: &[SnapshotName]) -> Vec<Hold> = format!("holds {}", names(snapshots));
    ZfsWrite MakeFilesystem make_filesystem(volume: &VolumeDevice, filesystem: BlockFilesystem) -> () = format!("mkfs {} {}", filesystem.as_str(), volume.dataset);
    ZfsWrite CheckFilesystem check_filesystem(volume: &VolumeDevice, filesystem: BlockFilesystem) -> () = format!("fsck {} {}", filesystem.as_str(), volume.dataset);
    ZfsRead Get written(dataset: &DatasetName, since: Option<&SnapName>) -> u64 = { let _ = since; format!("written {dataset}") };
}
