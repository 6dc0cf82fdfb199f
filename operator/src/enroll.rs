//! Certificates for nodes, against the token of a csi-node pod; and where the authority behind them is kept.
//!
//! The token is bound to its pod and made for our audience only (TokenReview, `authentication.k8s.io/v1`), so it opens
//! nothing else; the certificate names the node that the pod runs on, whatever the caller asks for.

pub mod authority;
pub mod review;
mod tls;

use std::sync::Arc;

use dotmesh_crds::names::AUDIENCE_ENROLL;
use dotmesh_csi_proto::node::enrollment_server::{Enrollment, EnrollmentServer};
use dotmesh_csi_proto::node::inline_server::InlineServer;
use dotmesh_csi_proto::node::{EnrollRequest, EnrollResponse};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::api::{Api, Key};
use crate::facade::watch::WatchObject;
use crate::inline::InlineService;
use crate::pki::certificates::Certificates;
use review::{EnrollError, check_node, parse_pod, parse_review, parse_token};

/// Largest request that is read: a token and a signing request are a few KiB.
const MAX_MESSAGE: usize = 64 << 10;
/// Longest that one enrollment may take.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

/// The Enrollment service.
#[derive(Clone)]
pub struct EnrollmentService<A> {
    api: A,
    certificates: Arc<Certificates>,
    namespace: String,
}

impl<A: Api> EnrollmentService<A> {
    /// For csi-node's pods in this namespace.
    pub fn new(api: A, certificates: Arc<Certificates>, namespace: impl Into<String>) -> Self {
        Self {
            api,
            certificates,
            namespace: namespace.into(),
        }
    }

    async fn issue(&self, request: EnrollRequest) -> Result<String, EnrollError> {
        let EnrollRequest { csr_der, token } = request;
        let Caller { node, pod } = identify(&self.api, &self.namespace, &token).await?;
        let certificate = self.certificates.issue_node(&csr_der, &node)?;
        tracing::info!(node, pod, "certificate issued");
        Ok(certificate)
    }
}

/// A csi-node pod that has shown its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The node it runs on.
    pub node: String,
    /// Its name.
    pub pod: String,
}

/// Who presents this token: a csi-node pod of the installation in this namespace, and nobody else.
///
/// # Errors
/// It is no such token; the API does not answer.
pub async fn identify<A: Api>(api: &A, namespace: &str, token: &str) -> Result<Caller, EnrollError> {
    let token = parse_token(token)?;
    let review = TokenReview {
        spec: TokenReviewSpec {
            audiences: Some(vec![AUDIENCE_ENROLL.to_owned()]),
            token: token.to_owned(),
        },
        ..TokenReview::default()
    };
    let review = api.create(&review).await?.status.unwrap_or_default();
    let bound = parse_review(token, &review, namespace)?;
    let pod: Option<Pod> = api.get(&Key::namespaced(namespace, &bound.name)).await?;
    let name = parse_pod(&bound, pod.as_ref())?;
    let node: Option<Node> = api.get(&Key::cluster(name)).await?;
    check_node(&bound, name, node.as_ref())?;
    Ok(Caller {
        node: name.to_owned(),
        pod: bound.name.clone(),
    })
}

#[tonic::async_trait]
impl<A: Api> Enrollment for EnrollmentService<A> {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        match self.issue(request.into_inner()).await {
            Ok(certificate_chain_pem) => Ok(Response::new(EnrollResponse {
                certificate_chain_pem,
                authority_pem: self.certificates.authority_pem().to_owned(),
            })),
            Err(error) => {
                tracing::warn!(error = %dotmesh_telemetry::Chain(&error), "enrollment refused");
                Err(error.into())
            }
        }
    }
}

/// Serves enrollment, and what inline volumes show, over TLS under the operator's certificate, until `shutdown`.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve<A: Api, W: WatchObject>(
    listener: TcpListener,
    service: EnrollmentService<A>,
    inline: InlineService<A, W>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let incoming = tls::incoming(listener, Arc::clone(&service.certificates));
    Server::builder()
        .timeout(DEADLINE)
        .add_service(EnrollmentServer::new(service).max_decoding_message_size(MAX_MESSAGE))
        .add_service(InlineServer::new(inline).max_decoding_message_size(MAX_MESSAGE))
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}
