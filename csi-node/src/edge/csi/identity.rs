//! CSI Identity.

use dotmesh_csi_proto::csi::identity_server::Identity;
use dotmesh_csi_proto::csi::plugin_capability::service::Type as Service;
use dotmesh_csi_proto::csi::plugin_capability::{self, Type, VolumeExpansion, volume_expansion};
use dotmesh_csi_proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    PluginCapability, ProbeRequest, ProbeResponse,
};
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::{Request, Response, Status};

use super::{Csi, DRIVER};

#[tonic::async_trait]
impl<Z: Zfs, M: Mount> Identity for Csi<Z, M> {
    async fn get_plugin_info(
        &self,
        _: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse {
            name: DRIVER.into(),
            vendor_version: env!("CARGO_PKG_VERSION").into(),
            manifest: Default::default(),
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let capability = |service: Service| PluginCapability {
            r#type: Some(Type::Service(plugin_capability::Service { r#type: service.into() })),
        };
        let constraints = self
            .alpha
            .then(|| capability(Service::SnapshotAccessibilityConstraints));
        let always = [
            capability(Service::ControllerService),
            capability(Service::GroupControllerService),
            capability(Service::VolumeAccessibilityConstraints),
            PluginCapability {
                r#type: Some(Type::VolumeExpansion(VolumeExpansion {
                    r#type: volume_expansion::Type::Online.into(),
                })),
            },
        ];
        Ok(Response::new(GetPluginCapabilitiesResponse {
            capabilities: always.into_iter().chain(constraints).collect(),
        }))
    }

    /// The node serves as soon as it runs: volumes can be unpublished without a pool.
    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse { ready: Some(true) }))
    }
}
