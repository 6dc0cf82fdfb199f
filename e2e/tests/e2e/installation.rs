//! What an installation's owner does: takes it away and brings it back, upgrades and rolls back, changes what is logged.

use std::time::Duration;

use anyhow::{Result, ensure};
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder, pod};
use dotmesh_e2e::program::Program;
use dotmesh_e2e::scenario::{Scenario, scenario_alone};
use dotmesh_e2e::wait::{Look, until};

use super::crashes::{CSI_NODE, OPERATOR, back, restarts};
use super::placed_dot;

/// How long helm may wait for what it installs.
const HELM: Duration = Duration::from_secs(360);

async fn helm(words: &[&str]) -> Result<String> {
    let namespace = ["--namespace", chart::NAMESPACE];
    let program = Program::find("helm")?.args(words.iter().copied()).args(namespace);
    program.within(HELM).output().await
}

/// Upgrades the release, with these values beside those that it has.
async fn upgrade(values: &[&str]) -> Result<()> {
    let folder = chart::folder().display().to_string();
    let mut words = vec![
        "upgrade",
        "dotmesh",
        folder.as_str(),
        "--reuse-values",
        "--wait",
        "--timeout",
        "5m",
    ];
    words.extend(values.iter().flat_map(|value| ["--set", value]));
    helm(&words).await.map(drop)
}

#[tokio::test]
#[ignore = "takes long: cargo xtask campaign e2e"]
async fn what_was_written_survives_an_uninstallation() {
    scenario_alone("uninstalled and installed", async |s| {
        let cluster = &s.cluster;
        placed_dot(s, "shop").await?;
        cluster.bash("shop", "echo before > /shop/word; sync").await?;
        cluster.apply([commit("before", "shop")]).await?;
        cluster.wait_ready::<Commit>("before").await?;
        let values = helm(&["get", "values", "dotmesh", "--output", "json"]).await?;

        helm(&["uninstall", "dotmesh", "--wait", "--timeout", "5m"]).await?;
        // Objects stay, and so does what pods have mounted.
        let kept: Dot = cluster.get("shop").await?;
        let word = "cat /shop/word; echo meanwhile >> /shop/word; sync";
        ensure!(cluster.bash("shop", word).await?.trim() == "before");
        until("nothing is left of what the scheduler was told", PATIENCE, async || {
            let words = ["get", "csistoragecapacities", "-n", chart::NAMESPACE, "-o", "name"];
            let left = Program::kubectl(words)?.output().await?;
            Ok(Look::when(left.trim().is_empty(), left))
        })
        .await?;

        let folder = chart::folder().display().to_string();
        let install = [
            "install",
            "dotmesh",
            folder.as_str(),
            "--values",
            "-",
            "--wait",
            "--timeout",
            "5m",
        ];
        let program = Program::find("helm")?
            .args(install)
            .args(["--namespace", chart::NAMESPACE]);
        program.input(values).within(HELM).output().await?;
        cluster.wait_pools(s.nodes.names().count()).await?;
        let again: Dot = cluster.wait_ready("shop").await?;
        ensure!(again.metadata.uid == kept.metadata.uid, "the Dot was made anew");

        cluster.apply([commit("after", "shop")]).await?;
        cluster.wait_ready::<Commit>("after").await?;
        cluster
            .apply([
                branch("side", "shop", "before"),
                claim("side", "64Mi", "Branch", "side", "shop"),
                holder("second", &["shop", "side"]),
            ])
            .await?;
        cluster.wait_pod("second").await?;
        let seen = cluster
            .bash("second", "cat /shop/word; echo ---; cat /side/word")
            .await?;
        ensure!(
            seen.split_whitespace().eq(["before", "meanwhile", "---", "before"]),
            "{seen}"
        );
        Ok(())
    })
    .await;
}

/// Writes a number after the other, each durable before the next, for ever; ends with an error when one cannot be
/// written or is not what was written.
const WRITER: &str = "
set -e
n=0
while :; do
    n=$((n + 1))
    echo $n > /db/new
    sync /db/new
    mv /db/new /db/number
    test \"$(cat /db/number)\" = $n
    read -r -t 0.2 <> <(:) || true
done";

async fn number(s: &Scenario) -> Result<u64> {
    Ok(s.cluster.bash("writer", "cat /db/number").await?.trim().parse()?)
}

