//! The kinds of `snapshot.storage.k8s.io` and `groupsnapshot.storage.k8s.io`, as far as they are read here: csi-snapshotter and snapshot-controller write them.
//! Where their CustomResourceDefinitions are missing none is found.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What a VolumeSnapshot says is for csi-snapshotter; here its labels and annotations count.
#[derive(CustomResource, Serialize, Deserialize, Debug, Clone, Default)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshot",
    namespaced,
    status = "VolumeSnapshotStatus",
    schema = "disabled"
)]
pub struct VolumeSnapshotSpec {}

/// What a VolumeGroupSnapshot says is for csi-snapshotter; here its labels and annotations count.
#[derive(CustomResource, Serialize, Deserialize, Debug, Clone, Default)]
#[kube(
    group = "groupsnapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeGroupSnapshot",
    namespaced,
    schema = "disabled"
)]
pub struct VolumeGroupSnapshotSpec {}

/// What became of it.
#[derive(Serialize, Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotStatus {
    /// The VolumeSnapshotContent that it is bound to, if that says the same.
    #[serde(default)]
    pub bound_volume_snapshot_content_name: Option<String>,
    /// Volumes can be made from it.
    #[serde(default)]
    pub ready_to_use: Option<bool>,
    /// How large those are at least, as a quantity.
    #[serde(default)]
    pub restore_size: Option<String>,
    /// Why it is not ready.
    #[serde(default)]
    pub error: Option<VolumeSnapshotError>,
}

/// Why a snapshot is not ready.
#[derive(Serialize, Deserialize, Debug, Clone, Default)]
pub struct VolumeSnapshotError {
    /// For people.
    #[serde(default)]
    pub message: Option<String>,
}

/// What a VolumeGroupSnapshot is bound to; here only its name counts, and whether it is there.
#[derive(CustomResource, Serialize, Deserialize, Debug, Clone, Default)]
#[kube(
    group = "groupsnapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeGroupSnapshotContent",
    schema = "disabled"
)]
pub struct VolumeGroupSnapshotContentSpec {}

/// What a VolumeSnapshot is bound to.
#[derive(CustomResource, Serialize, Deserialize, Debug, Clone, Default)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshotContent",
    status = "VolumeSnapshotContentStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentSpec {
    /// The CSI driver.
    pub driver: String,
    /// The VolumeSnapshot that it is for.
    pub volume_snapshot_ref: VolumeSnapshotRef,
}

/// A VolumeSnapshot; without a uid the first of that name.
#[derive(Serialize, Deserialize, Debug, Clone, Default)]
pub struct VolumeSnapshotRef {
    /// Its namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its uid.
    #[serde(default)]
    pub uid: Option<String>,
}

/// What the driver said.
#[derive(Serialize, Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentStatus {
    /// The driver's id of it.
    #[serde(default)]
    pub snapshot_handle: Option<String>,
}
