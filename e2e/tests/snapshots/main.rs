//! VolumeSnapshots are Commits: with the real csi-snapshotter and snapshot-controller (`cargo xtask campaign snapshots`).

use anyhow::Result;
use dotmesh_crds::names;
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::plain_claim;
use dotmesh_e2e::scenario::Scenario;
use dotmesh_e2e::wait::{Look, until};
use serde_json::{Value, json};

mod controllers;
mod deletion;
mod groups;
mod nightly;
mod publish;
mod restoring;
mod taking;
mod tenants;

/// A VolumeSnapshot of a claim.
fn snapshot(name: &str, of: &str, class: &str) -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {"name": name, "labels": {"nightly": "yes"}, "annotations": {names::ANNOTATION_MESSAGE: format!("why {name}")}},
        "spec": {"volumeSnapshotClassName": class, "source": {"persistentVolumeClaimName": of}},
    })
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

/// A class of ours with this policy, for one scenario.
fn class(s: &Scenario, policy: &str) -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
        "metadata": {"name": format!("{}-{}", policy.to_lowercase(), s.cluster.namespace)},
        "driver": names::DRIVER, "deletionPolicy": policy,
    })
}

/// A VolumeSnapshotContent that an administrator writes for a handle, and the VolumeSnapshot that it is for.
fn by_hand(s: &Scenario, name: &str, handle: &str, policy: &str) -> [Value; 2] {
    let content = content_by_hand(s, name);
    [
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": content},
            "spec": {
                "driver": names::DRIVER, "deletionPolicy": policy, "source": {"snapshotHandle": handle},
                "volumeSnapshotRef": {"namespace": s.cluster.namespace, "name": name},
            },
        }),
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": name},
            "spec": {"source": {"volumeSnapshotContentName": content}},
        }),
    ]
}

/// The name of the VolumeSnapshotContent of [`by_hand`].
fn content_by_hand(s: &Scenario, name: &str) -> String {
    format!("{}-{name}", s.cluster.namespace)
}

async fn get(s: &Scenario, kind: &str, name: &str) -> Result<Value> {
    let text = s.cluster.kubectl(&["get", kind, name, "-o", "json"])?.output().await?;
    Ok(serde_json::from_str(&text)?)
}

/// Whether there is such an object.
async fn exists(s: &Scenario, kind: &str, name: &str) -> Result<bool> {
    Ok(find(s, kind, name).await?.is_some())
}

async fn wait_absent(s: &Scenario, kind: &str, name: &str) -> Result<()> {
    until(&format!("{kind} {name} gone"), PATIENCE, async || {
        Ok(Look::when(!exists(s, kind, name).await?, "it is there"))
    })
    .await
}

/// The object, if it is there.
async fn find(s: &Scenario, kind: &str, name: &str) -> Result<Option<Value>> {
    let args = ["get", kind, name, "--ignore-not-found", "-o", "json"];
    let text = s.cluster.kubectl(&args)?.output().await?;
    Ok(match text.trim() {
        "" => None,
        text => Some(serde_json::from_str(text)?),
    })
}

/// The VolumeSnapshot, when it is there and can be used.
async fn wait_usable(s: &Scenario, name: &str) -> Result<Value> {
    let mut found = Value::Null;
    until(&format!("VolumeSnapshot {name} can be used"), PATIENCE, async || {
        found = find(s, "volumesnapshot", name).await?.unwrap_or_default();
        Ok(Look::when(
            found["status"]["readyToUse"] == true,
            found["status"].to_string(),
        ))
    })
    .await?;
    Ok(found)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The name of the Commit that a VolumeSnapshot is.
fn commit_of(snapshot: &Value) -> String {
    names::snapshot_object(snapshot["metadata"]["uid"].as_str().unwrap_or_default())
}

/// The name of the VolumeSnapshotContent that a VolumeSnapshot is bound to.
fn content_of(snapshot: &Value) -> String {
    text(&snapshot["status"]["boundVolumeSnapshotContentName"])
}

/// What the driver calls the snapshot.
async fn handle_of(s: &Scenario, snapshot: &Value) -> Result<String> {
    let content = get(s, "volumesnapshotcontent", &content_of(snapshot)).await?;
    let handle = content["status"]["snapshotHandle"].as_str();
    Ok(handle.unwrap_or_default().to_owned())
}

async fn delete(s: &Scenario, kind: &str, name: &str) -> Result<()> {
    let delete = s.cluster.kubectl(&["delete", kind, name])?;
    delete.within(PATIENCE).output().await.map(drop)
}

/// Asks for a deletion that waits for something.
async fn ask_deletion(s: &Scenario, kind: &str, name: &str) -> Result<()> {
    let args = ["delete", kind, name, "--wait=false"];
    s.cluster.kubectl(&args)?.output().await.map(drop)
}
