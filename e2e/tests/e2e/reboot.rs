//! The node goes down and comes up again.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dotmesh_crds::{Branch, Commit};
use dotmesh_e2e::objects::{branch, claim, commit, holder};
use dotmesh_e2e::scenario::{Scenario, scenario_alone};
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::crashes::{CSI_NODE, OPERATOR, back, restarts};
use super::placed_dot;

/// How long the node may take until it is up, and until everything on it runs again.
const BOOT: Duration = Duration::from_secs(600);

async fn boot_id(s: &Scenario, node: &str) -> Result<String> {
    s.nodes.run(node, &["cat", "/proc/sys/kernel/random/boot_id"]).await
}

/// Reboots the node in an orderly way, and waits until it can be spoken to again.
async fn reboot(s: &Scenario, node: &str) -> Result<()> {
    let before = boot_id(s, node).await?;
    // The connection may end before the answer.
    let _ = s.nodes.run(node, &["systemctl", "reboot"]).await;
    until("the node up again", BOOT, async || {
        let now = boot_id(s, node).await;
        let up = now.as_ref().is_ok_and(|now| *now != before);
        Ok(Look::when(up, format!("{now:?}")))
    })
    .await
}

/// Datasets of the scenario's that are mounted on the node.
async fn mounted(s: &Scenario, node: &str) -> Result<BTreeSet<String>> {
    let table = s
        .nodes
        .run(node, &["findmnt", "-rn", "-t", "zfs", "-o", "SOURCE"])
        .await?;
    let ours = super::entries(s).await?;
    let is_ours = |source: &&str| {
        ours.iter()
            .any(|ours| source.ends_with(&format!("/{}", ours.entry.name)))
    };
    Ok(table.lines().filter(is_ours).map(str::to_owned).collect())
}

#[tokio::test]
#[ignore = "takes long: cargo xtask campaign e2e"]
async fn after_a_reboot_pods_come_back_on_their_data_and_nothing_else_is_mounted() {
    scenario_alone("rebooted", async |s| {
        let cluster = &s.cluster;
        placed_dot(s, "shop").await?;
        cluster.bash("shop", "echo first > /shop/word; sync").await?;
        cluster.apply([commit("first", "shop")]).await?;
        cluster.wait_ready::<Commit>("first").await?;
        cluster
            .apply([branch("side", "shop", "first"), branch("idle", "shop", "first")])
            .await?;
        cluster.wait_ready::<Branch>("side").await?;
        cluster.wait_ready::<Branch>("idle").await?;
        cluster.delete::<Pod>("shop").await?;
        cluster.wait_gone::<Pod>("shop").await?;
        let mut app = holder("app", &["shop", "side"]);
        app["spec"]["restartPolicy"] = json!("Always");
        cluster
            .apply([claim("side", "64Mi", "Branch", "side", "shop"), app])
            .await?;
        cluster.wait_pod("app").await?;
        cluster
            .bash("app", "echo main > /shop/word; echo side > /side/word; sync")
            .await?;
        let node = s.nodes.names().next().context("there is a node")?.to_owned();
        let before = mounted(s, &node).await?;
        ensure!(before.len() == 2, "{before:?}");

        reboot(s, &node).await?;
        until("the pod started again", BOOT, async || {
            let app: Pod = cluster.get("app").await?;
            Ok(Look::when(restarts(&app) > 0, format!("{:?}", app.status)))
        })
        .await?;
        back(&[OPERATOR, CSI_NODE]).await?;
        cluster.wait_pools(s.nodes.names().count()).await?;
        cluster.wait_pod("app").await?;

        let seen = cluster.bash("app", "cat /shop/word /side/word").await?;
        ensure!(seen.split_whitespace().eq(["main", "side"]), "{seen}");
        let after = mounted(s, &node).await?;
        ensure!(after == before, "mounted before {before:?}, after {after:?}");
        cluster.apply([commit("second", "shop")]).await?;
        cluster.wait_ready::<Commit>("second").await.map(drop)
    })
    .await;
}
