//! CSI Controller standing alone: a volume is a Dot of its own with one volume and one branch, named by the request.
//!
//! Ids are UUIDv5 of the request's name, so a repeated request finds what the first made. In Kubernetes nobody calls
//! this; a handle that the operator gave out is only detached here, never deleted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use dotmesh_csi_proto::csi as proto;
use dotmesh_csi_proto::csi::controller_server::Controller;
use dotmesh_csi_proto::csi::controller_service_capability::rpc::Type as Rpc;
use dotmesh_csi_proto::csi::controller_service_capability::{self, Type};
use dotmesh_csi_proto::csi::validate_volume_capabilities_response::Confirmed;
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::Handle;
use dotmesh_model::id::{BranchId, ClaimUid, DotId, HeadId, VolumeId};
use dotmesh_model::name::{BranchName, VolumeName};
use dotmesh_model::tuning::Tuning;
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::capability::parse_capability;
use super::invalid;
use super::node::parse_handle;
use super::{Csi, TOPOLOGY_KEY};
use crate::layout::DotIdentity;
use crate::ops::{AttachRequest, Begun, BranchRequest, Error, Ops, Pools, VolumeRequest};

/// The namespace (RFC 9562) of ids that are made from names here.
const NAMES: Uuid = Uuid::from_u128(0x6d1c_3e0a_52c6_4c0f_9e57_0f6b_2a61_7d34);
/// The volume of a Dot that is made here.
const VOLUME: &str = "data";
/// What csi-provisioner adds to a class's parameters begins so.
const PROVISIONER_PREFIX: &str = "csi.storage.k8s.io/";
/// Its size when none is asked for, in bytes.
const DEFAULT_SIZE: u64 = 1 << 30;

/// A volume to make.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Create {
    name: String,
    /// Bytes it shall have when it is made.
    size: u64,
    /// Bytes it may have at most, when it is there.
    limit: u64,
    format: VolumeFormat,
    /// What of the parameters concerns that format.
    tuning: Tuning,
}

impl Create {
    fn handle(&self) -> Handle {
        let dot = DotId::new(Uuid::new_v5(&NAMES, self.name.as_bytes()));
        Handle {
            dot,
            volume: VolumeId::derive(dot, VOLUME),
            claim: own_claim(dot),
        }
    }
}

/// The claim of a Dot that was made here.
fn own_claim(dot: DotId) -> ClaimUid {
    ClaimUid::new(Uuid::new_v5(&dot.uuid(), b"claim"))
}

fn own_branch(dot: DotId) -> BranchId {
    BranchId::new(Uuid::new_v5(&dot.uuid(), b"branch"))
}

fn parse_create(request: proto::CreateVolumeRequest, node: &str) -> Result<Create, Status> {
    if request.name.is_empty() {
        return Err(invalid("name is missing"));
    }
    if request.name.len() > 128 {
        return Err(invalid("name is longer than 128 bytes"));
    }
    let format = parse_format(&request.volume_capabilities)?;
    if request.volume_content_source.is_some() {
        return Err(invalid("volumes cannot be made from snapshots or volumes here"));
    }
    if !request.mutable_parameters.is_empty() {
        return Err(invalid("there are no mutable parameters"));
    }
    let here = |topology: &proto::Topology| topology.segments.get(TOPOLOGY_KEY).is_none_or(|name| name == node);
    if let Some(wanted) = &request.accessibility_requirements
        && !wanted.requisite.is_empty()
        && !wanted.requisite.iter().any(here)
    {
        return Err(Status::resource_exhausted(format!(
            "volumes can be made on node {node} only"
        )));
    }
    let (size, limit) = parse_range(request.capacity_range, format)?;
    Ok(Create {
        name: request.name,
        size,
        limit,
        format,
        tuning: parse_tuning(&request.parameters)?.of_format(format),
    })
}

