//! What the scheduler knows of the pools, and what people hear of claims that fit nowhere.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use dotmesh_crds::{Dot, Pool, names};
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::{PATIENCE, is_ready, readiness};
use dotmesh_e2e::objects::{claim, holder, plain_claim};
use dotmesh_e2e::program::Program;
use dotmesh_e2e::scenario::{Scenario, scenario_alone};
use dotmesh_e2e::wait::{Look, until};
use dotmesh_model::size::parse_quantity;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::crashes::{OPERATOR, back, kill};

const POOL: &str = "pool-of-another-class";
const ZPOOL: &str = "dotmesh-other";
const FILE: &str = "/var/lib/dotmesh/other.img";
const LATE: &str = "dotmesh-other";
const AT_ONCE: &str = "dotmesh-other-at-once";

fn class(name: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": names::DRIVER, "volumeBindingMode": mode, "parameters": {"poolClass": "other"},
    })
}

fn of_class(mut claim: Value, class: &str) -> Value {
    claim["spec"]["storageClassName"] = class.into();
    claim
}

/// Of each StorageClass, on the one node that there is: the object's uid, and bytes of the largest volume that there can be.
async fn told(s: &Scenario) -> Result<BTreeMap<String, (String, u64)>> {
    let words = ["get", "csistoragecapacities", "-n", chart::NAMESPACE, "-o", "json"];
    let list: Value = serde_json::from_str(&Program::kubectl(words)?.output().await?)?;
    let all: Vec<CSIStorageCapacity> = serde_json::from_value(list["items"].clone())?;
    let node = node_name(s).await?;
    let mut told = BTreeMap::new();
    for object in all {
        let labels = object
            .node_topology
            .as_ref()
            .and_then(|topology| topology.match_labels.as_ref());
        let here = labels.and_then(|labels| labels.get(names::TOPOLOGY_NODE));
        ensure!(here == Some(&node), "{object:?}");
        let largest = parse_quantity(&object.maximum_volume_size.as_ref().context("a size")?.0)?;
        let before = told.insert(
            object.storage_class_name.clone(),
            (object.uid().unwrap_or_default(), largest),
        );
        ensure!(before.is_none(), "twice of {}", object.storage_class_name);
    }
    Ok(told)
}

/// The node as Kubernetes knows it.
async fn node_name(s: &Scenario) -> Result<String> {
    let pools = Api::<Pool>::all(s.cluster.client.clone());
    let first = pools.list(&ListParams::default()).await?.items.into_iter().next();
    Ok(first.context("the node has a Pool")?.spec.node_name)
}

/// Until the scheduler knows exactly of these StorageClasses.
async fn wait_told(s: &Scenario, classes: &[&str]) -> Result<BTreeMap<String, (String, u64)>> {
    until(&format!("told of {classes:?}"), PATIENCE, async || {
        let told = told(s).await?;
        let is_so = told.keys().eq(classes);
        let state = format!("{told:?}");
        Ok(Look::some(is_so.then_some(told), state))
    })
    .await
}

/// Until the scheduler says that there is no room for a pod.
async fn wait_no_room(s: &Scenario, pod: &str) -> Result<()> {
    until(&format!("{pod} has no room"), PATIENCE, async || {
        let mut events = s.cluster.list::<Event>().await?;
        events.retain(|event| event.involved_object.name.as_deref() == Some(pod));
        let said = events.iter().any(|event| {
            event.reason.as_deref() == Some("FailedScheduling")
                && event
                    .message
                    .as_ref()
                    .is_some_and(|why| why.contains("did not have enough free storage"))
        });
        let heard: Vec<_> = events.iter().map(|event| (&event.reason, &event.message)).collect();
        Ok(Look::when(said, format!("{heard:?}")))
    })
    .await
}

