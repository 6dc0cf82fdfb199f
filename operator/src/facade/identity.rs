//! CSI Identity: who this is, what it can do, and whether it is ready.

use dotmesh_crds::names::DRIVER;
use dotmesh_csi_proto::csi::identity_server::Identity;
use dotmesh_csi_proto::csi::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};
use dotmesh_csi_proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    PluginCapability, ProbeRequest, ProbeResponse,
};
use dotmesh_telemetry::Readiness;
use tonic::{Request, Response, Status};

/// The Identity service.
#[derive(Debug, Clone)]
pub struct IdentityService {
    readiness: Readiness,
    with_groups: bool,
}

impl IdentityService {
    /// Ready when all parts of the program are; with groups of snapshots where somebody asks for them.
    #[must_use]
    pub fn new(readiness: Readiness, with_groups: bool) -> Self {
        Self { readiness, with_groups }
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: DRIVER.to_owned(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: Default::default(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let capability = |service: service::Type| PluginCapability {
            r#type: Some(Type::Service(Service { r#type: service.into() })),
        };
        let mut capabilities = vec![
            capability(service::Type::ControllerService),
            capability(service::Type::VolumeAccessibilityConstraints),
            // Pods go on while their volumes grow.
            PluginCapability {
                r#type: Some(Type::VolumeExpansion(VolumeExpansion {
                    r#type: volume_expansion::Type::Online.into(),
                })),
            },
        ];
        if self.with_groups {
            capabilities.push(capability(service::Type::GroupControllerService));
        }
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities }))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse {
            ready: Some(self.readiness.is_ready()),
        }))
    }
}
