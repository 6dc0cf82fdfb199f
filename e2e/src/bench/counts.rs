//! Counts per operation: the same on any machine.

use std::time::Duration;

use anyhow::{Context, Result};
use dotmesh_crds::{Branch, Commit, Dot};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::floor;
use super::metrics::{Metrics, Sample};
use super::table::Report;
use crate::objects;
use crate::scenario::Scenario;

/// Processes that csi-node started.
pub(super) const PROCESSES: &str = "csi-node/dotmesh_zfs_commands_total";
/// Writes of the operator to the API.
pub(super) const API_WRITES: &str = "operator/dotmesh_api_writes_total";
/// Calls of the operator to nodes.
pub(super) const ROUND_TRIPS: &str = "operator/dotmesh_node_call_seconds_count";

/// Counts of one operation on a Dot with two volumes after the other.
pub(super) async fn run(scenario: &Scenario, metrics: &Metrics, report: &mut Report) -> Result<()> {
    report.heading("Counts per operation");
    report.line(format_args!(
        "A Dot with two volumes, nothing else going on. Processes: `zfs` and `zpool` started by csi-node, until it is at \
         rest (the hold after a commit and the collector after a deletion are behind the answer). API writes: the \
         operator's, by kind; events are not counted. Groups: transaction groups that the pool went through, its own \
         clock's included.\n"
    ));
    report.header(&[
        "operation",
        "processes",
        "which",
        "API writes",
        "of what",
        "round trips",
        "groups",
    ]);
    let cluster = &scenario.cluster;
    let count = Counter { scenario, metrics };
    let row = count
        .of("Dot created, two claims, pod scheduled → published", async || {
            let claim = |volume| objects::claim(volume, "64Mi", "Dot", "counted", volume);
            cluster
                .apply([
                    objects::dot("counted", &[("a", "64Mi"), ("b", "64Mi")]),
                    claim("a"),
                    claim("b"),
                ])
                .await?;
            cluster.apply([objects::holder("counted", &["a", "b"])]).await?;
            cluster.wait_pod("counted").await.map(drop)
        })
        .await?;
    report.row(&row);
    let row = count
        .of("second pod on the same claims (publish)", async || {
            cluster.apply([objects::holder("second", &["a", "b"])]).await?;
            cluster.wait_pod("second").await.map(drop)
        })
        .await?;
    report.row(&row);
    let row = count
        .of("Commit", async || {
            cluster.apply([objects::commit("first", "counted")]).await?;
            cluster.wait_ready::<Commit>("first").await.map(drop)
        })
        .await?;
    report.row(&row);
    let row = count
        .of("Branch from a commit", async || {
            cluster.apply([objects::branch("side", "counted", "first")]).await?;
            cluster.wait_ready::<Branch>("side").await.map(drop)
        })
        .await?;
    report.row(&row);
    let row = count
        .of("claim on a branch, data placed → Bound", async || {
            cluster
                .apply([objects::claim("c", "64Mi", "Branch", "side", "a")])
                .await?;
            cluster.wait_bound("c").await.map(drop)
        })
        .await?;
    report.row(&row);
    let row = count
        .of("claim deleted", async || {
            remove::<PersistentVolumeClaim>(scenario, "c").await
        })
        .await?;
    report.row(&row);
    let row = count
        .of("Branch deleted", async || remove::<Branch>(scenario, "side").await)
        .await?;
    report.row(&row);
    let row = count
        .of("Commit deleted", async || remove::<Commit>(scenario, "first").await)
        .await?;
    report.row(&row);
    for pod in ["counted", "second"] {
        remove::<Pod>(scenario, pod).await?;
    }
    for claim in ["a", "b"] {
        remove::<PersistentVolumeClaim>(scenario, claim).await?;
    }
    let row = count
        .of("Dot deleted (with its initial commit)", async || {
            remove::<Dot>(scenario, "counted").await
        })
        .await?;
    report.row(&row);
    Ok(())
}

async fn remove<K>(scenario: &Scenario, name: &str) -> Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    scenario.cluster.delete::<K>(name).await?;
    scenario.cluster.wait_gone::<K>(name).await
}

struct Counter<'a> {
    scenario: &'a Scenario,
    metrics: &'a Metrics,
}

impl Counter<'_> {
    async fn of(&self, name: &str, operation: impl AsyncFnOnce() -> Result<()>) -> Result<Vec<String>> {
        let before = self.metrics.settled().await?;
        let group = self.group().await?;
        tokio::time::timeout(Duration::from_secs(300), operation())
            .await
            .with_context(|| format!("{name} takes too long"))?
            .with_context(|| name.to_owned())?;
        let groups = self.group().await? - group;
        let counted = self.metrics.settled().await?.since(&before);
        let (processes, which) = shown(&counted, PROCESSES, "verb");
        let (writes, kinds) = shown(&counted, API_WRITES, "kind");
        let (calls, _) = shown(&counted, ROUND_TRIPS, "rpc");
        Ok(vec![
            name.to_owned(),
            processes,
            which,
            writes,
            kinds,
            calls,
            groups.to_string(),
        ])
    }

    /// The pool's newest transaction group.
    async fn group(&self) -> Result<u64> {
        let text = floor::shell(self.scenario, "tail -n 1 /proc/spl/kstat/zfs/dotmesh/txgs").await?;
        let first = text
            .split_whitespace()
            .next()
            .context("no transaction group in the pool's statistics")?;
        Ok(first.parse()?)
    }
}

fn shown(counted: &Sample, metric: &str, label: &str) -> (String, String) {
    let ours = |(name, _): &(String, f64)| !name.contains("Event") && name != "Watch" && !name.starts_with("zpool");
    let by_label: Vec<(String, f64)> = counted.by_label(metric, label).into_iter().filter(ours).collect();
    // The sum of nothing is negative zero.
    let sum = by_label.iter().map(|(_, value)| value).sum::<f64>() + 0.0;
    let which: Vec<String> = by_label.iter().map(|(name, value)| format!("{value} {name}")).collect();
    (sum.to_string(), which.join(", "))
}
