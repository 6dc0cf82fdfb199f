//! CSI GroupController: thin.

use dotmesh_csi_proto::csi::group_controller_server::GroupController;
use dotmesh_csi_proto::csi::group_controller_service_capability::{Rpc, Type, rpc};
use dotmesh_csi_proto::csi::{
    CreateVolumeGroupSnapshotRequest, CreateVolumeGroupSnapshotResponse, DeleteVolumeGroupSnapshotRequest,
    DeleteVolumeGroupSnapshotResponse, GetVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotResponse,
    GroupControllerGetCapabilitiesRequest, GroupControllerGetCapabilitiesResponse, GroupControllerServiceCapability,
    Snapshot, VolumeGroupSnapshot,
};
use dotmesh_model::handle::GroupId;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info_span};

use super::{Group, GroupError, TakeGroup, delete_group, find_group, take_group};
use crate::api::Api;
use crate::facade::budget;
use crate::facade::watch::WatchObject;

/// The GroupController service.
#[derive(Debug, Clone)]
pub struct GroupService<A, W> {
    api: A,
    watches: W,
}

impl<A: Api, W: WatchObject> GroupService<A, W> {
    /// Over the API and a source of changes.
    #[must_use]
    pub fn new(api: A, watches: W) -> Self {
        Self { api, watches }
    }
}

impl From<Group> for VolumeGroupSnapshot {
    fn from(group: Group) -> Self {
        let snapshots: Vec<Snapshot> = group.members.into_iter().map(Into::into).collect();
        Self {
            group_snapshot_id: group.id.to_string(),
            creation_time: snapshots.first().and_then(|snapshot| snapshot.creation_time),
            ready_to_use: group.is_whole,
            snapshots,
        }
    }
}

/// The id, when it is one of ours.
fn parse_id(text: &str) -> Result<Option<GroupId>, Status> {
    match text {
        "" => Err(Status::invalid_argument("group_snapshot_id is missing")),
        text => Ok(text.parse().ok()),
    }
}

#[tonic::async_trait]
impl<A: Api, W: WatchObject> GroupController for GroupService<A, W> {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<GroupControllerGetCapabilitiesResponse>, Status> {
        let kind = rpc::Type::CreateDeleteGetVolumeGroupSnapshot.into();
        Ok(Response::new(GroupControllerGetCapabilitiesResponse {
            capabilities: vec![GroupControllerServiceCapability {
                r#type: Some(Type::Rpc(Rpc { r#type: kind })),
            }],
        }))
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<CreateVolumeGroupSnapshotResponse>, Status> {
        let budget = budget(request.metadata());
        let span = info_span!("CreateVolumeGroupSnapshot", name = request.get_ref().name);
        let call = async {
            let request = TakeGroup::try_from(request.into_inner())?;
            take_group(&self.api, &self.watches, &request, budget).await
        };
        match call.instrument(span.clone()).await {
            Ok(group) => Ok(Response::new(CreateVolumeGroupSnapshotResponse {
                group_snapshot: Some(group.into()),
            })),
            Err(error) => {
                span.in_scope(|| tracing::warn!(error = %dotmesh_telemetry::Chain(&error), "no group"));
                Err(GroupError::into(error))
            }
        }
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        // Nothing of ours is behind an id that is not ours.
        if let Some(id) = parse_id(&request.group_snapshot_id)? {
            delete_group(&self.api, id, &request.snapshot_ids).await?;
        }
        Ok(Response::new(DeleteVolumeGroupSnapshotResponse {}))
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<GetVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let found = match parse_id(&request.group_snapshot_id)? {
            Some(id) => find_group(&self.api, id, &request.snapshot_ids).await?,
            None => None,
        };
        let group = found.ok_or(GroupError::NotFound(request.group_snapshot_id))?;
        Ok(Response::new(GetVolumeGroupSnapshotResponse {
            group_snapshot: Some(group.into()),
        }))
    }
}
