//! CSI Controller: thin. One typed parse of the request, one call, one conversion of the error.

use std::collections::HashMap;

use dotmesh_crds::names::TOPOLOGY_NODE;
use dotmesh_csi_proto::csi::controller_server::Controller;
use dotmesh_csi_proto::csi::controller_service_capability::{Rpc, Type, rpc};
use dotmesh_csi_proto::csi::validate_volume_capabilities_response::Confirmed;
use dotmesh_csi_proto::csi::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerGetCapabilitiesRequest,
    ControllerGetCapabilitiesResponse, ControllerModifyVolumeRequest, ControllerModifyVolumeResponse,
    ControllerServiceCapability, CreateVolumeRequest, CreateVolumeResponse, DeleteVolumeRequest, DeleteVolumeResponse,
    Topology, ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse, Volume,
};
use dotmesh_model::handle::Handle;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info_span};

use super::budget;
use super::create::{CreateError, create_volume};
use super::delete::{DeleteError, delete_volume, find_dot};
use super::expand::{ExpandError, ExpandVolume, expand_volume};
use super::modify::{ModifyError, ModifyVolume, modify_volume};
use super::plan::Created;
use super::request::{CreateVolume, parse_capability};
use super::watch::WatchObject;
use crate::api::Api;

/// The Controller service.
#[derive(Debug, Clone)]
pub struct ControllerService<A, W> {
    api: A,
    watches: W,
}

impl<A: Api, W: WatchObject> ControllerService<A, W> {
    /// Over the API and a source of changes.
    #[must_use]
    pub fn new(api: A, watches: W) -> Self {
        Self { api, watches }
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
        let call = async {
            let request = CreateVolume::try_from(request.into_inner())?;
            create_volume(&self.api, &self.watches, &request, budget).await
        };
        match call.instrument(span.clone()).await {
            Ok(created) => Ok(Response::new(CreateVolumeResponse {
                volume: Some(created.into()),
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
        find_dot(&self.api, &handle)
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

    async fn controller_get_capabilities(
        &self,
        _: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let capability = |kind: rpc::Type| ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        };
        Ok(Response::new(ControllerGetCapabilitiesResponse {
            capabilities: vec![
                capability(rpc::Type::CreateDeleteVolume),
                capability(rpc::Type::ExpandVolume),
                capability(rpc::Type::ModifyVolume),
                capability(rpc::Type::SingleNodeMultiWriter),
            ],
        }))
    }
}
