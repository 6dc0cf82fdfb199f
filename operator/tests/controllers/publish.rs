//! Commits that are published as VolumeSnapshots.

use dotmesh_crds::condition::Condition;
use dotmesh_crds::names::{ANNOTATION_SNAPSHOT_GOES, LABEL_COMMIT_UID};
use dotmesh_crds::{Commit, Dot};
use dotmesh_operator::api::{Api, ApiErrorKind, Guard, Key};
use dotmesh_operator::publish::published_condition;
use dotmesh_operator::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use dotmesh_testkit::Fault;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::world::{World, key, reason};

const HOLD: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";

async fn set_publish(world: &World, kind: &str, name: &str, publish: bool) {
    let (key, any) = (key(name), Guard::default());
    let patch = json!({ "spec": { "publish": publish } });
    match kind {
        "Dot" => drop(world.api.patch::<Dot>(&key, &any, patch).await.unwrap()),
        _ => drop(world.api.patch::<Commit>(&key, &any, patch).await.unwrap()),
    }
    world.api.take_writes();
}

/// A Dot with a pod, and Commit c1 that is published.
async fn published() -> World {
    let world = World::with_shop().await;
    world.put("Commit", "c1", "{dot: shop, branch: main, publish: true}");
    world.settle().await;
    world
}

/// Names of VolumeSnapshots, each with what its content stands for.
fn pairs(world: &World) -> Vec<(String, String)> {
    let contents = world.api.all("VolumeSnapshotContent");
    let of = |name: &Value| contents.iter().find(|content| content["metadata"]["name"] == *name);
    let pair = |snapshot: &Value| {
        let content = of(&snapshot["spec"]["source"]["volumeSnapshotContentName"]);
        let handle = content.map(|content| content["spec"]["source"]["snapshotHandle"].clone());
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        (text(Some(&snapshot["metadata"]["name"])), text(handle.as_ref()))
    };
    let mut all: Vec<_> = world
        .api
        .all("VolumeSnapshot")
        .iter()
        .map(|object| pair(object))
        .collect();
    all.sort();
    all
}

fn names(world: &World) -> Vec<String> {
    pairs(world).into_iter().map(|(name, _)| name).collect()
}

fn is_clean(world: &World) -> bool {
    world.api.all("VolumeSnapshot").is_empty() && world.api.all("VolumeSnapshotContent").is_empty()
}

fn told(world: &World, commit: &str) -> Option<Condition> {
    published_condition(&world.commit(commit)).cloned()
}

/// The pair of a volume, bound as snapshot-controller and csi-snapshotter do it.
fn bind(world: &World, name: &str) -> (Key, Key) {
    let snapshot: VolumeSnapshot = world.api.must_get(&key(name));
    let content = snapshot.spec.source.volume_snapshot_content_name.clone().unwrap();
    let content = Key::cluster(content);
    let mut bound = json!(world.api.must_get::<VolumeSnapshotContent>(&content));
    bound["spec"]["volumeSnapshotRef"]["uid"] = json!(snapshot.uid());
    bound["metadata"]["finalizers"] = json!([HOLD]);
    world.api.put_object(bound);
    (Key::of(&snapshot), content)
}

#[tokio::test]
async fn a_published_commit_has_a_volume_snapshot_of_each_volume() {
    let world = published().await;
    let (dot, commit) = (world.dot("shop").status.unwrap(), world.commit("c1"));
    let status = commit.status.clone().unwrap();
    let expected: Vec<_> = status
        .volumes
        .iter()
        .map(|volume| {
            let (dot, commit) = (dot.id.as_deref().unwrap(), status.id.as_deref().unwrap());
            (
                format!("c1.{}", volume.name),
                format!("s1.{dot}.{}.{commit}", volume.id),
            )
        })
        .collect();
    assert_eq!(expected.len(), 2);
    assert_eq!(pairs(&world), expected);
    let snapshot: VolumeSnapshot = world.api.must_get(&key("c1.db"));
    assert_eq!(snapshot.owner_references()[0].uid, commit.uid().unwrap());
    assert_eq!(told(&world, "c1").unwrap().status, "True");
    assert_eq!(reason!(commit), "Ready");
    assert_eq!(world.settle().await, Vec::<String>::new());

    // Taken back, nothing is left, and the Commit is as it was.
    set_publish(&world, "Commit", "c1", false).await;
    world.settle().await;
    assert!(is_clean(&world));
    assert_eq!(told(&world, "c1"), None);
    let commit = world.commit("c1");
    assert_eq!(
        commit.status.as_ref().unwrap().observed_generation,
        commit.metadata.generation
    );
    assert_eq!(reason!(commit), "Ready");
    assert_eq!(world.commit("c1").status.unwrap().volumes, status.volumes);
}

