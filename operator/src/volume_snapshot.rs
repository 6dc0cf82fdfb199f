//! The kinds of `snapshot.storage.k8s.io` and `groupsnapshot.storage.k8s.io`, as far as they are read and made here:
//! csi-snapshotter and snapshot-controller fill them in. Where their CustomResourceDefinitions are missing none is found,
//! and none can be made.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// Of what a VolumeSnapshot says only what it is of counts here, beside its labels and annotations.
#[derive(CustomResource, Serialize, Deserialize, Debug, Clone, Default)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshot",
    namespaced,
    status = "VolumeSnapshotStatus",
    schema = "disabled"
)]
pub struct VolumeSnapshotSpec {
    /// What it is of.
    #[serde(default)]
    pub source: VolumeSnapshotSource,
}

/// What a VolumeSnapshot is of: a claim, which only csi-snapshotter reads, or a content that is there.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotSource {
    /// The name of that VolumeSnapshotContent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_content_name: Option<String>,
}

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
    /// `Delete` or `Retain`: what becomes of the snapshot when this goes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub deletion_policy: String,
    /// What it stands for.
    #[serde(default)]
    pub source: VolumeSnapshotContentSource,
    /// Whether the volume has files or is a device, as in a claim's `volumeMode`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_volume_mode: Option<String>,
    /// The VolumeSnapshot that it is for.
    pub volume_snapshot_ref: VolumeSnapshotRef,
}

/// What a VolumeSnapshotContent stands for: a volume that csi-snapshotter takes a snapshot of, or a snapshot that is there.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotContentSource {
    /// The driver's id of that snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_handle: Option<String>,
}

/// A VolumeSnapshot; without a uid the first of that name.
#[derive(Serialize, Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotRef {
    /// Its API version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
