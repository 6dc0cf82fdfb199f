//! Claims with a `dataSource`: each gets a Dot of its own, whose volume is a clone.

use dotmesh_crds::names::{snapshot_object, volume_object};
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_model::handle::{Handle, SnapshotId};
use dotmesh_model::id::VolumeId;
use dotmesh_operator::api::{Api, Key};
use dotmesh_operator::claim;
use dotmesh_operator::claim::report::Said;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::{Value, json};

use crate::world::{World, claim_uid, key};

const COPY: &str = "0c5a6f6e-1111-4222-8333-0000000000c1";
const COMMIT: &str = "nightly";

/// A StorageClass of ours.
fn put_class(world: &World, name: &str, parameters: &Value) {
    world.api.put_object(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name },
        "provisioner": "csi.dotmesh.io", "parameters": parameters, "volumeBindingMode": "WaitForFirstConsumer",
    }));
}

/// A claim of this size and class that names a source.
fn put_claim(world: &World, spec: &Value) {
    let mut object = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "copy", "namespace": "dev", "uid": COPY },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "dotmesh",
            "resources": { "requests": { "storage": "10Gi" } },
        },
    });
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    world.api.put_object(object);
}

fn of_snapshot() -> Value {
    json!({ "dataSourceRef": { "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "nightly" } })
}

fn of_claim() -> Value {
    json!({ "dataSourceRef": { "kind": "PersistentVolumeClaim", "name": "claim-1" } })
}

/// The id of volume `db` of Dot `shop` in Commit `nightly`.
fn snapshot_id(world: &World) -> String {
    let dot = world.dot("shop").status.unwrap().id.unwrap().parse().unwrap();
    let commit = world.commit(COMMIT).status.unwrap().id.unwrap();
    let id = SnapshotId {
        dot,
        volume: VolumeId::derive(dot, "db"),
        commit: commit.parse().unwrap(),
    };
    id.to_string()
}

/// VolumeSnapshot `nightly` with its VolumeSnapshotContent, changed.
fn put_snapshot(world: &World, handle: &str, change: impl Fn(&mut Value, &mut Value)) {
    let mut snapshot = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": { "name": "nightly", "namespace": "dev", "uid": "uid-of-nightly" }, "spec": {},
        "status": { "boundVolumeSnapshotContentName": "content", "readyToUse": true, "restoreSize": "10Gi" },
    });
    let mut content = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": { "name": "content" },
        "spec": {
            "driver": "csi.dotmesh.io",
            "volumeSnapshotRef": { "namespace": "dev", "name": "nightly", "uid": "uid-of-nightly" },
        },
        "status": { "snapshotHandle": handle },
    });
    change(&mut snapshot, &mut content);
    world.api.put_object(snapshot);
    world.api.put_object(content);
}

/// What a bound claim on volume `db` of Dot `shop` looks like, with the handle that was made for this claim.
fn put_source(world: &World, of: u32) {
    let dot = world.dot("shop").status.unwrap().id.unwrap().parse().unwrap();
    let handle = Handle {
        dot,
        volume: VolumeId::derive(dot, "db"),
        claim: claim_uid(of).parse().unwrap(),
    };
    let uid = claim_uid(1);
    world.api.put_object(json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "pv-1" },
        "spec": {
            "claimRef": { "namespace": "dev", "name": "claim-1", "uid": uid },
            "csi": { "driver": "csi.dotmesh.io", "volumeHandle": handle.to_string() },
        },
    }));
    world.api.put_object(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "claim-1", "namespace": "dev", "uid": uid },
        "spec": { "volumeName": "pv-1" },
        "status": { "phase": "Bound", "capacity": { "storage": "10Gi" } },
    }));
}

/// One look of the claims' controller at the claim.
async fn look_at_claim(world: &World) {
    let claim: PersistentVolumeClaim = world.api.must_get(&key("copy"));
    claim::reconcile(&world.api, &world.memory().memory, &Said::default(), claim.into())
        .await
        .unwrap();
}