/// What the parameters say: those of ZFS, and what csi-provisioner adds.
fn parse_tuning(parameters: &HashMap<String, String>) -> Result<Tuning, Status> {
    let is_known = |key: &&String| Tuning::PARAMETERS.contains(&key.as_str()) || key.starts_with(PROVISIONER_PREFIX);
    if let Some(key) = parameters.keys().filter(|key| !is_known(key)).min() {
        return Err(invalid(format!("parameters: {key:?} is not one of ours")));
    }
    Tuning::of_parameters(|name| parameters.get(name).map(String::as_str))
        .map_err(|error| invalid(format!("parameters: {error}")))
}

/// Bytes to make it with, and the most it may have.
fn parse_range(range: Option<proto::CapacityRange>, format: VolumeFormat) -> Result<(u64, u64), Status> {
    let (required, limit) = parse_bounds(range.unwrap_or_default())?;
    let size = if required == 0 {
        DEFAULT_SIZE.min(limit)
    } else {
        required
    };
    let least = format.min_bytes();
    if limit < least {
        return Err(Status::out_of_range(format!(
            "a volume of format {format} has at least {least} bytes"
        )));
    }
    Ok((size.max(least), limit))
}

/// The least and the most bytes: 0 and all there are where nothing is said.
fn parse_bounds(range: proto::CapacityRange) -> Result<(u64, u64), Status> {
    let bytes = |number: i64| u64::try_from(number).map_err(|_| invalid("the capacity is negative"));
    let (required, limit) = (bytes(range.required_bytes)?, bytes(range.limit_bytes)?);
    let limit = if limit == 0 { u64::MAX } else { limit };
    if required > limit {
        return Err(invalid("the required capacity is above the limit"));
    }
    Ok((required, limit))
}

/// The one format that all of them ask for.
fn parse_format(capabilities: &[proto::VolumeCapability]) -> Result<VolumeFormat, Status> {
    let parse = |capability| parse_capability(Some(capability)).map(|parsed| parsed.format);
    let formats: BTreeSet<VolumeFormat> = capabilities
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(invalid)?;
    let mut formats = formats.into_iter();
    match (formats.next(), formats.next()) {
        (Some(format), None) => Ok(format),
        (None, _) => Err(invalid("volume_capabilities are missing")),
        (Some(one), Some(other)) => Err(invalid(format!("a volume cannot be both {one} and {other}"))),
    }
}

/// The pool where the Dot lies, else the one where new ones are made: the node's first.
async fn pool_for<Z: Zfs, M: Mount>(pools: &Pools<Z, M>, dot: DotId) -> Result<Arc<Ops<Z, M>>, Error> {
    match pools.of_dot(dot).await {
        Err(Error::NotFound(text)) => pools.all().await?.into_iter().next().ok_or(Error::PoolMissing(text)),
        found => found,
    }
}

/// The volume's size, as it is now. What was made for one that cannot be made is taken back.
async fn create<Z: Zfs, M: Mount>(ops: &Arc<Ops<Z, M>>, create: &Create) -> Result<u64, Error> {
    match create_in_dot(ops, create).await {
        Err(error @ (Error::OutOfSpace(_) | Error::Invalid(_))) => {
            ops.withdraw_dot(create.handle().dot).await?;
            Err(error)
        }
        result => result,
    }
}

async fn create_in_dot<Z: Zfs, M: Mount>(ops: &Ops<Z, M>, create: &Create) -> Result<u64, Error> {
    let Handle { dot, volume, claim } = create.handle();
    let identity = DotIdentity {
        namespace: String::new(),
        name: create.name.clone(),
    };
    ops.ensure_dot(dot, &identity).await?;
    let head = HeadId::first_of(own_branch(dot));
    let volumes = ops.volumes_of(dot, head).await?;
    let other = |what: String| {
        let name = &create.name;
        Err(Error::Conflict(format!(
            "volume {name:?} has {what} already, not what is asked for"
        )))
    };
    let size = match volumes.get(&volume) {
        // Not sized yet: an attempt was interrupted.
        None | Some(Begun { size: 0, .. }) => create.size,
        Some(Begun { size, .. }) if !(create.size..=create.limit).contains(size) => {
            return other(format!("{size} bytes"));
        }
        Some(Begun { tuning, .. }) if create.tuning.contradicts(tuning) => {
            return other("other parameters".to_owned());
        }
        Some(Begun { size, .. }) => *size,
    };
    let request = own_branch_request(dot, volume, (size, create.format), create.tuning.clone())?;
    let made = ops.ensure_branch(&request).await?;
    let size = made.first().map_or(size, |made| made.size);
    let attach = AttachRequest {
        dot,
        claim,
        volume,
        branch: None,
    };
    ops.attach(&attach).await?;
    Ok(size)
}

