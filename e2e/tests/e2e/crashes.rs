//! Operator or csi-node killed in the middle: afterwards there is exactly one dataset, one snapshot, one object of each.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::{Cluster, PATIENCE};
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder, plain_claim};
use dotmesh_e2e::program::Program;
use dotmesh_e2e::scenario::{Scenario, scenario_alone};
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::{count, entries};

pub(super) const OPERATOR: Part = ("operator", "deployment/dotmesh-operator");
pub(super) const CSI_NODE: Part = ("csi-node", "daemonset/dotmesh-csi-node");

/// The label of a part's pods, and what makes them.
pub(super) type Part = (&'static str, &'static str);

/// Ends the pods of these parts at once, without a chance to finish anything.
pub(super) async fn kill(parts: &[Part]) -> Result<()> {
    let components: Vec<&str> = parts.iter().map(|(component, _)| *component).collect();
    let selector = format!("app.kubernetes.io/component in ({})", components.join(","));
    let args = [
        "delete",
        "pods",
        "-n",
        chart::NAMESPACE,
        "-l",
        &selector,
        "--grace-period=0",
        "--force",
        "--wait=false",
    ];
    Program::kubectl(args)?.output().await.map(drop)
}

/// Waits until these parts are there again.
pub(super) async fn back(parts: &[Part]) -> Result<()> {
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    for (_, workload) in parts {
        let status = Program::kubectl(["rollout", "status", "-n", chart::NAMESPACE, workload, &timeout])?;
        status.within(2 * PATIENCE).output().await?;
    }
    Ok(())
}

/// How often a pod's containers were started again.
pub(super) fn restarts(pod: &Pod) -> i32 {
    let containers = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    containers.map(|container| container.restart_count).sum()
}

/// Versions of the objects that were finished before anything was killed for the second time.
async fn finished(s: &Scenario) -> Result<[Option<String>; 2]> {
    let commit: Commit = s.cluster.get("shop-initial").await?;
    let branch: Branch = s.cluster.get("shop-main").await?;
    Ok([commit.resource_version(), branch.resource_version()])
}

/// The parts are killed at once after each request, while it is being worked on.
async fn kill_at_every_turn(s: &Scenario, parts: &[Part]) -> Result<()> {
    let cluster = &s.cluster;
    // During the creation of a Dot's data and of a plain claim's.
    let objects = [
        dot("shop", &[("db", "64Mi"), ("cache", "32Mi")]),
        claim("db", "64Mi", "Dot", "shop", "db"),
        plain_claim("plain", "32Mi"),
        holder("pod", &["db", "plain"]),
    ];
    cluster.apply(objects).await?;
    until("the Dot of the plain claim", PATIENCE, async || {
        let dots = cluster.list::<Dot>().await?.len();
        Ok(Look::when(dots == 2, format!("{dots} Dots")))
    })
    .await?;
    kill(parts).await?;
    cluster.wait_pod("pod").await?;
    back(parts).await?;
    cluster.wait_ready::<Dot>("shop").await?;
    s.settled().await?;
    // shop: two volumes and the initial commit of three datasets; the plain claim's: one, and two.
    ensure!(count(&entries(s).await?) == (3, 5), "{:?}", entries(s).await?);
    ensure!(cluster.list::<Dot>().await?.len() == 2);
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    let volumes = volumes
        .list(&ListParams::default())
        .await?
        .items
        .into_iter()
        .filter_map(|pv| pv.spec?.claim_ref);
    let ours = volumes
        .filter(|claim| claim.namespace.as_deref() == Some(&cluster.namespace))
        .count();
    ensure!(ours == 2, "{ours} PersistentVolumes for 2 claims");

    // During a commit, and during a branch from it. What is finished is written by nobody again.
    let before = finished(s).await?;
    cluster.apply([commit("during", "shop")]).await?;
    kill(parts).await?;
    let made: Commit = cluster.wait_ready("during").await?;
    cluster.apply([branch("during", "shop", "during")]).await?;
    kill(parts).await?;
    cluster.wait_ready::<Branch>("during").await?;
    back(parts).await?;
    s.settled().await?;
    ensure!(count(&entries(s).await?) == (5, 8), "{:?}", entries(s).await?);
    ensure!(finished(s).await? == before, "finished objects were written again");
    let again: Commit = cluster.get("during").await?;
    ensure!(again.status == made.status, "a Ready Commit never changes");

    // During deletions.
    cluster.delete::<Commit>("during").await?;
    cluster.delete::<Branch>("during").await?;
    kill(parts).await?;
    cluster.wait_gone::<Commit>("during").await?;
    cluster.wait_gone::<Branch>("during").await?;
    back(parts).await?;
    s.settled().await?;
    ensure!(count(&entries(s).await?) == (3, 5), "{:?}", entries(s).await?);

    // The pod noticed nothing.
    let pod = cluster.wait_pod("pod").await?;
    ensure!(restarts(&pod) == 0, "{} was restarted", pod.name_any());
    cluster
        .bash("pod", "echo still > /db/word && test \"$(cat /db/word)\" = still")
        .await
        .map(drop)
}

