//! VolumeSnapshots are Commits: with the real csi-snapshotter and snapshot-controller (`cargo xtask campaign snapshots`).

mod publish;

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use dotmesh_crds::{Commit, names};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{claim, commit, dot, holder, plain_claim};
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// The cluster's snapshot-controller, while it lives. More than one do no harm: each sees that all is done.
fn controller() -> Result<Child> {
    let program = std::env::var("DOTMESH_SNAPSHOT_CONTROLLER")
        .context("DOTMESH_SNAPSHOT_CONTROLLER names the snapshot-controller")?;
    let kubeconfig = std::env::var("KUBECONFIG").context("KUBECONFIG leads to the cluster")?;
    let child = Command::new(program)
        .arg(format!("--kubeconfig={kubeconfig}"))
        .args([
            "--feature-gates=CSIVolumeGroupSnapshot=false",
            "--kube-api-qps=100",
            "--kube-api-burst=200",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

fn snapshot(name: &str, of: &str, class: &str) -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": name, "labels": {"nightly": "yes"}, "annotations": {names::ANNOTATION_MESSAGE: format!("why {name}")}},
        "spec": {"volumeSnapshotClassName": class, "source": {"persistentVolumeClaimName": of}},
    })
}

async fn get(s: &Scenario, kind: &str, name: &str) -> Result<Value> {
    let text = s.cluster.kubectl(&["get", kind, name, "-o", "json"])?.output().await?;
    Ok(serde_json::from_str(&text)?)
}

/// The VolumeSnapshot, when it can be used.
async fn wait_usable(s: &Scenario, name: &str) -> Result<Value> {
    let mut found = Value::Null;
    until(&format!("VolumeSnapshot {name} can be used"), PATIENCE, async || {
        found = get(s, "volumesnapshot", name).await?;
        Ok(Look::when(
            found["status"]["readyToUse"] == true,
            found["status"].to_string(),
        ))
    })
    .await?;
    Ok(found)
}

/// The name of the Commit that a VolumeSnapshot is.
fn commit_of(snapshot: &Value) -> String {
    names::snapshot_object(snapshot["metadata"]["uid"].as_str().unwrap_or_default())
}

async fn delete(s: &Scenario, kind: &str, name: &str) -> Result<()> {
    s.cluster.kubectl(&["delete", kind, name])?.output().await.map(drop)
}

#[tokio::test]
async fn a_volume_snapshot_is_a_commit_of_all_volumes() {
    scenario("snapshots", async |s| {
        let _controller = controller()?;
        let objects = [
            dot("shop", &[("db", "64Mi"), ("cache", "16Mi")]),
            claim("db", "64Mi", "Dot", "shop", "db"),
            claim("cache", "16Mi", "Dot", "shop", "cache"),
            holder("app", &["db", "cache"]),
        ];
        s.cluster.apply(objects).await?;
        s.cluster.wait_pod("app").await?;
        s.cluster
            .bash("app", "echo one > /db/file; echo two > /cache/file; sync")
            .await?;
        s.cluster.apply([snapshot("nightly", "db", "dotmesh")]).await?;
        let nightly = wait_usable(s, "nightly").await?;
        ensure!(nightly["status"]["restoreSize"] == "64Mi", "{nightly}");
        let name = commit_of(&nightly);
        let made: Commit = s.cluster.wait_ready(&name).await?;
        ensure!(made.spec.message.as_deref() == Some("why nightly"), "{:?}", made.spec);
        ensure!(made.spec.metadata["nightly"].0 == "yes", "{:?}", made.spec);
        let volumes = made.status.map(|status| status.volumes.len());
        ensure!(volumes == Some(2), "{volumes:?}");

        // It shows what was there, as any Commit does.
        s.cluster.bash("app", "echo three > /db/file; sync").await?;
        let objects = [claim("then", "64Mi", "Commit", &name, "db"), holder("look", &["then"])];
        s.cluster.apply(objects).await?;
        s.cluster.wait_pod("look").await?;
        let seen = s.cluster.bash("look", "cat /then/file").await?;
        ensure!(seen.trim() == "one", "{seen}");

        // It goes with its VolumeSnapshot, and what people committed stays.
        s.cluster.apply([commit("mine", "shop")]).await?;
        s.cluster.wait_ready::<Commit>("mine").await?;
        delete(s, "volumesnapshot", "nightly").await?;
        s.cluster.wait_gone::<Commit>(&name).await?;
        let seen = s.cluster.bash("look", "cat /then/file").await?;
        ensure!(seen.trim() == "one", "{seen}");
        s.cluster.wait_ready::<Commit>("mine").await.map(drop)
    })
    .await;
}

/// A claim that is a copy of something.
fn copy(name: &str, size: &str, kind: &str, source: &str) -> Value {
    let mut claim = plain_claim(name, size);
    claim["spec"]["dataSource"] = json!({"kind": kind, "name": source});
    if kind == "VolumeSnapshot" {
        claim["spec"]["dataSource"]["apiGroup"] = json!("snapshot.storage.k8s.io");
    }
    claim
}

