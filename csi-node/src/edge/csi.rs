//! The Container Storage Interface 1.12: Identity, Controller and Node, on one unix socket.
//!
//! The Node service is what the kubelet calls. The Controller stands alone: it makes and deletes Dots of its own on this
//! node's pools without Kubernetes, for conformance tests and for other orchestrators; in Kubernetes the operator serves
//! that service.

mod capability;
mod controller;
mod identity;
mod inline;
mod node;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use dotmesh_csi_proto::csi::Topology;
use dotmesh_csi_proto::csi::controller_server::ControllerServer;
use dotmesh_csi_proto::csi::identity_server::IdentityServer;
use dotmesh_csi_proto::csi::node_server::NodeServer;
use dotmesh_model::id::DotId;
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::Calls;
use crate::ops::{KeyedLocks, Pools};

fn invalid(text: impl Into<String>) -> tonic::Status {
    tonic::Status::invalid_argument(text)
}

pub use inline::Lend;

/// The driver's name.
pub const DRIVER: &str = "csi.dotmesh.io";
/// The topology key whose value is a node's name.
pub const TOPOLOGY_KEY: &str = "topology.dotmesh.io/node";

/// Where the CSI socket is below the kubelet's folder.
#[must_use]
pub fn socket_path(kubelet_dir: &Path) -> std::path::PathBuf {
    kubelet_dir.join("plugins").join(DRIVER).join("csi.sock")
}

/// The three services.
#[derive(Debug)]
pub struct Csi<Z, M> {
    pools: Arc<Pools<Z, M>>,
    calls: Calls,
    node: String,
    /// Volumes that are being made, by the Dot that each becomes.
    creations: Arc<KeyedLocks<DotId>>,
    lender: Option<Arc<dyn Lend>>,
}

impl<Z, M> Clone for Csi<Z, M> {
    fn clone(&self) -> Self {
        Self {
            pools: Arc::clone(&self.pools),
            calls: self.calls.clone(),
            node: self.node.clone(),
            creations: Arc::clone(&self.creations),
            lender: self.lender.clone(),
        }
    }
}

impl<Z: Zfs, M: Mount> Csi<Z, M> {
    /// The services over these operations, on the node of this name.
    #[must_use]
    pub fn new(pools: Arc<Pools<Z, M>>, calls: Calls, node: String) -> Self {
        Self {
            pools,
            calls,
            node,
            creations: Arc::default(),
            lender: None,
        }
    }

    /// With somebody who says what inline volumes show.
    #[must_use]
    pub fn with_lender(self, lender: Arc<dyn Lend>) -> Self {
        Self {
            lender: Some(lender),
            ..self
        }
    }

    /// Serves for ever.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(self, listener: UnixListener) -> Result<(), tonic::transport::Error> {
        Server::builder()
            .add_service(IdentityServer::new(self.clone()))
            .add_service(ControllerServer::new(self.clone()))
            .add_service(NodeServer::new(self))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
    }

    fn topology(&self) -> Topology {
        Topology {
            segments: [(TOPOLOGY_KEY.to_owned(), self.node.clone())].into(),
        }
    }
}
