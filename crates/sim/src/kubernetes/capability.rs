//! What external-provisioner and the kubelet ask for.

use dotmesh_csi_proto::csi::VolumeCapability;
use dotmesh_csi_proto::csi::volume_capability::access_mode::Mode;
use dotmesh_csi_proto::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use k8s_openapi::api::core::v1::PersistentVolume;

/// As the kubelet asks for what a PersistentVolume says that it is.
pub(super) fn capability_of(volume: &PersistentVolume) -> VolumeCapability {
    let spec = volume.spec.clone().unwrap_or_default();
    let access_type = if spec.volume_mode.as_deref() == Some("Block") {
        AccessType::Block(BlockVolume {})
    } else {
        AccessType::Mount(MountVolume {
            fs_type: spec.csi.and_then(|csi| csi.fs_type).unwrap_or_default(),
            ..MountVolume::default()
        })
    };
    VolumeCapability {
        access_type: Some(access_type),
        ..capability()
    }
}

/// Files, for one node.
pub(super) fn capability() -> VolumeCapability {
    VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume::default())),
        access_mode: Some(AccessMode {
            mode: Mode::SingleNodeWriter.into(),
        }),
    }
}
