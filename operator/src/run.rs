//! Wires everything: caches and their watches, the controllers, the façade, enrollment, health and metrics.

pub mod controllers;
pub mod watches;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dotmesh_telemetry::{Chain, LogFilter, Readiness, Registry};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::api::{Caches, KubeApi};
use crate::args::Args;
use crate::context::{Clock, Config, Context};
use crate::enroll::{self, EnrollmentService, authority};
use crate::facade::{self, watch::KubeWatch};
use crate::inline::InlineService;
use crate::lead::Election;
use crate::metrics::{Metrics, Objects};
use crate::nodes::grpc::{Directory, GrpcNodes};
use crate::nodes::pods;
use crate::pki::Authority;
use crate::pki::certificates::Certificates;

/// What the controllers run with.
pub type Shared = Context<KubeApi, GrpcNodes>;

/// Between two attempts at what must succeed before anything else can start.
const START_RETRY: Duration = Duration::from_secs(2);

/// Runs until SIGTERM, SIGINT, or until a part ends.
///
/// # Errors
/// What kept a part from starting, or ended it.
pub async fn run(args: Args, logs: LogFilter) -> anyhow::Result<()> {
    let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
    if let Some(file) = args.log_filter_file.clone() {
        parts.spawn(async move {
            logs.follow(&file).await;
            Ok(())
        });
    }
    let metrics = Metrics::default();
    let (caches, writers) = watches::caches();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    registry.register_collector(Box::new(Objects(caches.clone())));
    let readiness = Readiness::new();
    readiness.waiting("caches", "first list");
    readiness.waiting("authority", "not read yet");
    let listener = dotmesh_telemetry::bind(args.http_listen)
        .await
        .context("--http-listen")?;
    parts.spawn(serve_http(listener, registry, readiness.clone()));
    let stop = tokio_stop()?;
    let started = start(&args, &mut parts, (caches, writers), metrics, readiness);
    let election = tokio::select! {
        () = stop => return Ok(()),
        started = started => started?,
    };
    let stop = tokio_stop()?;
    let ended = tokio::select! {
        () = stop => Ok(()),
        ended = parts.join_next() => match ended {
            Some(ended) => ended?.and_then(|()| anyhow::bail!("a part ended")),
            None => Ok(()),
        },
    };
    election.resign().await;
    ended
}

async fn serve_http(listener: TcpListener, registry: Registry, readiness: Readiness) -> anyhow::Result<()> {
    Ok(dotmesh_telemetry::serve(listener, Arc::new(registry), readiness).await?)
}

/// SIGTERM or SIGINT.
fn tokio_stop() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// Everything that waits for something else before it can run.
async fn start(
    args: &Args,
    parts: &mut JoinSet<anyhow::Result<()>>,
    (caches, writers): (Caches, watches::Writers),
    metrics: Metrics,
    readiness: Readiness,
) -> anyhow::Result<Arc<Election<KubeApi>>> {
    let client = Client::try_default().await.context("connecting to Kubernetes")?;
    let listeners = watches::Listeners::default();
    let api = KubeApi::new(client.clone(), caches.clone(), metrics.clone());
    let which = watches::Which {
        namespace: &args.namespace,
        importing: args.importer().is_some(),
        publishing: args.csi_snapshots,
    };
    watches::spawn(parts, &client, which, writers, api.clone(), &listeners);
    watches::wait_until_ready(&caches, args.csi_snapshots).await?;
    readiness.ready("caches");

    let authority = ensure_authority(&api, &args.namespace).await;
    let now = Arc::new(time::OffsetDateTime::now_utc);
    let certificates = Arc::new(Certificates::new(authority, &args.namespace, now));
    readiness.ready("authority");

    let clock: Clock = Arc::new(Timestamp::now);
    let election = Arc::new(Election::new(
        api.clone(),
        &args.namespace,
        args.pod_name.clone(),
        Arc::clone(&clock),
    ));
    let controlling = Controlling {
        election: Arc::clone(&election),
        args: args.clone(),
        certificates: Arc::clone(&certificates),
        api: api.clone(),
        clock,
        metrics,
        listeners,
    };
    parts.spawn(controlling.run());

    let socket = facade::bind(&args.csi_socket).with_context(|| format!("{}", args.csi_socket.display()))?;
    let watches = KubeWatch::new(client);
    let with_snapshots = args.csi_snapshots;
    let (facade_api, facade_watches) = (api.clone(), watches.clone());
    parts.spawn(async move {
        Ok(facade::serve(
            socket,
            facade_api,
            facade_watches,
            (readiness, with_snapshots),
            std::future::pending(),
        )
        .await?)
    });
    let listener = listen(args.enroll_listen).await?;
    let inline = InlineService::new(api.clone(), watches, args.namespace.clone());
    let service = EnrollmentService::new(api, certificates, args.namespace.clone());
    parts.spawn(async move { Ok(enroll::serve(listener, service, inline, std::future::pending()).await?) });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "running");
    Ok(election)
}

/// What the controllers need, from the moment in which this replica leads.
struct Controlling {
    election: Arc<Election<KubeApi>>,
    args: Args,
    certificates: Arc<Certificates>,
    api: KubeApi,
    clock: Clock,
    metrics: Metrics,
    listeners: watches::Listeners,
}

impl Controlling {
    /// Waits until this replica leads, and runs the controllers until it does so no more. Then the whole program ends:
    /// nothing that was under way can come later, and the next incarnation begins with what there is.
    async fn run(self) -> anyhow::Result<()> {
        let lead = self.election.win().await;
        self.metrics.lead();
        let args = &self.args;
        let directory: Directory = {
            let store = self.api.caches().pods.clone();
            Arc::new(move |node| pods::address(store.state().iter().map(AsRef::as_ref), node))
        };
        let nodes = GrpcNodes::new(
            directory,
            args.node_port,
            self.certificates,
            lead.term(),
            self.metrics.clone(),
        );
        let config = Config {
            namespace: args.namespace.clone(),
            pool: args.pool.place(),
            grace: args.grace_period,
            importer: args.importer(),
            snapshots: args.csi_snapshots,
        };
        let context: Arc<Shared> = Arc::new(Context::new(
            self.api.clone(),
            nodes,
            config,
            self.clock,
            self.metrics,
            Arc::clone(&lead),
        ));
        let (queues, inboxes) = controllers::queues();
        let mut running = JoinSet::new();
        controllers::spawn(&mut running, &context, self.api.caches(), inboxes, &queues);
        let queues = self.listeners.get_or_init(|| queues);
        watches::tell_all(self.api.caches(), &self.api, queues);
        tokio::select! {
            () = self.election.keep(&lead) => anyhow::bail!("the Lease could not be kept: another replica may lead"),
            ended = running.join_next() => match ended {
                Some(ended) => ended?,
                None => Ok(()),
            },
        }
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("--enroll-listen {address}"))
}

/// Nothing can be done without it, and what keeps it away (an API that does not answer, roles that are missing) is
/// mended from outside.
async fn ensure_authority(api: &KubeApi, namespace: &str) -> Authority {
    loop {
        match authority::ensure(api, namespace, time::OffsetDateTime::now_utc()).await {
            Ok(authority) => return authority,
            Err(error) => tracing::error!(error = %Chain(&error), "no authority"),
        }
        tokio::time::sleep(START_RETRY).await;
    }
}