/// The claims' controller and all others, until nothing changes.
async fn settle(world: &World) {
    let said = Said::default();
    for _ in 0..20 {
        for object in world.api.cached_where::<PersistentVolumeClaim>(|_| true) {
            claim::reconcile(&world.api, &world.memory().memory, &said, object)
                .await
                .unwrap();
        }
        world.settle().await;
    }
}

async fn with_snapshot() -> World {
    let world = World::with_shop().await;
    put_class(&world, "dotmesh", &json!({}));
    world.put_commit(COMMIT);
    world.settle().await;
    put_snapshot(&world, &snapshot_id(&world), |_, _| {});
    world
}

fn own(world: &World) -> Option<Dot> {
    world
        .api
        .exists::<Dot>(&key(&volume_object(COPY)))
        .then(|| world.dot(&volume_object(COPY)))
}

fn volume(world: &World) -> Option<PersistentVolume> {
    let key = Key::cluster(volume_object(COPY));
    world
        .api
        .exists::<PersistentVolume>(&key)
        .then(|| world.api.must_get(&key))
}

/// What the claim was told last.
fn told(world: &World) -> String {
    world.api.events().last().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_claim_from_a_volume_snapshot_has_a_dot_of_its_own_where_the_data_is() {
    let world = with_snapshot().await;
    put_class(&world, "dotmesh", &json!({ "compression": "zstd" }));
    put_claim(&world, &of_snapshot());
    settle(&world).await;
    let spec = volume(&world).expect("the claim has its volume").spec.unwrap();
    let node = &spec.node_affinity.unwrap().required.unwrap().node_selector_terms[0];
    let node = node.match_expressions.as_ref().unwrap()[0].values.clone();
    assert_eq!(node, Some(vec!["n1".to_owned()]));
    assert_eq!(spec.claim_ref.unwrap().uid.as_deref(), Some(COPY));
    let status = own(&world).unwrap().status.unwrap();
    let [data] = status.volumes.as_slice() else {
        panic!("{:?}", status.volumes)
    };
    let origin = data.origin.as_ref().unwrap();
    assert_eq!(
        (origin.dot.as_str(), origin.commit.as_str(), origin.volume.as_str()),
        ("shop", COMMIT, "db")
    );
    assert_eq!(
        data.zfs.as_ref().unwrap().compression.as_deref(),
        Some("zstd"),
        "the class of the claim counts"
    );
    let entry = &status.claims[0];
    assert!(entry.provisioned, "what was handed out is recorded");
    // What it came from may go.
    world.delete::<Commit>(COMMIT).await;
    world.settle().await;
    assert!(own(&world).unwrap().status.unwrap().conditions[0].status == "True");
}

#[tokio::test]
async fn a_snapshot_may_go_once_the_volume_is_begun() {
    let world = with_snapshot().await;
    put_claim(&world, &of_snapshot());
    let name = format!("{}-main", volume_object(COPY));
    let is_begun = |world: &World| {
        world.api.exists::<Branch>(&key(&name))
            && world
                .branch(&name)
                .status
                .is_some_and(|status| !status.volumes.is_empty())
    };
    for _ in 0..20 {
        if is_begun(&world) {
            break;
        }
        look_at_claim(&world).await;
        for object in world.api.cached_where::<Dot>(|_| true) {
            world.look(2, &Key::of(&*object)).await;
        }
        for object in world.api.cached_where::<Branch>(|_| true) {
            world.look(3, &Key::of(&*object)).await;
        }
    }
    assert!(is_begun(&world));
    assert_eq!(
        own(&world).unwrap().status.unwrap().initial_commit,
        None,
        "it is not done"
    );
    world.delete::<Commit>(COMMIT).await;
    settle(&world).await;
    assert!(!world.api.exists::<Commit>(&key(COMMIT)));
    assert!(volume(&world).is_some(), "{:?}", own(&world).unwrap().status);
}

#[tokio::test]
async fn a_clone_takes_a_commit_that_goes_when_it_is_made() {
    let world = World::with_shop().await;
    put_class(&world, "dotmesh", &json!({}));
    put_source(&world, 1);
    put_claim(&world, &of_claim());
    look_at_claim(&world).await;
    let name = snapshot_object(COPY);
    assert_eq!(
        world.commit(&name).spec.message.as_deref(),
        Some("Clone of claim claim-1 for claim copy")
    );
    settle(&world).await;
    assert!(volume(&world).is_some());
    assert!(
        !world.api.exists::<Commit>(&key(&name)),
        "the Commit goes when the clone is made"
    );
    assert!(own(&world).unwrap().status.unwrap().volumes[0].origin.is_some());
}

#[tokio::test]
async fn a_commit_for_a_clone_that_nobody_waits_for_goes() {
    let world = World::with_shop().await;
    put_class(&world, "dotmesh", &json!({}));
    put_source(&world, 1);
    put_claim(&world, &of_claim());
    look_at_claim(&world).await;
    world.delete::<PersistentVolumeClaim>("copy").await;
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key(&snapshot_object(COPY))));
    assert!(own(&world).is_none());
}

