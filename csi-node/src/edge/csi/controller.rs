//! CSI Controller standing alone: each call is parsed here and done by [`super::alone`]. In Kubernetes nobody calls this;
//! a handle that the operator gave out is only detached here, never deleted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use dotmesh_csi_proto::csi as proto;
use dotmesh_csi_proto::csi::controller_server::Controller;
use dotmesh_csi_proto::csi::controller_service_capability::rpc::Type as Rpc;
use dotmesh_csi_proto::csi::controller_service_capability::{self, Type};
use dotmesh_csi_proto::csi::list_snapshots_response as snapshots_page;
use dotmesh_csi_proto::csi::validate_volume_capabilities_response::Confirmed;
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::{Handle, SnapshotId};
use dotmesh_model::tuning::Tuning;
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::{Request, Response, Status};

use super::capability::parse_capability;
use super::change::{parse_expand, parse_modify};
use super::create::{parse_create, parse_snapshot_id};
use super::health::switched_off;
use super::list::parse_capacity;
use super::node::parse_handle;
use super::snapshots::{Taken, parse_take};
use super::{Csi, KUBERNETES, invalid};
use dotmesh_csi_proto::list::{Page, SnapshotFilter};

/// What the parameters say: those of ZFS, and what csi-provisioner adds.
pub(super) fn parse_tuning(parameters: &HashMap<String, String>) -> Result<Tuning, Status> {
    check_known(parameters, &Tuning::PARAMETERS)?;
    Tuning::of_parameters(|name| parameters.get(name).map(String::as_str))
        .map_err(|error| invalid(format!("parameters: {error}")))
}

/// Bytes it shall have at least, if that is said, and the most it may have.
pub(super) fn parse_range(
    range: Option<proto::CapacityRange>,
    format: VolumeFormat,
) -> Result<(Option<u64>, u64), Status> {
    let (required, limit) = parse_bounds(range.unwrap_or_default())?;
    let least = format.min_bytes();
    if limit < least {
        return Err(Status::out_of_range(format!(
            "a volume of format {format} has at least {least} bytes"
        )));
    }
    Ok(((required > 0).then(|| required.max(least)), limit))
}

/// The least and the most bytes: 0 and all there are where nothing is said.
pub(super) fn parse_bounds(range: proto::CapacityRange) -> Result<(u64, u64), Status> {
    let bytes = |number: i64| u64::try_from(number).map_err(|_| invalid("the capacity is negative"));
    let (required, limit) = (bytes(range.required_bytes)?, bytes(range.limit_bytes)?);
    let limit = if limit == 0 { u64::MAX } else { limit };
    if required > limit {
        return Err(invalid("the required capacity is above the limit"));
    }
    Ok((required, limit))
}

