//! CSI Node: what the kubelet calls.

use std::path::PathBuf;
use std::sync::Arc;

use dotmesh_csi_proto::csi::node_server::Node;
use dotmesh_csi_proto::csi::node_service_capability::rpc::Type as Rpc;
use dotmesh_csi_proto::csi::node_service_capability::{self, Type};
use dotmesh_csi_proto::csi::volume_usage::Unit;
use dotmesh_csi_proto::csi::{
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
    NodeServiceCapability, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, VolumeUsage,
};
use dotmesh_model::handle::Handle;
use dotmesh_mount::{FsUsage, Mount};
use dotmesh_zfs::Zfs;
use tonic::{Request, Response, Status};

use super::Csi;
use super::capability::parse_capability;
use super::invalid;
use crate::ops::{PublishRequest, UnpublishRequest};

/// A handle that must be there; one that is not ours names nothing.
pub(super) fn parse_handle(text: &str) -> Result<Handle, Status> {
    if text.is_empty() {
        return Err(invalid("volume_id is missing"));
    }
    text.parse()
        .map_err(|error| Status::not_found(format!("volume {text:?}: {error}")))
}

fn parse_path(field: &str, text: String) -> Result<PathBuf, Status> {
    if text.is_empty() {
        return Err(invalid(format!("{field} is missing")));
    }
    Ok(PathBuf::from(text))
}

fn parse_publish(request: NodePublishVolumeRequest) -> Result<PublishRequest, Status> {
    // The order matters to nobody but people: what is missing is told before what is not found.
    let target = parse_path("target_path", request.target_path)?;
    if request.volume_id.is_empty() {
        return Err(invalid("volume_id is missing"));
    }
    let capability = parse_capability(request.volume_capability.as_ref()).map_err(invalid)?;
    Ok(PublishRequest {
        handle: parse_handle(&request.volume_id)?,
        target,
        readonly: request.readonly || capability.readonly,
    })
}

#[tonic::async_trait]
impl<Z: Zfs, M: Mount> Node for Csi<Z, M> {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = parse_publish(request.into_inner())?;
        let ops = Arc::clone(&self.ops);
        let operation = async move { ops.publish(&request).await };
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
            handle: parse_handle(&volume_id)?,
            target,
        };
        let ops = Arc::clone(&self.ops);
        let operation = async move { ops.unpublish(&request).await };
        self.calls.run("NodeUnpublishVolume", operation).await?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        let path = parse_path("volume_path", request.volume_path)?;
        let handle = parse_handle(&request.volume_id)?;
        let ops = Arc::clone(&self.ops);
        let operation = async move { ops.volume_usage(handle, &path).await };
        let usage = self.calls.run("NodeGetVolumeStats", operation).await?;
        Ok(Response::new(NodeGetVolumeStatsResponse {
            usage: volume_usage(usage),
            volume_condition: None,
        }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let rpc = node_service_capability::Rpc {
            r#type: Rpc::GetVolumeStats.into(),
        };
        Ok(Response::new(NodeGetCapabilitiesResponse {
            capabilities: vec![NodeServiceCapability {
                r#type: Some(Type::Rpc(rpc)),
            }],
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

fn volume_usage(usage: FsUsage) -> Vec<VolumeUsage> {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
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
