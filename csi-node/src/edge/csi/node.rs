//! CSI Node: what the kubelet calls.

use std::path::{Component, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use dotmesh_csi_proto::csi::node_server::Node;
use dotmesh_csi_proto::csi::node_service_capability::rpc::Type as Rpc;
use dotmesh_csi_proto::csi::node_service_capability::{self, Type};
use dotmesh_csi_proto::csi::volume_usage::Unit;
use dotmesh_csi_proto::csi::{
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetStorageHealthRequest, NodeGetStorageHealthResponse, NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
    NodeServiceCapability, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, VolumeUsage,
};
use dotmesh_model::handle::{Handle, InvalidHandle, VolumeRef};
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::{Request, Response, Status};

use super::Csi;
use super::capability::parse_capability;
use super::health::switched_off;
use super::inline::{borrow, is_inline};
use super::invalid;
use crate::ops::{PublishRequest, UnpublishRequest, Usage, Wanted};

/// What the kubelet says of a pod, because the CSIDriver has `podInfoOnMount`; over whatever a PersistentVolume says there.
const POD_NAMESPACE: &str = "csi.storage.k8s.io/pod.namespace";

/// An id that must be there; one that is not ours names nothing.
fn parse_id<T: FromStr<Err = InvalidHandle>>(text: &str) -> Result<T, Status> {
    if text.is_empty() {
        return Err(invalid("volume_id is missing"));
    }
    text.parse()
        .map_err(|error| Status::not_found(format!("volume {text:?}: {error}")))
}

/// The handle of a PersistentVolume.
pub(super) fn parse_handle(text: &str) -> Result<Handle, Status> {
    parse_id(text)
}

/// The id of any volume that the kubelet has.
fn parse_volume(text: &str) -> Result<VolumeRef, Status> {
    parse_id(text)
}

/// An absolute path that leads nowhere else than it says.
pub(super) fn parse_path(field: &str, text: String) -> Result<PathBuf, Status> {
    if text.is_empty() {
        return Err(invalid(format!("{field} is missing")));
    }
    let path = PathBuf::from(&text);
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(is_plain) || text.contains('\0') {
        return Err(invalid(format!("{field} {text:?} is no absolute path without \"..\"")));
    }
    Ok(path)
}

fn parse_publish(request: NodePublishVolumeRequest) -> Result<PublishRequest, Status> {
    // The order matters to nobody but people: what is missing is told before what is not found.
    let target = parse_path("target_path", request.target_path)?;
    if request.volume_id.is_empty() {
        return Err(invalid("volume_id is missing"));
    }
    let capability = parse_capability(request.volume_capability.as_ref()).map_err(invalid)?;
    let volume = Wanted::Claim(parse_handle(&request.volume_id)?);
    let namespace = request
        .volume_context
        .get(POD_NAMESPACE)
        .filter(|said| !said.is_empty());
    Ok(PublishRequest {
        namespace: namespace.cloned(),
        ..capability.publish(volume, target, request.readonly)
    })
}

#[tonic::async_trait]
impl<Z: Zfs, M: Mount> Node for Csi<Z, M> {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let request = match is_inline(&request) {
            // Boxed: it is rare, and a call's future would hold all of it.
            true => Box::pin(borrow(request, self.lender.as_deref()))
                .await
                .inspect_err(|status| tracing::warn!(error = status.message(), "an inline volume is not published"))?,
            false => parse_publish(request)?,
        };
        let pools = Arc::clone(&self.pools);
        let operation = async move { pools.publish(&request).await };
        self.calls.run("NodePublishVolume", operation).await?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let NodeUnpublishVolumeRequest { volume_id, target_path } = request.into_inner();
        let target = parse_path("target_path", target_path)?;
        let request = UnpublishRequest {
            volume: parse_volume(&volume_id)?,
            target,
        };
        let host = Arc::clone(self.pools.host());
        let operation = async move { host.unpublish(&request).await };
        self.calls.run("NodeUnpublishVolume", operation).await?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        if request.volume_path.is_empty() {
            return Err(invalid("volume_path is missing"));
        }
        let volume = parse_volume(&request.volume_id)?;
        // A path that leads nowhere has no volume, whatever it looks like (csi-sanity).
        let path = parse_path("volume_path", request.volume_path);
        let path = path.map_err(|status| Status::not_found(status.message()))?;
        let host = Arc::clone(self.pools.host());
        let operation = async move { host.volume_usage(volume, &path).await };
        let usage = self.calls.run("NodeGetVolumeStats", operation).await?;
        Ok(Response::new(NodeGetVolumeStatsResponse {
            usage: volume_usage(usage),
        }))
    }

    async fn node_get_volume_health(
        &self,
        request: Request<NodeGetVolumeHealthRequest>,
    ) -> Result<Response<NodeGetVolumeHealthResponse>, Status> {
        if !self.alpha {
            return Err(switched_off());
        }
        let request = request.into_inner();
        let handle = parse_handle(&request.volume_id)?;
        let path = Some(request.volume_publish_path).filter(|path| !path.is_empty());
        let path = path.map(|path| parse_path("volume_publish_path", path)).transpose()?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.volume_health(handle, path.as_deref()).await };
        let health = self.calls.run("NodeGetVolumeHealth", operation).await?;
        let volume_health = Some(health);
        Ok(Response::new(NodeGetVolumeHealthResponse { volume_health }))
    }

    async fn node_get_storage_health(
        &self,
        _: Request<NodeGetStorageHealthRequest>,
    ) -> Result<Response<NodeGetStorageHealthResponse>, Status> {
        if !self.alpha {
            return Err(switched_off());
        }
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.storage_health().await };
        let backend_health = self.calls.run("NodeGetStorageHealth", operation).await?;
        Ok(Response::new(NodeGetStorageHealthResponse { backend_health }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let alpha = [Rpc::GetVolumeHealth, Rpc::GetStorageHealth];
        let all = [Rpc::GetVolumeStats, Rpc::SingleNodeMultiWriter].into_iter();
        let all = all.chain(alpha.into_iter().filter(|_| self.alpha));
        let capabilities = all.map(|rpc| NodeServiceCapability {
            r#type: Some(Type::Rpc(node_service_capability::Rpc { r#type: rpc.into() })),
        });
        Ok(Response::new(NodeGetCapabilitiesResponse {
            capabilities: capabilities.collect(),
        }))
    }

    /// Independent of the pool: the node can be scheduled to before it has one.
    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.node.clone(),
            max_volumes_per_node: 0,
            accessible_topology: Some(self.topology()),
        }))
    }
}

fn volume_usage(usage: Usage) -> Vec<VolumeUsage> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let usage = match usage {
        Usage::Files(usage) => usage,
        Usage::Device(bytes) => {
            return vec![VolumeUsage {
                total: signed(bytes),
                unit: Unit::Bytes.into(),
                ..VolumeUsage::default()
            }];
        }
    };
    vec![
        VolumeUsage {
            available: signed(usage.available_bytes),
            total: signed(usage.total_bytes),
            used: signed(usage.used_bytes),
            unit: Unit::Bytes.into(),
        },
        VolumeUsage {
            available: signed(usage.free_inodes),
            total: signed(usage.total_inodes),
            used: signed(usage.total_inodes.saturating_sub(usage.free_inodes)),
            unit: Unit::Inodes.into(),
        },
    ]
}
