//! CreateVolume and DeleteVolume over the API in memory, with a stand-in for the Dot's controller.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use dotmesh_csi_proto::csi::volume_content_source::{Type as ContentSource, VolumeSource};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::tuning::Tuning;
use std::time::Duration;

use dotmesh_crds::Dot;
use dotmesh_operator::api::{Api, ApiErrorKind, Guard, Key};
use dotmesh_operator::facade::create::{CreateError, create_volume};
use dotmesh_operator::facade::delete::delete_volume;
use dotmesh_operator::facade::plan::{Created, Refusal};
use dotmesh_operator::facade::request::{CreateVolume, RequestError};
use dotmesh_testkit::{FakeApi, Fault};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

const CLAIM: &str = "0c5a6f6e-1111-4222-8333-0000000000c1";
const VOLUME_ID: &str = "0c5a6f6e-1111-4222-8333-0000000000f1";
const BUDGET: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

fn request() -> CreateVolume {
    CreateVolume {
        claim: CLAIM.parse().unwrap(),
        namespace: "dev".to_owned(),
        name: "data".to_owned(),
        size_bytes: 1 << 30,
        limit_bytes: None,
        node: "n1".to_owned(),
        pool_class: "default".to_owned(),
        format: VolumeFormat::Zfs,
        tuning: Tuning::default(),
        source: None,
    }
}

fn key() -> Key {
    Key::namespaced("dev", format!("pvc-{CLAIM}"))
}

fn api() -> FakeApi {
    let api = FakeApi::default();
    api.put(&format!(
        "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: data, namespace: dev, uid: {CLAIM}}}, spec: {{storageClassName: dotmesh}}}}"
    ));
    api.put(
        "{apiVersion: dotmesh.io/v1alpha1, kind: Pool, metadata: {name: n1}, \
         spec: {nodeName: n1, file: {path: /var/lib/dotmesh/pool.img, size: 20Gi}}, \
         status: {size: 20Gi, conditions: [{type: Ready, status: 'True', reason: Ready, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}]}}",
    );
    api
}

/// What the Dot's controller does, reduced to what the façade sees of it; forever.
async fn controller(api: FakeApi, condition: Value) {
    let mut seen = 0;
    loop {
        if let Ok(Some(dot)) = api.get::<Dot>(&key()).await {
            let status = dot.status.clone().unwrap_or_default();
            let ready = condition["status"] == "True";
            let attachments: Vec<&String> = status.claims.iter().map(|entry| &entry.uid).filter(|_| ready).collect();
            let node = status
                .node
                .clone()
                .or_else(|| status.claims.first()?.selected_node.clone());
            let now = json!({
                "id": dot.metadata.uid, "node": node, "attachments": attachments, "conditions": [condition],
                "volumes": [{"name": "data", "id": VOLUME_ID, "size": "1Gi"}],
            });
            let _ = api
                .apply_status::<Dot>(&key(), &Guard::same(&dot), "dotmesh-operator", now)
                .await;
        }
        seen = api.changes(seen).await;
    }
}

