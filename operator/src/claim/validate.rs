//! From a PersistentVolumeClaim as people write it to a request that can no longer be wrong in itself. Pure.
//!
//! Ours are claims of a StorageClass whose provisioner is this driver, with a `dataSourceRef` into our API group
//! (external-provisioner leaves those alone) or with annotations that say the same (it does not know those and asks the
//! façade, which gives the same answer). Plain claims of the same class come through the façade.

use dotmesh_crds::names::{
    ANNOTATION_BRANCH, ANNOTATION_DOT, ANNOTATION_SELECTED_NODE, ANNOTATION_SHARED, ANNOTATION_VOLUME, DRIVER, GROUP,
    LABEL_IMPORT, PARAMETER_FS_TYPE, PARAMETER_POOL_CLASS,
};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::ClaimUid;
use dotmesh_model::name::{InvalidName, VolumeName, check_label, check_subdomain};
use dotmesh_model::size::parse_volume_size;
use dotmesh_model::tuning::Tuning;
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
    /// Whether other claims may hold the same volume, if they say so too.
    pub shared: bool,
    /// How much it asks for.
    pub size_bytes: u64,
    /// The node the scheduler chose for the first pod, if it has chosen.
    pub selected_node: Option<String>,
    /// Copied to the PersistentVolume.
    pub access_modes: Vec<String>,
    /// What the class contributes to the PersistentVolume.
    pub class: Class,
    /// Its VolumeAttributesClass. Kubernetes binds only a PersistentVolume that names the same.
    pub attributes_class: Option<String>,
    /// The class of Pool that the StorageClass asks for; absent: any.
    pub pool_class: Option<String>,
    /// What it is to be to pods; absent: files, in whatever filesystem the volume has.
    pub format: Option<VolumeFormat>,
    /// The uid of the Dot whose import it was made for.
    pub import: Option<String>,
    /// How its data is to be kept, if the volume is made for it.
    pub tuning: Tuning,
}

/// What a claim follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The Dot of this name, whatever is checked out.
    Dot(String),
    /// The Branch object of this name; of this Dot, where the claim names one.
    Branch {
        /// The Branch object.
        name: String,
        /// Its Dot.
        dot: Option<String>,
    },
    /// A Branch of its own, from the Commit of this name.
    Commit(String),
    /// A Dot of its own, from what the VolumeSnapshot of this name stands for.
    Snapshot(String),
    /// A Dot of its own, from what the claim of this name has.
    Claim(String),
}

impl Source {
    /// Whether it gets a Dot of its own, which begins as a clone.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        match self {
            Self::Snapshot(_) | Self::Claim(_) => true,
            Self::Dot(_) | Self::Branch { .. } | Self::Commit(_) => false,
        }
    }
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

fn annotation<'a>(claim: &'a PersistentVolumeClaim, key: &str) -> Option<&'a String> {
    claim.metadata.annotations.as_ref()?.get(key)
}

/// The group of VolumeSnapshots.
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

/// The reference that is ours to serve, when the claim has one: into our group, or to what it is to be a copy of. The API
/// server says the latter twice, in `dataSource` as well.
fn our_reference(claim: &PersistentVolumeClaim) -> Option<&TypedObjectReference> {
    let source = claim.spec.as_ref()?.data_source_ref.as_ref()?;
    let group = source.api_group.as_deref().unwrap_or_default();
    (group == GROUP || is_copy_of(group, &source.kind)).then_some(source)
}

fn is_copy_of(group: &str, kind: &str) -> bool {
    matches!(
        (group, kind),
        (SNAPSHOTS, "VolumeSnapshot") | ("", "PersistentVolumeClaim")
    )
}

/// Whether the claim is to be a copy of a VolumeSnapshot or of another claim.
pub fn is_copy(claim: &PersistentVolumeClaim) -> bool {
    our_reference(claim).is_some_and(|source| is_copy_of(source.api_group.as_deref().unwrap_or_default(), &source.kind))
}

/// Whether the claim names something that it is to follow or to be a copy of, in whichever way.
pub fn has_source(claim: &PersistentVolumeClaim) -> bool {
    our_reference(claim).is_some()
        || [ANNOTATION_DOT, ANNOTATION_BRANCH]
            .iter()
            .any(|key| annotation(claim, key).is_some())
}

/// What a claim for which [`has_source`] holds is to follow.
///
/// # Errors
/// When it says two things, or names what cannot be.
pub fn parse_source(claim: &PersistentVolumeClaim) -> Result<Source, ClaimError> {
    let by_annotation = |key: &'static str| {
        let name = annotation(claim, key).cloned();
        name.map(|name| named(format!("annotation {key}"), name)).transpose()
    };
    let (dot, branch) = (by_annotation(ANNOTATION_DOT)?, by_annotation(ANNOTATION_BRANCH)?);
    let spec = claim.spec.as_ref();
    let has_data_source = spec.is_some_and(|spec| spec.data_source.is_some() || spec.data_source_ref.is_some());
    match (dot, branch) {
        (None, None) => {}
        _ if has_data_source => return Err(ClaimError::TwoSources),
        (dot, Some(name)) => return Ok(Source::Branch { name, dot }),
        (Some(dot), None) => return Ok(Source::Dot(dot)),
    }
    let source = our_reference(claim).ok_or(ClaimError::Incomplete { what: "dataSourceRef" })?;
    // An API server with cross-namespace sources enabled passes the field on; here it is refused until it is served.
    let own = claim.metadata.namespace.as_ref();
    if let Some(other) = source.namespace.as_ref().filter(|other| Some(*other) != own) {
        return Err(ClaimError::OtherNamespace { other: other.clone() });
    }
    let how = || format!("dataSourceRef to a {}", source.kind);
    let name = || named(how(), source.name.clone());
    let theirs = || named_by(check_subdomain, how(), source.name.clone());
    match source.kind.as_str() {
        "VolumeSnapshot" if is_copy(claim) => theirs().map(Source::Snapshot),
        "PersistentVolumeClaim" if is_copy(claim) => theirs().map(Source::Claim),
        "Dot" => name().map(Source::Dot),
        "Branch" => name().map(|name| Source::Branch { name, dot: None }),
        "Commit" => name().map(Source::Commit),
        other => Err(ClaimError::Kind { kind: other.to_owned() }),
    }
}

