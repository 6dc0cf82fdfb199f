//! Several pools on a node.

use anyhow::{Context, ensure};
use dotmesh_crds::{Branch, Commit, Dot, Pool, names};
use dotmesh_e2e::cluster::{PATIENCE, is_ready, readiness};
use dotmesh_e2e::objects::{branch, claim, commit, holder, plain_claim, pod};
use dotmesh_e2e::scenario::scenario_alone;
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

const POOL: &str = "second-pool";
const CLASS: &str = "dotmesh-fast";
const ZPOOL: &str = "dotmesh-fast";
const FILE: &str = "/var/lib/dotmesh/fast.img";

#[tokio::test]
async fn a_second_pool_of_a_node_has_the_data_of_its_own_class() {
    scenario_alone("second pool", async |s| {
        let pools: Api<Pool> = Api::all(s.cluster.client.clone());
        let first = pools.list(&ListParams::default()).await?.items;
        let node = first.first().context("the node has a Pool")?.spec.node_name.clone();
        let second = json!({
            "apiVersion": "dotmesh.io/v1alpha1", "kind": "Pool", "metadata": {"name": POOL},
            "spec": {"nodeName": node, "class": "fast", "file": {"path": FILE, "size": "1Gi"}},
        });
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS},
            "provisioner": names::DRIVER, "volumeBindingMode": "WaitForFirstConsumer",
            "parameters": {"poolClass": "fast"},
        });
        let mut data = plain_claim("data", "64Mi");
        data["spec"]["storageClassName"] = CLASS.into();
        let script = "echo first > /data/word; sync; exec sleep infinity";
        s.cluster.apply([class, second]).await?;
        until("the second Pool ready", PATIENCE, async || {
            let pool = pools.get(POOL).await?;
            Ok(Look::when(is_ready(&pool), readiness(&pool)))
        })
        .await?;
        s.cluster.apply([data, pod("writer", &["data"], script)]).await?;
        s.cluster.wait_pod("writer").await?;

        let dot = names::volume_object(&s.cluster.uid::<PersistentVolumeClaim>("data").await?);
        let own: Dot = s.cluster.wait_ready(&dot).await?;
        ensure!(own.spec.pool_class() == "fast");
        let status = own.status.context("a Ready Dot has a status")?;
        ensure!(status.pool.as_deref() == Some(POOL), "{status:?}");
        s.cluster.apply([commit("saved", &dot)]).await?;
        s.cluster.wait_ready::<Commit>("saved").await?;
        s.cluster.bash("writer", "echo second > /data/word; sync").await?;
        s.cluster
            .apply([
                branch("side", &dot, "saved"),
                claim("seen", "64Mi", "Branch", "side", "data"),
                holder("reader", &["seen"]),
            ])
            .await?;
        s.cluster.wait_pod("reader").await?;
        ensure!(s.cluster.bash("reader", "cat /seen/word").await?.trim() == "first");
        ensure!(s.cluster.bash("writer", "cat /data/word").await?.trim() == "second");

        // All of it lies on that pool, and nothing on the other.
        let node = s.nodes.names().next().context("there is a node")?.to_owned();
        let health = s
            .nodes
            .run(&node, &["zpool", "list", "-H", "-o", "name,health"])
            .await?;
        let fields: Vec<&str> = health.split_whitespace().collect();
        ensure!(fields == ["dotmesh", "ONLINE", ZPOOL, "ONLINE"], "{health}");
        let id = status.id.context("a Ready Dot has an id")?;
        let all = s
            .nodes
            .run(&node, &["zfs", "list", "-H", "-o", "name", "-t", "all"])
            .await?;
        let of_dot: Vec<&str> = all.lines().filter(|name| name.contains(&id)).collect();
        let is_there = |name: &&str| name.starts_with(&format!("{ZPOOL}/dotmesh/{id}"));
        ensure!(of_dot.len() > 5 && of_dot.iter().all(is_there), "{of_dot:?}");
        s.settled().await?;

        // A Dot of the other class is no business of this StorageClass.
        s.cluster
            .apply([dotmesh_e2e::objects::dot("slow", &[("data", "32Mi")])])
            .await?;
        let mut wrong = claim("wrong", "32Mi", "Dot", "slow", "data");
        wrong["spec"]["storageClassName"] = CLASS.into();
        s.cluster.apply([wrong, holder("waits", &["wrong"])]).await?;
        s.cluster
            .wait_refused("wrong", dotmesh_crds::Reason::Invalid, &["fast", "slow", "default"])
            .await?;

        // The Pool stays while something lies there, and nobody but a person destroys the zpool.
        pools.delete(POOL, &DeleteParams::default()).await?;
        until("the Pool tells what lies on it", PATIENCE, async || {
            let pool = pools.get(POOL).await?;
            Ok(Look::when(readiness(&pool).contains(&dot), readiness(&pool)))
        })
        .await?;
        for pod in ["writer", "reader", "waits"] {
            s.cluster.delete::<Pod>(pod).await?;
        }
        for claim in ["data", "seen", "wrong"] {
            s.cluster.delete::<PersistentVolumeClaim>(claim).await?;
        }
        s.cluster.delete::<Branch>("side").await?;
        s.cluster.delete::<Commit>("saved").await?;
        s.cluster.wait_gone::<Dot>(&dot).await?;
        until("the second Pool gone", PATIENCE, async || {
            let left = pools.get_opt(POOL).await?;
            Ok(Look::when(left.is_none(), format!("{left:?}")))
        })
        .await?;
        // What was deleted is freed a little later.
        until("nothing is left in the second pool", PATIENCE, async || {
            let names = s
                .nodes
                .run(&node, &["zfs", "list", "-H", "-o", "name", "-r", ZPOOL])
                .await?;
            let is_empty = names.split_whitespace().eq([ZPOOL, "dotmesh-fast/dotmesh"]);
            Ok(Look::when(is_empty, names))
        })
        .await?;
        s.nodes.run(&node, &["zpool", "destroy", ZPOOL]).await?;
        let memory = "/var/lib/dotmesh/pools/dotmesh-fast.json";
        s.nodes.run(&node, &["rm", FILE, memory]).await?;
        let classes: Api<StorageClass> = Api::all(s.cluster.client.clone());
        classes.delete(CLASS, &DeleteParams::default()).await?;
        Ok(())
    })
    .await;
}
