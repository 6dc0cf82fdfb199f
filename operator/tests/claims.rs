//! Claims with a source of ours, over the API in memory: what is written, what people are told, and what a second
//! look finds to do.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;

use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_operator::api::{Api, ApiErrorKind, Key};
use dotmesh_operator::claim::report::Said;
use dotmesh_operator::claim::{reconcile, release, waiting_for, waiting_for_commit};
use dotmesh_operator::context::Memory;
use dotmesh_testkit::{FakeApi, Fault};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::json;

const CLAIM: &str = "0c5a6f6e-1111-4222-8333-0000000000c1";
const OTHER: &str = "0c5a6f6e-1111-4222-8333-0000000000c2";
const DOT_ID: &str = "0c5a6f6e-1111-4222-8333-0000000000d1";
const VOLUME_ID: &str = "0c5a6f6e-1111-4222-8333-0000000000f1";

struct Cluster {
    api: FakeApi,
    said: Said,
    memory: Memory,
}

fn cluster() -> Cluster {
    let api = FakeApi::default();
    api.put(
        "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: dotmesh}, provisioner: csi.dotmesh.io}",
    );
    Cluster {
        api,
        said: Said::default(),
        memory: Memory::default(),
    }
}

fn shop() -> Key {
    Key::namespaced("dev", "shop")
}

fn volume(uid: &str) -> Key {
    Key::cluster(format!("pvc-{uid}"))
}

impl Cluster {
    fn put_dot(&self, spec: &str) {
        self.api.put(&format!(
            "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: shop, namespace: dev}}, spec: {spec}}}"
        ));
    }

    fn put_branch(&self, object: &str, name: &str) {
        self.api.put(&format!(
            "{{apiVersion: dotmesh.io/v1alpha1, kind: Branch, metadata: {{name: {object}, namespace: dev}}, spec: {{dot: shop, name: {name}, from: HEAD}}}}"
        ));
    }

    fn put_claim(&self, name: &str, uid: &str, source: &str, annotations: &str) {
        self.api.put(&format!(
            "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: {name}, namespace: dev, uid: {uid}, annotations: {{{annotations}}}}}, \
             spec: {{storageClassName: dotmesh, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}, \
             dataSourceRef: {{apiGroup: dotmesh.io, {source}}}}}}}"
        ));
    }

    async fn look(&self, name: &str) {
        let key = Key::namespaced("dev", name);
        let claim = Arc::new(self.api.must_get::<PersistentVolumeClaim>(&key));
        reconcile(&self.api, &self.memory, &self.said, claim).await.unwrap();
    }

    /// What the Dot's controller would write.
    async fn report(&self, status: serde_json::Value) {
        let guard = Default::default();
        let key = shop();
        let written = self.api.apply_status::<Dot>(&key, &guard, "dotmesh-operator", status);
        written.await.unwrap();
    }

    /// The entries say nothing of how data is kept, as after another claim's word.
    async fn silence(&self) {
        let dot = self.api.must_get::<Dot>(&shop());
        let mut all = dot.status.unwrap_or_default().claims;
        all.iter_mut().for_each(|entry| entry.attributes = None);
        let (key, guard, status) = (shop(), Default::default(), json!({ "claims": all }));
        let written = self.api.apply_status::<Dot>(&key, &guard, "dotmesh-claims", status);
        written.await.unwrap();
    }

    async fn attach(&self, uids: &[&str]) {
        self.report(json!({
            "id": DOT_ID, "node": "n1", "checkout": "main", "attachments": uids,
            "volumes": [{"name": "db", "id": VOLUME_ID, "size": "2Gi"}],
        }))
        .await;
    }

    fn entries(&self) -> Vec<(String, String)> {
        let dot = self.api.must_get::<Dot>(&shop());
        let entries = dot.status.unwrap_or_default().claims;
        entries.into_iter().map(|entry| (entry.name, entry.volume)).collect()
    }
}

const DOT: &str = "kind: Dot, name: shop";
const NODE: &str = "volume.kubernetes.io/selected-node: n1";

fn pair(claim: &str, volume: &str) -> (String, String) {
    (claim.to_owned(), volume.to_owned())
}

