//! Whether a token is that of a csi-node pod, and on which node that pod runs. Pure.

use dotmesh_crds::names::AUDIENCE_ENROLL;
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use k8s_openapi::api::core::v1::{Node, Pod};
use tonic::{Code, Status};

use crate::api::ApiError;
use crate::nodes::pods::node_of;
use crate::pki::PkiError;

/// Service account of csi-node's pods.
const SERVICE_ACCOUNT: &str = "dotmesh-csi-node";
/// Longest token that the API server is asked about, in bytes; a pod's has about a thousand.
pub const MAX_TOKEN: usize = 8 << 10;
/// Most of somebody else's words that are repeated, in characters.
const MAX_QUOTE: usize = 253;

/// Why a caller got no certificate. What is shown names the reason and never the token.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// Nothing to look at.
    #[error("the request has no token")]
    NoToken,
    /// Nothing that the API server is bothered with.
    #[error("the token has {0} bytes; more than {MAX_TOKEN} are not looked at")]
    TokenTooLong(usize),
    /// Expired, revoked, of a pod that is gone, or no token at all: in the API server's words.
    #[error("the token is not valid for audience {AUDIENCE_ENROLL}: {0}")]
    Token(String),
    /// Valid, for somebody else.
    #[error("the token is not for audience {AUDIENCE_ENROLL}")]
    Audience,
    /// Somebody else's token.
    #[error("the token belongs to {0:?}, which is not csi-node")]
    NotCsiNode(String),
    /// A token without a pod.
    #[error("the token is not bound to a pod")]
    Unbound,
    /// The token outlived its pod.
    #[error("the token's pod {0:?} is gone")]
    PodGone(String),
    /// Another pod has the name of the token's.
    #[error("the token's pod {0:?} is gone; another one has its name")]
    PodReplaced(String),
    /// Its deletion was asked for, whether or not its node knows.
    #[error("the token's pod {0:?} is being deleted")]
    PodEnding(String),
    /// The pod runs nowhere.
    #[error("the token's pod {0:?} is on no node")]
    PodUnscheduled(String),
    /// The token was made on another node.
    #[error("the token's pod {pod:?} is on node {node:?}, and the token says {said:?}")]
    PodElsewhere {
        /// Its name.
        pod: String,
        /// Where it is.
        node: String,
        /// Where the token says it is.
        said: String,
    },
    /// The pod was left behind by a node that was deleted.
    #[error("node {node:?} of the token's pod {pod:?} is gone")]
    NodeGone {
        /// Its name.
        pod: String,
        /// Where it ran.
        node: String,
    },
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
            EnrollError::NoToken | EnrollError::Token(_) | EnrollError::Audience => Code::Unauthenticated,
            EnrollError::TokenTooLong(_) => Code::InvalidArgument,
            EnrollError::NotCsiNode(_)
            | EnrollError::Unbound
            | EnrollError::PodGone(_)
            | EnrollError::PodReplaced(_)
            | EnrollError::PodEnding(_)
            | EnrollError::PodUnscheduled(_)
            | EnrollError::PodElsewhere { .. }
            | EnrollError::NodeGone { .. } => Code::PermissionDenied,
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
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) node: Option<String>,
}

/// A token that is worth a question.
pub fn parse_token(token: &str) -> Result<&str, EnrollError> {
    match token.len() {
        0 => Err(EnrollError::NoToken),
        1..=MAX_TOKEN => Ok(token),
        length => Err(EnrollError::TokenTooLong(length)),
    }
}

/// The pod behind a reviewed token, when that is one of csi-node in the installation's namespace.
pub fn parse_review(token: &str, review: &TokenReviewStatus, namespace: &str) -> Result<BoundPod, EnrollError> {
    if review.authenticated != Some(true) {
        let why = review.error.as_deref().unwrap_or("the API server does not know it");
        // Whoever checks tokens for the API server may be anybody's program.
        return Err(EnrollError::Token(quote(&why.replace(token, "(the token)"))));
    }
    // None at all come from a server that does not know audiences.
    let audiences = review.audiences.as_deref().unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE_ENROLL) {
        return Err(EnrollError::Audience);
    }
    let user = review.user.clone().unwrap_or_default();
    let username = user.username.unwrap_or_default();
    if username != format!("system:serviceaccount:{namespace}:{SERVICE_ACCOUNT}") {
        return Err(EnrollError::NotCsiNode(quote(&username)));
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
pub fn parse_pod<'a>(bound: &BoundPod, pod: Option<&'a Pod>) -> Result<&'a str, EnrollError> {
    let name = || bound.name.clone();
    let pod = pod.ok_or_else(|| EnrollError::PodGone(name()))?;
    if pod.metadata.uid.as_ref() != Some(&bound.uid) {
        return Err(EnrollError::PodReplaced(name()));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Err(EnrollError::PodEnding(name()));
    }
    let node = node_of(pod).ok_or_else(|| EnrollError::PodUnscheduled(name()))?;
    match &bound.node {
        Some(said) if said != node => Err(EnrollError::PodElsewhere {
            pod: name(),
            node: node.to_owned(),
            said: said.clone(),
        }),
        Some(_) | None => Ok(node),
    }
}

/// The node is there. One that is being deleted still is: its pods are drained first.
pub fn check_node(bound: &BoundPod, name: &str, node: Option<&Node>) -> Result<(), EnrollError> {
    if node.is_some() {
        return Ok(());
    }
    Err(EnrollError::NodeGone {
        pod: bound.name.clone(),
        node: name.to_owned(),
    })
}

fn quote(words: &str) -> String {
    words.chars().take(MAX_QUOTE).collect()
}

#[cfg(test)]
mod tests;
