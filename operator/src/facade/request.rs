//! CreateVolume, read once: after this nobody looks at the wire's maps and optional fields. Pure.
//!
//! What external-provisioner sends: `name` = `pvc-<claim uid>` (its default prefix), the claim's name and namespace
//! in parameters (`--extra-create-metadata`), the chosen node first in `accessibility_requirements`
//! (`--strict-topology`: the only one).

use std::collections::HashMap;

use super::modify::parse_mutable;
use dotmesh_crds::names::{DEFAULT_CLASS, PARAMETER_POOL_CLASS, TOPOLOGY_NODE};
use dotmesh_crds::pool::is_class;
use dotmesh_csi_proto::csi::volume_capability::{AccessType, access_mode::Mode};
use dotmesh_csi_proto::csi::volume_content_source::Type as ContentSource;
use dotmesh_csi_proto::csi::{CreateVolumeRequest, TopologyRequirement, VolumeCapability};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::Handle;
use dotmesh_model::id::ClaimUid;
use dotmesh_model::size::MIN_VOLUME_BYTES;
use dotmesh_model::tuning::{Tuning, TuningError};

/// Capacity when the caller does not ask for any (CSI: the plugin's choice).
const DEFAULT_BYTES: u64 = 1 << 30;
/// What external-provisioner adds to the class's parameters begins so.
pub(super) const SIDECARS: &str = "csi.storage.k8s.io/";
const PARAMETER_CLAIM: &str = "csi.storage.k8s.io/pvc/name";
const PARAMETER_NAMESPACE: &str = "csi.storage.k8s.io/pvc/namespace";

/// A volume for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateVolume {
    /// Identity of the claim: the key of idempotence.
    pub claim: ClaimUid,
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// How large the volume is made.
    pub size_bytes: u64,
    /// The largest size that is acceptable; absent: any.
    pub limit_bytes: Option<u64>,
    /// The node that its first pod will run on.
    pub node: String,
    /// The class of the Pool that it is put on.
    pub pool_class: String,
    /// What it is to pods.
    pub format: VolumeFormat,
    /// How its data is kept.
    pub tuning: Tuning,
    /// What it is to be a copy of.
    pub source: Option<ContentSource>,
}

/// What is wrong with a request. Each names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The name is not what external-provisioner makes of a claim's uid.
    #[error("name {0:?} is not of the form pvc-<uid of the claim>")]
    Name(String),
    /// A parameter is missing.
    #[error("parameter {0} is missing; run csi-provisioner with --extra-create-metadata")]
    MissingParameter(&'static str),
    /// The class has a parameter that nobody reads: perhaps a misspelling.
    #[error("the StorageClass has an unknown parameter {0:?}")]
    UnknownParameter(String),
    /// Not what csi-snapshotter makes of a VolumeSnapshot.
    #[error("name {0:?} does not end with the uid of a snapshot")]
    SnapshotName(String),
    /// A group has each of its volumes once.
    #[error("source_volume_ids name volume {0} twice")]
    TwiceTheSame(Handle),
    /// The id is missing.
    #[error("snapshot_id is missing")]
    NoSnapshotId,
    /// A VolumeAttributesClass has a parameter that nobody reads: perhaps a misspelling.
    #[error("the VolumeAttributesClass has {0:?}; it can have compression, recordsize, sync and thin")]
    UnknownAttribute(String),
    /// A property of ZFS with a value that it does not take.
    #[error("the class: {0}")]
    Tuning(#[from] TuningError),
    /// The class of the Pool is no class.
    #[error(
        "the StorageClass has {PARAMETER_POOL_CLASS} {0:?}, which is no Pool's spec.class: lower-case letters, digits and '-'"
    )]
    PoolClass(String),
    /// No capability, or one without an access type.
    #[error("volume_capabilities is empty or has no access type")]
    NoCapability,
    /// Files and a block device at once, or two filesystems.
    #[error("volume_capabilities ask for both {0} and {1}")]
    TwoFormats(VolumeFormat, VolumeFormat),
    /// A filesystem that volumes do not have.
    #[error(
        "volumes have the filesystem zfs, ext4 or xfs; correct csi.storage.k8s.io/fstype {0:?} of the StorageClass"
    )]
    FsType(String),
    /// Several nodes that write.
    #[error("a volume is used on one node at a time; use access mode ReadWriteOnce, ReadWriteOncePod or ReadOnlyMany")]
    MultiNode,
    /// A source that is none.
    #[error("volume_content_source names neither a snapshot nor a volume")]
    ContentSource,
    /// A source that the claim does not name.
    #[error("volume_content_source is given, and the claim has no dataSource")]
    NoDataSource,
    /// No bytes, bytes below zero, or a limit below the request.
    #[error("capacity_range is missing, contradictory or negative")]
    Capacity,
    /// Nobody says of what.
    #[error("volume_id is missing")]
    NoVolumeId,
    /// Smaller than any volume.
    #[error("limit_bytes is below the smallest volume of its format, {0} bytes")]
    LimitTooSmall(u64),
    /// Nobody says where.
    #[error("accessibility_requirements names no {TOPOLOGY_NODE}")]
    NoTopology,
}

impl TryFrom<CreateVolumeRequest> for CreateVolume {
    type Error = RequestError;

