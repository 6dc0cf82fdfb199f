//! Volumes that begin with a claim's data: when that is copied, by what, and that nothing else is served before.

use dotmesh_crds::dot::ImportState;
use dotmesh_crds::names::LABEL_IMPORT;
use dotmesh_crds::{Commit, Dot};
use dotmesh_operator::api::{Api, Guard};
use dotmesh_operator::claim::validate::validate;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use crate::world::{World, claim_uid, key, message, reason};

const OWN: &str = "shop-import-db";

const CLASS: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NAME}
provisioner: csi.dotmesh.io
volumeBindingMode: WaitForFirstConsumer
";

fn put_class(world: &World, name: &str, more: &str) {
    world
        .api
        .put(&format!("{}{more}", CLASS.trim_start().replace("NAME", name)));
}

fn put_source(world: &World, spec: &str) {
    world.api.put(&format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: old-db, namespace: dev}}\nspec: {spec}"
    ));
}

fn put_pod(world: &World, name: &str) {
    world.api.put(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: dev}}\n\
         spec: {{containers: [], volumes: [{{name: data, persistentVolumeClaim: {{claimName: old-db}}}}]}}\nstatus: {{phase: Running}}"
    ));
}

fn put_dot(world: &World) {
    world.put(
        "Dot",
        "shop",
        "{volumes: [{name: db, size: 10Gi, importFrom: {persistentVolumeClaim: old-db}}, {name: cache, size: 1Gi}]}",
    );
}

async fn delete<K: dotmesh_operator::api::Kind>(world: &World, name: &str) {
    world.api.delete::<K>(&key(name), &Guard::default()).await.unwrap();
    world.api.take_writes();
}

/// With a claim of another driver, a class of ours, and the Dot that wants it.
async fn importing() -> World {
    let world = World::new().await;
    put_class(&world, "dotmesh", "");
    put_source(&world, "{volumeName: pv-old}");
    put_dot(&world);
    world.settle().await;
    world
}

/// The claims' controller, the scheduler and Kubernetes have done their parts: the claim's entry is there.
async fn entered(world: &World) {
    let claim: PersistentVolumeClaim = world.api.must_get(&key(OWN));
    let entry = json!({
        "uid": claim.metadata.uid, "namespace": "dev", "name": OWN, "volume": "db", "size": "10Gi", "selectedNode": "n1",
    });
    world.write_claims("shop", |claims| claims.push(entry.clone())).await;
    world.settle().await;
}

async fn unentered(world: &World) {
    world
        .write_claims("shop", |claims| claims.retain(|entry| entry["name"] != OWN))
        .await;
    world.settle().await;
}