#[tokio::test]
async fn a_claim_that_only_an_old_cache_shows_gets_no_volume() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.put_claim("pg", CLAIM, DOT, NODE);
    cluster.look("pg").await;
    cluster.attach(&[CLAIM]).await;
    let key = Key::namespaced("dev", "pg");
    let old = Arc::new(cluster.api.must_get::<PersistentVolumeClaim>(&key));
    cluster.api.remove::<PersistentVolumeClaim>(&key);
    cluster.api.take_writes();
    reconcile(&cluster.api, &cluster.memory, &cluster.said, old)
        .await
        .unwrap();
    assert_eq!(cluster.api.take_writes(), [""; 0]);
}

#[tokio::test]
async fn a_claim_gets_its_volume_and_a_second_look_writes_nothing() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.put_claim("pg", CLAIM, DOT, "");
    cluster.look("pg").await;
    assert_eq!(cluster.api.take_writes(), [""; 0], "nobody has chosen a node yet");
    cluster.put_claim("pg", CLAIM, DOT, NODE);
    cluster.look("pg").await;
    assert_eq!(cluster.entries(), [pair("pg", "db")]);
    cluster.look("pg").await;
    assert!(
        !cluster.api.exists::<PersistentVolume>(&volume(CLAIM)),
        "not attached yet"
    );
    cluster.attach(&[CLAIM]).await;
    assert_eq!(
        cluster.entries(),
        [pair("pg", "db")],
        "the operator's status leaves claims alone"
    );
    cluster.api.take_writes();
    cluster.look("pg").await;
    assert_eq!(cluster.api.take_writes(), ["create PersistentVolume"]);
    cluster.look("pg").await;
    assert_eq!(cluster.api.take_writes(), [""; 0]);
    assert_eq!(cluster.api.events(), [""; 0]);
    let made: PersistentVolume = cluster.api.must_get(&volume(CLAIM));
    let handle = made.spec.unwrap().csi.unwrap().volume_handle;
    assert_eq!(handle, format!("1.{DOT_ID}.{VOLUME_ID}.{CLAIM}"));
}

/// A class of attributes of a driver.
fn put_attributes(cluster: &Cluster, name: &str, driver: &str, parameters: &str) {
    cluster.api.put(&format!(
        "{{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {{name: {name}}}, driverName: {driver}, \
         parameters: {{{parameters}}}}}"
    ));
}

/// How the claim's entry says that its data is kept.
fn compression(cluster: &Cluster) -> Option<String> {
    let dot = cluster.api.must_get::<Dot>(&shop());
    let entries = dot.status.unwrap_or_default().claims;
    entries.first()?.attributes.clone()?.compression
}

#[tokio::test]
async fn a_claims_class_of_attributes_is_its_volumes() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    let name_class = |class: &str| {
        cluster.put_claim("pg", CLAIM, DOT, NODE);
        let mut claim = json!(
            cluster
                .api
                .must_get::<PersistentVolumeClaim>(&Key::namespaced("dev", "pg"))
        );
        (claim["apiVersion"], claim["kind"]) = (json!("v1"), json!("PersistentVolumeClaim"));
        claim["spec"]["volumeAttributesClassName"] = json!(class);
        cluster.api.put_object(claim);
    };
    put_attributes(&cluster, "others", "ebs.csi.aws.com", "compression: lz4");
    put_attributes(&cluster, "wrong", "csi.dotmesh.io", "iops: \"3000\"");
    put_attributes(&cluster, "small", "csi.dotmesh.io", "compression: zstd");
    put_attributes(&cluster, "fast", "csi.dotmesh.io", "compression: lz4");
    for (class, words) in [
        ("none", "VolumeAttributesClass \"none\" does not exist"),
        ("others", "is of driver \"ebs.csi.aws.com\""),
        ("wrong", "\"iops\""),
    ] {
        name_class(class);
        cluster.look("pg").await;
        let events = cluster.api.events();
        assert!(events.last().is_some_and(|event| event.contains(words)), "{events:?}");
    }
    assert!(cluster.entries().is_empty());
    // Nobody tells of a class that comes later.
    name_class("none");
    let claim = Arc::new(
        cluster
            .api
            .must_get::<PersistentVolumeClaim>(&Key::namespaced("dev", "pg")),
    );
    let again = reconcile(&cluster.api, &cluster.memory, &cluster.said, claim)
        .await
        .unwrap();
    assert!(again.is_some_and(|again| again.as_secs() <= 30), "{again:?}");

    for (class, expected) in [("small", "zstd"), ("fast", "lz4")] {
        name_class(class);
        cluster.look("pg").await;
        assert_eq!(compression(&cluster).as_deref(), Some(expected));
    }
    // Another claim's word on the volume comes later, and stays: this one does not speak again.
    cluster.silence().await;
    cluster.api.take_writes();
    cluster.look("pg").await;
    assert_eq!((cluster.api.take_writes(), compression(&cluster)), (Vec::new(), None));
    cluster.attach(&[CLAIM]).await;
    cluster.look("pg").await;
    let made: PersistentVolume = cluster.api.must_get(&volume(CLAIM));
    assert_eq!(made.spec.unwrap().volume_attributes_class_name.as_deref(), Some("fast"));
}

