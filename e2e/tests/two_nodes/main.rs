//! What needs two nodes: a Dot lies on one of them, and pods go where it is.

use anyhow::{Context, Result, ensure};
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder};
use dotmesh_e2e::pool;
use dotmesh_e2e::scenario::{Scenario, scenario};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// A pod that would rather not be where the others of its kind are; the scheduler decides so when it has a choice.
fn apart(name: &str, claims: &[&str]) -> Value {
    let mut pod = holder(name, claims);
    pod["metadata"]["labels"] = json!({"kind": "apart"});
    pod["spec"]["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"kind": "apart"}},
        },
    }]}});
    pod
}

/// Where a pod runs.
async fn node_of(s: &Scenario, pod: &str) -> Result<String> {
    let pod: Pod = s.cluster.wait_pod(pod).await?;
    pod.spec
        .and_then(|spec| spec.node_name)
        .context("a pod that runs has a node")
}

/// The nodes that have datasets of the scenario's namespace.
async fn lies_on(s: &Scenario) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for node in s.nodes.names() {
        let entries = pool::entries_on(&s.nodes, node).await?;
        let is_ours = |entry: &pool::Entry| entry.namespace.as_deref() == Some(&s.cluster.namespace);
        if entries.iter().any(is_ours) {
            found.push(node.to_owned());
        }
    }
    Ok(found)
}

#[tokio::test]
async fn two_pods_of_an_unplaced_dot_end_on_one_node_of_two() {
    scenario("apart", async |s| {
        ensure!(s.nodes.names().count() == 2, "this needs two nodes");
        let cluster = &s.cluster;
        // Without claims of ours the two would be apart: the scheduler does as it is asked.
        cluster
            .apply([apart("one-alone", &[]), apart("two-alone", &[])])
            .await?;
        let alone = (node_of(s, "one-alone").await?, node_of(s, "two-alone").await?);
        ensure!(alone.0 != alone.1, "both are on {}", alone.0);
        cluster
            .kubectl(&["delete", "pod", "one-alone", "two-alone", "--now"])?
            .output()
            .await?;

        let claims = ["db", "cache"].map(|volume| claim(volume, "64Mi", "Dot", "shop", volume));
        cluster
            .apply([dot("shop", &[("db", "64Mi"), ("cache", "64Mi")])])
            .await?;
        cluster.apply(claims).await?;
        cluster.apply([apart("one", &["db"]), apart("two", &["cache"])]).await?;
        let nodes = (node_of(s, "one").await?, node_of(s, "two").await?);
        ensure!(
            nodes.0 == nodes.1,
            "one pod is on {}, the other on {}",
            nodes.0,
            nodes.1
        );
        let shop: Dot = cluster.wait_ready("shop").await?;
        let placed = shop.status.and_then(|status| status.node);
        ensure!(placed.as_deref() == Some(nodes.0.as_str()), "the Dot is on {placed:?}");
        let lies_on = lies_on(s).await?;
        ensure!(lies_on == [nodes.0.clone()], "{lies_on:?}");

        // What is made of it follows, whatever the scheduler would rather do.
        cluster.bash("one", "echo first > /db/word; sync").await?;
        cluster.apply([commit("first", "shop")]).await?;
        cluster.wait_ready::<Commit>("first").await?;
        cluster.apply([branch("try", "shop", "first")]).await?;
        cluster.wait_ready::<Branch>("try").await?;
        cluster
            .apply([
                claim("tried", "64Mi", "Branch", "try", "db"),
                apart("three", &["tried"]),
            ])
            .await?;
        ensure!(node_of(s, "three").await? == nodes.0, "a branch is where its Dot is");
        let word = cluster.bash("three", "cat /tried/word").await?;
        ensure!(word.trim() == "first", "{word:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn plain_claims_lie_where_their_pods_are() {
    scenario("plain apart", async |s| {
        ensure!(s.nodes.names().count() == 2, "this needs two nodes");
        let cluster = &s.cluster;
        let plain = ["left", "right"].map(|name| dotmesh_e2e::objects::plain_claim(name, "64Mi"));
        cluster.apply(plain).await?;
        cluster
            .apply([apart("one", &["left"]), apart("two", &["right"])])
            .await?;
        let nodes = (node_of(s, "one").await?, node_of(s, "two").await?);
        ensure!(nodes.0 != nodes.1, "both are on {}", nodes.0);
        for dot in cluster.list::<Dot>().await? {
            let status = dot.status.unwrap_or_default();
            let claim = status.claims.first().context("a claim's own Dot names it")?;
            let expected = if claim.name == "left" { &nodes.0 } else { &nodes.1 };
            ensure!(
                status.node.as_ref() == Some(expected),
                "{}: {:?}",
                claim.name,
                status.node
            );
        }
        Ok(())
    })
    .await;
}