/// Each word of the pair that is wrong is a refusal, and nothing is made.
#[tokio::test]
async fn a_snapshot_that_does_not_stand_for_data_of_this_namespace_gives_nothing() {
    type Change = fn(&mut Value, &mut Value);
    let cases: [(&str, Change); 9] = [
        ("is being deleted", |snapshot, _| {
            snapshot["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            snapshot["metadata"]["finalizers"] = json!(["x"]);
        }),
        ("it is being taken", |snapshot, _| {
            snapshot["status"]["readyToUse"] = json!(false)
        }),
        ("no room", |snapshot, _| {
            snapshot["status"] = json!({ "readyToUse": false, "error": { "message": "no room" } });
        }),
        ("bound to no VolumeSnapshotContent", |snapshot, _| {
            snapshot["status"]["boundVolumeSnapshotContentName"] = json!("other");
        }),
        ("is of driver other", |_, content| {
            content["spec"]["driver"] = json!("other")
        }),
        ("is for another VolumeSnapshot", |_, content| {
            content["spec"]["volumeSnapshotRef"]["uid"] = json!("uid-of-another");
        }),
        ("is for another VolumeSnapshot", |_, content| {
            content["spec"]["volumeSnapshotRef"]["namespace"] = json!("prod");
        }),
        ("not there any more", |_, content| {
            content["status"]["snapshotHandle"] = json!("garbage")
        }),
        ("needs 20Gi", |snapshot, _| {
            snapshot["status"]["restoreSize"] = json!("20Gi")
        }),
    ];
    for (words, change) in cases {
        let world = with_snapshot().await;
        put_snapshot(&world, &snapshot_id(&world), change);
        put_claim(&world, &of_snapshot());
        settle(&world).await;
        assert!(told(&world).contains(words), "{words}: {}", told(&world));
        assert!(own(&world).is_none() && volume(&world).is_none(), "{words}");
    }
}

#[tokio::test]
async fn data_of_another_namespace_is_refused_whatever_the_cluster_s_objects_say() {
    let world = with_snapshot().await;
    // Somebody in namespace prod knows the handle, and has a VolumeSnapshotContent made for it.
    put_snapshot(&world, &snapshot_id(&world), |snapshot, content| {
        snapshot["metadata"]["namespace"] = json!("prod");
        content["metadata"]["name"] = json!("content");
        content["spec"]["volumeSnapshotRef"]["namespace"] = json!("prod");
    });
    world.api.put_object(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "copy", "namespace": "prod", "uid": COPY },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "dotmesh",
            "resources": { "requests": { "storage": "10Gi" } },
            "dataSourceRef": of_snapshot()["dataSourceRef"],
        },
    }));
    settle(&world).await;
    assert!(
        told(&world).contains("stands for data of another namespace"),
        "{}",
        told(&world)
    );
    assert!(volume(&world).is_none());
    assert!(
        world
            .api
            .cached_where::<Dot>(|dot| dot.metadata.namespace.as_deref() == Some("prod"))
            .is_empty()
    );
}