/// The kubelet tells of the pod.
async fn pod_is(world: &World, phase: &str, container: Value) {
    let mut pod = json!(world.api.must_get::<Pod>(&key(OWN)));
    pod["status"] = json!({"phase": phase, "podIP": "10.0.0.9", "containerStatuses": [container]});
    (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
    world.api.put_object(pod);
    world.settle().await;
}

fn container(state: Value, last: Value) -> Value {
    json!({"name": "importer", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state, "lastState": last})
}

fn ended(code: i32, message: &str) -> Value {
    json!({"terminated": {
        "exitCode": code, "message": message,
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:10:00Z",
    }})
}

const DONE: &str = r#"{"result":"Done","bytesCopied":2048,"bytesTotal":2048,"files":7,"skipped":1}"#;

fn state(world: &World) -> ImportState {
    world.dot("shop").status.unwrap().imports[0].state
}

#[tokio::test]
async fn a_claims_data_is_copied_committed_and_then_served() {
    let world = importing().await;
    assert_eq!(reason!(world.dot("shop")), "Importing");
    assert!(message!(world.dot("shop")).contains("has not begun"));
    assert_eq!(state(&world), ImportState::Waiting);
    entered(&world).await;
    world.claim("shop", 1, "cache", None).await;
    world.settle().await;
    let own: PersistentVolumeClaim = world.api.must_get(&key(OWN));
    let attached = world.dot("shop").status.unwrap().attachments;
    assert_eq!(
        attached,
        [own.metadata.uid.clone().unwrap()],
        "the import's claim alone"
    );

    let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    pod_is(&world, "Running", container(running.clone(), json!({}))).await;
    assert_eq!(state(&world), ImportState::Copying);
    assert_eq!(message!(world.dot("shop")), "db: being copied from claim \"old-db\"");
    world.put_commit("early");
    world.settle().await;
    assert_eq!(reason!(world.commit("early")), "NotReady");

    let full = r#"{"result":"Failed","kind":"OutOfSpace","message":"no space left in the volume at \"base\""}"#;
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    pod_is(&world, "Running", container(waiting.clone(), ended(1, full))).await;
    assert_eq!(reason!(world.dot("shop")), "OutOfSpace");
    assert!(message!(world.dot("shop")).contains("raise the volume's size"));
    assert_eq!(state(&world), ImportState::Failed);
    pod_is(&world, "Running", container(waiting, ended(137, ""))).await;
    assert_eq!(reason!(world.dot("shop")), "ImportFailed");
    pod_is(&world, "Running", container(running, ended(137, ""))).await;
    assert_eq!(reason!(world.dot("shop")), "Importing");
    assert!(!world.api.exists::<Commit>(&key("shop-initial")));

    pod_is(&world, "Succeeded", container(ended(0, DONE), json!({}))).await;
    assert_eq!(state(&world), ImportState::Done);
    assert!(!world.api.exists::<Pod>(&key(OWN)));
    assert!(!world.api.exists::<PersistentVolumeClaim>(&key(OWN)));
    assert!(
        !world.api.exists::<Commit>(&key("shop-initial")),
        "the volume is held still"
    );
    unentered(&world).await;
    let commit = world.commit("shop-initial");
    assert_eq!(commit.spec.message.as_deref(), Some("Imported from claim old-db"));
    let dot = world.dot("shop");
    let import = dot.status.clone().unwrap().imports.remove(0);
    assert_eq!(
        (import.bytes_copied, import.files, import.skipped),
        (Some(2048), Some(7), Some(1))
    );
    assert!(import.start_time < import.completion_time, "{import:?}");
    assert_eq!(reason!(dot), "Ready");
    assert_eq!(world.dot("shop").status.unwrap().attachments, [claim_uid(1)]);
    assert_eq!(reason!(world.commit("early")), "Ready");
    // It is never done again, whatever comes.
    put_pod(&world, "late");
    assert_eq!(world.settle().await, Vec::<String>::new());
}

/// A Dot with volume `db` from this snapshot of a Pool, and `cache`.
fn put_adopting(world: &World, pool: &str, more: &str) {
    let snapshot = format!("{{zfsSnapshot: {{pool: {pool}, name: dotmesh/old@move}}}}");
    let spec =
        format!("{{volumes: [{{name: db, size: 10Gi, importFrom: {snapshot}}}, {{name: cache, size: 1Gi}}]{more}}}");
    world.put("Dot", "shop", &spec);
}

#[tokio::test]
async fn a_snapshot_places_its_dot_and_is_what_its_volume_begins_with() {
    let world = World::new().await;
    put_adopting(&world, "n1", "");
    world.settle().await;
    assert_eq!(reason!(world.branch("shop-main")), "Invalid");
    let told = message!(world.dot("shop"));
    assert!(told.contains("snapshot dotmesh/old@move does not exist"), "{told}");
    assert!(!world.api.exists::<Commit>(&key("shop-initial")));
    // Whatever node the scheduler thinks of.
    world.claim("shop", 1, "db", None).await;
    world.settle().await;
    assert!(world.dot("shop").status.unwrap().attachments.is_empty());

    world.nodes.give("dotmesh/old@move");
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    let status = world.dot("shop").status.unwrap();
    assert_eq!(
        (status.node.as_deref(), status.attachments),
        (Some("n1"), vec![claim_uid(1)])
    );
    let message = world.commit("shop-initial").spec.message;
    assert_eq!(message.as_deref(), Some("Imported from snapshot dotmesh/old@move"));
    let volumes = world.branch("shop-main").status.unwrap().volumes;
    let cloned: Vec<(&str, bool)> = volumes
        .iter()
        .map(|volume| (volume.name.as_str(), volume.cloned))
        .collect();
    assert_eq!(cloned, [("cache", false), ("db", true)]);
    assert_eq!(world.settle().await, Vec::<String>::new());
}

#[tokio::test]
async fn where_a_snapshot_is_must_be_where_its_dot_can_lie() {
    let world = World::new().await;
    put_adopting(&world, "n7", "");
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "PoolUnavailable");
    assert!(message!(world.dot("shop")).contains("Pool \"n7\""));
    delete::<Dot>(&world, "shop").await;
    world.settle().await;
    put_adopting(&world, "n1", ", placement: {poolClass: ssd}");
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Invalid");
    assert!(message!(world.dot("shop")).contains("poolClass \"default\""));
}

