//! Groups of snapshots.

use dotmesh_csi_proto::csi::group_controller_server::GroupController;
use dotmesh_zfs::Zfs;

use super::controllers::{from, group, list, of_snapshot, of_volume};
use super::*;
use crate::edge::csi::first;

#[tokio::test]
async fn a_group_is_taken_as_one_and_deleted_as_one() {
    let world = World::new().await;
    let other = world.make_other().await;
    let clone = world.make(from("clone", of_volume(&world.volume_id))).await.unwrap();
    let of = [world.volume_id.as_str(), &other.volume_id, &clone.volume_id];
    let before = world.zfs.counts().snapshot()[&dotmesh_zfs::Verb::Snapshot].count;
    let take = async |name: &str, of: &[&str]| {
        let taken = world
            .csi
            .create_volume_group_snapshot(Request::new(group(name, of)))
            .await;
        taken.map(|taken| taken.into_inner().group_snapshot.unwrap())
    };
    let taken = take("group", &of).await.unwrap();
    assert_eq!(
        world.zfs.counts().snapshot()[&dotmesh_zfs::Verb::Snapshot].count,
        before + 1
    );
    assert!(taken.ready_to_use);
    let sources: std::collections::BTreeSet<&str> = taken
        .snapshots
        .iter()
        .map(|member| member.source_volume_id.as_str())
        .collect();
    assert_eq!(sources, of.into());
    let moments: std::collections::BTreeSet<_> = taken
        .snapshots
        .iter()
        .map(|member| member.creation_time.map(|time| time.seconds))
        .collect();
    assert_eq!(moments.len(), 1);
    let sorted = |group: &proto::VolumeGroupSnapshot| {
        let mut members = group.snapshots.clone();
        members.sort_by(|one, other| one.snapshot_id.cmp(&other.snapshot_id));
        members
    };
    assert_eq!(sorted(&take("group", &of).await.unwrap()), sorted(&taken));
    assert_eq!(take("group", &of[..2]).await.unwrap_err().code(), Code::AlreadyExists);
    // A member is a snapshot like any other, but goes with its group.
    let member = taken.snapshots[0].snapshot_id.clone();
    let restored = world.make(from("restored", of_snapshot(&member))).await.unwrap();
    assert!(!restored.volume_id.is_empty());
    let alone = proto::DeleteSnapshotRequest {
        snapshot_id: member,
        ..Default::default()
    };
    let refused = world.csi.delete_snapshot(Request::new(alone)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let ids: Vec<String> = taken
        .snapshots
        .iter()
        .map(|member| member.snapshot_id.clone())
        .collect();
    let get = |ids: &[String]| proto::GetVolumeGroupSnapshotRequest {
        group_snapshot_id: taken.group_snapshot_id.clone(),
        snapshot_ids: ids.to_vec(),
        ..Default::default()
    };
    let got = world
        .csi
        .get_volume_group_snapshot(Request::new(get(&ids)))
        .await
        .unwrap();
    assert_eq!(sorted(&got.into_inner().group_snapshot.unwrap()), sorted(&taken));
    let foreign = vec![
        ids[0].clone(),
        ids[1].clone(),
        ids[2].clone(),
        first::snapshot("x", "there"),
    ];
    for wrong in [&ids[..2], &foreign] {
        let refused = world
            .csi
            .get_volume_group_snapshot(Request::new(get(wrong)))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let delete = proto::DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: taken.group_snapshot_id.clone(),
            snapshot_ids: wrong.to_vec(),
            ..Default::default()
        };
        let refused = world
            .csi
            .delete_volume_group_snapshot(Request::new(delete))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    for _ in 0..2 {
        let delete = proto::DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: taken.group_snapshot_id.clone(),
            snapshot_ids: ids.clone(),
            ..Default::default()
        };
        world
            .csi
            .delete_volume_group_snapshot(Request::new(delete))
            .await
            .unwrap();
        assert_eq!(world.snapshots(list(0, "")).await.0.len(), 0);
    }
    let gone = world
        .csi
        .get_volume_group_snapshot(Request::new(get(&ids)))
        .await
        .unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}