#[tokio::test]
async fn commits_that_are_not_published_cost_nothing() {
    let world = World::with_shop().await;
    world.put_commit("c1");
    let writes = world.settle().await;
    assert!(
        !writes.iter().any(|write| write.contains("VolumeSnapshot")),
        "{writes:?}"
    );
    assert_eq!(writes.len(), 2, "{writes:?}");
}

#[tokio::test]
async fn what_is_published_goes_with_its_commit_however_that_goes() {
    for is_removed in [false, true] {
        let world = published().await;
        let (_, content) = bind(&world, "c1.db");
        match is_removed {
            true => world.api.remove::<Commit>(&key("c1")),
            false => world.delete::<Commit>("c1").await,
        }
        world.settle().await;
        // What holds it is csi-snapshotter's, which lets go by this annotation alone.
        let held: VolumeSnapshotContent = world.api.must_get(&content);
        assert!(held.metadata.deletion_timestamp.is_some());
        assert!(held.annotations().contains_key(ANNOTATION_SNAPSHOT_GOES));
        assert_eq!(world.api.all("VolumeSnapshotContent").len(), 1);
        assert!(!world.api.exists::<Commit>(&key("c1")), "nothing keeps the Commit");
        world.api.remove::<VolumeSnapshotContent>(&content);
        world.settle().await;
        assert!(is_clean(&world));
    }
}

#[tokio::test]
async fn a_dot_publishes_its_commits_and_takes_them_back() {
    let world = World::with_shop().await;
    world.api.put_object(json!({
        "apiVersion": "dotmesh.io/v1alpha1", "kind": "Commit",
        "metadata": { "name": "snap-1", "namespace": "dev", "labels": { "dotmesh.io/snapshot": "1" } },
        "spec": { "dot": "shop", "branch": "main" },
    }));
    world.put_commit("c1");
    world.settle().await;
    set_publish(&world, "Dot", "shop", true).await;
    world.settle().await;
    let all = ["c1.cache", "c1.db", "shop-initial.cache", "shop-initial.db"];
    assert_eq!(names(&world), all);
    world.put_commit("c2");
    world.settle().await;
    assert_eq!(names(&world).len(), 6);
    set_publish(&world, "Commit", "c2", true).await;
    set_publish(&world, "Dot", "shop", false).await;
    world.settle().await;
    assert_eq!(names(&world), ["c2.cache", "c2.db"]);
}

#[tokio::test]
async fn a_pair_of_which_somebody_deletes_a_half_is_made_anew() {
    let world = published().await;
    // The VolumeSnapshot: its content can be bound to no other.
    let (snapshot, content) = bind(&world, "c1.db");
    let first = world.api.must_get::<VolumeSnapshot>(&snapshot).uid();
    world.delete::<VolumeSnapshot>("c1.db").await;
    world.settle().await;
    assert!(
        world
            .api
            .must_get::<VolumeSnapshotContent>(&content)
            .metadata
            .deletion_timestamp
            .is_some()
    );
    world.api.remove::<VolumeSnapshotContent>(&content);
    world.settle().await;
    assert_ne!(world.api.must_get::<VolumeSnapshot>(&snapshot).uid(), first);
    assert_eq!(names(&world), ["c1.cache", "c1.db"]);

    // The content: it is held while its VolumeSnapshot is there, unless somebody says that it may go.
    let (snapshot, content) = bind(&world, "c1.db");
    world
        .api
        .delete::<VolumeSnapshotContent>(&content, &Guard::default())
        .await
        .unwrap();
    world.settle().await;
    let held: VolumeSnapshotContent = world.api.must_get(&content);
    assert!(held.annotations().contains_key(ANNOTATION_SNAPSHOT_GOES));
    world.api.remove::<VolumeSnapshotContent>(&content);
    world.settle().await;
    let made: VolumeSnapshotContent = world.api.must_get(&content);
    let uid = world.api.must_get::<VolumeSnapshot>(&snapshot).uid();
    assert_eq!(made.spec.volume_snapshot_ref.uid, uid);
    assert_eq!(told(&world, "c1").unwrap().status, "True");
}

