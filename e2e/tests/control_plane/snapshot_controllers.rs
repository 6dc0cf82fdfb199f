//! The chart brings a snapshot-controller where there is none, and VolumeSnapshots where the cluster knows them.

use dotmesh_e2e::chart;
use serde_json::{Value, json};

use super::{NAMESPACE, cluster};

/// What `helm install` would say to these values on this server, which has no CustomResourceDefinitions of snapshots.
async fn refusal(values: &Value) -> String {
    let install = chart::template(&["--dry-run=server", "--take-ownership", "--values", "-"]).unwrap();
    let ended = install.input(values.to_string()).ended().await.unwrap();
    assert!(!ended.success, "{values} was accepted");
    ended.stderr
}

fn with_controller() -> Value {
    json!({"snapshotController": {"enabled": true}})
}

#[tokio::test]
async fn without_their_definitions_volume_snapshots_are_refused_with_the_command_that_brings_them() {
    cluster().await;
    let words = refusal(&json!({"csiSnapshotter": {"enabled": true}})).await;
    assert!(
        words.contains("no CustomResourceDefinitions of snapshot.storage.k8s.io"),
        "{words}"
    );
    assert!(words.contains("kubectl apply -k 'https://github.com/"), "{words}");
    assert!(words.contains("?ref=v8."), "{words}");
}

/// Tests of this file that put a snapshot-controller onto the cluster.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What is said while this object is there; it is gone afterwards.
async fn refusal_beside(object: &Value) -> String {
    let _alone = ONE_AT_A_TIME.lock().await;
    let cluster = cluster().await;
    cluster.apply([object.clone()]).await.unwrap();
    let words = refusal(&with_controller()).await;
    let delete = cluster.kubectl(&["delete", "--wait", "-f", "-"]).unwrap();
    delete.input(object.to_string()).output().await.unwrap();
    words
}

fn controller(kind: &str, name: &str, image: &str, replicas: u8) -> Value {
    let mut spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": image}]},
        },
    });
    if kind == "StatefulSet" {
        spec["serviceName"] = json!(name);
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn there_are_never_two_snapshot_controllers() {
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for (kind, name, image) in [
        (
            "Deployment",
            "snapshot-controller",
            format!("example.com/some@{digest}"),
        ),
        (
            "Deployment",
            "csi-snapshot-controller",
            format!("example.com/other@{digest}"),
        ),
        (
            "Deployment",
            "snapshots",
            "registry.k8s.io/sig-storage/snapshot-controller:v8.2.0".to_owned(),
        ),
        (
            "StatefulSet",
            "old",
            format!("example.com/mirrored-sig-storage-snapshot-controller@{digest}"),
        ),
    ] {
        let words = refusal_beside(&controller(kind, name, &image, 1)).await;
        let found = format!("{kind} {NAMESPACE}/{name}");
        assert!(words.contains(&found), "{found}: {words}");
        assert!(words.contains("snapshotController.enabled=false"), "{words}");
    }
    // One that nobody can see but by the Lease that it holds.
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "snapshot-controller-leader"},
        "spec": {"holderIdentity": "somewhere-else"},
    });
    let words = refusal_beside(&lease).await;
    let found = format!("Lease {NAMESPACE}/snapshot-controller-leader of somewhere-else");
    assert!(words.contains(&found), "{words}");
}

#[tokio::test]
async fn what_is_no_snapshot_controller_or_runs_no_more_is_not_taken_for_one() {
    for (name, image, replicas) in [
        ("snapshot-controller", "example.com/snapshot-controller:1", 0),
        (
            "webhook",
            "registry.k8s.io/sig-storage/snapshot-validation-webhook:v8.0.0",
            1,
        ),
        ("database", "example.com/snapshot-controller-tools:1", 1),
    ] {
        let words = refusal_beside(&controller("Deployment", name, image, replicas)).await;
        assert!(words.contains("no CustomResourceDefinitions"), "{words}");
        assert!(!words.contains("already"), "{words}");
    }
}

#[tokio::test]
async fn with_groups_there_is_a_class_of_them_where_the_cluster_knows_it() {
    let values = json!({"csiSnapshotter": {"enabled": true, "groups": true}});
    for (more, count) in [
        (&[][..], 0),
        (
            &[
                "--api-versions",
                "groupsnapshot.storage.k8s.io/v1/VolumeGroupSnapshotClass",
            ],
            1,
        ),
    ] {
        let args = [&["--values", "-", "--show-only", "templates/storage.yaml"], more].concat();
        let made = chart::template(&args).unwrap().input(values.to_string()).output().await;
        let made = made.unwrap();
        assert_eq!(
            made.matches("kind: VolumeGroupSnapshotClass\n").count(),
            count,
            "{made}"
        );
    }
}