#[tokio::test]
async fn a_misspelling_makes_nothing_and_is_told_once() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}, {name: cache, size: 1Gi}]}");
    for (source, annotations) in [
        ("kind: Dot, name: shoop", NODE),
        ("kind: Branch, name: try", NODE),
        (DOT, "dotmesh.io/volume: dbx, volume.kubernetes.io/selected-node: n1"),
    ] {
        cluster.put_claim("pg", CLAIM, source, annotations);
        cluster.look("pg").await;
        cluster.look("pg").await;
    }
    assert_eq!(cluster.api.take_writes(), [""; 0]);
    insta::assert_snapshot!(cluster.api.events().join("\n"));
    // The remedy helps, and the next trouble is told again.
    cluster.put_claim(
        "pg",
        CLAIM,
        DOT,
        "dotmesh.io/volume: db, volume.kubernetes.io/selected-node: n1",
    );
    cluster.look("pg").await;
    assert_eq!(cluster.entries(), [pair("pg", "db")]);
}

#[tokio::test]
async fn a_held_volume_is_refused_whichever_way_it_is_named() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.put_branch("shop-main", "main");
    cluster.put_branch("try", "feature/x");
    cluster.put_claim("first", CLAIM, DOT, NODE);
    cluster.look("first").await;
    for source in [DOT, "kind: Branch, name: shop-main"] {
        cluster.put_claim("second", OTHER, source, NODE);
        cluster.look("second").await;
        assert_eq!(cluster.entries(), [pair("first", "db")], "{source}");
        let events = cluster.api.events();
        assert!(events.last().unwrap().starts_with("VolumeHeld: "), "{events:?}");
    }
    cluster.put_claim("second", OTHER, "kind: Branch, name: try", NODE);
    cluster.look("second").await;
    assert_eq!(cluster.entries(), [pair("first", "db"), pair("second", "db")]);
}

#[tokio::test]
async fn holders_that_all_share_hold_a_volume_together() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    let shared = format!("dotmesh.io/shared: 'true', {NODE}");
    cluster.put_claim("first", CLAIM, DOT, &shared);
    cluster.look("first").await;
    cluster.put_claim("second", OTHER, DOT, NODE);
    cluster.look("second").await;
    assert_eq!(cluster.entries(), [pair("first", "db")], "the second does not share");
    cluster.put_claim("second", OTHER, DOT, &shared);
    cluster.look("second").await;
    assert_eq!(cluster.entries(), [pair("first", "db"), pair("second", "db")]);
}

