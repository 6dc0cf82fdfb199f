//! Which branch an inline volume shows. Pure.

use std::collections::{BTreeMap, HashMap};

use dotmesh_crds::branch::BranchSpec;
use dotmesh_crds::dot::DotVolumeStatus;
use dotmesh_crds::names::{
    ANNOTATION_POD, ATTRIBUTE_COMMIT, ATTRIBUTE_VOLUME, DRIVER, LABEL_DOT, LABEL_POD_UID, inline_object,
};
use dotmesh_crds::{Branch, Commit, Condition, Dot};
use dotmesh_csi_proto::node::{LendRequest, LendResponse};
use dotmesh_model::format::VolumeFormat;
use k8s_openapi::api::core::v1::{CSIVolumeSource, Pod, Volume};
use kube::ResourceExt;
use kube::api::ObjectMeta;
use uuid::Uuid;

use super::own::has_ended;
use crate::branch::plan::wire_format;
use crate::meta::{dot_id, is_deleting, uid};
use crate::nodes::pods::node_of;
use crate::status::{is_ready, ready_condition};

/// Longest id of a volume in bytes (CSI, "Size Limits").
const MAX_VOLUME_ID: usize = 128;

/// Why a pod gets no branch: what is wrong and what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is none of csi-node's.
    #[error("{0}")]
    Request(&'static str),
    /// Probably misspelled.
    #[error("there is no attribute {0:?} of inline volumes: they have {ATTRIBUTE_COMMIT} and {ATTRIBUTE_VOLUME}")]
    Attribute(String),
    /// Nothing to show.
    #[error("an inline volume needs the attribute {ATTRIBUTE_COMMIT}, the name of a Commit")]
    NoCommit,
    /// The node may not have it.
    #[error("{0}")]
    NotItsPod(String),
    /// There is none.
    #[error("there is no Commit {0:?} in the pod's namespace")]
    CommitNotFound(String),
    /// Something has to happen first.
    #[error("{kind} {name:?} is not ready: {why}")]
    NotReady {
        /// Commit or Dot.
        kind: &'static str,
        /// Its name.
        name: String,
        /// As its condition says it.
        why: String,
    },
    /// The data is on one node, and the pod on another.
    #[error(
        "Commit {commit:?} lies on node {there:?} and the pod runs on {here:?}: give the pod the nodeSelector kubernetes.io/hostname of {there:?}"
    )]
    Elsewhere {
        /// The Commit.
        commit: String,
        /// Where it is.
        there: String,
        /// Where the pod is.
        here: String,
    },
    /// Which volume?
    #[error("{why}: name one of {names} with the attribute {ATTRIBUTE_VOLUME}")]
    Volume {
        /// What is wrong.
        why: String,
        /// Those that there are.
        names: String,
    },
    /// A pod's spec has devices only by claims.
    #[error("volume {name:?} is a block device, which no inline volume can be: make a claim")]
    Block {
        /// The volume.
        name: String,
    },
    /// Something else has the Branch's name.
    #[error("Branch {0:?} is not this pod's, or is being deleted")]
    Taken(String),
}

/// A volume in a pod's spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineVolume {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// The Commit that it names.
    pub commit: String,
    /// The volume of it that it names.
    pub volume: Option<String>,
    /// Its own name in the pod's spec, when only it can be meant.
    pub name: Option<String>,
    /// The kubelet's id.
    id: String,
}

impl InlineVolume {
    /// The name of its Branch's object, the same for each call.
    #[must_use]
    pub fn branch_object(&self) -> String {
        let pod = Uuid::new_v5(&Uuid::NAMESPACE_OID, self.pod_uid.as_bytes());
        inline_object(&Uuid::new_v5(&pod, self.id.as_bytes()).to_string())
    }
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The volume's Branch.
    pub branch: Option<Branch>,
    /// The Commit, while there is no Branch.
    pub commit: Option<Commit>,
    /// The Dot of either.
    pub dot: Option<Dot>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Make the Branch.
    Create(Box<Branch>),
    /// Until the Branch changes; why.
    Wait(String),
    /// It is there.
    Answer(LendResponse),
}