/// A volume to make larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expand {
    handle: Handle,
    /// Bytes it has at least.
    size: u64,
    /// Bytes it may have at most.
    limit: u64,
}

fn parse_expand(request: proto::ControllerExpandVolumeRequest) -> Result<Expand, Status> {
    let handle = parse_handle(&request.volume_id)?;
    let range = request
        .capacity_range
        .ok_or_else(|| invalid("capacity_range is missing"))?;
    if let Some(capability) = &request.volume_capability {
        parse_capability(Some(capability)).map_err(invalid)?;
    }
    let (size, limit) = parse_bounds(range)?;
    if handle.claim != own_claim(handle.dot) {
        return Err(invalid("the volume was not made here; it grows where it was made"));
    }
    Ok(Expand { handle, size, limit })
}

/// The volume's size, as it is then. It only grows.
async fn expand<Z: Zfs, M: Mount>(ops: &Ops<Z, M>, expand: Expand) -> Result<u64, Error> {
    let Handle { dot, volume, .. } = expand.handle;
    let volumes = ops.volumes_of(dot, HeadId::first_of(own_branch(dot))).await?;
    let Some(Begun {
        size: current,
        format: Some(format),
        tuning,
    }) = volumes.get(&volume).cloned()
    else {
        return Err(Error::NotFound(format!("there is no volume {}", expand.handle)));
    };
    // Also when it has the size: the filesystem on it may not, after an attempt that was interrupted.
    let request = own_branch_request(dot, volume, (current.max(expand.size), format), tuning)?;
    let made = ops.ensure_branch(&request).await?;
    Ok(made.first().map_or(current, |made| made.size))
}

/// The one branch of a Dot that was made here, with a volume of at least so many bytes.
fn own_branch_request(
    dot: DotId,
    volume: VolumeId,
    (size, format): (u64, VolumeFormat),
    tuning: Tuning,
) -> Result<BranchRequest, Error> {
    let branch = own_branch(dot);
    Ok(BranchRequest {
        dot,
        branch,
        name: BranchName::default(),
        head: HeadId::first_of(branch),
        volumes: vec![VolumeRequest {
            id: volume,
            name: volume_name()?,
            size,
            format,
            tuning,
            known: None,
        }],
        origin: None,
        checkout: true,
        object: String::new(),
    })
}

fn volume_name() -> Result<VolumeName, Error> {
    VOLUME.parse().map_err(|error| Error::Internal(format!("{error}")))
}

async fn delete<Z: Zfs, M: Mount>(pools: &Pools<Z, M>, handle: Handle) -> Result<(), Error> {
    let ops = match pools.of_dot(handle.dot).await {
        Err(Error::NotFound(_)) => return Ok(()),
        found => found?,
    };
    if handle.claim != own_claim(handle.dot) {
        return ops.detach(handle.dot, handle.claim).await;
    }
    let users = pools.host().users_of(handle.dot).await?;
    if let Some(user) = users.first() {
        return Err(Error::InUse(format!(
            "the volume is still published at {}",
            user.display()
        )));
    }
    ops.delete_dot(handle.dot).await.map(drop)
}

