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
use dotmesh_csi_proto::node::{EnrollRequest, EnrollResponse};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::api::{Api, Key};
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
        let token = parse_token(&token)?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE_ENROLL.to_owned()]),
                token: token.to_owned(),
            },
            ..TokenReview::default()
        };
        let review = self.api.create(&review).await?.status.unwrap_or_default();
        let bound = parse_review(token, &review, &self.namespace)?;
        let pod: Option<Pod> = self.api.get(&Key::namespaced(&self.namespace, &bound.name)).await?;
        let name = parse_pod(&bound, pod.as_ref())?;
        let node: Option<Node> = self.api.get(&Key::cluster(name)).await?;
        check_node(&bound, name, node.as_ref())?;
        let certificate = self.certificates.issue_node(&csr_der, name)?;
        tracing::info!(node = name, pod = bound.name, "certificate issued");
        Ok(certificate)
    }
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

/// Serves enrollment over TLS under the operator's certificate, until `shutdown`.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve<A: Api>(
    listener: TcpListener,
    service: EnrollmentService<A>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let incoming = tls::incoming(listener, Arc::clone(&service.certificates));
    Server::builder()
        .timeout(DEADLINE)
        .add_service(EnrollmentServer::new(service).max_decoding_message_size(MAX_MESSAGE))
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}
