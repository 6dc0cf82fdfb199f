//! A queue and a runner per kind. The runner never runs one object twice at a time, and repeats what failed.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dotmesh_crds::{Branch, Commit, Dot, Pool};
use dotmesh_telemetry::Chain;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::runtime::controller::{Action, Config, Error, ReconcileRequest, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tracing::Instrument;

use super::Shared;
use crate::api::{ApiErrorKind, Caches, Key, Kind};
use crate::claim::report::Said;
use crate::context::ReconcileError;
use crate::meta::uid;
use crate::wake::{self, Wake};
use crate::{branch, claim, commit, dot, pool};

/// Objects of one kind that are worked on at a time.
const CONCURRENCY: u16 = 64;
/// Wait after a guard that did not hold: the watch is about to bring what changed.
const CONFLICT_RETRY: Duration = Duration::from_millis(100);

/// The sending ends: who is to be looked at.
#[derive(Clone)]
pub struct Queues {
    dots: UnboundedSender<ObjectRef<Dot>>,
    branches: UnboundedSender<ObjectRef<Branch>>,
    commits: UnboundedSender<ObjectRef<Commit>>,
    pools: UnboundedSender<ObjectRef<Pool>>,
    pods: UnboundedSender<ObjectRef<Pod>>,
    claims: UnboundedSender<ObjectRef<PersistentVolumeClaim>>,
}

/// The receiving ends.
pub struct Inboxes {
    dots: UnboundedReceiver<ObjectRef<Dot>>,
    branches: UnboundedReceiver<ObjectRef<Branch>>,
    commits: UnboundedReceiver<ObjectRef<Commit>>,
    pools: UnboundedReceiver<ObjectRef<Pool>>,
    pods: UnboundedReceiver<ObjectRef<Pod>>,
    claims: UnboundedReceiver<ObjectRef<PersistentVolumeClaim>>,
}

/// Empty queues.
#[must_use]
pub fn queues() -> (Queues, Inboxes) {
    let (dots, get_dots) = unbounded_channel();
    let (branches, get_branches) = unbounded_channel();
    let (commits, get_commits) = unbounded_channel();
    let (pools, get_pools) = unbounded_channel();
    let (pods, get_pods) = unbounded_channel();
    let (claims, get_claims) = unbounded_channel();
    let queues = Queues {
        dots,
        branches,
        commits,
        pools,
        pods,
        claims,
    };
    let inboxes = Inboxes {
        dots: get_dots,
        branches: get_branches,
        commits: get_commits,
        pools: get_pools,
        pods: get_pods,
        claims: get_claims,
    };
    (queues, inboxes)
}

impl Queues {
    /// Sends objects to their controllers. A controller that is gone ends the program anyway.
    pub fn send(&self, wake: Wake) {
        let Wake {
            dots,
            branches,
            commits,
            pools,
            pods,
            claims,
        } = wake;
        send(&self.dots, dots);
        send(&self.branches, branches);
        send(&self.commits, commits);
        send(&self.pools, pools);
        send(&self.pods, pods);
        send(&self.claims, claims);
    }
}

fn send<K: Kind>(queue: &UnboundedSender<ObjectRef<K>>, keys: Vec<Key>) {
    for key in keys {
        let reference = ObjectRef::<K>::new(&key.name);
        let reference = match &key.namespace {
            Some(namespace) => reference.within(namespace),
            None => reference,
        };
        let _ = queue.send(reference);
    }
}

/// Starts the controllers.
pub fn spawn(
    parts: &mut JoinSet<anyhow::Result<()>>,
    context: &Arc<Shared>,
    caches: &Caches,
    inboxes: Inboxes,
    queues: &Queues,
) {
    let said = Arc::new(Said::default());
    parts.spawn(control(
        context,
        &caches.dots,
        inboxes.dots,
        async |dot: Arc<Dot>, context| {
            claim::release::release(&context.api, &Key::of(&*dot)).await?;
            dot::reconcile(dot, context).await
        },
    ));
    parts.spawn(control(context, &caches.branches, inboxes.branches, branch::reconcile));
    parts.spawn(control(context, &caches.commits, inboxes.commits, commit::reconcile));
    parts.spawn(control(context, &caches.pools, inboxes.pools, pool::reconcile));
    parts.spawn(control(context, &caches.pods, inboxes.pods, pool::discover::reconcile));
    parts.spawn(control(
        context,
        &caches.claims,
        inboxes.claims,
        move |claim, context: Arc<Shared>| {
            let said = said.clone();
            async move {
                claim::reconcile(&context.api, &context.memory, &said, claim).await?;
                Ok(Action::await_change())
            }
        },
    ));
    parts.spawn(follow_nodes(context.clone(), queues.clone()));
}

/// Runs one kind's reconciles until its queue ends.
fn control<K, F, R>(
    context: &Arc<Shared>,
    store: &Store<K>,
    inbox: UnboundedReceiver<ObjectRef<K>>,
    reconcile: R,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<K, F, R>
where
    K: Kind,
    R: Fn(Arc<K>, Arc<Shared>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let requests =
        UnboundedReceiverStream::new(inbox).map(|reference| Ok::<_, Infallible>(ReconcileRequest::from(reference)));
    let done = applier(
        move |object: Arc<K>, context: Arc<Shared>| {
            let reconcile = reconcile.clone();
            let running = async move {
                let result = reconcile(object.clone(), context.clone()).await;
                note(&context, &*object, &result);
                result
            };
            let running = tokio::spawn(running.in_current_span());
            async move {
                match running.await {
                    Ok(result) => result,
                    Err(ended) => match ended.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => Ok(Action::await_change()),
                    },
                }
            }
            .boxed()
        },
        |object, error, context| Action::requeue(retry_after(&context, &*object, error)),
        context.clone(),
        store.clone(),
        requests,
        Config::default().concurrency(CONCURRENCY),
    );
    async move {
        done.for_each(async |result| match result {
            // Failures were noted where they happened; an object that is gone has nothing to be looked at.
            Ok(_) | Err(Error::ReconcilerFailed(..) | Error::ObjectNotFound(_)) => {}
            Err(error) => tracing::error!(kind = %K::kind(&()), error = %Chain(&error), "controller"),
        })
        .await;
        anyhow::bail!("the controller of {} ended", K::kind(&()))
    }
}

fn note<K: Kind>(context: &Shared, object: &K, result: &Result<Action, ReconcileError>) {
    let kind = K::kind(&());
    match result {
        Ok(_) => {
            context.metrics.reconciled(&kind, "ok");
            context.memory.succeeded(uid(object));
        }
        Err(error @ ReconcileError::Api(api)) if api.kind == ApiErrorKind::Conflict => {
            context.metrics.reconciled(&kind, error.category());
            tracing::debug!(%kind, object = %Key::of(object), %error, "changed meanwhile; looking again");
        }
        Err(error) => {
            context.metrics.reconciled(&kind, error.category());
            tracing::warn!(%kind, object = %Key::of(object), error = %Chain(error), "reconcile failed; trying again");
        }
    }
}

fn retry_after<K: Kind>(context: &Shared, object: &K, error: &ReconcileError) -> Duration {
    match error {
        ReconcileError::Api(error) if error.kind == ApiErrorKind::Conflict => CONFLICT_RETRY,
        ReconcileError::Api(_) | ReconcileError::Node(_) => context.memory.failed(uid(object)),
    }
}

/// Follows each node whose pool was asked for, one stream per node.
async fn follow_nodes(context: Arc<Shared>, queues: Queues) -> anyhow::Result<()> {
    let running: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    loop {
        for node in context.memory.next_followed().await {
            if !running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(node.clone())
            {
                continue;
            }
            let (context, queues, running) = (context.clone(), queues.clone(), running.clone());
            tokio::spawn(async move {
                let look = || {
                    let pools = wake::node_changed(&context.api, &node);
                    queues.send(Wake {
                        pools,
                        ..Wake::default()
                    });
                };
                pool::follow::follow(&context, &node, look).await;
                running.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
                look();
            });
        }
    }
}