fn condition(status: &str, reason: &str) -> Value {
    json!({"type": "Ready", "status": status, "reason": reason, "message": "because", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn working(api: &FakeApi) -> tokio::task::JoinHandle<()> {
    tokio::spawn(controller(api.clone(), condition("True", "Ready")))
}

async fn create(api: &FakeApi) -> Result<Created, CreateError> {
    create_volume(api, api, &request(), BUDGET).await
}

fn entries(api: &FakeApi) -> Vec<dotmesh_crds::dot::DotClaim> {
    api.must_get::<Dot>(&key()).status.unwrap_or_default().claims
}

#[tokio::test]
async fn a_plain_claim_gets_a_dot_of_its_own() {
    let api = api();
    let work = working(&api);
    let created = create(&api).await.unwrap();
    assert_eq!((created.node.as_str(), created.size_bytes), ("n1", 1 << 30));
    let dot: Dot = api.must_get(&key());
    assert_eq!(created.handle.dot.to_string(), dot.metadata.uid.unwrap());
    assert!(entries(&api)[0].provisioned, "recorded before the handle was given out");
    assert_eq!(
        create(&api).await.unwrap(),
        created,
        "a repeated call finds the same volume"
    );
    work.abort();
}

/// csi-provisioner knows no annotations and asks for a volume, which comes from the Dot that they name.
#[tokio::test]
async fn a_claim_with_annotations_gets_what_its_dot_gives_and_nothing_smaller() {
    let api = api();
    api.put(&format!(
        "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: data, namespace: dev, uid: {CLAIM}, annotations: {{dotmesh.io/dot: shop}}}}, \
         spec: {{storageClassName: dotmesh}}}}"
    ));
    for (size, served) in [("512Mi", false), ("2Gi", true)] {
        api.put(&format!(
            "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: shop, namespace: dev}}, spec: {{}}, \
             status: {{id: {VOLUME_ID}, node: n2, attachments: [{CLAIM}], volumes: [{{name: db, id: {VOLUME_ID}, size: {size}}}], \
             claims: [{{uid: {CLAIM}, namespace: dev, name: data, volume: db, size: 1Gi}}]}}}}"
        ));
        match create(&api).await {
            Ok(created) => {
                assert!(served);
                assert_eq!((created.node.as_str(), created.size_bytes), ("n2", 2 << 30));
            }
            Err(error) => assert!(!served && matches!(error, CreateError::ServedElsewhere), "{error}"),
        }
    }
    assert!(!api.exists::<Dot>(&key()), "no Dot of its own");
}

/// csi-provisioner asks for copies, too: it waits for what the claim controller hands out, and nothing is made here.
#[tokio::test]
async fn a_copy_is_answered_when_it_was_handed_out() {
    let api = api();
    let from = |id: &str| CreateVolume {
        source: Some(ContentSource::Volume(VolumeSource {
            volume_id: id.to_owned(),
        })),
        ..request()
    };
    let plain = create_volume(&api, &api, &from("x"), SHORT).await;
    let is_refused = matches!(plain, Err(CreateError::Request(RequestError::NoDataSource)));
    assert!(is_refused, "{plain:?}");
    api.put(&format!(
        "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: data, namespace: dev, uid: {CLAIM}}}, \
         spec: {{storageClassName: dotmesh, dataSourceRef: {{kind: PersistentVolumeClaim, name: other}}}}}}"
    ));
    let unknown = create_volume(&api, &api, &from("x"), SHORT).await;
    assert!(
        matches!(&unknown, Err(CreateError::NoSource(id)) if id == "x"),
        "{unknown:?}"
    );
    let early = create_volume(&api, &api, &request(), SHORT).await;
    assert!(matches!(early, Err(CreateError::Deadline(..))), "{early:?}");
    assert!(!api.exists::<Dot>(&key()), "the claim controller makes it");
    for provisioned in [false, true] {
        api.put(&format!(
            "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: pvc-{CLAIM}, namespace: dev, labels: {{dotmesh.io/claim-uid: {CLAIM}}}}}, \
             spec: {{}}, status: {{id: {VOLUME_ID}, node: n2, attachments: [{CLAIM}], \
             volumes: [{{name: data, id: {VOLUME_ID}, size: 1Gi}}], claims: [{{uid: {CLAIM}, namespace: dev, name: data, \
             volume: data, size: 1Gi, provisioned: {provisioned}}}]}}}}"
        ));
        let answer = create_volume(&api, &api, &request(), SHORT).await;
        assert_eq!(answer.is_ok(), provisioned, "{answer:?}");
    }
}

#[tokio::test]
async fn many_identical_calls_at_once_have_one_effect() {
    let api = api();
    let work = working(&api);
    let request = request();
    let calls = (0..8).map(|_| create_volume(&api, &api, &request, BUDGET));
    let created: Vec<Created> = futures::future::join_all(calls)
        .await
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(created.iter().all(|one| *one == created[0]));
    assert_eq!(entries(&api).len(), 1);
    work.abort();
}

#[tokio::test]
async fn a_call_that_runs_out_of_time_leaves_its_intent_and_the_next_one_finds_it() {
    let api = api();
    let late = create_volume(&api, &api, &request(), SHORT).await;
    assert!(matches!(late, Err(CreateError::Deadline(..))), "{late:?}");
    let uid = api.must_get::<Dot>(&key()).metadata.uid;
    assert_eq!(entries(&api).len(), 1);
    let work = working(&api);
    let created = create(&api).await.unwrap();
    assert_eq!(Some(created.handle.dot.to_string()), uid);
    work.abort();
}

#[tokio::test]
async fn a_call_that_is_cut_anywhere_ends_in_the_same_volume() {
    for (verb, kind) in [
        ("create", "Dot"),
        ("apply_status", "Dot"),
        ("get", "Dot"),
        ("get", "PersistentVolumeClaim"),
    ] {
        for after in [false, true] {
            let api = api();
            api.fail(Fault {
                verb,
                kind,
                error: ApiErrorKind::Unavailable,
                after,
            });
            let cut = create_volume(&api, &api, &request(), SHORT).await;
            assert!(
                matches!(cut, Err(CreateError::Api(_))),
                "{verb} {kind} {after}: {cut:?}"
            );
            let work = working(&api);
            create(&api).await.unwrap();
            assert_eq!(entries(&api).len(), 1, "{verb} {kind} {after}");
            work.abort();
        }
    }
}

#[tokio::test]
async fn no_space_is_final_only_after_the_intent_is_taken_back() {
    let api = api();
    let work = tokio::spawn(controller(api.clone(), condition("False", "OutOfSpace")));
    let full = create(&api).await;
    assert!(
        matches!(full, Err(CreateError::Refused(Refusal::OutOfSpace { .. }))),
        "{full:?}"
    );
    assert!(!api.exists::<Dot>(&key()));
    work.abort();
}

#[tokio::test]
async fn a_claim_that_goes_meanwhile_leaves_nothing() {
    let api = api();
    let late = create_volume(&api, &api, &request(), SHORT).await;
    assert!(late.is_err());
    api.remove::<PersistentVolumeClaim>(&Key::namespaced("dev", "data"));
    let gone = create(&api).await;
    assert!(
        matches!(gone, Err(CreateError::Refused(Refusal::ClaimGone))),
        "{gone:?}"
    );
    assert!(!api.exists::<Dot>(&key()));
}

#[tokio::test]
async fn what_people_made_of_a_volume_survives_its_withdrawal() {
    let api = api();
    assert!(create_volume(&api, &api, &request(), SHORT).await.is_err());
    api.put(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Branch, metadata: {{name: mine, namespace: dev}}, spec: {{dot: pvc-{CLAIM}, name: mine, from: ''}}}}"
    ));
    api.remove::<PersistentVolumeClaim>(&Key::namespaced("dev", "data"));
    assert!(create(&api).await.is_err());
    assert!(api.exists::<Dot>(&key()));
    assert_eq!(entries(&api), []);
}