#[tokio::test]
async fn operator_and_csi_node_are_killed_at_every_turn() {
    scenario_alone("both killed", async |s| {
        kill_at_every_turn(s, &[OPERATOR, CSI_NODE]).await
    })
    .await;
}

#[tokio::test]
#[ignore = "takes long: cargo xtask campaign e2e"]
async fn the_operator_is_killed_at_every_turn() {
    scenario_alone("operator killed", async |s| kill_at_every_turn(s, &[OPERATOR]).await).await;
}

#[tokio::test]
#[ignore = "takes long: cargo xtask campaign e2e"]
async fn csi_node_is_killed_at_every_turn() {
    scenario_alone("csi-node killed", async |s| kill_at_every_turn(s, &[CSI_NODE]).await).await;
}

/// The pod whose controllers act.
async fn leader(cluster: &Cluster) -> Result<String> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), chart::NAMESPACE);
    let lease = leases.get("dotmesh-operator").await?;
    let spec = lease.spec.context("a Lease without a spec")?;
    Ok(spec.holder_identity.unwrap_or_default())
}

pub(super) async fn operators(replicas: u8) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    let scale = [
        "scale",
        "-n",
        chart::NAMESPACE,
        "deployment/dotmesh-operator",
        &replicas,
    ];
    Program::kubectl(scale)?.output().await?;
    back(&[OPERATOR]).await
}

/// One replica is ended in the middle of a commit, once with and once without a chance to give its Lease back.
#[tokio::test]
async fn the_leader_ends_and_another_follows() {
    scenario_alone("leader ends", async |s| {
        let cluster = &s.cluster;
        let objects = [
            dot("shop", &[("db", "64Mi")]),
            claim("db", "64Mi", "Dot", "shop", "db"),
            holder("pod", &["db"]),
        ];
        cluster.apply(objects).await?;
        cluster.wait_pod("pod").await?;
        operators(2).await?;
        for (name, grace) in [("killed", "--grace-period=0"), ("asked", "--grace-period=30")] {
            let before = leader(cluster).await?;
            cluster.apply([commit(name, "shop")]).await?;
            let mut end = vec!["delete", "pod", "-n", chart::NAMESPACE, &before, grace, "--wait=false"];
            end.extend((name == "killed").then_some("--force"));
            Program::kubectl(end)?.output().await?;
            let ended = Instant::now();
            let after = until("another leader", PATIENCE, async || {
                let now = leader(cluster).await?;
                Ok(Look::some(
                    Some(now).filter(|now| !now.is_empty() && *now != before),
                    "the same one",
                ))
            })
            .await?;
            println!("{name}: another leads after {:.1} s", ended.elapsed().as_secs_f64());
            cluster.wait_ready::<Commit>(name).await?;
            back(&[OPERATOR]).await?;
            ensure!(leader(cluster).await? == after, "who leads changed without a reason");
        }
        s.settled().await?;
        ensure!(count(&entries(s).await?) == (1, 6), "{:?}", entries(s).await?);
        operators(1).await
    })
    .await;
}
