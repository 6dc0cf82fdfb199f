//! Puts the parts together and runs them until the process is told to end.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use dotmesh_csi_proto::node::node_server::NodeServer;
use dotmesh_mount::LinuxMount;
use dotmesh_telemetry::{Readiness, init_logs};
use dotmesh_zfs::ZfsCli;
use dotmesh_zfs::cmd::HostCommand;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use crate::args::Args;
use crate::edge::csi::{self, Csi};
use crate::edge::fence::Fence;
use crate::edge::node_v1::NodeService;
use crate::edge::tls::{self, OnlyOperator};
use crate::edge::{Calls, registration, socket};
use crate::enroll::{Enrollment, keep_enrolled};
use crate::metrics::{self, Rpcs};
use crate::operator::Operator;
use crate::ops::{Config, HostFiles, Pools};
use crate::sole::{self, Sole};

type Parts = JoinSet<anyhow::Result<()>>;

/// Runs until SIGTERM or SIGINT. Ending at once is safe: whatever was begun is completed when it is asked for again.
///
/// # Errors
/// When a part cannot begin, or ends.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let logs = init_logs(args.log_format, &args.log_filter)?;
    let csi_socket = args
        .csi_socket
        .clone()
        .unwrap_or_else(|| csi::socket_path(&args.kubelet_dir));
    let _sole = Sole::wait(&args.data_dir, &csi_socket, sole::PATIENCE).await?;
    let zfs = ZfsCli::new(HostCommand::new(args.host_root.clone()));
    let config = Config {
        state_dir: args.data_dir.clone(),
        host_root: args.host_root.clone(),
        files: Arc::new(HostFiles),
    };
    let pools = Pools::new(zfs, LinuxMount::new(), config);
    let (csi_rpcs, node_rpcs) = (Rpcs::default(), Rpcs::default());
    let readiness = Readiness::new();
    let registry = Arc::new(metrics::registry(&csi_rpcs, &node_rpcs, pools.counts(), pools.watch()));
    let mut parts = Parts::new();

    if let Some(file) = args.log_filter_file.clone() {
        parts.spawn(async move {
            logs.follow(&file).await;
            Ok(())
        });
    }
    if let Some(address) = args.http_listen {
        let listener = dotmesh_telemetry::bind(address)
            .await
            .with_context(|| format!("listening on {address}"))?;
        part(
            &mut parts,
            dotmesh_telemetry::serve(listener, registry, readiness.clone()),
        );
    }
    let operator = operator(&args)?;
    let csi = Csi::new(Arc::clone(&pools), Calls::of_csi(csi_rpcs), args.node_name.clone());
    let csi = match operator.clone() {
        Some(operator) => csi.with_lender(Arc::new(operator)),
        None => csi,
    };
    serve_csi(&args, csi_socket, csi, &mut parts)?;
    let node = NodeService::new(Arc::clone(&pools), Calls::of_operator(node_rpcs));
    serve_node(&args, node, operator, &readiness, &mut parts).await?;
    let watching = Arc::clone(&pools);
    parts.spawn(async move {
        watching.watch_pools().await;
        Ok(())
    });
    parts.spawn(async move {
        pools.collect().await;
        Ok(())
    });
    tracing::info!(
        node = args.node_name,
        version = env!("CARGO_PKG_VERSION"),
        "the node serves"
    );

    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = tokio::select! {
        _ = term.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        part = parts.join_next() => match part {
            Some(Ok(Err(error))) => Err(error),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(Ok(()))) | None => Err(anyhow::anyhow!("a part ended by itself")),
        },
    };
    tracing::info!("the node ends");
    ended
}

fn part<E>(parts: &mut Parts, running: impl Future<Output = Result<(), E>> + Send + 'static)
where
    E: std::error::Error + Send + Sync + 'static,
{
    parts.spawn(async move { running.await.map_err(anyhow::Error::from) });
}

/// Absent: this node works without one.
fn operator(args: &Args) -> anyhow::Result<Option<Operator>> {
    let Some(address) = args.operator_address.clone() else {
        return Ok(None);
    };
    let (Some(ca_file), Some(token_file)) = (args.ca_file.clone(), args.token_file.clone()) else {
        anyhow::bail!("--operator-address needs --ca-file and --token-file");
    };
    Ok(Some(Operator {
        address,
        server_name: args.operator_server_name.clone(),
        ca_file,
        token_file,
    }))
}

/// The CSI socket first, then the registration that leads the kubelet to it.
fn serve_csi(args: &Args, path: PathBuf, service: Csi<ZfsCli, LinuxMount>, parts: &mut Parts) -> anyhow::Result<()> {
    let (listener, bound) = socket::bind(&path).with_context(|| format!("listening on {}", path.display()))?;
    part(parts, service.serve(listener));
    let lost = format!("nobody can reach the CSI socket {}", path.display());
    parts.spawn(async move { Err(bound.lost().await).context(lost) });
    if !args.no_registration {
        let registry = args.kubelet_dir.join("plugins_registry");
        parts.spawn(async move {
            registration::serve(&registry, &path)
                .await
                .with_context(|| format!("registering with the kubelet in {}", registry.display()))
        });
    }
    Ok(())
}

async fn serve_node(
    args: &Args,
    service: NodeService<ZfsCli, LinuxMount>,
    operator: Option<Operator>,
    readiness: &Readiness,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    if let Some(path) = &args.node_socket {
        let (listener, _) = socket::bind(path).with_context(|| format!("listening on {}", path.display()))?;
        let server = Server::builder().add_service(NodeServer::new(service.clone()));
        part(parts, server.serve_with_incoming(UnixListenerStream::new(listener)));
    }
    let (Some(address), Some(operator)) = (args.listen, operator) else {
        return Ok(());
    };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address}"))?;
    let (configs, config) = watch::channel(None);
    let fenced = InterceptedService::new(NodeServer::new(service), Fence::default());
    let server = Server::builder().add_service(InterceptedService::new(fenced, OnlyOperator));
    part(parts, server.serve_with_incoming(tls::incoming(listener, config)));
    let enrollment = Enrollment {
        node: args.node_name.clone(),
        operator,
    };
    let readiness = readiness.clone();
    parts.spawn(async move {
        keep_enrolled(enrollment, configs, readiness, Arc::new(SystemTime::now)).await;
        Ok(())
    });
    Ok(())
}