/// A name that an object of ours can have.
fn named(how: String, name: String) -> Result<String, ClaimError> {
    named_by(check_label, how, name)
}

fn named_by(check: fn(&str) -> Result<(), InvalidName>, how: String, name: String) -> Result<String, ClaimError> {
    match check(&name) {
        Ok(()) => Ok(name),
        Err(source) => Err(ClaimError::SourceName {
            how,
            name: name.chars().take(VolumeName::MAX_LEN + 1).collect(),
            source,
        }),
    }
}

/// Whether the claim says that its volume may be shared.
fn parse_shared(claim: &PersistentVolumeClaim, access_modes: &[String]) -> Result<bool, ClaimError> {
    match annotation(claim, ANNOTATION_SHARED).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") if access_modes.iter().any(|mode| mode == "ReadWriteOncePod") => Err(ClaimError::SharedByOnePod),
        Some("true") => Ok(true),
        Some(other) => Err(ClaimError::Shared {
            text: other.chars().take(VolumeName::MAX_LEN + 1).collect(),
        }),
    }
}

/// Whether nothing is bound to the claim, and it is not going away.
pub fn is_unbound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume.is_none_or(str::is_empty) && claim.metadata.deletion_timestamp.is_none()
}

/// Whether the claim is for this controller to serve: ours, unbound, not going away.
pub fn is_served(claim: &PersistentVolumeClaim, class: &StorageClass) -> bool {
    has_source(claim) && is_unbound(claim) && class.provisioner == DRIVER
}

/// Reads a claim for which [`is_served`] holds.
pub fn validate(claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<Request, ClaimError> {
    let metadata = &claim.metadata;
    let spec = claim.spec.as_ref().ok_or(ClaimError::Incomplete { what: "spec" })?;
    let namespace = metadata
        .namespace
        .clone()
        .ok_or(ClaimError::Incomplete { what: "namespace" })?;
    let source = parse_source(claim)?;
    let format = parse_format(spec.volume_mode.as_deref(), class)?;
    let access_modes = spec.access_modes.clone().unwrap_or_default();
    if let Some(mode) = access_modes
        .iter()
        .find(|mode| !matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod" | "ReadOnlyMany"))
    {
        return Err(ClaimError::AccessMode { mode: mode.clone() });
    }
    let volume = annotation(claim, ANNOTATION_VOLUME)
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
        shared: parse_shared(claim, &access_modes)?,
        size_bytes: parse_volume_size(&size.0)?,
        selected_node: annotation(claim, ANNOTATION_SELECTED_NODE)
            .filter(|node| !node.is_empty())
            .cloned(),
        access_modes,
        class: Class {
            name: class.metadata.name.clone().unwrap_or_default(),
            // Kubernetes' default for classes.
            reclaim_policy: class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned()),
            mount_options: class.mount_options.clone(),
        },
        attributes_class: spec
            .volume_attributes_class_name
            .clone()
            .filter(|name| !name.is_empty()),
        pool_class: class
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.get(PARAMETER_POOL_CLASS))
            .cloned(),
        format,
        import: metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(LABEL_IMPORT))
            .cloned(),
        tuning: parse_tuning(class)?,
    })
}

/// How the class wants data of new volumes to be kept.
fn parse_tuning(class: &StorageClass) -> Result<Tuning, ClaimError> {
    let parameters = class.parameters.as_ref();
    Tuning::of_parameters(|name| parameters?.get(name).map(String::as_str)).map_err(|source| ClaimError::Tuning {
        class: class.metadata.name.clone().unwrap_or_default(),
        source,
    })
}

/// A block device, or the filesystem that the class asks for.
fn parse_format(mode: Option<&str>, class: &StorageClass) -> Result<Option<VolumeFormat>, ClaimError> {
    match mode {
        Some("Block") => return Ok(Some(VolumeFormat::Block)),
        None | Some("Filesystem") => {}
        Some(other) => return Err(ClaimError::VolumeMode { mode: other.to_owned() }),
    }
    let parameters = class.parameters.as_ref();
    let asked = parameters.and_then(|parameters| parameters.get(PARAMETER_FS_TYPE));
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Ok(None);
    };
    let format = VolumeFormat::of_fs_type(asked).map_err(|_| ClaimError::FsType {
        class: class.metadata.name.clone().unwrap_or_default(),
        fs_type: asked.chars().take(VolumeName::MAX_LEN + 1).collect(),
    })?;
    Ok(Some(format))
}
