//! The claim and the pod of an import. Pure.

use std::collections::BTreeMap;

use dotmesh_crds::Dot;
use dotmesh_crds::names::{
    ANNOTATION_VOLUME, GROUP, LABEL_DOT, LABEL_IMPORT, PARAMETER_FS_TYPE, PARAMETER_POOL_CLASS, import_object,
};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::import::PROGRESS_PORT;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile,
    SecurityContext, TypedObjectReference, Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::observe::{Import, Importer};
use crate::meta::{owned_by, uid};

/// What keeping owners, modes, capabilities of files and devices needs beside being root; all of it passes the Pod
/// Security Standard `baseline`.
const CAPABILITIES: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"];

/// Of classes that a claim on the Dot could have, the one that says least beside its class of Pools: the scheduler
/// places an unplaced Dot by it. One that keeps volumes would keep this one.
pub fn choose_class<'a>(
    classes: impl Iterator<Item = &'a StorageClass>,
    dot: &Dot,
    format: VolumeFormat,
) -> Option<&'a StorageClass> {
    let parameter =
        |class: &'a StorageClass, name: &str| -> Option<&'a String> { class.parameters.as_ref()?.get(name) };
    let fits = |class: &&'a StorageClass| {
        let pools = parameter(class, PARAMETER_POOL_CLASS).is_none_or(|pools| pools == dot.spec.pool_class());
        let files = parameter(class, PARAMETER_FS_TYPE).is_none_or(|files| files == format.as_str());
        let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
        let goes = class.reclaim_policy.as_deref().is_none_or(|policy| policy == "Delete");
        let writes = !class.mount_options.iter().flatten().any(|option| option == "ro");
        pools && files && waits && goes && writes
    };
    let order = |class: &&'a StorageClass| {
        let is_general = parameter(class, PARAMETER_POOL_CLASS).is_none();
        (
            is_general,
            class.parameters.as_ref().map_or(0, BTreeMap::len),
            class.name_any(),
        )
    };
    classes.filter(fits).min_by_key(order)
}

fn metadata(dot: &Dot, import: &Import) -> ObjectMeta {
    ObjectMeta {
        name: Some(import_object(&dot.name_any(), &import.volume)),
        namespace: dot.namespace(),
        labels: Some(BTreeMap::from([
            (LABEL_DOT.to_owned(), dot.name_any()),
            (LABEL_IMPORT.to_owned(), uid(dot).to_owned()),
        ])),
        owner_references: Some(vec![owned_by(dot)]),
        ..ObjectMeta::default()
    }
}

/// The claim on the volume that is filled.
pub fn build_claim(dot: &Dot, import: &Import, class: &StorageClass) -> PersistentVolumeClaim {
    let requests = BTreeMap::from([("storage".to_owned(), Quantity(import.size.clone()))]);
    let mut metadata = metadata(dot, import);
    metadata.annotations = Some(BTreeMap::from([(ANNOTATION_VOLUME.to_owned(), import.volume.clone())]));
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            storage_class_name: class.metadata.name.clone(),
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(requests),
                ..VolumeResourceRequirements::default()
            }),
            data_source_ref: Some(TypedObjectReference {
                api_group: Some(GROUP.to_owned()),
                kind: Dot::kind(&()).into_owned(),
                name: dot.name_any(),
                namespace: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The pod that fills it.
pub fn build_pod(dot: &Dot, import: &Import, importer: &Importer) -> Pod {
    let metadata = metadata(dot, import);
    let target = metadata.name.clone().unwrap_or_default();
    let volume = |name: &str, claim: &str, read_only: bool| Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: Some(read_only),
        }),
        ..Volume::default()
    };
    Pod {
        metadata,
        spec: Some(PodSpec {
            // Failures are repeated by the kubelet, after pauses that grow to five minutes.
            restart_policy: Some("OnFailure".to_owned()),
            // It can be ended at any moment, and does not ask for one.
            termination_grace_period_seconds: Some(1),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            containers: vec![build_container(importer)],
            volumes: Some(vec![
                volume("source", &import.claim, true),
                volume("target", &target, false),
            ]),
            ..PodSpec::default()
        }),
        status: None,
    }
}

fn build_container(importer: &Importer) -> Container {
    let mount = |name: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: format!("/{name}"),
        read_only: Some(read_only),
        ..VolumeMount::default()
    };
    let resources = |cpu: Option<&str>, memory: &str| {
        let cpu = cpu.map(|cpu| ("cpu".to_owned(), Quantity(cpu.to_owned())));
        let memory = ("memory".to_owned(), Quantity(memory.to_owned()));
        Some(cpu.into_iter().chain([memory]).collect())
    };
    Container {
        name: "importer".to_owned(),
        image: Some(importer.image.clone()),
        image_pull_policy: Some(importer.pull_policy.clone()),
        args: Some(vec!["--source=/source".to_owned(), "--target=/target".to_owned()]),
        ports: Some(vec![ContainerPort {
            name: Some("progress".to_owned()),
            container_port: PROGRESS_PORT.into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(ResourceRequirements {
            requests: resources(Some("50m"), "32Mi"),
            limits: resources(None, "512Mi"),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            run_as_user: Some(0),
            run_as_non_root: Some(false),
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![mount("source", true), mount("target", false)]),
        ..Container::default()
    }
}