    fn try_from(request: CreateVolumeRequest) -> Result<Self, RequestError> {
        let CreateVolumeRequest {
            name,
            capacity_range,
            volume_capabilities,
            parameters,
            secrets: _,
            volume_content_source,
            accessibility_requirements,
            mutable_parameters,
        } = request;
        let claim = name
            .strip_prefix("pvc-")
            .and_then(|uid| uid.parse().ok())
            .ok_or_else(|| RequestError::Name(name.chars().take(128).collect()))?;
        check_parameters(&parameters)?;
        let attributes = parse_mutable(&mutable_parameters)?;
        if volume_capabilities.is_empty() {
            return Err(RequestError::NoCapability);
        }
        let format = parse_format(&volume_capabilities)?;
        let range = capacity_range.unwrap_or_default();
        let (size_bytes, limit_bytes) = parse_range(range.required_bytes, range.limit_bytes, format)?;
        Ok(Self {
            claim,
            namespace: parameter(&parameters, PARAMETER_NAMESPACE)?,
            name: parameter(&parameters, PARAMETER_CLAIM)?,
            size_bytes,
            limit_bytes,
            pool_class: parse_pool_class(&parameters)?,
            source: volume_content_source
                .map(|source| source.r#type.ok_or(RequestError::ContentSource))
                .transpose()?,
            tuning: attributes
                .or(Tuning::of_parameters(|name| parameters.get(name).map(String::as_str))?)
                .of_format(format),
            format,
            node: accessibility_requirements
                .as_ref()
                .and_then(first_node)
                .ok_or(RequestError::NoTopology)?,
        })
    }
}

fn parameter(parameters: &HashMap<String, String>, key: &'static str) -> Result<String, RequestError> {
    parameters
        .get(key)
        .filter(|value| !value.is_empty())
        .cloned()
        .ok_or(RequestError::MissingParameter(key))
}

fn check_parameters(parameters: &HashMap<String, String>) -> Result<(), RequestError> {
    let unknown = parameters
        .keys()
        .filter(|key| !key.starts_with(SIDECARS) && *key != PARAMETER_POOL_CLASS)
        .filter(|key| !Tuning::PARAMETERS.contains(&key.as_str()))
        .min();
    unknown.map_or(Ok(()), |key| Err(RequestError::UnknownParameter(key.clone())))
}

fn parse_pool_class(parameters: &HashMap<String, String>) -> Result<String, RequestError> {
    let class = parameters
        .get(PARAMETER_POOL_CLASS)
        .map_or(DEFAULT_CLASS, String::as_str);
    if is_class(class) {
        return Ok(class.to_owned());
    }
    Err(RequestError::PoolClass(class.chars().take(64).collect()))
}

/// The one format that all capabilities ask for.
fn parse_format(capabilities: &[VolumeCapability]) -> Result<VolumeFormat, RequestError> {
    let mut format = None;
    for capability in capabilities {
        let asked = parse_capability(capability)?;
        match format.replace(asked) {
            Some(other) if other != asked => return Err(RequestError::TwoFormats(other, asked)),
            Some(_) | None => {}
        }
    }
    format.ok_or(RequestError::NoCapability)
}

/// The format that a capability asks for, if it is one that volumes have.
pub fn parse_capability(capability: &VolumeCapability) -> Result<VolumeFormat, RequestError> {
    let format = match &capability.access_type {
        None => return Err(RequestError::NoCapability),
        Some(AccessType::Block(_)) => VolumeFormat::Block,
        Some(AccessType::Mount(mount)) => VolumeFormat::of_fs_type(&mount.fs_type)
            .map_err(|_| RequestError::FsType(mount.fs_type.chars().take(64).collect()))?,
    };
    let mode = capability
        .access_mode
        .as_ref()
        .and_then(|mode| Mode::try_from(mode.mode).ok());
    match mode.unwrap_or(Mode::Unknown) {
        Mode::SingleNodeWriter
        | Mode::SingleNodeReaderOnly
        | Mode::SingleNodeSingleWriter
        | Mode::SingleNodeMultiWriter
        // Whoever reads comes to the node: the PersistentVolume says where it is.
        | Mode::MultiNodeReaderOnly => Ok(format),
        Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter => Err(RequestError::MultiNode),
        Mode::Unknown => Err(RequestError::NoCapability),
    }
}

/// `required_bytes` and `limit_bytes`, where 0 stands for nothing said.
pub fn parse_bytes(required: i64, limit: i64) -> Result<(u64, Option<u64>), RequestError> {
    let bytes = |value: i64| u64::try_from(value).map_err(|_| RequestError::Capacity);
    let (required, limit) = (bytes(required)?, bytes(limit)?);
    let limit = (limit > 0).then_some(limit);
    if limit.is_some_and(|limit| limit < required) {
        return Err(RequestError::Capacity);
    }
    if limit.is_some_and(|limit| limit < MIN_VOLUME_BYTES) {
        return Err(RequestError::LimitTooSmall(MIN_VOLUME_BYTES));
    }
    Ok((required, limit))
}

fn parse_range(required: i64, limit: i64, format: VolumeFormat) -> Result<(u64, Option<u64>), RequestError> {
    let (required, limit) = parse_bytes(required, limit)?;
    let least = format.min_bytes();
    if limit.is_some_and(|limit| limit < least) {
        return Err(RequestError::LimitTooSmall(least));
    }
    let wanted = match required {
        0 => DEFAULT_BYTES.min(limit.unwrap_or(DEFAULT_BYTES)),
        required => required.max(least),
    };
    Ok((wanted, limit))
}

fn first_node(requirement: &TopologyRequirement) -> Option<String> {
    let mut topologies = requirement.preferred.iter().chain(&requirement.requisite);
    topologies
        .find_map(|topology| topology.segments.get(TOPOLOGY_NODE))
        .cloned()
}

#[cfg(test)]
mod tests;
