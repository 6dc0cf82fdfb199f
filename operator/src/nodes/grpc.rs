//! [`Nodes`] over gRPC: one mutually authenticated channel per node, to the address of its csi-node pod.
//!
//! The node proves its name with its certificate, so an address that somebody else got meanwhile is no danger. A node
//! without a csi-node pod is not called, and no longer listened to, whatever certificate it still has. Every call has a deadline, told to the node (`grpc-timeout`) and kept here.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dotmesh_csi_proto::node::node_client::NodeClient;
use dotmesh_csi_proto::node::{
    AttachRequest, AttachResponse, CommitRequest, CommitResponse, DeleteBranchRequest, DeleteCommitRequest,
    DeleteDotRequest, DeleteResponse, DescribeDotRequest, DescribeDotResponse, DetachRequest, DetachResponse,
    EnsureBranchRequest, EnsureBranchResponse, EnsureDotRequest, EnsureDotResponse, EnsurePoolRequest,
    EnsurePoolResponse, Failure, FindMissingRequest, FindMissingResponse, WatchRequest,
};
use dotmesh_csi_proto::{CALL, TERM};
use dotmesh_model::import::{PROGRESS_PORT, Progress};
use futures::{StreamExt, stream};
use prost::Message;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use super::{NodeError, NodeErrorKind, Nodes, PoolEvents};
use crate::metrics::Metrics;
use crate::pki::OperatorIdentity;
use crate::pki::certificates::Certificates;

/// Longest that one call may take. A commit waits for a transaction group behind the pods' writes.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// As [`DEADLINE`], for making a pool: its file is allocated.
pub const POOL_DEADLINE: Duration = Duration::from_secs(300);
/// Longest that connecting may take, and the first answer of a watch.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How often an idle connection is probed, so that a node that went silent ends its watch.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How often it is looked whether the pod of a node that is watched is still there.
const PRESENCE: Duration = Duration::from_secs(5);

/// Finds the address of the csi-node pod on a node.
pub type Directory = Arc<dyn Fn(&str) -> Option<IpAddr> + Send + Sync>;

/// The way to a node, good for as long as address and certificate are those of the moment.
struct Connection {
    address: SocketAddr,
    own: Arc<OperatorIdentity>,
    channel: Channel,
}

/// The nodes of a cluster.
#[derive(Clone)]
pub struct GrpcNodes {
    directory: Directory,
    port: u16,
    certificates: Arc<Certificates>,
    term: AsciiMetadataValue,
    sent: Arc<AtomicU64>,
    metrics: Metrics,
    channels: Arc<Mutex<HashMap<String, Connection>>>,
}

impl GrpcNodes {
    /// `term` is told to nodes with each call.
    #[must_use]
    pub fn new(directory: Directory, port: u16, certificates: Arc<Certificates>, term: u64, metrics: Metrics) -> Self {
        Self {
            directory,
            port,
            certificates,
            term: term.into(),
            sent: Arc::default(),
            metrics,
            channels: Arc::default(),
        }
    }

