//! Groups of snapshots of the CSI: Commits of one instant.

use std::collections::BTreeSet;
use std::time::Duration;

use dotmesh_crds::Commit;
use dotmesh_csi_proto::csi::CreateVolumeGroupSnapshotRequest;
use dotmesh_model::handle::{Handle, SnapshotRef};
use dotmesh_model::id::VolumeId;
use dotmesh_operator::facade::group::{Group, GroupError, TakeGroup, delete_group, find_group, take_group};
use dotmesh_operator::facade::snapshot::list::list_snapshots;
use dotmesh_operator::facade::snapshot::{SnapshotError, delete_snapshot, get_snapshot};
use tonic::{Code, Status};

use crate::world::{World, claim_uid, key};

const UID: &str = "0c5a6f6e-1111-4222-8333-0000000000e1";
const FIRST: &str = "snap-0c5a6f6e-1111-4222-8333-0000000000e1";
const SECOND: &str = "snap-0c5a6f6e-1111-4222-8333-0000000000e1-2";
const BUDGET: Duration = Duration::from_secs(20);

/// The handle of a claim on a volume.
fn handle(world: &World, dot: &str, volume: &str, claim: u32) -> Handle {
    let id = world.dot(dot).status.unwrap().id.unwrap().parse().unwrap();
    Handle {
        dot: id,
        volume: VolumeId::derive(id, volume),
        claim: claim_uid(claim).parse().unwrap(),
    }
}

/// What csi-snapshotter asks.
fn request(sources: &[Handle]) -> CreateVolumeGroupSnapshotRequest {
    let said = [("name", "nightly"), ("namespace", "dev")];
    let said = said.map(|(key, value)| {
        let key = format!("csi.storage.k8s.io/volumegroupsnapshot/{key}");
        (key, value.to_owned())
    });
    CreateVolumeGroupSnapshotRequest {
        name: format!("groupsnapshot-{UID}"),
        source_volume_ids: sources.iter().map(ToString::to_string).collect(),
        parameters: said.into(),
        ..CreateVolumeGroupSnapshotRequest::default()
    }
}

/// The call, while the controllers work.
async fn take(world: &World, request: CreateVolumeGroupSnapshotRequest) -> Result<Group, GroupError> {
    let request = TakeGroup::try_from(request)?;
    let call = take_group(&world.api, &world.api, &request, BUDGET);
    world.beside(call).await
}

fn ids(group: &Group) -> Vec<String> {
    group.members.iter().map(|member| member.id.to_string()).collect()
}

#[tokio::test]
async fn a_group_of_one_dot_is_one_commit() {
    let world = World::with_shop().await;
    world.claim("shop", 2, "cache", None).await;
    world.settle().await;
    let sources = [handle(&world, "shop", "db", 1), handle(&world, "shop", "cache", 2)];
    let group = take(&world, request(&sources)).await.unwrap();
    assert_eq!(group.members.len(), 2);
    let commit = world.commit(FIRST);
    assert_eq!((commit.spec.group, commit.spec.dot), (None, "shop".to_owned()));
    assert!(!world.api.exists::<Commit>(&key(SECOND)));
    world.settle().await;
    assert_eq!(take(&world, request(&sources)).await.unwrap(), group, "the same one");
    delete_group(&world.api, group.id, &ids(&group)).await.unwrap();
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key(FIRST)));
}

#[tokio::test]
async fn a_group_of_two_dots_is_two_commits_of_one_instant_and_goes_as_a_whole() {
    let world = World::with_two_dots().await;
    world.api.put(
        "{apiVersion: groupsnapshot.storage.k8s.io/v1, kind: VolumeGroupSnapshot, metadata: {name: nightly, namespace: dev, \
         labels: {app: shop}, annotations: {dotmesh.io/message: before the sale}}, spec: {}}",
    );
    let sources = [handle(&world, "shop", "db", 1), handle(&world, "stock", "items", 2)];
    let group = take(&world, request(&sources)).await.unwrap();
    let (first, second) = (world.commit(FIRST), world.commit(SECOND));
    for commit in [&first, &second] {
        assert_eq!(commit.spec.message.as_deref(), Some("before the sale"));
        assert_eq!(commit.spec.metadata["app"].0, "shop");
    }
    let status = |commit: &Commit| commit.status.clone().unwrap();
    assert_eq!(status(&first).createtxg, status(&second).createtxg);
    assert_eq!(status(&first).group, status(&second).group);
    let of: BTreeSet<Handle> = group.members.iter().map(|member| member.source).collect();
    assert_eq!(of, sources.into());
    assert!(group.members.iter().all(|member| member.group == Some(group.id)));

    // They are listed and found as members, and their Commits are no others' to delete.
    let mut listed = list_snapshots(&world.api).await.unwrap();
    listed.sort_by_key(|taken| taken.id);
    let mut members = group.members.clone();
    members.sort_by_key(|taken| taken.id);
    assert_eq!(listed, members);
    for member in &group.members {
        assert_eq!(
            get_snapshot(&world.api, member.id).await.unwrap().as_ref(),
            Some(member)
        );
        let refused = delete_snapshot(&world.api, member.id).await.unwrap_err();
        assert!(matches!(refused, SnapshotError::Member(_)), "{refused}");
        assert_eq!(Status::from(refused).code(), Code::InvalidArgument);
        let alone = SnapshotRef::Alone(member.id.snapshot());
        assert_eq!(get_snapshot(&world.api, alone).await.unwrap().unwrap().group, None);
        delete_snapshot(&world.api, alone).await.unwrap();
    }
    world.settle().await;
    let found = find_group(&world.api, group.id, &ids(&group)).await.unwrap();
    assert_eq!(found.as_ref(), Some(&group), "nothing of it went");
    let other = vec![SnapshotRef::Alone(group.members[0].id.snapshot()).to_string()];
    let refused = delete_group(&world.api, group.id, &other).await.unwrap_err();
    assert_eq!(Status::from(refused).code(), Code::InvalidArgument);

    // A content that somebody wrote with the same handle takes nothing along.
    let own = |deleted: Option<&str>| {
        world.api.put_object(serde_json::json!({
            "apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": "VolumeGroupSnapshotContent",
            "metadata": {"name": format!("groupsnapcontent-{UID}"), "deletionTimestamp": deleted, "finalizers": ["x/y"]},
            "spec": {},
        }));
    };
    own(None);
    delete_group(&world.api, group.id, &ids(&group)).await.unwrap();
    world.settle().await;
    assert!(world.api.exists::<Commit>(&key(FIRST)) && world.api.exists::<Commit>(&key(SECOND)));
    own(Some("2026-01-01T00:00:00Z"));

    // Somebody deleted one: what is left is told, and goes.
    world.delete::<Commit>(SECOND).await;
    world.settle().await;
    let left = find_group(&world.api, group.id, &ids(&group)).await.unwrap().unwrap();
    assert_eq!((left.is_whole, left.members.len()), (false, 1));
    let error = take(&world, request(&sources)).await.unwrap_err();
    assert_eq!(Status::from(error).code(), Code::FailedPrecondition);
    delete_group(&world.api, group.id, &ids(&group)).await.unwrap();
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key(FIRST)));
    assert!(find_group(&world.api, group.id, &[]).await.unwrap().is_none());
    delete_group(&world.api, group.id, &ids(&group)).await.unwrap();
}

