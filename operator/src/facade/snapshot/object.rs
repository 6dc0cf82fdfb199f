//! VolumeSnapshots, as far as they are read: who they are.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What a VolumeSnapshot says is for csi-snapshotter; here its labels and annotations count.
#[derive(CustomResource, Serialize, Deserialize, Debug, Clone, Default)]
#[kube(
    group = "snapshot.storage.k8s.io",
    version = "v1",
    kind = "VolumeSnapshot",
    namespaced,
    schema = "disabled"
)]
pub struct VolumeSnapshotSpec {}