#[tokio::test]
async fn what_has_the_name_and_is_not_ours_is_told_and_left_alone() {
    let world = World::with_shop().await;
    world.api.put(
        "{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshot, metadata: {name: c1.db, namespace: dev}, \
         spec: {source: {}}}",
    );
    world.put("Commit", "c1", "{dot: shop, branch: main, publish: true}");
    world.settle().await;
    let told = told(&world, "c1").unwrap();
    assert_eq!((told.status.as_str(), told.reason.as_str()), ("False", "Conflict"));
    assert!(told.message.contains("VolumeSnapshot \"c1.db\""), "{}", told.message);
    let events: Vec<_> = world.api.events();
    let of_it = events.iter().filter(|event| event.contains("c1.db")).count();
    assert_eq!(of_it, 1, "{events:?}");
    assert_eq!(reason!(world.commit("c1")), "Ready");
    // The other volume has its own.
    assert_eq!(names(&world), ["c1.cache", "c1.db"]);
    assert_eq!(world.api.all("VolumeSnapshotContent").len(), 1);
    world.delete::<Commit>("c1").await;
    world.settle().await;
    assert_eq!(names(&world), ["c1.db"]);
    let theirs: VolumeSnapshot = world.api.must_get(&key("c1.db"));
    assert!(!theirs.labels().contains_key(LABEL_COMMIT_UID));
}

#[tokio::test]
async fn without_csi_snapshotter_a_published_commit_says_what_helps() {
    let world = World::with_shop().await;
    world.serve_snapshots(false);
    world.put("Commit", "c1", "{dot: shop, branch: main, publish: true}");
    set_publish(&world, "Dot", "shop", true).await;
    world.settle().await;
    for name in ["c1", "shop-initial"] {
        let told = told(&world, name).unwrap();
        assert_eq!(
            (told.status.as_str(), told.reason.as_str()),
            ("False", "SnapshotsUnavailable")
        );
        assert!(told.message.contains("csiSnapshotter.enabled=true"), "{}", told.message);
        assert_eq!(reason!(world.commit(name)), "Ready");
    }
    let events = world.api.events();
    let told_of = events
        .iter()
        .filter(|event| event.starts_with("SnapshotsUnavailable"))
        .count();
    assert_eq!(told_of, 1, "of the Commit that somebody published: {events:?}");
    world.serve_snapshots(true);
    world.settle().await;
    assert_eq!(names(&world).len(), 4);
    // Off again: what is there stays, and goes when it is on again.
    world.serve_snapshots(false);
    world.settle().await;
    world.delete::<Commit>("c1").await;
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key("c1")));
    world.serve_snapshots(true);
    world.settle().await;
    assert_eq!(names(&world), ["shop-initial.cache", "shop-initial.db"]);
    assert_eq!(world.api.all("VolumeSnapshotContent").len(), 2);
}

#[tokio::test]
async fn a_cluster_that_knows_no_volume_snapshots_is_told() {
    let world = World::with_shop().await;
    world.put_commit("c1");
    world.settle().await;
    set_publish(&world, "Commit", "c1", true).await;
    world.api.fail(Fault {
        verb: "create",
        kind: "VolumeSnapshotContent",
        error: ApiErrorKind::NotFound,
        after: false,
    });
    world.round().await;
    let told_of = told(&world, "c1").unwrap();
    assert_eq!(told_of.reason, "SnapshotsUnavailable");
    assert!(
        told_of.message.contains("CustomResourceDefinitions"),
        "{}",
        told_of.message
    );
    world.settle().await;
    assert_eq!(told(&world, "c1").unwrap().status, "True");
}

#[tokio::test]
async fn whatever_write_fails_all_is_published_and_all_is_taken_back() {
    for after in [false, true] {
        for skip in 0.. {
            let world = World::with_shop().await;
            world.api.fail_write(skip, after);
            world.put("Commit", "c1", "{dot: shop, branch: main, publish: true}");
            world.settle_restarting().await;
            assert_eq!(names(&world), ["c1.cache", "c1.db"]);
            assert_eq!(told(&world, "c1").unwrap().status, "True");
            set_publish_again(&world).await;
            world.settle_restarting().await;
            assert!(is_clean(&world), "{:?}", pairs(&world));
            assert_eq!(told(&world, "c1"), None);
            if world.api.is_failure_due() {
                assert!(skip > 12, "the story has more than {skip} writes");
                break;
            }
        }
    }
}

/// Takes publish back, also when the first attempt is the one that fails.
async fn set_publish_again(world: &World) {
    let patch = json!({ "spec": { "publish": false } });
    let (key, any) = (key("c1"), Guard::default());
    while world.api.patch::<Commit>(&key, &any, patch.clone()).await.is_err() {}
    world.api.take_writes();
}