#[tokio::test]
async fn deleting_takes_the_claim_off_and_waits_for_the_node() {
    let api = api();
    let work = working(&api);
    let handle = create(&api).await.unwrap().handle;
    delete_volume(&api, &api, handle, BUDGET).await.unwrap();
    let status = api.must_get::<Dot>(&key()).status.unwrap();
    assert!(status.claims.is_empty() && status.attachments.is_empty(), "{status:?}");
    delete_volume(&api, &api, handle, BUDGET).await.unwrap();
    work.abort();
}

#[tokio::test]
async fn deleting_without_an_answer_from_the_node_is_not_done() {
    let api = api();
    let work = working(&api);
    let handle = create(&api).await.unwrap().handle;
    work.abort();
    let _ = work.await;
    assert!(delete_volume(&api, &api, handle, SHORT).await.is_err());
    api.freeze_caches();
    assert!(delete_volume(&api, &api, handle, SHORT).await.is_err());
    api.thaw_caches();
    api.remove::<Dot>(&key());
    delete_volume(&api, &api, handle, BUDGET).await.unwrap();
}

#[tokio::test]
async fn a_cache_that_does_not_know_the_dot_is_no_proof_of_absence() {
    let api = api();
    api.freeze_caches();
    let work = tokio::spawn({
        let api = api.clone();
        async move { controller(api, condition("True", "Ready")).await }
    });
    let handle = create(&api).await.unwrap().handle;
    delete_volume(&api, &api, handle, BUDGET).await.unwrap();
    assert_eq!(entries(&api), [], "found by a consistent read");
    work.abort();
}