#[tokio::test]
async fn what_is_left_without_the_first_commit_goes_by_its_members() {
    let world = World::with_two_dots().await;
    let sources = [handle(&world, "shop", "db", 1), handle(&world, "stock", "items", 2)];
    let group = take(&world, request(&sources)).await.unwrap();
    world.delete::<Commit>(FIRST).await;
    world.settle().await;
    assert!(list_snapshots(&world.api).await.unwrap().is_empty());
    delete_group(&world.api, group.id, &ids(&group)).await.unwrap();
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key(SECOND)));
}

#[tokio::test]
async fn a_call_that_ended_between_two_commits_is_gone_on_with() {
    let world = World::with_two_dots().await;
    let sources = [handle(&world, "shop", "db", 1), handle(&world, "stock", "items", 2)];
    let request = TakeGroup::try_from(request(&sources)).unwrap();
    world.api.fail_write(1, false);
    let error = take_group(&world.api, &world.api, &request, BUDGET).await.unwrap_err();
    assert_eq!(Status::from(error).code(), Code::Unavailable);
    assert!(world.api.exists::<Commit>(&key(FIRST)) && !world.api.exists::<Commit>(&key(SECOND)));
    world.settle().await;
    assert!(
        world.commit(FIRST).status.unwrap().id.is_none(),
        "one alone is not taken"
    );
    let group = take(&world, self::request(&sources)).await.unwrap();
    assert_eq!(group.members.len(), 2);
}

#[tokio::test]
async fn what_is_refused_leaves_no_commit() {
    let world = World::with_two_dots().await;
    let (db, items) = (handle(&world, "shop", "db", 1), handle(&world, "stock", "items", 2));
    let with = |change: &dyn Fn(&mut CreateVolumeGroupSnapshotRequest)| {
        let mut request = request(&[db, items]);
        change(&mut request);
        request
    };
    let of_namespace = |r: &mut CreateVolumeGroupSnapshotRequest| {
        let key = "csi.storage.k8s.io/volumegroupsnapshot/namespace".to_owned();
        r.parameters.insert(key, "prod".to_owned());
    };
    let foreign = handle(&world, "shop", "db", 9).to_string();
    for (request, expected, words) in [
        (with(&of_namespace), Code::FailedPrecondition, "namespace \"dev\""),
        (
            with(&|r| r.source_volume_ids.push(foreign.clone())),
            Code::NotFound,
            "there is no volume",
        ),
        (
            with(&|r| r.source_volume_ids.push("x".to_owned())),
            Code::NotFound,
            "\"x\"",
        ),
        (
            with(&|r| r.source_volume_ids.push(db.to_string())),
            Code::InvalidArgument,
            "twice",
        ),
        (
            with(&|r| r.source_volume_ids.clear()),
            Code::InvalidArgument,
            "volume_id",
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
        assert_eq!(Status::from(error).code(), expected);
        assert!(!world.api.exists::<Commit>(&key(FIRST)));
    }
    take(&world, request(&[db, items])).await.unwrap();
    let error = take(&world, request(&[db])).await.unwrap_err();
    assert_eq!(Status::from(error).code(), Code::AlreadyExists);
}

#[tokio::test]
async fn what_lies_on_two_pools_is_no_group() {
    let world = World::with_two_dots().await;
    let sources = [handle(&world, "shop", "db", 1), handle(&world, "stock", "items", 2)];
    let mut elsewhere = serde_json::json!(world.dot("stock"));
    elsewhere["status"]["pool"] = serde_json::json!("n1-fast");
    world.api.put_object(elsewhere);
    let request = TakeGroup::try_from(request(&sources)).unwrap();
    let error = take_group(&world.api, &world.api, &request, BUDGET).await.unwrap_err();
    assert!(error.to_string().contains("ask for a group of each"), "{error}");
    assert_eq!(Status::from(error).code(), Code::FailedPrecondition);
    assert!(!world.api.exists::<Commit>(&key(FIRST)));
}
