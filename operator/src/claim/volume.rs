//! The PersistentVolume of a claim, as csi-provisioner would have made it, so that it adopts and later deletes it. Pure.

use std::collections::BTreeMap;

use dotmesh_crds::names::{ANNOTATION_PROVISIONED_BY, DRIVER, TOPOLOGY_NODE, volume_object};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::Handle;
use dotmesh_model::size::format_quantity;
use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;

use super::validate::Request;

/// csi-provisioner puts this on the volumes it makes and takes it off when it has deleted what is behind them.
pub const FINALIZER_PROVISIONER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// The volume of so many bytes and this format that the handle stands for, on this node, bound to the claim of the
/// request.
///
/// `claimRef` carries the claim's uid, so a claim of the same name made later can never take it over.
pub fn build_volume(
    request: &Request,
    handle: Handle,
    node: &str,
    (size_bytes, format): (u64, VolumeFormat),
) -> PersistentVolume {
    let (mode, fs_type) = match format {
        // What is said of no filesystem is ZFS, as it has always been.
        VolumeFormat::Zfs => ("Filesystem", None),
        VolumeFormat::Ext4 | VolumeFormat::Xfs => ("Filesystem", Some(format.as_str().to_owned())),
        VolumeFormat::Block => ("Block", None),
    };
    let here = NodeSelectorRequirement {
        key: TOPOLOGY_NODE.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(volume_object(&request.uid.to_string())),
            annotations: Some(BTreeMap::from([(
                ANNOTATION_PROVISIONED_BY.to_owned(),
                DRIVER.to_owned(),
            )])),
            finalizers: Some(vec![FINALIZER_PROVISIONER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: Some(request.access_modes.clone()),
            capacity: Some(BTreeMap::from([(
                "storage".to_owned(),
                Quantity(format_quantity(size_bytes)),
            )])),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: Some(request.namespace.clone()),
                name: Some(request.name.clone()),
                uid: Some(request.uid.to_string()),
                ..ObjectReference::default()
            }),
            csi: Some(CSIPersistentVolumeSource {
                driver: DRIVER.to_owned(),
                volume_handle: handle.to_string(),
                fs_type,
                ..CSIPersistentVolumeSource::default()
            }),
            // A block device is not mounted; the API server refuses options for one.
            mount_options: request
                .class
                .mount_options
                .clone()
                .filter(|_| format != VolumeFormat::Block),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm {
                        match_expressions: Some(vec![here]),
                        ..NodeSelectorTerm::default()
                    }],
                }),
            }),
            persistent_volume_reclaim_policy: Some(request.class.reclaim_policy.clone()),
            storage_class_name: Some(request.class.name.clone()),
            volume_attributes_class_name: request.attributes_class.clone(),
            volume_mode: Some(mode.to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}
