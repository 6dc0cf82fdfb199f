//! What a StorageClass says: how ZFS keeps the data, and how pods mount it.

use anyhow::{Context, Result, ensure};
use dotmesh_crds::Dot;
use dotmesh_crds::names;
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{branch, claim, commit, holder, plain_claim};
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use kube::api::{Api, DeleteParams};
use serde_json::json;

const CLASS: &str = "dotmesh-tuned";

/// The values of a property of all volumes of a Dot, in the order of their names.
async fn values(s: &Scenario, dot: &str, property: &str) -> Result<Vec<String>> {
    let node = s.nodes.names().next().context("there is a node")?.to_owned();
    let below = format!("dotmesh/dotmesh/{dot}");
    let get = [
        "zfs",
        "get",
        "-Hp",
        "-r",
        "-s",
        "local",
        "-t",
        "filesystem",
        "-o",
        "name,value",
        property,
        &below,
    ];
    let text = s.nodes.run(&node, &get).await?;
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    let of_volumes = lines.filter(|(name, _)| name.matches('/').count() == 4);
    Ok(of_volumes.map(|(_, value)| value.to_owned()).collect())
}

/// The name of a VolumeAttributesClass.
fn attributes(compression: &str) -> String {
    format!("dotmesh-{compression}")
}

/// A claim names the VolumeAttributesClass of that compression.
async fn name_class(s: &Scenario, claim: &str, compression: &str) -> Result<()> {
    let class = attributes(compression);
    let patch = format!(r#"{{"spec": {{"volumeAttributesClassName": "{class}"}}}}"#);
    let args = ["patch", "pvc", claim, "--type=merge", "-p", &patch];
    s.cluster.kubectl(&args)?.output().await.map(drop)
}

/// Waits until the volume of both branches is compressed so.
async fn both(s: &Scenario, dot: &str, compression: &str) -> Result<()> {
    until(&format!("both branches have {compression}"), PATIENCE, async || {
        let words = values(s, dot, "compression").await?;
        Ok(Look::when(words == [compression, compression], format!("{words:?}")))
    })
    .await
}

#[tokio::test]
async fn a_class_says_how_data_is_kept_and_mounted() {
    scenario("class", async |s| {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS},
            "provisioner": names::DRIVER, "volumeBindingMode": "WaitForFirstConsumer",
            "parameters": {"recordsize": "8Ki", "compression": "zstd", "volblocksize": "8Ki"},
            "mountOptions": ["noatime", "nosuid"],
        });
        let mut data = plain_claim("data", "64Mi");
        data["spec"]["storageClassName"] = CLASS.into();
        data["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
        let mut writer = holder("writer", &["data"]);
        writer["spec"]["securityContext"] = json!({"fsGroup": 4711, "fsGroupChangePolicy": "OnRootMismatch"});
        s.cluster.apply([class, data, writer]).await?;
        s.cluster.wait_pod("writer").await?;
        let name = names::volume_object(&s.cluster.uid::<PersistentVolumeClaim>("data").await?);
        let own: Dot = s.cluster.wait_ready(&name).await?;
        let id = own
            .status
            .and_then(|status| status.id)
            .context("a Ready Dot has an id")?;
        let (sizes, words) = (
            values(s, &id, "recordsize").await?,
            values(s, &id, "compression").await?,
        );
        ensure!(sizes == ["8192"] && words == ["zstd"], "{sizes:?} {words:?}");

        // What the container has of it is its runtime's: it may say the options of binds anew.
        let node = s.nodes.names().next().context("there is a node")?.to_owned();
        let table = s.nodes.run(&node, &["cat", "/proc/mounts"]).await?;
        let uid = s.cluster.uid::<Pod>("writer").await?;
        let of_pod: Vec<&str> = table
            .lines()
            .filter(|line| line.contains(&uid) && line.contains(" zfs "))
            .collect();
        let is_so = |line: &&str| line.contains("nosuid") && line.contains("noatime");
        ensure!(of_pod.len() == 1 && of_pod.iter().all(is_so), "{of_pod:?}");
        let group = s.cluster.bash("writer", "stat -c %g /data").await?;
        ensure!(group.trim() == "4711", "{group}");

        // One pod at a time, on a branch as well, whose volume is kept in the same way.
        s.cluster.apply([commit("saved", &name)]).await?;
        s.cluster.wait_ready::<dotmesh_crds::Commit>("saved").await?;
        let mut side = claim("side", "64Mi", "Branch", "side", "data");
        side["spec"]["storageClassName"] = CLASS.into();
        side["spec"]["volumeAttributesClassName"] = attributes("gzip").into();
        let classes = ["gzip", "lz4"].map(|compression| {
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass",
                "metadata": {"name": attributes(compression)}, "driverName": names::DRIVER,
                "parameters": {"compression": compression},
            })
        });
        s.cluster.apply(classes).await?;
        s.cluster
            .apply([branch("side", &name, "saved"), side, holder("reader", &["side"])])
            .await?;
        s.cluster.wait_pod("reader").await?;
        both(s, &id, "gzip").await?;
        let sizes = values(s, &id, "recordsize").await?;
        ensure!(sizes == ["8192", "8192"], "{sizes:?}");

        // Changed by another claim's class, while pods work, and by the Dot, whose word counts.
        name_class(s, "data", "lz4").await?;
        both(s, &id, "lz4").await?;
        until("the claim has its class", PATIENCE, async || {
            let claim: PersistentVolumeClaim = s.cluster.get("data").await?;
            let current = claim
                .status
                .and_then(|status| status.current_volume_attributes_class_name);
            let is_it = current.as_ref() == Some(&attributes("lz4"));
            Ok(Look::when(is_it, format!("{current:?}")))
        })
        .await?;
        let patch = r#"[{"op": "add", "path": "/spec/volumes/0/zfs", "value": {"compression": "zstd-3"}}]"#;
        let args = ["patch", "dot", &name, "--type=json", "-p", patch];
        s.cluster.kubectl(&args)?.output().await?;
        both(s, &id, "zstd-3").await?;
        let sizes = values(s, &id, "recordsize").await?;
        ensure!(sizes == ["8192", "8192"], "what is no longer said stays: {sizes:?}");
        for pod in ["writer", "reader"] {
            s.cluster.delete::<Pod>(pod).await?;
        }

        // What ZFS would not take says so.
        let wrong = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": format!("{CLASS}-wrong")},
            "provisioner": names::DRIVER, "volumeBindingMode": "WaitForFirstConsumer",
            "parameters": {"recordsize": "8k"},
        });
        let mut refused = plain_claim("refused", "64Mi");
        refused["spec"]["storageClassName"] = format!("{CLASS}-wrong").into();
        s.cluster.apply([wrong, refused, holder("waits", &["refused"])]).await?;
        until("the claim tells what is wrong", PATIENCE, async || {
            let args = ["events", "--for=pvc/refused"];
            let events = s.cluster.kubectl(&args)?.output().await?;
            Ok(Look::when(
                events.contains("recordsize \"8k\" is no power of two"),
                events,
            ))
        })
        .await?;
        let all: Api<VolumeAttributesClass> = Api::all(s.cluster.client.clone());
        for compression in ["gzip", "lz4"] {
            all.delete(&attributes(compression), &DeleteParams::default()).await?;
        }
        let classes: Api<StorageClass> = Api::all(s.cluster.client.clone());
        for class in [CLASS.to_owned(), format!("{CLASS}-wrong")] {
            classes.delete(&class, &DeleteParams::default()).await?;
        }
        Ok(())
    })
    .await;
}
