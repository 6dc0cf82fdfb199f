//! CSI Controller: thin. One typed parse of the request, one call, one conversion of the error.

use std::collections::HashMap;

use dotmesh_crds::names::TOPOLOGY_NODE;
use dotmesh_csi_proto::csi::controller_server::Controller;
use dotmesh_csi_proto::csi::controller_service_capability::{Rpc, Type, rpc};
use dotmesh_csi_proto::csi::list_snapshots_response::Entry;
use dotmesh_csi_proto::csi::validate_volume_capabilities_response::Confirmed;
use dotmesh_csi_proto::csi::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerGetCapabilitiesRequest,
    ControllerGetCapabilitiesResponse, ControllerModifyVolumeRequest, ControllerModifyVolumeResponse,
    ControllerServiceCapability, CreateSnapshotRequest, CreateSnapshotResponse, CreateVolumeRequest,
    CreateVolumeResponse, DeleteSnapshotRequest, DeleteSnapshotResponse, DeleteVolumeRequest, DeleteVolumeResponse,
    GetSnapshotRequest, GetSnapshotResponse, ListSnapshotsRequest, ListSnapshotsResponse, Snapshot, Topology,
    ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse, Volume,
};
use dotmesh_csi_proto::list::SnapshotFilter;
use dotmesh_model::handle::{Handle, SnapshotRef};
use prost_types::Timestamp;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info_span};

use super::budget;
use super::create::{CreateError, create_volume};
use super::delete::{DeleteError, delete_volume, find_dot};
use super::expand::{ExpandError, ExpandVolume, expand_volume};
use super::modify::{ModifyError, ModifyVolume, modify_volume};
use super::plan::Created;
use super::request::{CreateVolume, RequestError, parse_capability};
use super::snapshot::list::list_snapshots;
use super::snapshot::{SnapshotError, TakeSnapshot, Taken, delete_snapshot, get_snapshot, take_snapshot};
use super::watch::WatchObject;
use crate::api::Api;

/// The Controller service.
#[derive(Debug, Clone)]
pub struct ControllerService<A, W> {
    api: A,
    watches: W,
    with_snapshots: bool,
}

impl<A: Api, W: WatchObject> ControllerService<A, W> {
    /// Over the API and a source of changes; with snapshots where somebody asks for them.
    #[must_use]
    pub fn new(api: A, watches: W, with_snapshots: bool) -> Self {
        Self {
            api,
            watches,
            with_snapshots,
        }
    }

    fn check_snapshots(&self) -> Result<(), Status> {
        match self.with_snapshots {
            true => Ok(()),
            false => Err(Status::unimplemented("this operator runs without --csi-snapshots")),
        }
    }

    /// A snapshot that is there.
    async fn snapshot(&self, id: &str) -> Result<Option<Taken>, Status> {
        let Ok(id) = id.parse::<SnapshotRef>() else {
            return Ok(None);
        };
        Ok(get_snapshot(&self.api, id).await.map_err(SnapshotError::from)?)
    }
}

impl From<Taken> for Snapshot {
    fn from(taken: Taken) -> Self {
        Self {
            size_bytes: i64::try_from(taken.size_bytes).unwrap_or(i64::MAX),
            snapshot_id: taken.id.to_string(),
            source_volume_id: taken.source.to_string(),
            creation_time: Some(Timestamp {
                seconds: taken.time.as_second(),
                nanos: 0,
            }),
            ready_to_use: true,
            group_snapshot_id: taken.group.map_or_else(String::new, |group| group.to_string()),
            ..Self::default()
        }
    }
}

impl From<Created> for Volume {
    fn from(created: Created) -> Self {
        let Created {
            handle,
            size_bytes,
            node,
        } = created;
        Self {
            capacity_bytes: i64::try_from(size_bytes).unwrap_or(i64::MAX),
            volume_id: handle.to_string(),
            volume_context: HashMap::new(),
            content_source: None,
            accessible_topology: vec![Topology {
                segments: HashMap::from([(TOPOLOGY_NODE.to_owned(), node)]),
            }],
        }
    }
}