#[tonic::async_trait]
impl<Z: Zfs, M: Mount> Controller for Csi<Z, M> {
    async fn create_volume(
        &self,
        request: Request<proto::CreateVolumeRequest>,
    ) -> Result<Response<proto::CreateVolumeResponse>, Status> {
        let wanted = parse_create(request.into_inner(), &self.node)?;
        let handle = wanted.handle();
        let (pools, creations) = (Arc::clone(&self.pools), Arc::clone(&self.creations));
        let operation = async move {
            // Who asks for another size at the same moment finds this one, and neither takes it back from the other.
            let _alone = creations.exclusive(handle.dot).await;
            create(&pool_for(&pools, handle.dot).await?, &wanted).await
        };
        let size = self.calls.run("CreateVolume", operation).await?;
        let volume = proto::Volume {
            capacity_bytes: i64::try_from(size).unwrap_or(i64::MAX),
            volume_id: handle.to_string(),
            volume_context: Default::default(),
            content_source: None,
            accessible_topology: vec![self.topology()],
        };
        Ok(Response::new(proto::CreateVolumeResponse { volume: Some(volume) }))
    }

    async fn delete_volume(
        &self,
        request: Request<proto::DeleteVolumeRequest>,
    ) -> Result<Response<proto::DeleteVolumeResponse>, Status> {
        let id = request.into_inner().volume_id;
        if id.is_empty() {
            return Err(invalid("volume_id is missing"));
        }
        if let Ok(handle) = id.parse::<Handle>() {
            let pools = Arc::clone(&self.pools);
            let operation = async move { delete(&pools, handle).await };
            self.calls.run("DeleteVolume", operation).await?;
        }
        Ok(Response::new(proto::DeleteVolumeResponse {}))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<proto::ControllerExpandVolumeRequest>,
    ) -> Result<Response<proto::ControllerExpandVolumeResponse>, Status> {
        let wanted = parse_expand(request.into_inner())?;
        let pools = Arc::clone(&self.pools);
        let operation = async move { expand(&*pools.of_dot(wanted.handle.dot).await?, wanted).await };
        let size = self.calls.run("ControllerExpandVolume", operation).await?;
        if size > wanted.limit {
            return Err(Status::out_of_range(format!(
                "the volume has {size} bytes, more than the limit, and does not shrink"
            )));
        }
        Ok(Response::new(proto::ControllerExpandVolumeResponse {
            capacity_bytes: i64::try_from(size).unwrap_or(i64::MAX),
            // The quota of a filesystem is live at once, and what is on a device grows with it.
            node_expansion_required: false,
        }))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<proto::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<proto::ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        if request.volume_capabilities.is_empty() {
            return Err(invalid("volume_capabilities are missing"));
        }
        let handle = parse_handle(&request.volume_id)?;
        let pools = Arc::clone(&self.pools);
        let operation = async move { pools.of_dot(handle.dot).await?.format_of(handle).await };
        let format = self.calls.run("ValidateVolumeCapabilities", operation).await?;
        let refused =
            request
                .volume_capabilities
                .iter()
                .find_map(|capability| match parse_capability(Some(capability)) {
                    Ok(parsed) if parsed.format == format => None,
                    Ok(parsed) => Some(format!("the volume has format {format}, not {}", parsed.format)),
                    Err(refused) => Some(refused),
                });
        let confirmed = refused.is_none().then_some(Confirmed {
            volume_context: request.volume_context,
            volume_capabilities: request.volume_capabilities,
            parameters: request.parameters,
            mutable_parameters: request.mutable_parameters,
        });
        Ok(Response::new(proto::ValidateVolumeCapabilitiesResponse {
            confirmed,
            message: refused.unwrap_or_default(),
        }))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<proto::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<proto::ControllerGetCapabilitiesResponse>, Status> {
        let capability = |rpc: Rpc| proto::ControllerServiceCapability {
            r#type: Some(Type::Rpc(controller_service_capability::Rpc { r#type: rpc.into() })),
        };
        Ok(Response::new(proto::ControllerGetCapabilitiesResponse {
            capabilities: vec![
                capability(Rpc::CreateDeleteVolume),
                capability(Rpc::ExpandVolume),
                capability(Rpc::SingleNodeMultiWriter),
            ],
        }))
    }
}
