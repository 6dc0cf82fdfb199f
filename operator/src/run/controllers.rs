//! A queue and a runner per kind. The runner never runs one object twice at a time, and repeats what failed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use dotmesh_crds::{Branch, Commit, Dot, Pool, Remnant};
use dotmesh_telemetry::Chain;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::runtime::controller::{Action, Config, Error, ReconcileRequest, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tracing::Instrument;

use super::Shared;
use crate::api::{Caches, Key, Kind};
use crate::claim::report::Said;
use crate::context::ReconcileError;
use crate::volume_snapshot::VolumeSnapshotContent;
use crate::wake::Wake;
use crate::{branch, commit, pool, publish, remnant, turn};

/// Objects of one kind that are worked on at a time.
const CONCURRENCY: u16 = 64;

/// Between two looks at what the scheduler is told: Pools that change together are told together, and the cache shows
/// what was written last.
const CAPACITY_INTERVAL: Duration = Duration::from_millis(200);

/// The sending ends: who is to be looked at.
#[derive(Clone)]
pub struct Queues {
    dots: UnboundedSender<ObjectRef<Dot>>,
    branches: UnboundedSender<ObjectRef<Branch>>,
    commits: UnboundedSender<ObjectRef<Commit>>,
    pools: UnboundedSender<ObjectRef<Pool>>,
    remnants: UnboundedSender<ObjectRef<Remnant>>,
    pods: UnboundedSender<ObjectRef<Pod>>,
    claims: UnboundedSender<ObjectRef<PersistentVolumeClaim>>,
    published: UnboundedSender<ObjectRef<Commit>>,
    contents: UnboundedSender<ObjectRef<VolumeSnapshotContent>>,
    capacities: Arc<Notify>,
}

/// The receiving ends.
pub struct Inboxes {
    dots: UnboundedReceiver<ObjectRef<Dot>>,
    branches: UnboundedReceiver<ObjectRef<Branch>>,
    commits: UnboundedReceiver<ObjectRef<Commit>>,
    pools: UnboundedReceiver<ObjectRef<Pool>>,
    remnants: UnboundedReceiver<ObjectRef<Remnant>>,
    pods: UnboundedReceiver<ObjectRef<Pod>>,
    claims: UnboundedReceiver<ObjectRef<PersistentVolumeClaim>>,
    published: UnboundedReceiver<ObjectRef<Commit>>,
    contents: UnboundedReceiver<ObjectRef<VolumeSnapshotContent>>,
}

/// Empty queues.
#[must_use]
pub fn queues() -> (Queues, Inboxes) {
    let (dots, get_dots) = unbounded_channel();
    let (branches, get_branches) = unbounded_channel();
    let (commits, get_commits) = unbounded_channel();
    let (pools, get_pools) = unbounded_channel();
    let (remnants, get_remnants) = unbounded_channel();
    let (pods, get_pods) = unbounded_channel();
    let (claims, get_claims) = unbounded_channel();
    let (published, get_published) = unbounded_channel();
    let (contents, get_contents) = unbounded_channel();
    let queues = Queues {
        dots,
        branches,
        commits,
        pools,
        remnants,
        pods,
        claims,
        published,
        contents,
        capacities: Arc::default(),
    };
    let inboxes = Inboxes {
        dots: get_dots,
        branches: get_branches,
        commits: get_commits,
        pools: get_pools,
        remnants: get_remnants,
        pods: get_pods,
        claims: get_claims,
        published: get_published,
        contents: get_contents,
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
            remnants,
            pods,
            claims,
            published,
            contents,
            capacities,
        } = wake;
        send(&self.dots, dots);
        send(&self.branches, branches);
        send(&self.commits, commits);
        send(&self.pools, pools);
        send(&self.remnants, remnants);
        send(&self.pods, pods);
        send(&self.claims, claims);
        send(&self.published, published);
        send(&self.contents, contents);
        if capacities {
            self.capacities.notify_one();
        }
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
    parts.spawn(control(context, &caches.dots, inboxes.dots, turn::take_dot));
    parts.spawn(control(context, &caches.branches, inboxes.branches, branch::reconcile));
    parts.spawn(control(context, &caches.commits, inboxes.commits, commit::reconcile));
    parts.spawn(control(context, &caches.pools, inboxes.pools, pool::reconcile));
    parts.spawn(control(context, &caches.remnants, inboxes.remnants, remnant::reconcile));
    parts.spawn(control(context, &caches.pods, inboxes.pods, pool::discover::reconcile));
    parts.spawn(control(
        context,
        &caches.claims,
        inboxes.claims,
        move |claim, context: Arc<Shared>| turn::take_claim(claim, context, said.clone()),
    ));
    parts.spawn(control(context, &caches.commits, inboxes.published, publish::reconcile));
    parts.spawn(control(
        context,
        &caches.contents,
        inboxes.contents,
        publish::sweep::reconcile,
    ));
    parts.spawn(keep_capacities(context.clone(), Arc::clone(&queues.capacities)));
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
                turn::note(&context, &*object, &result);
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
        |object, error, context| Action::requeue(turn::retry_after(&context, &*object, error)),
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

/// Tells the scheduler whenever there may be something to tell.
async fn keep_capacities(context: Arc<Shared>, wanted: Arc<Notify>) -> anyhow::Result<()> {
    loop {
        wanted.notified().await;
        while let Some(wait) = turn::take_capacities(&context).await {
            tokio::time::sleep(wait).await;
        }
        tokio::time::sleep(CAPACITY_INTERVAL).await;
    }
}

/// Follows each node whose pool was asked for.
async fn follow_nodes(context: Arc<Shared>, queues: Queues) -> anyhow::Result<()> {
    pool::follow::follow_all(context, move |wake| queues.send(wake)).await;
    anyhow::bail!("nodes are no longer followed")
}