#[tonic::async_trait]
impl<A: Api, W: WatchObject> Controller for ControllerService<A, W> {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let budget = budget(request.metadata());
        let span = info_span!("CreateVolume", name = request.get_ref().name);
        let request = request.into_inner();
        // csi-provisioner deletes a volume whose answer does not say it again.
        let content_source = request.volume_content_source.clone();
        let call = async {
            let request = CreateVolume::try_from(request)?;
            create_volume(&self.api, &self.watches, &request, budget).await
        };
        match call.instrument(span.clone()).await {
            Ok(created) => Ok(Response::new(CreateVolumeResponse {
                volume: Some(Volume {
                    content_source,
                    ..created.into()
                }),
            })),
            Err(error) => {
                span.in_scope(|| tracing::warn!(error = %dotmesh_telemetry::Chain(&error), "no volume"));
                Err(CreateError::into(error))
            }
        }
    }

    async fn delete_volume(
        &self,
        request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        let budget = budget(request.metadata());
        let id = request.into_inner().volume_id;
        if id.is_empty() {
            return Err(Status::invalid_argument("volume_id is missing"));
        }
        // Nothing of ours is behind a handle that is not ours.
        let Ok(handle) = id.parse::<Handle>() else {
            tracing::info!(volume_id = id, "nothing to delete: not a handle of this driver");
            return Ok(Response::new(DeleteVolumeResponse {}));
        };
        let span = info_span!("DeleteVolume", handle = %handle);
        match delete_volume(&self.api, &self.watches, handle, budget)
            .instrument(span.clone())
            .await
        {
            Ok(()) => Ok(Response::new(DeleteVolumeResponse {})),
            Err(error) => {
                span.in_scope(|| tracing::warn!(error = %dotmesh_telemetry::Chain(&error), "not deleted yet"));
                Err(DeleteError::into(error))
            }
        }
    }

    async fn controller_expand_volume(
        &self,
        request: Request<ControllerExpandVolumeRequest>,
    ) -> Result<Response<ControllerExpandVolumeResponse>, Status> {
        let budget = budget(request.metadata());
        let span = info_span!("ControllerExpandVolume", handle = request.get_ref().volume_id);
        let call = async {
            let request = ExpandVolume::try_from(request.into_inner())?;
            expand_volume(&self.api, &self.watches, &request, budget).await
        };
        match call.instrument(span.clone()).await {
            Ok(bytes) => Ok(Response::new(ControllerExpandVolumeResponse {
                capacity_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
                // A filesystem of ZFS has its new limit at once, mounted or not.
                node_expansion_required: false,
            })),
            Err(error) => {
                span.in_scope(|| tracing::warn!(error = %dotmesh_telemetry::Chain(&error), "not larger"));
                Err(ExpandError::into(error))
            }
        }
    }

    async fn controller_modify_volume(
        &self,
        request: Request<ControllerModifyVolumeRequest>,
    ) -> Result<Response<ControllerModifyVolumeResponse>, Status> {
        let budget = budget(request.metadata());
        let span = info_span!("ControllerModifyVolume", handle = request.get_ref().volume_id);
        let call = async {
            let request = ModifyVolume::try_from(request.into_inner())?;
            modify_volume(&self.api, &self.watches, &request, budget).await
        };
        match call.instrument(span.clone()).await {
            Ok(()) => Ok(Response::new(ControllerModifyVolumeResponse {})),
            Err(error) => {
                span.in_scope(|| tracing::warn!(error = %dotmesh_telemetry::Chain(&error), "not changed"));
                Err(ModifyError::into(error))
            }
        }
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<ValidateVolumeCapabilitiesResponse>, Status> {
        let ValidateVolumeCapabilitiesRequest {
            volume_id,
            volume_context,
            volume_capabilities,
            parameters,
            secrets: _,
            mutable_parameters,
        } = request.into_inner();
        if volume_id.is_empty() || volume_capabilities.is_empty() {
            return Err(Status::invalid_argument("volume_id or volume_capabilities is missing"));
        }
        let not_found = || Status::not_found("there is no such volume");
        let handle: Handle = volume_id.parse().map_err(|_| not_found())?;
        find_dot(&self.api, handle.dot)
            .await
            .map_err(DeleteError::from)?
            .ok_or_else(not_found)?;
        let refused = volume_capabilities.iter().find_map(|one| parse_capability(one).err());
        Ok(Response::new(match refused {
            Some(why) => ValidateVolumeCapabilitiesResponse {
                confirmed: None,
                message: why.to_string(),
            },
            None => ValidateVolumeCapabilitiesResponse {
                confirmed: Some(Confirmed {
                    volume_context,
                    volume_capabilities,
                    parameters,
                    mutable_parameters,
                }),
                message: String::new(),
            },
        }))
    }

    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        self.check_snapshots()?;
        let budget = budget(request.metadata());
        let span = info_span!("CreateSnapshot", name = request.get_ref().name);
        let call = async {
            let request = TakeSnapshot::try_from(request.into_inner())?;
            take_snapshot(&self.api, &self.watches, &request, budget).await
        };
        match call.instrument(span.clone()).await {
            Ok(taken) => Ok(Response::new(CreateSnapshotResponse {
                snapshot: Some(taken.into()),
            })),
            Err(error) => {
                span.in_scope(|| tracing::warn!(error = %dotmesh_telemetry::Chain(&error), "no snapshot"));
                Err(SnapshotError::into(error))
            }
        }
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        self.check_snapshots()?;
        let id = request.into_inner().snapshot_id;
        if id.is_empty() {
            return Err(RequestError::NoSnapshotId.into());
        }
        // Nothing of ours is behind an id that is not ours.
        if let Ok(id) = id.parse() {
            delete_snapshot(&self.api, id).await?;
        }
        Ok(Response::new(DeleteSnapshotResponse {}))
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        self.check_snapshots()?;
        let id = request.into_inner().snapshot_id;
        if id.is_empty() {
            return Err(RequestError::NoSnapshotId.into());
        }
        let found = self.snapshot(&id).await?;
        let found = found.ok_or_else(|| Status::not_found(format!("there is no snapshot {id:?}")))?;
        Ok(Response::new(GetSnapshotResponse {
            snapshot: Some(found.into()),
        }))
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        self.check_snapshots()?;
        let filter = SnapshotFilter::parse::<SnapshotRef>(request.into_inner())?;
        let found = match &filter.id {
            Some(id) => self.snapshot(id).await?.into_iter().collect(),
            None => list_snapshots(&self.api).await.map_err(SnapshotError::from)?,
        };
        let found = found.into_iter().filter(|taken| filter.takes(&taken.id, &taken.source));
        let found = found.map(|taken| (taken.id.to_string(), taken)).collect();
        let (page, next_token) = filter.page.cut(found);
        let entry = |taken: Taken| Entry {
            snapshot: Some(taken.into()),
        };
        Ok(Response::new(ListSnapshotsResponse {
            entries: page.into_iter().map(entry).collect(),
            next_token,
        }))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let capability = |kind: rpc::Type| ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        };
        let mut all = vec![
            rpc::Type::CreateDeleteVolume,
            rpc::Type::CloneVolume,
            rpc::Type::ExpandVolume,
            rpc::Type::ModifyVolume,
            rpc::Type::SingleNodeMultiWriter,
        ];
        if self.with_snapshots {
            all.extend([
                rpc::Type::CreateDeleteSnapshot,
                rpc::Type::ListSnapshots,
                rpc::Type::GetSnapshot,
            ]);
        }
        Ok(Response::new(ControllerGetCapabilitiesResponse {
            capabilities: all.into_iter().map(capability).collect(),
        }))
    }
}