#[tokio::test]
async fn the_pod_may_do_what_a_copy_needs_and_nothing_else() {
    let world = importing().await;
    let pod: Pod = world.api.must_get(&key(OWN));
    insta::assert_snapshot!(serde_yaml::to_string(&pod.spec).unwrap());
    let claim: PersistentVolumeClaim = world.api.must_get(&key(OWN));
    let (dot, class): (Dot, StorageClass) = (
        world.dot("shop"),
        serde_yaml::from_str(&CLASS.replace("NAME", "dotmesh")).unwrap(),
    );
    for (labels, owners) in [
        (pod.metadata.labels, pod.metadata.owner_references),
        (claim.metadata.labels.clone(), claim.metadata.owner_references.clone()),
    ] {
        assert_eq!(labels.unwrap().get(LABEL_IMPORT), dot.metadata.uid.as_ref());
        assert_eq!(Some(&owners.unwrap()[0].uid), dot.metadata.uid.as_ref());
    }
    let request = validate(&claim, &class).unwrap();
    assert_eq!(request.volume.unwrap().as_str(), "db");
    assert_eq!(request.import, dot.metadata.uid);
    assert_eq!(request.size_bytes, 10 << 30);
}

#[tokio::test]
async fn nothing_is_copied_under_a_pod() {
    let world = World::new().await;
    put_class(&world, "dotmesh", "");
    put_source(&world, "{volumeName: pv-old}");
    put_pod(&world, "writer");
    put_dot(&world);
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "InUse");
    assert!(message!(world.dot("shop")).contains("used by pods: writer"));
    assert!(!world.api.exists::<PersistentVolumeClaim>(&key(OWN)));
    delete::<Pod>(&world, "writer").await;
    world.settle().await;
    assert!(world.api.exists::<Pod>(&key(OWN)));
    // One that came meanwhile ends the copy, which goes on later.
    entered(&world).await;
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    pod_is(&world, "Running", container(running, json!({}))).await;
    put_pod(&world, "another");
    world.settle().await;
    assert!(!world.api.exists::<Pod>(&key(OWN)));
    assert_eq!(reason!(world.dot("shop")), "InUse");
    delete::<Pod>(&world, "another").await;
    world.settle().await;
    assert!(world.api.exists::<Pod>(&key(OWN)));
}

#[tokio::test]
async fn what_cannot_be_copied_is_told() {
    let ours = "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: pv-ours}\nspec: {csi: {driver: csi.dotmesh.io, volumeHandle: x}}";
    for (spec, expected, words) in [
        (None, "ClaimNotFound", "does not exist"),
        (Some("{}"), "NotReady", "not bound"),
        (Some("{volumeName: ''}"), "NotReady", "not bound"),
        (
            Some("{volumeName: pv-old, volumeMode: Block}"),
            "Invalid",
            "block device",
        ),
        (Some("{volumeName: pv-ours}"), "Invalid", "make a Branch"),
    ] {
        let world = World::new().await;
        put_class(&world, "dotmesh", "");
        world.api.put(ours);
        if let Some(spec) = spec {
            put_source(&world, spec);
        }
        put_dot(&world);
        world.settle().await;
        assert_eq!(reason!(world.dot("shop")), expected, "{spec:?}");
        let told = message!(world.dot("shop"));
        assert!(told.contains(words) && told.contains("old-db"), "{told}");
        assert!(!world.api.exists::<PersistentVolumeClaim>(&key(OWN)));
        put_source(&world, "{volumeName: pv-old}");
        world.settle().await;
        assert!(world.api.exists::<Pod>(&key(OWN)), "{spec:?}");
    }
}

