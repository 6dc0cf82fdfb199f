//! Snapshots of the CSI: each is a Commit of the branch that the claim mounts.

use std::time::Duration;

use dotmesh_crds::Commit;
use dotmesh_crds::names::snapshot_object;
use dotmesh_csi_proto::csi::CreateSnapshotRequest;
use dotmesh_model::handle::{Handle, SnapshotId, SnapshotRef};
use dotmesh_model::id::VolumeId;
use dotmesh_operator::facade::snapshot::list::list_snapshots;
use dotmesh_operator::facade::snapshot::plan::Refusal;
use dotmesh_operator::facade::snapshot::{
    SnapshotError, TakeSnapshot, Taken, delete_snapshot, find_snapshot, take_snapshot,
};
use serde_json::json;
use tonic::{Code, Status};

use crate::world::{World, claim_uid, key};

const UID: &str = "0c5a6f6e-1111-4222-8333-0000000000e1";
const BUDGET: Duration = Duration::from_secs(20);

/// The handle of claim number `n` on volume `db` of Dot `shop`.
fn handle(world: &World, n: u32) -> Handle {
    let id = world.dot("shop").status.unwrap().id.unwrap().parse().unwrap();
    Handle {
        dot: id,
        volume: VolumeId::derive(id, "db"),
        claim: claim_uid(n).parse().unwrap(),
    }
}

/// What csi-snapshotter asks.
fn request(source: Handle) -> CreateSnapshotRequest {
    let said = [("name", "nightly"), ("namespace", "dev")];
    let said = said.map(|(key, value)| (format!("csi.storage.k8s.io/volumesnapshot/{key}"), value.to_owned()));
    CreateSnapshotRequest {
        source_volume_id: source.to_string(),
        name: format!("snapshot-{UID}"),
        parameters: said.into(),
        ..CreateSnapshotRequest::default()
    }
}

/// The call, while the controllers work.
async fn take(world: &World, request: CreateSnapshotRequest) -> Result<Taken, SnapshotError> {
    let request = TakeSnapshot::try_from(request)?;
    let call = take_snapshot(&world.api, &world.api, &request, BUDGET);
    world.beside(call).await
}

fn name() -> String {
    snapshot_object(UID)
}

#[tokio::test]
async fn a_volume_snapshot_is_a_commit_and_goes_with_it() {
    let world = World::with_shop().await;
    world.api.put(
        "{apiVersion: snapshot.storage.k8s.io/v1, kind: VolumeSnapshot, metadata: {name: nightly, namespace: dev, \
         labels: {app: shop}, annotations: {dotmesh.io/message: before the sale}}, spec: {}}",
    );
    let source = handle(&world, 1);
    let taken = take(&world, request(source)).await.unwrap();
    let commit = world.commit(&name());
    assert_eq!(commit.spec.message.as_deref(), Some("before the sale"));
    assert_eq!(commit.spec.metadata["app"].0, "shop");
    assert_eq!(commit.spec.branch.as_deref(), Some("main"));
    let status = commit.status.unwrap();
    assert_eq!(status.volumes.len(), 2, "all volumes of the Dot");
    let id = SnapshotId {
        dot: source.dot,
        volume: source.volume,
        commit: status.id.unwrap().parse().unwrap(),
    };
    let found = SnapshotRef::Alone(id);
    assert_eq!((taken.id, taken.source, taken.size_bytes), (found, source, 10 << 30));
    world.settle().await;
    assert_eq!(take(&world, request(source)).await.unwrap(), taken, "the same one");
    assert_eq!(list_snapshots(&world.api).await.unwrap(), std::slice::from_ref(&taken));

    delete_snapshot(&world.api, SnapshotRef::Alone(id)).await.unwrap();
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key(&name())));
    assert!(find_snapshot(&world.api, id).await.unwrap().is_none());
    delete_snapshot(&world.api, SnapshotRef::Alone(id)).await.unwrap();
}

#[tokio::test]
async fn a_commit_stays_while_the_content_that_it_was_taken_for_does() {
    let world = World::with_shop().await;
    let taken = take(&world, request(handle(&world, 1))).await.unwrap();
    let put = |deleted: Option<&str>| {
        world.api.put_object(json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {
                "name": format!("snapcontent-{UID}"), "deletionTimestamp": deleted,
                "finalizers": ["snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection"],
            },
            "spec": {"driver": "csi.dotmesh.io", "volumeSnapshotRef": {"namespace": "dev", "name": "nightly", "uid": UID}},
        }));
    };
    put(None);
    delete_snapshot(&world.api, taken.id).await.unwrap();
    world.settle().await;
    assert!(world.api.exists::<Commit>(&key(&name())), "another one goes");

    put(Some("2026-01-01T00:00:00Z"));
    delete_snapshot(&world.api, taken.id).await.unwrap();
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key(&name())));
}