    /// Where the node's csi-node pod is now. Without one nothing is kept of the node, however valid its certificate.
    fn address(&self, node: &str) -> Result<SocketAddr, NodeError> {
        if let Some(address) = (self.directory)(node) {
            return Ok(SocketAddr::new(address, self.port));
        }
        self.channels().remove(node);
        Err(unreachable(node, "no csi-node pod is running there"))
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Connection>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, node: &str) -> Result<NodeClient<Channel>, NodeError> {
        let address = self.address(node)?;
        let failed =
            |error: &(dyn std::error::Error + 'static)| unreachable(node, &dotmesh_telemetry::Chain(error).to_string());
        let own = self.certificates.own().map_err(|error| failed(&error))?;
        let mut channels = self.channels();
        let is_current = |known: &&Connection| known.address == address && Arc::ptr_eq(&known.own, &own);
        if let Some(known) = channels.get(node).filter(is_current) {
            return Ok(NodeClient::new(known.channel.clone()));
        }
        let endpoint = self.endpoint(node, address, &own).map_err(|error| failed(&error))?;
        let channel = endpoint.connect_lazy();
        let client = NodeClient::new(channel.clone());
        channels.insert(node.to_owned(), Connection { address, own, channel });
        Ok(client)
    }

    fn endpoint(
        &self,
        node: &str,
        address: SocketAddr,
        own: &OperatorIdentity,
    ) -> Result<Endpoint, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.certificates.authority_pem()))
            .identity(Identity::from_pem(&own.certificate_pem, &own.key_pem))
            .domain_name(node);
        Ok(Endpoint::from_shared(format!("https://{address}"))?
            .tls_config(tls)?
            .connect_timeout(CONNECT_DEADLINE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let number = self.sent.fetch_add(1, Ordering::SeqCst);
        request.metadata_mut().insert(TERM, self.term.clone());
        request.metadata_mut().insert(CALL, number.into());
        request
    }

    /// What comes, unless the node's csi-node pod goes or changes first.
    async fn while_there<T>(
        &self,
        node: &str,
        address: SocketAddr,
        coming: impl Future<Output = T>,
    ) -> Result<T, NodeError> {
        let mut coming = std::pin::pin!(coming);
        loop {
            let come = tokio::time::timeout(PRESENCE, &mut coming).await;
            if self.address(node)? != address {
                return Err(unreachable(node, "its csi-node pod is another one now"));
            }
            if let Ok(come) = come {
                return Ok(come);
            }
        }
    }

    /// One call with its deadline and its measurement.
    async fn call<T, R, F>(
        &self,
        (node, rpc, deadline): (&str, &'static str, Duration),
        request: T,
        send: impl FnOnce(NodeClient<Channel>, Request<T>) -> F + Send,
    ) -> Result<R, NodeError>
    where
        F: Future<Output = Result<Response<R>, Status>> + Send,
    {
        let started = Instant::now();
        let result = async {
            let mut request = self.request(request);
            request.set_timeout(deadline);
            match tokio::time::timeout(deadline, send(self.client(node)?, request)).await {
                Ok(Ok(response)) => Ok(response.into_inner()),
                Ok(Err(status)) => Err(node_error(node, &status)),
                Err(_) => Err(NodeError {
                    node: node.to_owned(),
                    kind: NodeErrorKind::Deadline,
                    message: format!("no answer to {rpc} within {} s", deadline.as_secs()),
                }),
            }
        }
        .await;
        let failure = result.as_ref().err().map(|error| error.kind);
        self.metrics.node_call(rpc, failure, started.elapsed().as_secs_f64());
        result
    }
}

fn unreachable(node: &str, message: &str) -> NodeError {
    NodeError {
        node: node.to_owned(),
        kind: NodeErrorKind::Unreachable,
        message: message.to_owned(),
    }
}

/// A status as a node error: by the `Failure` in its details, else by its code. What a code says is never "absent".
pub fn node_error(node: &str, status: &Status) -> NodeError {
    let error = |kind, message: &str| NodeError {
        node: node.to_owned(),
        kind,
        message: message.to_owned(),
    };
    if !status.details().is_empty() {
        return match Failure::decode(status.details()) {
            Ok(failure) => error(failure.reason().into(), &failure.message),
            Err(_) => error(NodeErrorKind::Internal, status.message()),
        };
    }
    let kind = match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Unauthenticated | Code::PermissionDenied => {
            NodeErrorKind::Unreachable
        }
        Code::DeadlineExceeded => NodeErrorKind::Deadline,
        // Made on this side of the connection, when it fails before anything came back.
        Code::Unknown if std::error::Error::source(status).is_some() => NodeErrorKind::Unreachable,
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => NodeErrorKind::Internal,
    };
    error(kind, &dotmesh_telemetry::Chain(status).to_string())
}

macro_rules! unary {
    ($($method:ident, $rpc:literal, $deadline:expr, $request:ty => $response:ty;)*) => {$(
        async fn $method(&self, node: &str, request: $request) -> Result<$response, NodeError> {
            self.call((node, $rpc, $deadline), request, |mut client, request| async move {
                client.$method(request).await
            })
            .await
        }
    )*};
}

impl Nodes for GrpcNodes {
    async fn watch(&self, node: &str) -> Result<PoolEvents, NodeError> {
        let started = Instant::now();
        let (address, mut client) = (self.address(node)?, self.client(node)?);
        let opened = tokio::time::timeout(CONNECT_DEADLINE, client.watch(self.request(WatchRequest {}))).await;
        let result = match opened {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(node_error(node, &status)),
            Err(_) => Err(NodeError {
                node: node.to_owned(),
                kind: NodeErrorKind::Unreachable,
                message: format!("no answer to Watch within {} s", CONNECT_DEADLINE.as_secs()),
            }),
        };
        let failure = result.as_ref().err().map(|error| error.kind);
        self.metrics
            .node_call("Watch", failure, started.elapsed().as_secs_f64());
        let (nodes, node, events) = (self.clone(), node.to_owned(), Some(result?));
        let watched = stream::unfold(events, move |events| {
            let (nodes, node) = (nodes.clone(), node.clone());
            async move {
                let mut events = events?;
                let event = nodes.while_there(&node, address, events.next()).await;
                let event = event.and_then(|event| event.transpose().map_err(|status| node_error(&node, &status)));
                let more = matches!(event, Ok(Some(_))).then_some(events);
                Some((event.transpose()?, more))
            }
        });
        Ok(watched.boxed())
    }

    crate::unary_calls!(unary);

    async fn import_progress(&self, importer: IpAddr) -> Option<Progress> {
        super::progress::ask(SocketAddr::new(importer, PROGRESS_PORT)).await
    }
}

#[cfg(test)]
mod tests;