#[tokio::test]
async fn of_the_classes_the_one_that_says_least_is_taken() {
    let world = World::new().await;
    put_source(&world, "{volumeName: pv-old}");
    put_class(&world, "another-pool", "parameters: {poolClass: ssd}\n");
    put_class(&world, "keeps", "reclaimPolicy: Retain\n");
    put_class(&world, "reads", "mountOptions: [ro]\n");
    put_class(&world, "format", "parameters: {csi.storage.k8s.io/fstype: xfs}\n");
    put_dot(&world);
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "NotReady");
    assert!(message!(world.dot("shop")).contains("StorageClass"));
    put_class(&world, "a-tuned", "parameters: {recordsize: 8Ki}\n");
    put_class(&world, "plain", "");
    world.settle().await;
    let claim: PersistentVolumeClaim = world.api.must_get(&key(OWN));
    assert_eq!(claim.spec.unwrap().storage_class_name.as_deref(), Some("plain"));
}

#[tokio::test]
async fn a_pod_that_ended_badly_is_followed_by_another_after_a_pause() {
    let world = importing().await;
    entered(&world).await;
    let first: Pod = world.api.must_get(&key(OWN));
    let mut pod = json!(first);
    pod["status"] = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."});
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
    world.api.put_object(pod);
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "ImportFailed");
    assert!(message!(world.dot("shop")).contains("low on memory"));
    assert_eq!(world.api.must_get::<Pod>(&key(OWN)).metadata.uid, first.metadata.uid);
    world.pass(31);
    world.settle().await;
    assert_ne!(world.api.must_get::<Pod>(&key(OWN)).metadata.uid, first.metadata.uid);
    assert_eq!(reason!(world.dot("shop")), "Importing");
}

#[tokio::test]
async fn a_dot_that_goes_takes_its_import_along() {
    let world = importing().await;
    entered(&world).await;
    delete::<Dot>(&world, "shop").await;
    world.settle().await;
    assert!(!world.api.exists::<Pod>(&key(OWN)));
    assert!(!world.api.exists::<PersistentVolumeClaim>(&key(OWN)));
    assert_eq!(reason!(world.dot("shop")), "InUse", "until the claim's volume is gone");
    unentered(&world).await;
    assert!(!world.api.exists::<Dot>(&key("shop")));
    assert!(world.api.exists::<PersistentVolumeClaim>(&key("old-db")));
}

#[tokio::test]
async fn a_volume_that_is_taken_off_the_list_is_imported_no_more() {
    let world = importing().await;
    entered(&world).await;
    world
        .set_volumes("shop", json!([{"name": "cache", "size": "1Gi"}]))
        .await;
    world.settle().await;
    assert!(!world.api.exists::<Pod>(&key(OWN)));
    assert!(!world.api.exists::<PersistentVolumeClaim>(&key(OWN)));
    unentered(&world).await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    assert!(world.dot("shop").status.unwrap().imports.is_empty());
}

#[tokio::test]
async fn names_that_are_taken_are_told() {
    let world = World::new().await;
    put_class(&world, "dotmesh", "");
    put_source(&world, "{volumeName: pv-old}");
    world.api.put(&format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {OWN}, namespace: dev}}\nspec: {{}}"
    ));
    put_dot(&world);
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Conflict");
    assert!(message!(world.dot("shop")).contains(OWN));
    delete::<PersistentVolumeClaim>(&world, OWN).await;
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Importing");
}