#[tokio::test]
async fn what_a_claim_asks_for_must_be_what_its_original_is() {
    for (change, words) in [
        (
            json!({ "volumeMode": "Block" }),
            "is a zfs filesystem, the claim and its StorageClass ask for a block device",
        ),
        (json!({ "storageClassName": "ext4" }), "ask for an ext4 filesystem"),
        (json!({ "storageClassName": "fast" }), "poolClass"),
        (
            json!({ "resources": { "requests": { "storage": "9Gi" } } }),
            "needs 10Gi",
        ),
        (
            json!({ "dataSourceRef": { "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "x" } }),
            "there is no VolumeSnapshot \"x\"",
        ),
        (
            json!({ "dataSourceRef": { "kind": "PersistentVolumeClaim", "name": "x" } }),
            "there is no PersistentVolumeClaim \"x\"",
        ),
        (
            json!({ "dataSourceRef": { "kind": "PersistentVolumeClaim", "name": "a/../x" } }),
            "allowed are lower-case letters",
        ),
    ] {
        let world = with_snapshot().await;
        put_class(&world, "ext4", &json!({ "csi.storage.k8s.io/fstype": "ext4" }));
        put_class(&world, "fast", &json!({ "poolClass": "fast" }));
        let mut spec = of_snapshot();
        for (field, value) in change.as_object().unwrap() {
            spec[field] = value.clone();
        }
        put_claim(&world, &spec);
        settle(&world).await;
        assert!(told(&world).contains(words), "{words}: {}", told(&world));
        assert!(own(&world).is_none(), "{words}");
    }
}

#[tokio::test]
async fn nothing_is_taken_for_a_claim_that_can_never_have_it() {
    let world = World::with_shop().await;
    put_class(&world, "dotmesh", &json!({}));
    put_source(&world, 1);
    let mut spec = of_claim();
    spec["volumeMode"] = json!("Block");
    put_claim(&world, &spec);
    settle(&world).await;
    assert!(told(&world).contains("ask for a block device"), "{}", told(&world));
    assert!(!world.api.exists::<Commit>(&key(&snapshot_object(COPY))));
}

#[tokio::test]
async fn a_claim_with_a_handle_that_was_made_for_another_is_not_cloned() {
    let world = World::with_shop().await;
    put_class(&world, "dotmesh", &json!({}));
    put_source(&world, 2);
    put_claim(&world, &of_claim());
    settle(&world).await;
    assert!(told(&world).contains("was not made for it"), "{}", told(&world));
    assert!(own(&world).is_none());
}

#[tokio::test]
async fn a_dot_can_begin_with_a_commit_of_another() {
    let world = with_snapshot().await;
    world.put(
        "Dot",
        "fork",
        "{volumes: [{name: db, size: 20Gi, importFrom: {commit: {name: nightly}}}, \
         {name: c, size: 1Gi, importFrom: {commit: {name: nightly, volume: cache}}}, {name: new, size: 1Gi}]}",
    );
    world.settle().await;
    let status = world.dot("fork").status.unwrap();
    assert_eq!(status.node.as_deref(), Some("n1"));
    assert_eq!(status.conditions[0].status, "True", "{:?}", status.conditions);
    let origins: Vec<Option<&str>> = status
        .volumes
        .iter()
        .map(|volume| volume.origin.as_ref().map(|origin| origin.volume.as_str()))
        .collect();
    assert_eq!(origins, [Some("cache"), Some("db"), None]);
    let initial = world.commit(&status.initial_commit.unwrap());
    assert_eq!(initial.spec.message.as_deref(), Some("Imported from Commit nightly"));

    for (volumes, reason, words) in [
        (
            "[{name: x, size: 1Gi, importFrom: {commit: {name: nightly}}}]",
            "Invalid",
            "it has: cache, db",
        ),
        (
            "[{name: db, size: 10Gi, importFrom: {commit: {name: none}}}]",
            "CommitNotFound",
            "no Commit \"none\"",
        ),
        (
            "[{name: db, size: 10Gi, volumeMode: Block, importFrom: {commit: {name: nightly}}}]",
            "Invalid",
            "is a zfs filesystem; that never changes",
        ),
    ] {
        world.put("Dot", "wrong", &format!("{{volumes: {volumes}}}"));
        world.settle().await;
        let condition = world.dot("wrong").status.unwrap().conditions[0].clone();
        assert_eq!(condition.reason, reason, "{}", condition.message);
        assert!(condition.message.contains(words), "{}", condition.message);
        world.delete::<Dot>("wrong").await;
        world.settle().await;
    }
}

/// Volume `db` is a device, `nightly` a Commit of it.
async fn with_device() -> World {
    let world = World::new().await;
    put_class(&world, "dotmesh", &json!({ "csi.storage.k8s.io/fstype": "ext4" }));
    world.put(
        "Dot",
        "shop",
        "{volumes: [{name: db, size: 10Gi, volumeMode: Block}, {name: cache, size: 1Gi}]}",
    );
    world.settle().await;
    world.claim("shop", 1, "db", None).await;
    world.settle().await;
    world.put_commit(COMMIT);
    world.settle().await;
    world
}

fn allow(content: &mut Value) {
    content["metadata"]["annotations"] = json!({ "snapshot.storage.kubernetes.io/allow-volume-mode-change": "true" });
}

#[tokio::test]
async fn a_device_becomes_another_one_where_its_content_allows_that() {
    let world = with_device().await;
    put_snapshot(&world, &snapshot_id(&world), |_, _| {});
    put_claim(&world, &of_snapshot());
    settle(&world).await;
    assert!(told(&world).contains("ext4"), "{}", told(&world));
    assert!(own(&world).is_none(), "nothing was made");

    put_snapshot(&world, &snapshot_id(&world), |_, content| allow(content));
    settle(&world).await;
    let data = own(&world).unwrap().status.unwrap().volumes[0].clone();
    assert_eq!(data.fs_type.map(|of| format!("{of:?}")), Some("Ext4".to_owned()));
    assert!(data.origin.unwrap().converted);
    assert!(volume(&world).is_some());
}

#[tokio::test]
async fn files_of_zfs_never_become_a_device() {
    let world = with_snapshot().await;
    put_snapshot(&world, &snapshot_id(&world), |_, content| allow(content));
    let mut block = of_snapshot();
    block["volumeMode"] = json!("Block");
    put_claim(&world, &block);
    settle(&world).await;
    assert!(told(&world).contains("volumeMode"), "{}", told(&world));
    assert!(own(&world).is_none());
}

/// A Dot can ask for anything; the annotation is of the claim's own VolumeSnapshot, or of nothing.
#[tokio::test]
async fn nobody_allows_a_conversion_for_himself() {
    let world = with_device().await;
    let begins = "importFrom: {commit: {name: nightly, volume: db}}";
    world.put(
        "Dot",
        "fork",
        &format!("{{volumes: [{{name: data, size: 10Gi, fsType: ext4, {begins}}}]}}"),
    );
    settle(&world).await;
    let refused = |name: &str| {
        let conditions = world.dot(name).status.unwrap().conditions;
        conditions
            .iter()
            .any(|condition| condition.message.contains("that never changes"))
    };
    assert!(refused("fork"));

    // One that says that it was made for a claim, whose VolumeSnapshot stands for another volume.
    put_claim(&world, &of_snapshot());
    let dot = world.dot("shop").status.unwrap().id.unwrap().parse().unwrap();
    let cache = VolumeId::derive(dot, "cache").to_string();
    let db = VolumeId::derive(dot, "db").to_string();
    let other = snapshot_id(&world).replace(&db, &cache);
    put_snapshot(&world, &other, |_, content| allow(content));
    let mut forged = json!(world.dot("fork"));
    forged["metadata"]["name"] = json!("forged");
    forged["metadata"]["uid"] = json!("0c5a6f6e-1111-4222-8333-0000000000f1");
    forged["metadata"]["labels"] = json!({ "dotmesh.io/claim-uid": COPY });
    forged["metadata"]["annotations"] = json!({ "dotmesh.io/claim": "copy" });
    forged["status"] = json!(null);
    world.api.put_object(forged);
    world.settle().await;
    assert!(refused("forged"));
}
