//! Certificates for nodes, against the token of a csi-node pod; and where the authority behind them is kept.
//!
//! The token is bound to its pod and made for our audience only (TokenReview, `authentication.k8s.io/v1`), so it opens
//! nothing else; the certificate names the node that the pod runs on, whatever the caller asks for.

pub mod authority;

use std::sync::Arc;

use dotmesh_crds::names::AUDIENCE_ENROLL;
use dotmesh_csi_proto::node::enrollment_server::{Enrollment, EnrollmentServer};
use dotmesh_csi_proto::node::{EnrollRequest, EnrollResponse};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::core::v1::Pod;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

use crate::api::{Api, ApiError, Key};
use crate::nodes::pods::node_of;
use crate::pki::{Authority, OperatorIdentity, PkiError};

/// Service account of csi-node's pods.
const SERVICE_ACCOUNT: &str = "dotmesh-csi-node";
/// Largest request that is read: a token and a signing request are a few KiB.
const MAX_MESSAGE: usize = 64 << 10;
/// Longest that one enrollment may take.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);

/// Why a caller got no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The token is not valid, or not for this audience.
    #[error("the token is not valid for audience {AUDIENCE_ENROLL}")]
    Token,
    /// Somebody else's token.
    #[error("the token belongs to {0:?}, which is not csi-node")]
    NotCsiNode(String),
    /// A token without a pod.
    #[error("the token is not bound to a pod")]
    Unbound,
    /// The token's pod is not there any more, or is not on the node that the token says.
    #[error("the token's pod {0:?} is gone or not on a node")]
    Pod(String),
    /// No certificate can be made of the request.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The API did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl From<EnrollError> for Status {
    fn from(error: EnrollError) -> Self {
        let code = match &error {
            EnrollError::Token => Code::Unauthenticated,
            EnrollError::NotCsiNode(_) | EnrollError::Unbound | EnrollError::Pod(_) => Code::PermissionDenied,
            EnrollError::Pki(error) => match error {
                PkiError::Request(_) | PkiError::Algorithm => Code::InvalidArgument,
                PkiError::NodeName(_) => Code::FailedPrecondition,
                PkiError::Stored(_) | PkiError::Mismatch | PkiError::Sign(_) => Code::Internal,
            },
            EnrollError::Api(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// The pod that a token is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundPod {
    name: String,
    uid: String,
    node: Option<String>,
}

/// The pod behind a reviewed token, when that is one of csi-node in the installation's namespace.
pub fn parse_review(review: &TokenReviewStatus, namespace: &str) -> Result<BoundPod, EnrollError> {
    let audiences = review.audiences.as_deref().unwrap_or_default();
    if review.authenticated != Some(true) || !audiences.iter().any(|audience| audience == AUDIENCE_ENROLL) {
        return Err(EnrollError::Token);
    }
    let user = review.user.as_ref().ok_or(EnrollError::Token)?;
    let username = user.username.as_deref().unwrap_or_default();
    if username != format!("system:serviceaccount:{namespace}:{SERVICE_ACCOUNT}") {
        return Err(EnrollError::NotCsiNode(username.chars().take(253).collect()));
    }
    let extra = |key: &str| match user.extra.as_ref().and_then(|extra| extra.get(key)).map(Vec::as_slice) {
        Some([value]) => Some(value.clone()),
        Some(_) | None => None,
    };
    Ok(BoundPod {
        name: extra("authentication.kubernetes.io/pod-name").ok_or(EnrollError::Unbound)?,
        uid: extra("authentication.kubernetes.io/pod-uid").ok_or(EnrollError::Unbound)?,
        node: extra("authentication.kubernetes.io/node-name"),
    })
}

/// The node that the pod runs on, when it is still the token's pod.
pub fn parse_node<'a>(bound: &BoundPod, pod: Option<&'a Pod>) -> Result<&'a str, EnrollError> {
    pod.filter(|pod| pod.metadata.uid.as_ref() == Some(&bound.uid))
        .and_then(node_of)
        .filter(|node| bound.node.as_deref().is_none_or(|said| said == *node))
        .ok_or_else(|| EnrollError::Pod(bound.name.clone()))
}

/// The Enrollment service.
#[derive(Clone)]
pub struct EnrollmentService<A> {
    api: A,
    authority: Arc<Authority>,
    namespace: String,
}

impl<A: Api> EnrollmentService<A> {
    /// For csi-node's pods in this namespace.
    pub fn new(api: A, authority: Arc<Authority>, namespace: impl Into<String>) -> Self {
        Self {
            api,
            authority,
            namespace: namespace.into(),
        }
    }

    async fn issue(&self, request: EnrollRequest) -> Result<String, EnrollError> {
        let EnrollRequest { csr_der, token } = request;
        if token.is_empty() {
            return Err(EnrollError::Token);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE_ENROLL.to_owned()]),
                token,
            },
            ..TokenReview::default()
        };
        let review = self.api.create(&review).await?.status.unwrap_or_default();
        let bound = parse_review(&review, &self.namespace)?;
        let pod: Option<Pod> = self.api.get(&Key::namespaced(&self.namespace, &bound.name)).await?;
        let node = parse_node(&bound, pod.as_ref())?;
        let certificate = self.authority.issue_node(&csr_der, node, OffsetDateTime::now_utc())?;
        tracing::info!(node, pod = bound.name, "certificate issued");
        Ok(certificate)
    }
}

#[tonic::async_trait]
impl<A: Api> Enrollment for EnrollmentService<A> {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        match self.issue(request.into_inner()).await {
            Ok(certificate_chain_pem) => Ok(Response::new(EnrollResponse {
                certificate_chain_pem,
                authority_pem: self.authority.certificate_pem().to_owned(),
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
/// The certificate or the listener cannot be used.
pub async fn serve<A: Api>(
    listener: TcpListener,
    service: EnrollmentService<A>,
    operator: &OperatorIdentity,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let identity = Identity::from_pem(&operator.certificate_pem, &operator.key_pem);
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))?
        .timeout(DEADLINE)
        .add_service(EnrollmentServer::new(service).max_decoding_message_size(MAX_MESSAGE))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown)
        .await
}

#[cfg(test)]
mod tests;