#[tokio::test]
async fn volumes_are_restored_and_cloned_and_outlive_what_they_come_from() {
    scenario("restored", async |s| {
        let _controller = controller()?;
        s.cluster
            .apply([plain_claim("data", "64Mi"), holder("app", &["data"])])
            .await?;
        s.cluster.wait_pod("app").await?;
        s.cluster.bash("app", "echo one > /data/file; sync").await?;
        s.cluster.apply([snapshot("nightly", "data", "dotmesh")]).await?;
        wait_usable(s, "nightly").await?;
        s.cluster.bash("app", "echo two > /data/file; sync").await?;
        s.cluster
            .apply([
                copy("then", "64Mi", "VolumeSnapshot", "nightly"),
                copy("more", "128Mi", "VolumeSnapshot", "nightly"),
                copy("now", "64Mi", "PersistentVolumeClaim", "data"),
                copy("small", "32Mi", "VolumeSnapshot", "nightly"),
                holder("look", &["then", "more", "now"]),
            ])
            .await?;
        s.cluster.wait_pod("look").await?;
        let seen = s.cluster.bash("look", "cat /then/file /more/file /now/file").await?;
        ensure!(seen.split_whitespace().eq(["one", "one", "two"]), "{seen}");
        let size = s
            .cluster
            .bash("look", "df --output=size -B1048576 /more | tail -1")
            .await?;
        ensure!(size.trim() == "128", "{size}");
        s.cluster.wait_event("small", &["needs 64Mi"]).await?;

        // Where it comes from stands in its Dot; the Commit of the clone has gone.
        let claim = get(s, "pvc", "now").await?;
        let own = names::volume_object(claim["metadata"]["uid"].as_str().unwrap_or_default());
        let dot = get(s, "dot", &own).await?;
        ensure!(dot["status"]["volumes"][0]["origin"]["volume"] == "data", "{dot}");
        let cloned = names::snapshot_object(claim["metadata"]["uid"].as_str().unwrap_or_default());
        s.cluster.wait_gone::<Commit>(&cloned).await?;

        // A claim that still waits for a VolumeSnapshot keeps it; then what they come from goes, in whatever order, and they
        // stay.
        delete(s, "pvc", "small").await?;
        delete(s, "pod", "app").await?;
        delete(s, "pvc", "data").await?;
        delete(s, "volumesnapshot", "nightly").await?;
        s.cluster.bash("look", "echo more >> /then/file; sync").await?;
        let seen = s.cluster.bash("look", "cat /then/file").await?;
        ensure!(seen.split_whitespace().eq(["one", "more"]), "{seen}");
        delete(s, "pod", "look").await?;
        s.cluster.apply([holder("again", &["then", "now"])]).await?;
        s.cluster.wait_pod("again").await?;
        let seen = s.cluster.bash("again", "cat /then/file /now/file").await?;
        ensure!(seen.split_whitespace().eq(["one", "more", "two"]), "{seen}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_commit_stays_when_its_class_says_so() {
    scenario("retained", async |s| {
        let _controller = controller()?;
        let class = format!("retain-{}", s.cluster.namespace);
        let retain = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": {"name": class},
            "driver": names::DRIVER, "deletionPolicy": "Retain",
        });
        s.cluster
            .apply([retain, plain_claim("data", "64Mi"), holder("app", &["data"])])
            .await?;
        s.cluster.wait_pod("app").await?;
        s.cluster.apply([snapshot("kept", "data", &class)]).await?;
        let kept = wait_usable(s, "kept").await?;
        let content = kept["status"]["boundVolumeSnapshotContentName"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        delete(s, "volumesnapshot", "kept").await?;
        let name = commit_of(&kept);
        s.cluster.wait_ready::<Commit>(&name).await?;
        // Whoever says Delete later gets that.
        let patch = r#"{"spec": {"deletionPolicy": "Delete"}}"#;
        let args = ["patch", "volumesnapshotcontent", &content, "--type=merge", "-p", patch];
        s.cluster.kubectl(&args)?.output().await?;
        delete(s, "volumesnapshotcontent", &content).await?;
        s.cluster.wait_gone::<Commit>(&name).await?;
        delete(s, "volumesnapshotclass", &class).await
    })
    .await;
}

#[tokio::test]
async fn many_at_once_are_a_commit_each() {
    const COUNT: usize = 20;
    scenario("many", async |s| {
        let _controller = controller()?;
        s.cluster
            .apply([plain_claim("data", "64Mi"), holder("app", &["data"])])
            .await?;
        s.cluster.wait_pod("app").await?;
        let names: Vec<String> = (0..COUNT).map(|n| format!("n{n}")).collect();
        s.cluster
            .apply(names.iter().map(|name| snapshot(name, "data", "dotmesh")))
            .await?;
        for name in &names {
            let usable = wait_usable(s, name).await?;
            s.cluster.wait_ready::<Commit>(&commit_of(&usable)).await?;
        }
        let commits: Vec<Commit> = s.cluster.list().await?;
        ensure!(
            commits.len() == COUNT + 1,
            "{} Commits, with the initial one",
            commits.len()
        );
        let all = ["delete", "volumesnapshots", "--all"];
        s.cluster.kubectl(&all)?.within(PATIENCE).output().await?;
        until("their Commits are gone", PATIENCE, async || {
            let left: Vec<Commit> = s.cluster.list().await?;
            Ok(Look::when(left.len() == 1, format!("{} Commits", left.len())))
        })
        .await
    })
    .await;
}
