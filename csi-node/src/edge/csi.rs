//! The Container Storage Interface, 1.12 and on demand the alpha parts of 1.13: Identity, Controller, GroupController and Node, on one unix socket.
//!
//! The Node service is what the kubelet calls. The controllers stand alone: they make and delete Dots of their own on this
//! node's pools without Kubernetes, for conformance tests and for other orchestrators; in Kubernetes the operator serves
//! those services.

mod alone;
mod capability;
mod change;
mod controller;
mod create;
mod groups;
mod health;
mod identity;
mod ids;
mod inline;
mod list;
mod mark;
mod node;
mod snapshots;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use dotmesh_csi_proto::csi::Topology;
use dotmesh_csi_proto::csi::controller_server::ControllerServer;
use dotmesh_csi_proto::csi::group_controller_server::GroupControllerServer;
use dotmesh_csi_proto::csi::identity_server::IdentityServer;
use dotmesh_csi_proto::csi::node_server::NodeServer;
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use super::Calls;
use crate::ops::Pools;
use alone::Alone;

fn invalid(text: impl Into<String>) -> tonic::Status {
    tonic::Status::invalid_argument(text)
}

/// Whether a topology takes in the node of this name.
fn here(topology: &Topology, node: &str) -> bool {
    topology.segments.get(TOPOLOGY_KEY).is_none_or(|name| name == node)
}

#[cfg(test)]
pub(super) use ids::first;
pub use inline::Lend;

/// The driver's name.
pub const DRIVER: &str = "csi.dotmesh.io";
/// The topology key whose value is a node's name.
pub const TOPOLOGY_KEY: &str = "topology.dotmesh.io/node";

/// What Kubernetes and its sidecars add to parameters and attributes begins with this.
const KUBERNETES: &str = "csi.storage.k8s.io/";

/// Where the CSI socket is below the kubelet's folder.
#[must_use]
pub fn socket_path(kubelet_dir: &Path) -> std::path::PathBuf {
    kubelet_dir.join("plugins").join(DRIVER).join("csi.sock")
}

/// The four services.
#[derive(Debug)]
pub struct Csi<Z, M> {
    pools: Arc<Pools<Z, M>>,
    calls: Calls,
    node: String,
    /// What the Controller does.
    alone: Arc<Alone<Z, M>>,
    /// Whether the alpha parts of CSI 1.13 are served.
    alpha: bool,
    lender: Option<Arc<dyn Lend>>,
}

impl<Z, M> Clone for Csi<Z, M> {
    fn clone(&self) -> Self {
        Self {
            pools: Arc::clone(&self.pools),
            calls: self.calls.clone(),
            node: self.node.clone(),
            alone: Arc::clone(&self.alone),
            alpha: self.alpha,
            lender: self.lender.clone(),
        }
    }
}

impl<Z: Zfs, M: Mount> Csi<Z, M> {
    /// The services over these operations, on the node of this name.
    #[must_use]
    pub fn new(pools: Arc<Pools<Z, M>>, calls: Calls, node: String) -> Self {
        Self {
            alone: Arc::new(Alone::new(Arc::clone(&pools))),
            pools,
            calls,
            node,
            alpha: false,
            lender: None,
        }
    }

    /// With the alpha parts of CSI 1.13, or without: health of volumes and pools, and where snapshots are usable.
    #[must_use]
    pub fn with_alpha(self, alpha: bool) -> Self {
        Self { alpha, ..self }
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
            .add_service(GroupControllerServer::new(self.clone()))
            .add_service(NodeServer::new(self))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
    }

    /// Where a snapshot is usable, where that is told.
    fn snapshot_topology(&self) -> Vec<Topology> {
        self.alpha.then(|| self.topology()).into_iter().collect()
    }

    fn topology(&self) -> Topology {
        Topology {
            segments: [(TOPOLOGY_KEY.to_owned(), self.node.clone())].into(),
        }
    }
}