#[tokio::test]
async fn what_people_committed_is_no_snapshot_of_anybody_to_delete() {
    let world = World::with_shop().await;
    world.put_commit("mine");
    world.settle().await;
    let commit = world.commit("mine").status.unwrap().id.unwrap();
    let source = handle(&world, 1);
    let id = SnapshotId {
        dot: source.dot,
        volume: source.volume,
        commit: commit.parse().unwrap(),
    };
    assert!(find_snapshot(&world.api, id).await.unwrap().is_some());
    delete_snapshot(&world.api, SnapshotRef::Alone(id)).await.unwrap();
    world.settle().await;
    assert!(world.api.exists::<Commit>(&key("mine")));
    assert!(list_snapshots(&world.api).await.unwrap().is_empty());
}

/// The code that csi-snapshotter gets. After any but these four it forgets the snapshot.
fn code(error: SnapshotError) -> Code {
    Status::from(error).code()
}

#[tokio::test]
async fn what_is_refused_leaves_no_commit() {
    let world = World::with_shop().await;
    let source = handle(&world, 1);
    let with = |change: &dyn Fn(&mut CreateSnapshotRequest)| {
        let mut request = request(source);
        change(&mut request);
        request
    };
    let of_namespace = |r: &mut CreateSnapshotRequest| {
        let key = "csi.storage.k8s.io/volumesnapshot/namespace".to_owned();
        r.parameters.insert(key, "prod".to_owned());
    };
    let foreign = handle(&world, 9).to_string();
    for (request, expected, words) in [
        (with(&of_namespace), Code::FailedPrecondition, "namespace \"dev\""),
        (
            with(&|r| r.source_volume_id.clone_from(&foreign)),
            Code::NotFound,
            "there is no volume",
        ),
        (
            with(&|r| r.source_volume_id = "pvc-1".to_owned()),
            Code::NotFound,
            "pvc-1",
        ),
        (
            with(&|r| r.source_volume_id.clear()),
            Code::InvalidArgument,
            "volume_id is missing",
        ),
        (
            with(&|r| r.name = "nightly".to_owned()),
            Code::InvalidArgument,
            "uid of a snapshot",
        ),
        (with(&|r| r.name.clear()), Code::InvalidArgument, "uid of a snapshot"),
        (
            with(&|r| _ = r.parameters.insert("level".to_owned(), "1".to_owned())),
            Code::InvalidArgument,
            "level",
        ),
    ] {
        let error = take(&world, request).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(code(error), expected);
        assert!(!world.api.exists::<Commit>(&key(&name())));
    }
    // Another volume under the same name.
    take(&world, request(source)).await.unwrap();
    world.claim("shop", 2, "cache", None).await;
    world.settle().await;
    let other = Handle {
        volume: VolumeId::derive(source.dot, "cache"),
        ..handle(&world, 2)
    };
    let error = take(&world, request(other)).await.unwrap_err();
    assert!(matches!(error, SnapshotError::Refused(Refusal::Taken(_))), "{error}");
    assert_eq!(code(error), Code::AlreadyExists);
}

#[tokio::test]
async fn a_call_that_ends_early_is_gone_on_with() {
    let world = World::with_shop().await;
    let source = handle(&world, 1);
    let request = TakeSnapshot::try_from(request(source)).unwrap();
    let error = take_snapshot(&world.api, &world.api, &request, Duration::from_millis(50)).await;
    assert_eq!(code(error.unwrap_err()), Code::DeadlineExceeded);
    assert!(world.api.exists::<Commit>(&key(&name())), "what was begun stays");
    world.settle().await;
    let taken = take_snapshot(&world.api, &world.api, &request, BUDGET).await.unwrap();
    assert_eq!(taken.source, source);
    // Deleted while it is wanted: it is asked for again when it is gone.
    world.delete::<Commit>(&name()).await;
    let error = take_snapshot(&world.api, &world.api, &request, BUDGET)
        .await
        .unwrap_err();
    assert_eq!(code(error), Code::Aborted);
}
