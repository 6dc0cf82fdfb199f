//! The API alone: a real apiserver with our CRDs and our chart, and no node.
//!
//! What the server itself refuses or accepts, without any program of ours running.

#![expect(clippy::unwrap_used, reason = "what a test stands on must work, or it fails")]

use anyhow::Result;
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::Cluster;
use dotmesh_e2e::program::Program;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

mod chart_on_server;
mod chart_policies;
mod chart_switches;
mod chart_values;
mod committer;
mod contract;
mod documents;
mod every_field;
mod explain;
mod immutable;
mod imports;
mod names_and_sizes;
mod permissions;
mod snapshot_controllers;

/// The namespace of objects that are really made.
const NAMESPACE: &str = "control-plane-tests";

static PREPARED: OnceCell<()> = OnceCell::const_new();

/// A cluster with our CRDs and service accounts; applied once for all tests.
async fn cluster() -> Cluster {
    PREPARED.get_or_init(async || prepare().await.unwrap()).await;
    Cluster::connect(NAMESPACE).await.unwrap()
}

async fn prepare() -> Result<()> {
    let folder = chart::checkout().join("crds/yaml").display().to_string();
    Program::kubectl(["apply", "--server-side", "--force-conflicts", "-f", &folder])?
        .output()
        .await?;
    let names = ["dots", "branches", "commits", "pools", "remnants"].map(|plural| format!("crd/{plural}.dotmesh.io"));
    let wait = Program::kubectl(["wait", "--for=condition=Established", "--timeout=60s"])?;
    wait.args(names).output().await?;
    for name in [NAMESPACE, chart::NAMESPACE] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        Program::kubectl(["apply", "-f", "-"])?
            .input(namespace.to_string())
            .output()
            .await?;
        Cluster::connect(name).await?.wait_account().await?;
    }
    // Even of a pod that is only tried, the server wants the account to be there.
    let accounts = chart::template(&["--show-only", "templates/serviceaccounts.yaml"])?;
    let apply = Program::kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"])?;
    apply.input(accounts.output().await?).output().await?;
    Ok(())
}

/// What the server says to an object without keeping it: nothing when it accepts it.
async fn refusal(object: &Value) -> Option<String> {
    let cluster = cluster().await;
    let create = cluster.kubectl(&["create", "--dry-run=server", "-f", "-"]).unwrap();
    let ended = create.input(object.to_string()).ended().await.unwrap();
    (!ended.success).then_some(ended.stderr)
}

async fn assert_accepted(object: &Value) {
    assert_eq!(refusal(object).await, None, "{object}");
}

async fn assert_refused(object: &Value, because: &str) {
    let words = refusal(object).await;
    let words = words.unwrap_or_else(|| panic!("accepted: {object}"));
    assert!(
        words.contains(because),
        "{object}\nrefused, but without the words {because:?}: {words}"
    );
}