async fn writing(s: &Scenario) -> Result<()> {
    let objects = [
        dot("shop", &[("db", "64Mi")]),
        claim("db", "64Mi", "Dot", "shop", "db"),
        pod("writer", &["db"], WRITER),
    ];
    s.cluster.apply(objects).await?;
    s.cluster.wait_pod("writer").await?;
    s.cluster.wait_ready::<Dot>("shop").await.map(drop)
}

/// The writer was not disturbed, and goes on.
async fn still_writing(s: &Scenario) -> Result<()> {
    let before = number(s).await?;
    until("the writer goes on", PATIENCE, async || {
        let now = number(s).await?;
        Ok(Look::when(now > before, format!("{before}, then {now}")))
    })
    .await?;
    let writer = s.cluster.wait_pod("writer").await?;
    ensure!(restarts(&writer) == 0, "the writer was restarted");
    Ok(())
}

#[tokio::test]
#[ignore = "takes long: cargo xtask campaign e2e"]
async fn a_pod_writes_through_upgrade_and_rollback() {
    scenario_alone("upgraded and rolled back", async |s| {
        writing(s).await?;
        let uid = async |label: &str| {
            let selector = format!("app.kubernetes.io/component={label}");
            let words = [
                "get",
                "pods",
                "-n",
                chart::NAMESPACE,
                "-l",
                &selector,
                "-o",
                "jsonpath={.items[*].metadata.uid}",
            ];
            Program::kubectl(words)?.output().await
        };
        let (operator, node) = (uid("operator").await?, uid("csi-node").await?);
        let revision: serde_json::Value =
            serde_json::from_str(&helm(&["status", "dotmesh", "--output", "json"]).await?)?;

        // What is logged is no reason to restart anything.
        upgrade(&["operator.log.filter=info\\,dotmesh_operator=debug"]).await?;
        until("the operator logs by the new filter", PATIENCE, async || {
            let logs = [
                "logs",
                "-n",
                chart::NAMESPACE,
                OPERATOR.1,
                "-c",
                "operator",
                "--tail=2000",
            ];
            let log = Program::kubectl(logs)?.output().await?;
            Ok(Look::when(log.contains("info,dotmesh_operator=debug"), "not yet"))
        })
        .await?;
        ensure!(
            (operator, node) == (uid("operator").await?, uid("csi-node").await?),
            "a pod was restarted"
        );

        // Resources are.
        upgrade(&[
            "operator.resources.requests.cpu=21m",
            "csiNode.resources.requests.cpu=21m",
        ])
        .await?;
        back(&[OPERATOR, CSI_NODE]).await?;
        still_writing(s).await?;
        s.cluster.apply([commit("upgraded", "shop")]).await?;
        s.cluster.wait_ready::<Commit>("upgraded").await?;

        helm(&[
            "rollback",
            "dotmesh",
            &revision["version"].to_string(),
            "--wait",
            "--timeout",
            "5m",
        ])
        .await?;
        back(&[OPERATOR, CSI_NODE]).await?;
        still_writing(s).await?;
        s.cluster.apply([branch("rolled-back", "shop", "upgraded")]).await?;
        s.cluster.wait_ready::<Branch>("rolled-back").await.map(drop)
    })
    .await;
}

/// Operator and csi-node end every two seconds for a minute, while a pod writes and commits are asked for.
#[tokio::test]
#[ignore = "takes long: cargo xtask campaign e2e"]
async fn a_minute_of_kills_is_noticed_by_nobody() {
    const ROUNDS: usize = 30;
    scenario_alone("killed for a minute", async |s| {
        writing(s).await?;
        let mut pace = tokio::time::interval(Duration::from_secs(2));
        for round in 0..ROUNDS {
            pace.tick().await;
            s.cluster.apply([commit(&format!("c{round}"), "shop")]).await?;
            super::crashes::kill(&[[OPERATOR, CSI_NODE][round % 2]]).await?;
        }
        back(&[OPERATOR, CSI_NODE]).await?;
        for round in 0..ROUNDS {
            s.cluster.wait_ready::<Commit>(&format!("c{round}")).await?;
        }
        still_writing(s).await?;
        s.settled().await?;
        let entries = super::entries(s).await?;
        // A volume; of each commit, and of the initial one, a snapshot of the head and one of the volume.
        ensure!(super::count(&entries) == (1, 2 * (ROUNDS + 1)), "{entries:?}");
        Ok(())
    })
    .await;
}
