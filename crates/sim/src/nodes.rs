//! The operator's [`Nodes`] on the stage: csi-node's service in the same process, with its parsing and its status, and
//! the operator's reading of that status.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dotmesh_csi_proto::node::node_server::Node;
use dotmesh_csi_proto::node::{
    AttachRequest, AttachResponse, CommitRequest, CommitResponse, DeleteBranchRequest, DeleteCommitRequest,
    DeleteDotRequest, DeleteResponse, DescribeDotRequest, DescribeDotResponse, DetachRequest, DetachResponse,
    EnsureBranchRequest, EnsureBranchResponse, EnsureDotRequest, EnsureDotResponse, EnsurePoolRequest,
    EnsurePoolResponse, FindMissingRequest, FindMissingResponse, WatchRequest,
};
use dotmesh_operator::nodes::grpc::node_error;
use dotmesh_operator::nodes::{NodeError, NodeErrorKind, Nodes, PoolEvents};
use futures::StreamExt;
use tonic::{Request, Response, Status};

use crate::fault::{Class, Failure};
use crate::machine::{Machine, Running};
use crate::stage::{Life, Stage};

/// One replica's way to the nodes.
#[derive(Clone)]
pub struct SimNodes {
    stage: Stage,
    life: Life,
    machines: Arc<Vec<Machine>>,
    term: u64,
    sent: Arc<AtomicU64>,
}

fn error(node: &str, kind: NodeErrorKind, message: &str) -> NodeError {
    NodeError {
        node: node.to_owned(),
        kind,
        message: message.to_owned(),
    }
}

impl SimNodes {
    /// For an incarnation of the operator.
    #[must_use]
    pub fn new(stage: Stage, life: Life, machines: Arc<Vec<Machine>>, term: u64) -> Self {
        Self {
            stage,
            life,
            machines,
            term,
            sent: Arc::default(),
        }
    }

    /// Term and number of the next call.
    fn next(&self) -> (u64, u64) {
        (self.term, self.sent.fetch_add(1, Ordering::SeqCst))
    }

    fn running(&self, node: &str) -> Result<Running, NodeError> {
        let machine = self.machines.iter().find(|machine| machine.name() == node);
        machine
            .and_then(Machine::running)
            .ok_or_else(|| error(node, NodeErrorKind::Unreachable, "nobody answers there"))
    }

    /// A call whose caller has gone.
    async fn deliver_late<Q, R, F>(
        self,
        node: String,
        sent: (u64, u64),
        request: Q,
        send: impl Fn(Running, Request<Q>) -> F,
    ) where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        tokio::time::sleep(Failure::DELAY).await;
        if let Ok(running) = self.running(&node) {
            self.stage.say(self.life.actor(), "  a call arrives late");
            match running.admit(request, sent) {
                Ok(request) => drop(send(running, request).await),
                Err(refused) => self
                    .stage
                    .say(self.life.actor(), format_args!("  {}", refused.message())),
            }
        }
    }

    async fn call<Q, R, F>(
        &self,
        (node, rpc, deadline): (&str, &'static str, Duration),
        request: Q,
        send: impl Fn(Running, Request<Q>) -> F + Copy + Send + Sync + 'static,
    ) -> Result<R, NodeError>
    where
        Q: Clone + About + Send + Sync + 'static,
        R: Send + 'static,
        F: Future<Output = Result<Response<R>, Status>> + Send + 'static,
    {
        let sent = self.next();
        let failed = |failure| match failure {
            Failure::Late => error(node, NodeErrorKind::Deadline, "no answer in time"),
            Failure::Delayed => {
                tokio::spawn(self.clone().deliver_late(node.to_owned(), sent, request.clone(), send));
                error(node, NodeErrorKind::Unreachable, "the connection broke")
            }
            Failure::NotDone | Failure::Unknown | Failure::Conflict => {
                error(node, NodeErrorKind::Unreachable, "the connection broke")
            }
        };
        let perform = || async {
            let running = self.running(node)?;
            let life = running.life.clone();
            let request = running.admit(request.clone(), sent);
            let request = request.map_err(|status| node_error(node, &status))?;
            tokio::select! {
                biased;
                () = life.over() => Err(error(node, NodeErrorKind::Unreachable, "the connection broke")),
                answer = tokio::time::timeout(deadline, send(running, request)) => match answer {
                    Ok(Ok(response)) => Ok(response.into_inner()),
                    Ok(Err(status)) => Err(node_error(node, &status)),
                    Err(_) => Err(error(node, NodeErrorKind::Deadline, "no answer in time")),
                },
            }
        };
        let text = || format!("{rpc} {node} {}", request.about());
        self.stage.effect(&self.life, Class::Call, text, failed, perform).await
    }
}

/// What a trace tells of a request: maps in a message have no order.
trait About {
    fn about(&self) -> String;
}

macro_rules! about {
    ($($request:ty: |$of:ident| $text:expr;)*) => {$(
        impl About for $request {
            fn about(&self) -> String {
                let $of = self;
                $text
            }
        }
    )*};
}

about! {
    EnsurePoolRequest: |of| format!("{} known {}", of.name, of.known_guid);
    EnsureDotRequest: |of| format!("{}{}", of.dot_id, if of.take_over { " taken over" } else { "" });
    EnsureBranchRequest: |of| format!("{} head {} of {:?}, {} volumes", of.branch_id, of.head_id, of.origin.as_ref().map(|origin| &origin.commit_id), of.volumes.len());
    CommitRequest: |of| format!("{} of head {}, {} volumes", of.commit_id, of.head_id, of.volume_ids.len());
    AttachRequest: |of| format!("{} to volume {} of {}", of.claim_uid, of.volume_id, of.dot_id);
    DetachRequest: |of| format!("{} of {}", of.claim_uid, of.dot_id);
    DeleteCommitRequest: |of| format!("{} of head {}", of.commit_id, of.head_id);
    DeleteBranchRequest: |of| format!("{} heads {:?}", of.branch_id, of.head_ids);
    DeleteDotRequest: |of| of.dot_id.clone();
    DescribeDotRequest: |of| format!("{} after {:?}", of.dot_id, of.after_commit_id);
    FindMissingRequest: |of| format!("of {}", of.recorded.len());
}

macro_rules! unary {
    ($($method:ident, $rpc:literal, $deadline:expr, $request:ty => $response:ty;)*) => {$(
        async fn $method(&self, node: &str, request: $request) -> Result<$response, NodeError> {
            self.call((node, $rpc, $deadline), request, |running, request| async move {
                running.node.$method(request).await
            })
            .await
        }
    )*};
}

impl Nodes for SimNodes {
    async fn watch(&self, node: &str) -> Result<PoolEvents, NodeError> {
        self.stage.pause(&self.life).await;
        let running = self.running(node)?;
        let request = running.admit(WatchRequest {}, self.next());
        let request = request.map_err(|status| node_error(node, &status))?;
        let Running {
            life, node: service, ..
        } = running;
        let watching = service.watch(request).await;
        let events = watching.map_err(|status| node_error(node, &status))?.into_inner();
        let name = node.to_owned();
        let ended = {
            let name = name.clone();
            async move {
                life.over().await;
                Err(error(&name, NodeErrorKind::Unreachable, "the connection broke"))
            }
        };
        let events = events.map(move |event| event.map_err(|status| node_error(&name, &status)));
        Ok(futures::stream::select(events, futures::stream::once(ended)).boxed())
    }

    dotmesh_operator::unary_calls!(unary);
}
