//! From a PersistentVolumeClaim as people write it to a request that can no longer be wrong in itself. Pure.
//!
//! Ours are claims of a StorageClass whose provisioner is this driver, with a `dataSourceRef` into our API group
//! (external-provisioner leaves those alone). Plain claims of the same class come through the façade instead.

use dotmesh_crds::names::{ANNOTATION_SELECTED_NODE, ANNOTATION_VOLUME, DRIVER, GROUP};
use dotmesh_model::id::ClaimUid;
use dotmesh_model::name::VolumeName;
use dotmesh_model::size::parse_volume_size;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, TypedObjectReference};
use k8s_openapi::api::storage::v1::StorageClass;

use super::error::ClaimError;

/// What a claim asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Identity of the claim.
    pub uid: ClaimUid,
    /// The claim's namespace, and so that of its Dot.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// What it follows.
    pub source: Source,
    /// The volume that the annotation asks for.
    pub volume: Option<VolumeName>,
    /// How much it asks for.
    pub size_bytes: u64,
    /// The node the scheduler chose for the first pod, if it has chosen.
    pub selected_node: Option<String>,
    /// Copied to the PersistentVolume.
    pub access_modes: Vec<String>,
    /// What the class contributes to the PersistentVolume.
    pub class: Class,
}

/// What a claim follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The Dot of this name, whatever is checked out.
    Dot(String),
    /// The Branch object of this name.
    Branch(String),
}

/// The parts of a StorageClass that a PersistentVolume carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// The class's name.
    pub name: String,
    /// `Delete` or `Retain`.
    pub reclaim_policy: String,
    /// As given.
    pub mount_options: Option<Vec<String>>,
}

/// The reference into our group, when the claim has one.
pub fn our_source(claim: &PersistentVolumeClaim) -> Option<&TypedObjectReference> {
    let source = claim.spec.as_ref()?.data_source_ref.as_ref()?;
    (source.api_group.as_deref() == Some(GROUP)).then_some(source)
}

/// Whether nothing is bound to the claim, and it is not going away.
pub fn is_unbound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume.is_none_or(str::is_empty) && claim.metadata.deletion_timestamp.is_none()
}

/// Whether the claim is for this controller to serve: ours, unbound, not going away.
pub fn is_served(claim: &PersistentVolumeClaim, class: &StorageClass) -> bool {
    our_source(claim).is_some() && is_unbound(claim) && class.provisioner == DRIVER
}

/// Reads a claim for which [`is_served`] holds.
pub fn validate(claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<Request, ClaimError> {
    let metadata = &claim.metadata;
    let annotation = |key| metadata.annotations.as_ref().and_then(|all| all.get(key));
    let spec = claim.spec.as_ref().ok_or(ClaimError::Incomplete { what: "spec" })?;
    let namespace = metadata
        .namespace
        .clone()
        .ok_or(ClaimError::Incomplete { what: "namespace" })?;
    let source = our_source(claim).ok_or(ClaimError::Incomplete { what: "dataSourceRef" })?;
    // An API server with cross-namespace sources enabled passes the field on; here it is refused until it is served.
    if let Some(other) = source.namespace.as_ref().filter(|other| **other != namespace) {
        return Err(ClaimError::OtherNamespace { other: other.clone() });
    }
    let source = match source.kind.as_str() {
        "Dot" => Source::Dot(source.name.clone()),
        "Branch" => Source::Branch(source.name.clone()),
        other => return Err(ClaimError::Kind { kind: other.to_owned() }),
    };
    if spec.volume_mode.as_deref().is_some_and(|mode| mode != "Filesystem") {
        return Err(ClaimError::BlockMode);
    }
    let access_modes = spec.access_modes.clone().unwrap_or_default();
    if let Some(mode) = access_modes
        .iter()
        .find(|mode| !matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod"))
    {
        return Err(ClaimError::AccessMode { mode: mode.clone() });
    }
    let volume = annotation(ANNOTATION_VOLUME)
        .map(|text| {
            text.parse().map_err(|source| ClaimError::VolumeName {
                text: text.chars().take(VolumeName::MAX_LEN + 1).collect(),
                source,
            })
        })
        .transpose()?;
    let size = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref())
        .and_then(|requests| requests.get("storage"))
        .ok_or(ClaimError::Incomplete {
            what: "resources.requests.storage",
        })?;
    Ok(Request {
        uid: metadata
            .uid
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(|_| ClaimError::Incomplete { what: "uid" })?,
        namespace,
        name: metadata.name.clone().unwrap_or_default(),
        source,
        volume,
        size_bytes: parse_volume_size(&size.0)?,
        selected_node: annotation(ANNOTATION_SELECTED_NODE)
            .filter(|node| !node.is_empty())
            .cloned(),
        access_modes,
        class: Class {
            name: class.metadata.name.clone().unwrap_or_default(),
            // Kubernetes' default for classes.
            reclaim_policy: class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned()),
            mount_options: class.mount_options.clone(),
        },
    })
}