/// The volume that is asked for, as the pod's spec has it, when that pod runs on this node.
///
/// # Errors
/// There is no such pod, or it has no such volume.
pub fn find_volume(pod: Option<&Pod>, request: &LendRequest, node: &str) -> Result<InlineVolume, Refusal> {
    if request.volume_id.is_empty() || request.volume_id.len() > MAX_VOLUME_ID {
        return Err(Refusal::Request("volume_id: of 1 to 128 bytes"));
    }
    let name = format!("{}/{}", request.pod_namespace, request.pod_name);
    let refused = |why: &str| Err(Refusal::NotItsPod(format!("pod {name:?} {why}")));
    let Some(pod) = pod.filter(|pod| uid(*pod) == request.pod_uid) else {
        return refused("is gone");
    };
    if node_of(pod) != Some(node) {
        return refused("is not on the node that asks");
    }
    if has_ended(pod) {
        return refused("has ended, or is being deleted");
    }
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let found: Vec<&Volume> = volumes
        .filter(|volume| volume.csi.as_ref().is_some_and(|csi| is_it(csi, &request.attributes)))
        .collect();
    let Some(first) = found.first() else {
        return refused("has no such inline volume in its spec");
    };
    let attributes = &request.attributes;
    let known = [ATTRIBUTE_COMMIT, ATTRIBUTE_VOLUME];
    if let Some(key) = attributes.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(Refusal::Attribute(key.clone()));
    }
    let said = |key: &str| attributes.get(key).filter(|value| !value.is_empty()).cloned();
    Ok(InlineVolume {
        namespace: request.pod_namespace.clone(),
        pod: request.pod_name.clone(),
        pod_uid: request.pod_uid.clone(),
        commit: said(ATTRIBUTE_COMMIT).ok_or(Refusal::NoCommit)?,
        volume: said(ATTRIBUTE_VOLUME),
        name: Some(first.name.clone()).filter(|_| found.len() == 1),
        id: request.volume_id.clone(),
    })
}

fn is_it(csi: &CSIVolumeSource, attributes: &HashMap<String, String>) -> bool {
    let said: BTreeMap<&String, &String> = csi.volume_attributes.iter().flatten().collect();
    csi.driver == DRIVER && said == attributes.iter().collect()
}

/// The next step.
///
/// # Errors
/// It cannot be had, or not yet.
pub fn plan(wanted: &InlineVolume, node: &str, world: &World) -> Result<Step, Refusal> {
    match &world.branch {
        None => plan_creation(wanted, node, world).map(|branch| Step::Create(Box::new(branch))),
        Some(branch) => plan_answer(wanted, branch, world),
    }
}

fn not_ready(kind: &'static str, name: &str, conditions: &[Condition]) -> Refusal {
    let why = ready_condition(conditions).map(|ready| ready.message.clone());
    Refusal::NotReady {
        kind,
        name: name.to_owned(),
        why: why.unwrap_or_else(|| "it is being made".to_owned()),
    }
}