#[tokio::test]
async fn a_claim_of_a_commit_gets_a_branch_of_its_own() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    let own = Key::namespaced("dev", format!("pvc-{CLAIM}"));
    cluster.put_claim("seen", CLAIM, "kind: Commit, name: first", "");
    cluster.look("seen").await;
    assert_eq!(
        cluster.api.events().join(""),
        "CommitNotFound: there is no Commit \"first\" in namespace \"dev\"; create it or correct the claim"
    );
    cluster.api.put(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Commit, metadata: {{name: first, namespace: dev}}, spec: {{dot: shop}}, \
         status: {{id: {VOLUME_ID}, conditions: [{{type: Ready, status: 'True', reason: Ready, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}}}"
    ));
    cluster
        .report(json!({ "id": DOT_ID, "node": "n1", "checkout": "main" }))
        .await;
    assert_eq!(
        waiting_for_commit(&cluster.api, &Key::namespaced("dev", "first")),
        [Key::namespaced("dev", "seen")]
    );
    cluster.look("seen").await;
    let branch: Branch = cluster.api.must_get(&own);
    assert_eq!(
        (branch.spec.dot.as_str(), branch.spec.from.as_str()),
        ("shop", VOLUME_ID)
    );
    // The Commit may go now; the Branch has what it needs.
    cluster.api.remove::<Commit>(&Key::namespaced("dev", "first"));
    cluster.look("seen").await;
    assert_eq!(cluster.entries(), [pair("seen", "db")]);
    let waiting = waiting_for(&cluster.api, |dot| *dot == shop());
    assert_eq!(waiting, [Key::namespaced("dev", "seen")]);
    cluster.attach(&[CLAIM]).await;
    cluster.look("seen").await;
    assert!(
        !cluster.api.exists::<PersistentVolume>(&volume(CLAIM)),
        "recorded first"
    );
    cluster.look("seen").await;
    assert!(cluster.api.exists::<PersistentVolume>(&volume(CLAIM)));

    // The volume is taken away by hand: what was written stays, as a Branch that people own.
    cluster
        .api
        .remove::<PersistentVolumeClaim>(&Key::namespaced("dev", "seen"));
    cluster.api.remove::<PersistentVolume>(&volume(CLAIM));
    release::release(&cluster.api, &shop()).await.unwrap();
    assert_eq!(cluster.entries(), []);
    let branch: Branch = cluster.api.must_get(&own);
    assert!(
        !branch
            .metadata
            .labels
            .unwrap_or_default()
            .contains_key("dotmesh.io/claim-uid")
    );
}

#[tokio::test]
async fn a_branch_of_that_name_that_is_somebody_elses_is_left_alone() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.put_branch(&format!("pvc-{CLAIM}"), "feature/x");
    cluster.put_claim("seen", CLAIM, "kind: Commit, name: first", NODE);
    cluster.look("seen").await;
    assert_eq!(cluster.api.take_writes(), [""; 0]);
    assert!(cluster.api.events()[0].starts_with("Conflict: Branch "));
}

#[tokio::test]
async fn a_branch_is_of_the_dot_that_the_claim_names() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.put_branch("try", "feature/x");
    for (dot, entries) in [("other", vec![]), ("shop", vec![pair("db", "db")])] {
        cluster.api.put(&format!(
            "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: db, namespace: dev, uid: {CLAIM}, \
             annotations: {{dotmesh.io/dot: {dot}, dotmesh.io/branch: try, {NODE}}}}}, \
             spec: {{storageClassName: dotmesh, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}}}"
        ));
        cluster.look("db").await;
        assert_eq!(cluster.entries(), entries);
    }
    assert_eq!(
        cluster.api.events().join("\n"),
        "Invalid: Branch \"try\" is of Dot \"shop\", the claim's annotation dotmesh.io/dot names \"other\"; correct one of them"
    );
}

#[tokio::test]
async fn two_writers_at_once_never_give_a_volume_out_twice() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.put_claim("first", CLAIM, DOT, NODE);
    cluster.put_claim("second", OTHER, DOT, NODE);
    let before: Dot = cluster.api.must_get(&shop());
    cluster.look("first").await;
    let stale = dotmesh_operator::claim::entries::write(&cluster.api, &before, &[]).await;
    assert_eq!(stale.unwrap_err().kind, ApiErrorKind::Conflict);
    cluster.look("second").await;
    assert_eq!(cluster.entries(), [pair("first", "db")]);
}

#[tokio::test]
async fn an_answer_that_is_lost_changes_nothing() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.put_claim("pg", CLAIM, DOT, NODE);
    for (verb, kind) in [("apply_status", "Dot"), ("create", "PersistentVolume")] {
        for after in [false, true] {
            cluster.api.fail(Fault {
                verb,
                kind,
                error: ApiErrorKind::Unavailable,
                after,
            });
            let claim = Arc::new(cluster.api.must_get(&Key::namespaced("dev", "pg")));
            let result = reconcile(&cluster.api, &cluster.memory, &cluster.said, claim).await;
            assert!(result.is_err(), "{verb} {after}");
        }
        cluster.look("pg").await;
        cluster.attach(&[CLAIM]).await;
    }
    assert_eq!(cluster.entries(), [pair("pg", "db")]);
    assert!(cluster.api.exists::<PersistentVolume>(&volume(CLAIM)));
}

