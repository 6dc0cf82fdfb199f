//! Inline volumes of pods: a branch of its own for each, made of the commit that the pod's spec names, gone with the pod.
//!
//! csi-node asks when the kubelet publishes such a volume. What the pod may have is read from its spec in the API, never
//! from the request; the request only says which pod. So a node gets branches for pods that run on it and name the
//! commit, and for nothing else. The Branch goes by its own controller when the pod has ended ([`own`]).

pub mod own;
pub mod plan;
mod status;

use std::time::Duration;

use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_csi_proto::node::inline_server::Inline;
use dotmesh_csi_proto::node::{LendRequest, LendResponse};
use dotmesh_telemetry::Chain;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::api::{Api, ApiError, ApiErrorKind, Key};
use crate::enroll::identify;
use crate::enroll::review::EnrollError;
use crate::facade::watch::{WatchObject, changed};
use plan::{InlineVolume, Refusal, Step, World, find_volume, plan};

/// Longest that a branch is waited for: csi-node, and the kubelet behind it, ask again.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// Why a pod gets no branch.
#[derive(Debug, thiserror::Error)]
pub enum LendError {
    /// Whoever asks is no node.
    #[error(transparent)]
    Caller(#[from] EnrollError),
    /// The pod cannot have it, or not here, or not yet.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Work goes on; a repeated call finds it.
    #[error("the branch is not ready within {0:?}: {1}")]
    Deadline(Duration, String),
    /// The API did not do what was needed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// The Inline service.
#[derive(Clone)]
pub struct InlineService<A, W> {
    api: A,
    watches: W,
    namespace: String,
}

impl<A: Api, W: WatchObject> InlineService<A, W> {
    /// For csi-node's pods in this namespace.
    pub fn new(api: A, watches: W, namespace: impl Into<String>) -> Self {
        Self {
            api,
            watches,
            namespace: namespace.into(),
        }
    }

    /// The branch for an inline volume of a pod on the caller's node: made, or found again.
    ///
    /// # Errors
    /// See [`LendError`].
    pub async fn lend(&self, request: &LendRequest) -> Result<LendResponse, LendError> {
        let caller = identify(&self.api, &self.namespace, &request.token).await?;
        let pod = Key::namespaced(&request.pod_namespace, &request.pod_name);
        let pod: Option<Pod> = self.api.get(&pod).await?;
        let wanted = find_volume(pod.as_ref(), request, &caller.node)?;
        let mut last = String::new();
        match timeout(MAX_WAIT, self.pursue(&wanted, &caller.node, &mut last)).await {
            Ok(result) => result,
            Err(_) => Err(LendError::Deadline(MAX_WAIT, last)),
        }
    }

    async fn pursue(&self, wanted: &InlineVolume, node: &str, last: &mut String) -> Result<LendResponse, LendError> {
        let key = Key::namespaced(&wanted.namespace, wanted.branch_object());
        let mut changes = self.watches.watch_object::<Branch>(&key);
        loop {
            let world = self.observe(wanted, &key).await?;
            match plan(wanted, node, &world)? {
                Step::Answer(lent) => return Ok(lent),
                Step::Create(branch) => match self.api.create::<Branch>(&branch).await {
                    Ok(_) => {}
                    // Another call was faster: look again.
                    Err(error) if error.kind == ApiErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error.into()),
                },
                Step::Wait(why) => {
                    *last = why;
                    changed(&mut changes, world.branch.as_ref()).await;
                }
            }
        }
    }

    /// Consistent reads.
    async fn observe(&self, wanted: &InlineVolume, key: &Key) -> Result<World, ApiError> {
        let branch: Option<Branch> = self.api.get(key).await?;
        let beside = |name: &str| Key::namespaced(&wanted.namespace, name);
        // The Branch knows what it was made of, also when the Commit is gone by now.
        let commit: Option<Commit> = match &branch {
            None => self.api.get(&beside(&wanted.commit)).await?,
            Some(_) => None,
        };
        let dot = match (&branch, &commit) {
            (Some(branch), _) => Some(branch.spec.dot.as_str()),
            (None, Some(commit)) => Some(commit.spec.dot.as_str()),
            (None, None) => None,
        };
        let dot: Option<Dot> = match dot {
            Some(dot) => self.api.get(&beside(dot)).await?,
            None => None,
        };
        Ok(World { branch, commit, dot })
    }
}

#[tonic::async_trait]
impl<A: Api, W: WatchObject> Inline for InlineService<A, W> {
    async fn lend(&self, request: Request<LendRequest>) -> Result<Response<LendResponse>, Status> {
        let request = request.into_inner();
        match InlineService::lend(self, &request).await {
            Ok(lent) => Ok(Response::new(lent)),
            Err(error) => {
                let pod = format!("{}/{}", request.pod_namespace, request.pod_name);
                tracing::info!(pod, error = %Chain(&error), "nothing lent");
                Err(error.into())
            }
        }
    }
}
