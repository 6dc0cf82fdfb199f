//! [`Nodes`] over gRPC: one mutually authenticated channel per node, to the address of its csi-node pod.
//!
//! The node proves its name with its certificate, so an address that somebody else got meanwhile is no danger. Every
//! call has a deadline, told to the node (`grpc-timeout`) and kept here.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dotmesh_csi_proto::node::node_client::NodeClient;
use dotmesh_csi_proto::node::{
    AttachRequest, AttachResponse, CommitRequest, CommitResponse, DeleteBranchRequest, DeleteCommitRequest,
    DeleteDotRequest, DeleteResponse, DetachRequest, DetachResponse, EnsureBranchRequest, EnsureBranchResponse,
    EnsureDotRequest, EnsureDotResponse, EnsurePoolRequest, EnsurePoolResponse, Failure, WatchRequest,
};
use dotmesh_csi_proto::{CALL, TERM};
use futures::StreamExt;
use prost::Message;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use super::{NodeError, NodeErrorKind, Nodes, PoolEvents};
use crate::metrics::Metrics;
use crate::pki::OperatorIdentity;

/// Longest that one call may take. A commit waits for a transaction group behind the pods' writes.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// As [`DEADLINE`], for making a pool: its file is allocated.
pub const POOL_DEADLINE: Duration = Duration::from_secs(300);
/// Longest that connecting may take, and the first answer of a watch.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How often an idle connection is probed, so that a node that went silent ends its watch.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Finds the address of the csi-node pod on a node.
pub type Directory = Arc<dyn Fn(&str) -> Option<IpAddr> + Send + Sync>;

/// The nodes of a cluster.
#[derive(Clone)]
pub struct GrpcNodes {
    directory: Directory,
    port: u16,
    identity: Identity,
    authority: Certificate,
    term: AsciiMetadataValue,
    sent: Arc<AtomicU64>,
    metrics: Metrics,
    channels: Arc<Mutex<HashMap<String, (SocketAddr, Channel)>>>,
}

impl GrpcNodes {
    /// `authority_pem` is what the nodes' certificates are signed by; `term` is told to them with each call.
    #[must_use]
    pub fn new(
        directory: Directory,
        port: u16,
        operator: &OperatorIdentity,
        authority_pem: &str,
        term: u64,
        metrics: Metrics,
    ) -> Self {
        Self {
            directory,
            port,
            identity: Identity::from_pem(&operator.certificate_pem, &operator.key_pem),
            authority: Certificate::from_pem(authority_pem),
            term: term.into(),
            sent: Arc::default(),
            metrics,
            channels: Arc::default(),
        }
    }

    fn client(&self, node: &str) -> Result<NodeClient<Channel>, NodeError> {
        let unreachable = |message: String| NodeError {
            node: node.to_owned(),
            kind: NodeErrorKind::Unreachable,
            message,
        };
        let address =
            (self.directory)(node).ok_or_else(|| unreachable("no csi-node pod is running there".to_owned()))?;
        let address = SocketAddr::new(address, self.port);
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, channel)) = channels.get(node).filter(|(known, _)| *known == address) {
            return Ok(NodeClient::new(channel.clone()));
        }
        let channel = self
            .endpoint(node, address)
            .map_err(|error| unreachable(dotmesh_telemetry::Chain(&error).to_string()))?
            .connect_lazy();
        channels.insert(node.to_owned(), (address, channel.clone()));
        Ok(NodeClient::new(channel))
    }

    fn endpoint(&self, node: &str, address: SocketAddr) -> Result<Endpoint, tonic::transport::Error> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(self.authority.clone())
            .identity(self.identity.clone())
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
        let mut client = self.client(node)?;
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
        let node = node.to_owned();
        Ok(result?
            .map(move |event| event.map_err(|status| node_error(&node, &status)))
            .boxed())
    }

    crate::unary_calls!(unary);
}

#[cfg(test)]
mod tests;