#[tokio::test]
async fn a_dot_that_changes_meanwhile_is_looked_at_again() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.put_claim("pg", CLAIM, DOT, NODE);
    cluster.api.fail(Fault {
        verb: "apply_status",
        kind: "Dot",
        error: ApiErrorKind::Conflict,
        after: false,
    });
    cluster.look("pg").await;
    assert_eq!(cluster.entries(), [pair("pg", "db")]);
}

#[tokio::test]
async fn an_entry_goes_when_claim_and_volume_are_gone_and_not_before() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.put_claim("pg", CLAIM, DOT, NODE);
    cluster.look("pg").await;
    cluster.attach(&[CLAIM]).await;
    cluster.look("pg").await;
    let claim = Key::namespaced("dev", "pg");

    release::release(&cluster.api, &shop()).await.unwrap();
    assert_eq!(cluster.entries().len(), 1, "the claim is there");
    cluster.api.remove::<PersistentVolumeClaim>(&claim);
    // Another claim of that name is another claim.
    cluster.put_claim("pg", OTHER, "kind: Dot, name: x", "");
    release::release(&cluster.api, &shop()).await.unwrap();
    assert_eq!(cluster.entries().len(), 1, "its volume is there");
    cluster.api.remove::<PersistentVolume>(&volume(CLAIM));
    release::release(&cluster.api, &shop()).await.unwrap();
    assert_eq!(cluster.entries(), []);
    cluster.api.take_writes();
    release::release(&cluster.api, &shop()).await.unwrap();
    assert_eq!(cluster.api.take_writes(), [""; 0]);
}

#[tokio::test]
async fn a_cache_that_lags_releases_nothing() {
    let cluster = cluster();
    cluster.put_dot("{volumes: [{name: db, size: 2Gi}]}");
    cluster.api.freeze_caches();
    cluster.put_claim("pg", CLAIM, DOT, NODE);
    let claim = Arc::new(cluster.api.must_get(&Key::namespaced("dev", "pg")));
    cluster.api.thaw_caches();
    reconcile(&cluster.api, &cluster.memory, &cluster.said, claim)
        .await
        .unwrap();
    // The cache knows the entry but not the claim.
    cluster
        .api
        .remove::<PersistentVolumeClaim>(&Key::namespaced("dev", "pg"));
    cluster.api.freeze_caches();
    cluster.put_claim("pg", CLAIM, DOT, NODE);
    release::release(&cluster.api, &shop()).await.unwrap();
    assert_eq!(cluster.entries(), [pair("pg", "db")]);
}

#[tokio::test]
async fn a_volume_that_was_kept_on_purpose_keeps_its_data() {
    let cluster = cluster();
    let key = Key::namespaced("dev", format!("pvc-{CLAIM}"));
    for (provisioned, label_left) in [(true, None), (false, Some(CLAIM))] {
        cluster.api.remove::<Dot>(&key);
        cluster.api.put(&format!(
            "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: pvc-{CLAIM}, namespace: dev, labels: {{dotmesh.io/claim-uid: {CLAIM}}}}}, \
             spec: {{}}, status: {{claims: [{{uid: {CLAIM}, namespace: dev, name: pg, volume: data, size: 1Gi, provisioned: {provisioned}}}]}}}}"
        ));
        release::release(&cluster.api, &key).await.unwrap();
        let dot: Dot = cluster.api.must_get(&key);
        assert!(dot.status.unwrap().claims.is_empty());
        let labels = dot.metadata.labels.unwrap_or_default();
        assert_eq!(labels.get("dotmesh.io/claim-uid").map(String::as_str), label_left);
    }
}

#[tokio::test]
async fn those_who_wait_for_a_dot_are_found_by_name() {
    let cluster = cluster();
    cluster.put_dot("{}");
    cluster.put_branch("try", "feature/x");
    cluster.put_claim("a", CLAIM, DOT, "");
    cluster.put_claim("b", OTHER, "kind: Branch, name: try", "");
    cluster.put_claim(
        "c",
        "0c5a6f6e-1111-4222-8333-0000000000c3",
        "kind: Dot, name: other",
        "",
    );
    let names: Vec<String> = waiting_for(&cluster.api, |dot| *dot == Key::namespaced("dev", "shop"))
        .into_iter()
        .map(|key| key.name)
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert!(waiting_for(&cluster.api, |dot| *dot == Key::namespaced("prod", "shop")).is_empty());
}