/// The one format that all of them ask for.
pub(super) fn parse_format(capabilities: &[proto::VolumeCapability]) -> Result<VolumeFormat, Status> {
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

/// A snapshot has none of its own.
pub(super) fn check_parameters(parameters: &HashMap<String, String>) -> Result<(), Status> {
    check_known(parameters, &[])
}

/// These, and what the sidecars add.
fn check_known(parameters: &HashMap<String, String>, ours: &[&str]) -> Result<(), Status> {
    let is_known = |key: &&String| ours.contains(&key.as_str()) || key.starts_with(KUBERNETES);
    match parameters.keys().filter(|key| !is_known(key)).min() {
        None => Ok(()),
        Some(key) => Err(invalid(format!("parameters: {key:?} is not one of ours"))),
    }
}

#[tonic::async_trait]
impl<Z: Zfs, M: Mount> Controller for Csi<Z, M> {
    async fn create_volume(
        &self,
        request: Request<proto::CreateVolumeRequest>,
    ) -> Result<Response<proto::CreateVolumeResponse>, Status> {
        let wanted = Arc::new(parse_create(request.into_inner(), &self.node)?);
        let (alone, create) = (Arc::clone(&self.alone), Arc::clone(&wanted));
        let operation = async move { alone.create(&create).await };
        let made = self.calls.run("CreateVolume", operation).await?;
        let volume = proto::Volume {
            capacity_bytes: i64::try_from(made.size).unwrap_or(i64::MAX),
            volume_id: made.handle.to_string(),
            volume_context: Default::default(),
            content_source: wanted.content_source(),
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
            let alone = Arc::clone(&self.alone);
            let operation = async move { alone.delete_volume(handle).await };
            self.calls.run("DeleteVolume", operation).await?;
        }
        Ok(Response::new(proto::DeleteVolumeResponse {}))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<proto::ControllerExpandVolumeRequest>,
    ) -> Result<Response<proto::ControllerExpandVolumeResponse>, Status> {
        let wanted = parse_expand(request.into_inner())?;
        let (alone, limit) = (Arc::clone(&self.alone), wanted.limit);
        let operation = async move { alone.change(&wanted).await };
        let size = self.calls.run("ControllerExpandVolume", operation).await?;
        if size > limit {
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

    async fn controller_modify_volume(
        &self,
        request: Request<proto::ControllerModifyVolumeRequest>,
    ) -> Result<Response<proto::ControllerModifyVolumeResponse>, Status> {
        let wanted = parse_modify(&request.into_inner())?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.change(&wanted).await };
        self.calls.run("ControllerModifyVolume", operation).await?;
        Ok(Response::new(proto::ControllerModifyVolumeResponse {}))
    }

    async fn list_volumes(
        &self,
        request: Request<proto::ListVolumesRequest>,
    ) -> Result<Response<proto::ListVolumesResponse>, Status> {
        let request = request.into_inner();
        let page = Page::parse::<Handle>(request.max_entries, request.starting_token)?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.list_volumes(&page).await };
        let (mut entries, next_token) = self.calls.run("ListVolumes", operation).await?;
        for volume in entries.iter_mut().filter_map(|entry| entry.volume.as_mut()) {
            volume.accessible_topology = vec![self.topology()];
        }
        Ok(Response::new(proto::ListVolumesResponse { entries, next_token }))
    }

    async fn get_capacity(
        &self,
        request: Request<proto::GetCapacityRequest>,
    ) -> Result<Response<proto::GetCapacityResponse>, Status> {
        let wanted = parse_capacity(&request.into_inner(), &self.node)?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.capacity(wanted).await };
        self.calls.run("GetCapacity", operation).await.map(Response::new)
    }

    async fn create_snapshot(
        &self,
        request: Request<proto::CreateSnapshotRequest>,
    ) -> Result<Response<proto::CreateSnapshotResponse>, Status> {
        let wanted = parse_take(request.into_inner(), &self.node)?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.take(&wanted).await };
        let taken = self.calls.run("CreateSnapshot", operation).await?;
        let snapshot = Some(taken.answer(self.snapshot_topology()));
        Ok(Response::new(proto::CreateSnapshotResponse { snapshot }))
    }

    async fn delete_snapshot(
        &self,
        request: Request<proto::DeleteSnapshotRequest>,
    ) -> Result<Response<proto::DeleteSnapshotResponse>, Status> {
        let id = request.into_inner().snapshot_id;
        if id.is_empty() {
            return Err(invalid("snapshot_id is missing"));
        }
        if let Ok(id) = id.parse() {
            let alone = Arc::clone(&self.alone);
            let operation = async move { alone.delete_snapshot(id).await };
            self.calls.run("DeleteSnapshot", operation).await?;
        }
        Ok(Response::new(proto::DeleteSnapshotResponse {}))
    }

    async fn list_snapshots(
        &self,
        request: Request<proto::ListSnapshotsRequest>,
    ) -> Result<Response<proto::ListSnapshotsResponse>, Status> {
        let filter = SnapshotFilter::parse::<SnapshotId>(request.into_inner())?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.list_snapshots(&filter).await };
        let (taken, next_token) = self.calls.run("ListSnapshots", operation).await?;
        let entry = |taken: &Taken| snapshots_page::Entry {
            snapshot: Some(taken.answer(self.snapshot_topology())),
        };
        Ok(Response::new(proto::ListSnapshotsResponse {
            entries: taken.iter().map(entry).collect(),
            next_token,
        }))
    }

    async fn get_snapshot(
        &self,
        request: Request<proto::GetSnapshotRequest>,
    ) -> Result<Response<proto::GetSnapshotResponse>, Status> {
        let id = parse_snapshot_id(&request.into_inner().snapshot_id)?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.snapshot(id).await };
        let taken = self.calls.run("GetSnapshot", operation).await?;
        let snapshot = Some(taken.answer(self.snapshot_topology()));
        Ok(Response::new(proto::GetSnapshotResponse { snapshot }))
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

    async fn controller_get_volume_health(
        &self,
        request: Request<proto::ControllerGetVolumeHealthRequest>,
    ) -> Result<Response<proto::ControllerGetVolumeHealthResponse>, Status> {
        if !self.alpha {
            return Err(switched_off());
        }
        let handle = parse_handle(&request.into_inner().volume_id)?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.volume_health(handle, None).await };
        let health = self.calls.run("ControllerGetVolumeHealth", operation).await?;
        let volume_health = Some(health);
        Ok(Response::new(proto::ControllerGetVolumeHealthResponse {
            volume_health,
        }))
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<proto::ControllerListVolumeHealthRequest>,
    ) -> Result<Response<proto::ControllerListVolumeHealthResponse>, Status> {
        if !self.alpha {
            return Err(switched_off());
        }
        let request = request.into_inner();
        let page = Page::parse::<Handle>(request.max_entries, request.starting_token)?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.list_volume_health(&page).await };
        let (entries, next_token) = self.calls.run("ControllerListVolumeHealth", operation).await?;
        let answer = proto::ControllerListVolumeHealthResponse { entries, next_token };
        Ok(Response::new(answer))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<proto::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<proto::ControllerGetCapabilitiesResponse>, Status> {
        let capability = |rpc: Rpc| proto::ControllerServiceCapability {
            r#type: Some(Type::Rpc(controller_service_capability::Rpc { r#type: rpc.into() })),
        };
        let all = [
            Rpc::CreateDeleteVolume,
            Rpc::ListVolumes,
            Rpc::GetCapacity,
            Rpc::CreateDeleteSnapshot,
            Rpc::ListSnapshots,
            Rpc::CloneVolume,
            Rpc::ExpandVolume,
            Rpc::SingleNodeMultiWriter,
            Rpc::ModifyVolume,
            Rpc::GetSnapshot,
        ];
        let alpha = [Rpc::GetVolumeHealth, Rpc::ListVolumeHealth];
        let alpha = alpha.into_iter().filter(|_| self.alpha);
        Ok(Response::new(proto::ControllerGetCapabilitiesResponse {
            capabilities: all.into_iter().chain(alpha).map(capability).collect(),
        }))
    }
}
