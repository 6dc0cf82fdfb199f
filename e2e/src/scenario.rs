//! A scenario: a test in a namespace of its own, which ends with a pool that shows nothing of it any more.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dotmesh_crds::{Branch, Commit, Dot};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use tokio::sync::RwLock;

use crate::cluster::{Cluster, PATIENCE, patience_for_deletions};
use crate::dump::dump;
use crate::node::Nodes;
use crate::pool;
use crate::program::Program;
use crate::wait::{Look, until};

/// How long a whole scenario may take.
const BOUND: Duration = Duration::from_secs(1800);

/// Scenarios that disturb operator or csi-node, or look at the pool as a whole, run alone.
static ALONE: RwLock<()> = RwLock::const_new(());

/// What a scenario has at hand.
pub struct Scenario {
    /// The cluster, and the scenario's namespace.
    pub cluster: Cluster,
    /// The nodes.
    pub nodes: Nodes,
}

/// Runs a scenario beside others.
pub async fn scenario(name: &str, body: impl AsyncFnOnce(&Scenario) -> Result<()>) {
    let _others = ALONE.read().await;
    run(name, body).await;
}

/// Runs a scenario while no other runs.
pub async fn scenario_alone(name: &str, body: impl AsyncFnOnce(&Scenario) -> Result<()>) {
    let _nobody = ALONE.write().await;
    run(name, body).await;
}

#[expect(clippy::panic, reason = "this is how a test fails")]
async fn run(name: &str, body: impl AsyncFnOnce(&Scenario) -> Result<()>) {
    let start = Instant::now();
    let scenario = match Scenario::new(name).await {
        Ok(scenario) => scenario,
        Err(error) => panic!("{name}: {error:#}"),
    };
    let whole = async {
        body(&scenario).await?;
        scenario.settled().await?;
        scenario.end().await
    };
    let bounded = tokio::time::timeout(BOUND, AssertUnwindSafe(whole).catch_unwind()).await;
    let failure = match bounded {
        Ok(Ok(Ok(()))) => {
            println!("{name}: {:.1} s", start.elapsed().as_secs_f64());
            return;
        }
        Ok(Ok(Err(error))) => format!("{error:#}"),
        Ok(Err(panic)) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "it panicked".to_owned()),
        Err(_) => format!("took longer than {BOUND:?}"),
    };
    let seen = dump(&scenario.cluster).await;
    scenario.abandon().await;
    panic!("{name} ({}): {failure}\n{seen}", scenario.cluster.namespace);
}

impl Scenario {
    /// Makes the namespace, named after the scenario and the time.
    ///
    /// # Errors
    /// When something of the environment is missing.
    pub async fn new(name: &str) -> Result<Self> {
        let prefix: String = name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let prefix: String = prefix.chars().take(40).collect();
        let namespace = format!(
            "{}-{:x}",
            prefix.trim_matches('-'),
            jiff::Timestamp::now().as_millisecond() & 0xff_ffff
        );
        let cluster = Cluster::connect(&namespace).await?;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        Program::kubectl(["create", "-f", "-"])?
            .input(object.to_string())
            .output()
            .await?;
        cluster.wait_account().await?;
        let nodes = Nodes::from_env()?;
        cluster.wait_pools(nodes.names().count()).await?;
        Ok(Self { cluster, nodes })
    }

    /// Waits until each dataset and snapshot of the namespace has its object, and the reverse.
    ///
    /// # Errors
    /// When they still differ at the end, with the differences.
    pub async fn settled(&self) -> Result<()> {
        until("pool and objects account for each other", PATIENCE, async || {
            let differences = pool::differences(&self.cluster, &self.nodes).await?;
            Ok(Look::when(differences.is_empty(), differences.join("; ")))
        })
        .await
    }

    /// Deletes the namespace with all that is in it, and waits until the pool has nothing of it.
    ///
    /// # Errors
    /// When something stays.
    pub async fn end(&self) -> Result<()> {
        let (dots, branches) = (self.cluster.list::<Dot>().await?, self.cluster.list::<Branch>().await?);
        let objects = dots.len() + branches.len() + self.cluster.list::<Commit>().await?.len();
        self.delete_namespace().await?;
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        until("the namespace gone", patience_for_deletions(objects), async || {
            let left = namespaces.get_opt(&self.cluster.namespace).await?;
            let state = left
                .and_then(|namespace| namespace.status)
                .map(|status| format!("{:?}", status.conditions));
            Ok(Look::when(state.is_none(), state.unwrap_or_default()))
        })
        .await?;
        let volumes: Api<PersistentVolume> = Api::all(self.cluster.client.clone());
        until("its volumes gone", PATIENCE, async || {
            let all = volumes.list(&ListParams::default()).await?.items;
            let claims = all.into_iter().filter_map(|pv| pv.spec?.claim_ref);
            let left: Vec<_> = claims
                .filter(|claim| claim.namespace.as_deref() == Some(&self.cluster.namespace))
                .collect();
            Ok(Look::when(left.is_empty(), format!("{left:?}")))
        })
        .await?;
        until("its datasets gone", PATIENCE, async || {
            let left = pool::of_namespace(&self.nodes, &self.cluster.namespace).await?;
            Ok(Look::when(left.is_empty(), format!("{left:?}")))
        })
        .await
    }

    /// Deletes the namespace of a failed scenario without waiting; what it shows was dumped.
    async fn abandon(&self) {
        if let Err(error) = self.delete_namespace().await {
            eprintln!("{error:#}");
        }
    }

    async fn delete_namespace(&self) -> Result<()> {
        let pods: Api<Pod> = self.cluster.api();
        let quick = DeleteParams::default().grace_period(1);
        pods.delete_collection(&quick, &ListParams::default())
            .await
            .context("delete the pods")?;
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        let deleted = namespaces
            .delete(&self.cluster.namespace, &DeleteParams::default())
            .await;
        deleted.map(drop).context("delete the namespace")
    }
}