fn plan_creation(wanted: &InlineVolume, node: &str, world: &World) -> Result<Branch, Refusal> {
    let found = world.commit.as_ref().filter(|commit| !is_deleting(*commit));
    let commit = found.ok_or_else(|| Refusal::CommitNotFound(wanted.commit.clone()))?;
    let status = commit.status.clone().unwrap_or_default();
    let (Some(id), true) = (&status.id, is_ready(&status.conditions)) else {
        return Err(not_ready("Commit", &wanted.commit, &status.conditions));
    };
    let dot = world.dot.as_ref().filter(|dot| !is_deleting(*dot));
    let there = dot.and_then(|dot| dot.status.as_ref()?.node.clone());
    let Some(there) = there else {
        return Err(not_ready("Dot", &commit.spec.dot, &[]));
    };
    if there != node {
        return Err(Refusal::Elsewhere {
            commit: wanted.commit.clone(),
            there,
            here: node.to_owned(),
        });
    }
    // What cannot be shown makes no Branch.
    let volume = choose_volume(wanted, status.volumes.iter().map(|volume| volume.name.as_str()))?;
    check_files(dot.and_then(|dot| find_recorded(dot, volume)))?;
    let name = wanted.branch_object();
    Ok(Branch {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(wanted.namespace.clone()),
            labels: Some(BTreeMap::from([
                (LABEL_POD_UID.to_owned(), wanted.pod_uid.clone()),
                (LABEL_DOT.to_owned(), commit.spec.dot.clone()),
            ])),
            annotations: Some(BTreeMap::from([(ANNOTATION_POD.to_owned(), wanted.pod.clone())])),
            ..ObjectMeta::default()
        },
        spec: BranchSpec {
            dot: commit.spec.dot.clone(),
            name,
            from: id.clone(),
            restore_from: None,
        },
        status: None,
    })
}

/// The volume that is named, else that of the inline volume's own name, else the only one.
fn choose_volume<'a>(wanted: &InlineVolume, names: impl Iterator<Item = &'a str>) -> Result<&'a str, Refusal> {
    let names: Vec<&str> = names.collect();
    let listed = || names.join(", ");
    let named = |wanted: &str| names.iter().copied().find(|name| *name == wanted);
    match (&wanted.volume, wanted.name.as_deref().and_then(named), names.as_slice()) {
        (Some(volume), ..) => named(volume).ok_or_else(|| Refusal::Volume {
            why: format!("Commit {:?} has no volume {volume:?}", wanted.commit),
            names: listed(),
        }),
        (None, Some(name), _) => Ok(name),
        (None, None, [name]) => Ok(*name),
        (None, None, _) => Err(Refusal::Volume {
            why: format!("Commit {:?} has several volumes", wanted.commit),
            names: listed(),
        }),
    }
}

fn find_recorded<'a>(dot: &'a Dot, name: &str) -> Option<&'a DotVolumeStatus> {
    let mut recorded = dot.status.iter().flat_map(|status| &status.volumes);
    recorded.find(|volume| volume.name == name)
}

fn check_files(volume: Option<&DotVolumeStatus>) -> Result<(), Refusal> {
    match volume.filter(|volume| volume.format() == VolumeFormat::Block) {
        Some(volume) => Err(Refusal::Block {
            name: volume.name.clone(),
        }),
        None => Ok(()),
    }
}

fn plan_answer(wanted: &InlineVolume, branch: &Branch, world: &World) -> Result<Step, Refusal> {
    let is_its = branch.labels().get(LABEL_POD_UID) == Some(&wanted.pod_uid);
    if !is_its || is_deleting(branch) {
        return Err(Refusal::Taken(branch.name_any()));
    }
    let status = branch.status.clone().unwrap_or_default();
    let (Some(branch_id), true) = (&status.id, is_ready(&status.conditions)) else {
        let ready = ready_condition(&status.conditions);
        let why = ready.map_or_else(String::new, |ready| format!("{}: {}", ready.reason, ready.message));
        return Ok(Step::Wait(why));
    };
    let Some(dot) = &world.dot else {
        return Err(not_ready("Dot", &branch.spec.dot, &[]));
    };
    let cloned = status.volumes.iter().filter(|volume| volume.cloned);
    let name = choose_volume(wanted, cloned.map(|volume| volume.name.as_str()))?;
    let Some(volume) = find_recorded(dot, name) else {
        return Err(not_ready("Dot", &branch.spec.dot, &[]));
    };
    check_files(Some(volume))?;
    Ok(Step::Answer(LendResponse {
        dot_id: dot_id(dot).to_owned(),
        branch_id: branch_id.clone(),
        volume_id: volume.id.clone(),
        format: wire_format(volume.format()).into(),
    }))
}

#[cfg(test)]
mod tests;