#[tokio::test]
async fn a_claim_that_fits_nowhere_says_so_and_fits_when_a_pool_has_grown() {
    scenario_alone("capacities", async |s| {
        let pools: Api<Pool> = Api::all(s.cluster.client.clone());
        let machine = s.nodes.names().next().context("there is a node")?.to_owned();
        let node = node_name(s).await?;
        let first = wait_told(s, &["dotmesh"]).await?;

        // Until there is a Pool of the class, there is nothing for its StorageClasses.
        let narrow = of_class(plain_claim("narrow", "64Mi"), LATE);
        s.cluster
            .apply([
                class(LATE, "WaitForFirstConsumer"),
                narrow,
                holder("small", &["narrow"]),
            ])
            .await?;
        wait_no_room(s, "small").await?;
        let pool = json!({
            "apiVersion": "dotmesh.io/v1alpha1", "kind": "Pool", "metadata": {"name": POOL},
            "spec": {"nodeName": node, "class": "other", "file": {"path": FILE, "size": "1Gi"}},
        });
        s.cluster.apply([pool]).await?;
        let both = wait_told(s, &["dotmesh", LATE]).await?;
        ensure!(first.get("dotmesh") == both.get("dotmesh"), "{first:?} became {both:?}");
        s.cluster.wait_pod("small").await?;

        // Too large for each pool; on a Dot as well.
        let wide = of_class(plain_claim("wide", "1536Mi"), LATE);
        let dot = json!({
            "apiVersion": "dotmesh.io/v1alpha1", "kind": "Dot", "metadata": {"name": "shop"},
            "spec": {"placement": {"poolClass": "other"}},
        });
        let big = of_class(claim("big", "1536Mi", "Dot", "shop", "db"), LATE);
        s.cluster
            .apply([dot, wide, big, holder("large", &["wide"]), holder("larger", &["big"])])
            .await?;
        wait_no_room(s, "large").await?;
        wait_no_room(s, "larger").await?;

        // What others do to it is mended, and a new leader writes nothing anew.
        let name = {
            let all = Api::<CSIStorageCapacity>::namespaced(s.cluster.client.clone(), chart::NAMESPACE);
            let all = all.list(&ListParams::default()).await?.items;
            let found = all.into_iter().find(|object| object.storage_class_name == LATE);
            found.context("the object of the class")?.name_any()
        };
        let delete = ["delete", "csistoragecapacity", "-n", chart::NAMESPACE, &name];
        Program::kubectl(delete)?.output().await?;
        let mended = wait_told(s, &["dotmesh", LATE]).await?;
        ensure!(mended != both, "it was made anew");
        kill(&[OPERATOR]).await?;
        back(&[OPERATOR]).await?;

        // A claim that binds without a pod is none of the scheduler's business.
        let early = of_class(plain_claim("early", "16Mi"), AT_ONCE);
        s.cluster.apply([class(AT_ONCE, "Immediate"), early]).await?;
        s.cluster.wait_bound("early").await?;
        let after = wait_told(s, &["dotmesh", LATE, AT_ONCE]).await?;
        ensure!(
            mended.iter().all(|(class, one)| after.get(class) == Some(one)),
            "{mended:?} became {after:?}"
        );

        let larger = json!({"spec": {"file": {"size": "2Gi"}}});
        pools
            .patch(POOL, &PatchParams::default(), &Patch::Merge(larger))
            .await?;
        s.cluster.wait_pod("large").await?;
        s.cluster.wait_pod("larger").await?;
        let dot = s.cluster.wait_ready::<Dot>("shop").await?;
        ensure!(dot.status.is_some_and(|status| status.pool.as_deref() == Some(POOL)));
        let grown = told(s).await?;
        ensure!(
            grown[LATE].0 == after[LATE].0 && grown[LATE].1 > 1536 << 20,
            "{grown:?}"
        );

        // With Pool and StorageClasses all of it goes.
        for pod in ["small", "large", "larger"] {
            s.cluster.delete::<Pod>(pod).await?;
        }
        for claim in ["narrow", "wide", "big", "early"] {
            s.cluster.delete::<PersistentVolumeClaim>(claim).await?;
        }
        s.cluster.delete::<Dot>("shop").await?;
        s.cluster.wait_gone::<Dot>("shop").await?;
        until("nothing lies on the Pool", PATIENCE, async || {
            let dots = s.cluster.list::<Dot>().await?.len();
            Ok(Look::when(dots == 0, format!("{dots} Dots")))
        })
        .await?;
        let classes: Api<StorageClass> = Api::all(s.cluster.client.clone());
        classes.delete(AT_ONCE, &DeleteParams::default()).await?;
        wait_told(s, &["dotmesh", LATE]).await?;
        pools.delete(POOL, &DeleteParams::default()).await?;
        wait_told(s, &["dotmesh"]).await?;
        until("the Pool gone", PATIENCE, async || {
            let left = pools.get_opt(POOL).await?;
            let state = left.as_ref().map(|pool| (is_ready(pool), readiness(pool)));
            Ok(Look::when(left.is_none(), format!("{state:?}")))
        })
        .await?;
        until("nothing is left in its pool", PATIENCE, async || {
            let list = ["zfs", "list", "-H", "-o", "name", "-r", ZPOOL];
            let names = s.nodes.run(&machine, &list).await?;
            let is_empty = names.split_whitespace().eq([ZPOOL, "dotmesh-other/dotmesh"]);
            Ok(Look::when(is_empty, names))
        })
        .await?;
        s.nodes.run(&machine, &["zpool", "destroy", ZPOOL]).await?;
        let memory = "/var/lib/dotmesh/pools/dotmesh-other.json";
        s.nodes.run(&machine, &["rm", FILE, memory]).await?;
        classes.delete(LATE, &DeleteParams::default()).await.map(drop)?;
        Ok(())
    })
    .await;
}
