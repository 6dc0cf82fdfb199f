//! The calls about snapshots, clones, groups and lists: what is wrong with them, and what they answer.

use super::*;
use dotmesh_csi_proto::csi::group_controller_server::GroupController;
use dotmesh_csi_proto::csi::volume_content_source::{SnapshotSource, Type, VolumeSource};

use crate::edge::csi::first;

/// A call of the controllers that is about more than one volume.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Create(proto::CreateVolumeRequest),
    Modify(proto::ControllerModifyVolumeRequest),
    ListVolumes(proto::ListVolumesRequest),
    Capacity(proto::GetCapacityRequest),
    Snapshot(proto::CreateSnapshotRequest),
    DeleteSnapshot(proto::DeleteSnapshotRequest),
    ListSnapshots(proto::ListSnapshotsRequest),
    GetSnapshot(proto::GetSnapshotRequest),
    Group(proto::CreateVolumeGroupSnapshotRequest),
    DeleteGroup(proto::DeleteVolumeGroupSnapshotRequest),
    GetGroup(proto::GetVolumeGroupSnapshotRequest),
}

impl Call {
    /// Whether an id that names nothing is no error.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(
            self,
            Self::DeleteSnapshot(_) | Self::DeleteGroup(_) | Self::ListSnapshots(_)
        )
    }
}

pub(super) async fn call(csi: &Csi<FakeZfs, FakeMount>, call: Call) -> Result<(), Status> {
    match call {
        Call::Create(request) => csi.create_volume(Request::new(request)).await.map(drop),
        Call::Modify(request) => csi.controller_modify_volume(Request::new(request)).await.map(drop),
        Call::ListVolumes(request) => csi.list_volumes(Request::new(request)).await.map(drop),
        Call::Capacity(request) => csi.get_capacity(Request::new(request)).await.map(drop),
        Call::Snapshot(request) => csi.create_snapshot(Request::new(request)).await.map(drop),
        Call::DeleteSnapshot(request) => csi.delete_snapshot(Request::new(request)).await.map(drop),
        Call::ListSnapshots(request) => csi.list_snapshots(Request::new(request)).await.map(drop),
        Call::GetSnapshot(request) => csi.get_snapshot(Request::new(request)).await.map(drop),
        Call::Group(request) => csi.create_volume_group_snapshot(Request::new(request)).await.map(drop),
        Call::DeleteGroup(request) => csi.delete_volume_group_snapshot(Request::new(request)).await.map(drop),
        Call::GetGroup(request) => csi.get_volume_group_snapshot(Request::new(request)).await.map(drop),
    }
}

fn snapshot(name: &str, source: &str) -> proto::CreateSnapshotRequest {
    proto::CreateSnapshotRequest {
        name: name.to_owned(),
        source_volume_id: source.to_owned(),
        ..proto::CreateSnapshotRequest::default()
    }
}

pub(super) fn group(name: &str, sources: &[&str]) -> proto::CreateVolumeGroupSnapshotRequest {
    proto::CreateVolumeGroupSnapshotRequest {
        name: name.to_owned(),
        source_volume_ids: sources.iter().map(|id| (*id).to_owned()).collect(),
        ..proto::CreateVolumeGroupSnapshotRequest::default()
    }
}

pub(super) fn from(name: &str, source: Type) -> proto::CreateVolumeRequest {
    proto::CreateVolumeRequest {
        name: name.to_owned(),
        volume_content_source: Some(proto::VolumeContentSource { r#type: Some(source) }),
        ..create()
    }
}

pub(super) fn of_snapshot(id: &str) -> Type {
    let snapshot_id = id.to_owned();
    Type::Snapshot(SnapshotSource { snapshot_id })
}

pub(super) fn of_volume(id: &str) -> Type {
    let volume_id = id.to_owned();
    Type::Volume(VolumeSource { volume_id })
}

fn modify(id: &str, parameters: &[(&str, &str)]) -> proto::ControllerModifyVolumeRequest {
    let parameters = parameters.iter();
    proto::ControllerModifyVolumeRequest {
        volume_id: id.to_owned(),
        mutable_parameters: parameters
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..proto::ControllerModifyVolumeRequest::default()
    }
}

pub(super) fn list(max_entries: i32, starting_token: &str) -> proto::ListSnapshotsRequest {
    proto::ListSnapshotsRequest {
        max_entries,
        starting_token: starting_token.to_owned(),
        ..proto::ListSnapshotsRequest::default()
    }
}

/// Calls that name something by this text.
pub(super) fn named(text: &str) -> Vec<Call> {
    let id = || text.to_owned();
    vec![
        Call::Create(from("new", of_snapshot(text))),
        Call::Create(from("new", of_volume(text))),
        Call::Modify(modify(text, &[("compression", "lz4")])),
        Call::Snapshot(snapshot("new", text)),
        Call::Group(group("new", &[text])),
        Call::DeleteSnapshot(proto::DeleteSnapshotRequest {
            snapshot_id: id(),
            ..proto::DeleteSnapshotRequest::default()
        }),
        Call::ListSnapshots(proto::ListSnapshotsRequest {
            snapshot_id: id(),
            source_volume_id: id(),
            ..proto::ListSnapshotsRequest::default()
        }),
        Call::GetSnapshot(proto::GetSnapshotRequest {
            snapshot_id: id(),
            ..proto::GetSnapshotRequest::default()
        }),
        Call::DeleteGroup(proto::DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: id(),
            ..proto::DeleteVolumeGroupSnapshotRequest::default()
        }),
        Call::GetGroup(proto::GetVolumeGroupSnapshotRequest {
            group_snapshot_id: id(),
            ..proto::GetVolumeGroupSnapshotRequest::default()
        }),
        Call::ListVolumes(proto::ListVolumesRequest {
            max_entries: 0,
            starting_token: format!("{text}-"),
        }),
    ]
}

/// Each wrong call, its code, and a word of the message.
pub(super) fn wrong_calls(id: &str) -> Vec<(Call, Code, &'static str)> {
    let (invalid, not_found) = (Code::InvalidArgument, Code::NotFound);
    let gone = first::volume("gone", "gone");
    let parameters: std::collections::HashMap<_, _> = [("colour".to_owned(), "blue".to_owned())].into();
    let mut calls = vec![
        (Call::Snapshot(snapshot("", id)), invalid, "name"),
        (Call::Snapshot(snapshot(&"x".repeat(129), id)), invalid, "name"),
        (Call::Snapshot(snapshot("new", "")), invalid, "source_volume_id"),
        (Call::Snapshot(snapshot("new", &gone)), not_found, "made here"),
        (
            Call::Snapshot(proto::CreateSnapshotRequest {
                parameters: parameters.clone(),
                ..snapshot("new", id)
            }),
            invalid,
            "colour",
        ),
        (
            Call::Snapshot(proto::CreateSnapshotRequest {
                accessibility_requirements: Some(on_node("n2")),
                ..snapshot("new", id)
            }),
            Code::ResourceExhausted,
            "n1",
        ),
        (Call::Group(group("", &[id])), invalid, "name"),
        (Call::Group(group("new", &[])), invalid, "source_volume_ids"),
        (Call::Group(group("new", &[id, id])), invalid, "twice"),
        (Call::Group(group("new", &[id, &gone])), not_found, "made here"),
        (
            Call::Group(proto::CreateVolumeGroupSnapshotRequest {
                parameters: parameters.clone(),
                ..group("new", &[id])
            }),
            invalid,
            "colour",
        ),
        (
            Call::Create(from("there", of_volume(id))),
            Code::AlreadyExists,
            "source",
        ),
        (Call::Create(from("new", of_volume(&gone))), not_found, "source"),
        (
            Call::Create(from("new", of_snapshot(&first::snapshot("gone", "there")))),
            not_found,
            "source",
        ),
        (
            Call::Create(proto::CreateVolumeRequest {
                capacity_range: Some(range(GIB / 2, 0)),
                ..from("new", of_volume(id))
            }),
            Code::OutOfRange,
            "source",
        ),
        (
            Call::Create(proto::CreateVolumeRequest {
                capacity_range: Some(range(0, GIB / 2)),
                ..from("new", of_volume(id))
            }),
            Code::OutOfRange,
            "source",
        ),
        (
            Call::Create(proto::CreateVolumeRequest {
                volume_capabilities: vec![block()],
                ..from("new", of_volume(id))
            }),
            invalid,
            "format",
        ),
        (Call::Modify(modify(id, &[("colour", "blue")])), invalid, "colour"),
        (
            Call::Modify(modify(id, &[("volblocksize", "16Ki")])),
            invalid,
            "volblocksize",
        ),
        (
            Call::Modify(modify(id, &[("compression", "best")])),
            invalid,
            "compression",
        ),
        (
            Call::Modify(modify(&gone, &[("compression", "lz4")])),
            not_found,
            "made here",
        ),
        (Call::ListSnapshots(list(-1, "")), invalid, "max_entries"),
        (Call::ListSnapshots(list(0, id)), Code::Aborted, "starting_token"),
        (
            Call::ListVolumes(proto::ListVolumesRequest {
                max_entries: -1,
                starting_token: String::new(),
            }),
            invalid,
            "max_entries",
        ),
        (
            Call::ListVolumes(proto::ListVolumesRequest {
                max_entries: 0,
                starting_token: "x".to_owned(),
            }),
            Code::Aborted,
            "starting_token",
        ),
        (
            Call::Capacity(proto::GetCapacityRequest {
                parameters,
                ..proto::GetCapacityRequest::default()
            }),
            invalid,
            "colour",
        ),
        (
            Call::Capacity(proto::GetCapacityRequest {
                volume_capabilities: vec![files("btrfs")],
                ..proto::GetCapacityRequest::default()
            }),
            invalid,
            "btrfs",
        ),
    ];
    for (bad, code) in [("", invalid), ("snap-0123", not_found)] {
        calls.extend([
            (Call::Create(from("new", of_snapshot(bad))), code, "snapshot"),
            (Call::Create(from("new", of_volume(bad))), code, "volume"),
            (Call::Modify(modify(bad, &[])), code, "volume"),
            (
                Call::GetSnapshot(proto::GetSnapshotRequest {
                    snapshot_id: bad.to_owned(),
                    ..proto::GetSnapshotRequest::default()
                }),
                code,
                "snapshot",
            ),
            (
                Call::GetGroup(proto::GetVolumeGroupSnapshotRequest {
                    group_snapshot_id: bad.to_owned(),
                    ..proto::GetVolumeGroupSnapshotRequest::default()
                }),
                code,
                "group",
            ),
        ]);
    }
    let delete = Call::DeleteSnapshot(proto::DeleteSnapshotRequest::default());
    calls.push((delete, invalid, "snapshot_id"));
    let delete = Call::DeleteGroup(proto::DeleteVolumeGroupSnapshotRequest::default());
    calls.push((delete, invalid, "group_snapshot_id"));
    calls
}

impl World {
    pub(super) async fn make(&self, request: proto::CreateVolumeRequest) -> Result<proto::Volume, Status> {
        let made = self.csi.create_volume(Request::new(request)).await?;
        Ok(made.into_inner().volume.unwrap())
    }

    /// An empty volume of another name.
    pub(super) async fn make_other(&self) -> proto::Volume {
        let request = proto::CreateVolumeRequest {
            name: "other".to_owned(),
            ..create()
        };
        self.make(request).await.unwrap()
    }

    pub(super) async fn take(&self, request: proto::CreateSnapshotRequest) -> Result<proto::Snapshot, Status> {
        let taken = self.csi.create_snapshot(Request::new(request)).await?;
        Ok(taken.into_inner().snapshot.unwrap())
    }

    pub(super) async fn snapshots(&self, request: proto::ListSnapshotsRequest) -> (Vec<String>, String) {
        let listed = self
            .csi
            .list_snapshots(Request::new(request))
            .await
            .unwrap()
            .into_inner();
        let ids = listed
            .entries
            .into_iter()
            .map(|entry| entry.snapshot.unwrap().snapshot_id);
        (ids.collect(), listed.next_token)
    }
}

#[tokio::test]
async fn a_snapshot_says_what_can_be_made_of_it() {
    let world = World::new().await;
    let taken = world.take(snapshot("one", &world.volume_id)).await.unwrap();
    assert_eq!(taken.size_bytes, GIB);
    assert_eq!(taken.source_volume_id, world.volume_id);
    assert!(taken.ready_to_use && taken.creation_time.is_some() && taken.group_snapshot_id.is_empty());
    assert_eq!(taken.accessible_topology, [world.csi.topology()]);
    // The volume grows; the snapshot is as it was.
    let grow = expand(&world.volume_id, Some(range(GIB + (64 << 20), 0)));
    world.csi.controller_expand_volume(Request::new(grow)).await.unwrap();
    assert_eq!(world.take(snapshot("one", &world.volume_id)).await.unwrap(), taken);
    let got = world
        .csi
        .get_snapshot(Request::new(proto::GetSnapshotRequest {
            snapshot_id: taken.snapshot_id.clone(),
            ..proto::GetSnapshotRequest::default()
        }))
        .await
        .unwrap();
    assert_eq!(got.into_inner().snapshot, Some(taken.clone()));
    let restored = world
        .make(from("restored", of_snapshot(&taken.snapshot_id)))
        .await
        .unwrap();
    assert_eq!(restored.capacity_bytes, GIB);
    assert_eq!(
        restored.content_source.clone().and_then(|source| source.r#type),
        Some(of_snapshot(&taken.snapshot_id))
    );
    assert_eq!(
        world
            .make(from("restored", of_snapshot(&taken.snapshot_id)))
            .await
            .unwrap(),
        restored
    );
    // The same names, of other things.
    let other = world.make_other().await;
    let refused = world.take(snapshot("one", &other.volume_id)).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    for (name, source) in [
        ("restored", Some(of_volume(&world.volume_id))),
        ("restored", Some(of_volume(&other.volume_id))),
        ("restored", None),
        ("other", Some(of_snapshot(&taken.snapshot_id))),
    ] {
        let request = match source {
            Some(source) => from(name, source),
            None => proto::CreateVolumeRequest {
                name: name.to_owned(),
                ..create()
            },
        };
        let refused = world.make(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    }
}

#[tokio::test]
async fn lists_are_told_in_pages() {
    let world = World::new().await;
    let mut all = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        all.push(world.take(snapshot(name, &world.volume_id)).await.unwrap().snapshot_id);
    }
    all.sort();
    assert_eq!(world.snapshots(list(0, "")).await, (all.clone(), String::new()));
    let (first, token) = world.snapshots(list(2, "")).await;
    assert_eq!(first, all[..2]);
    // What ended the page is deleted meanwhile.
    let gone = proto::DeleteSnapshotRequest {
        snapshot_id: all[1].clone(),
        ..proto::DeleteSnapshotRequest::default()
    };
    world.csi.delete_snapshot(Request::new(gone)).await.unwrap();
    let (rest, token) = world.snapshots(list(3, &token)).await;
    assert_eq!((rest.as_slice(), token.as_str()), (&all[2..], ""));
    for (filter, wanted) in [
        (
            proto::ListSnapshotsRequest {
                snapshot_id: all[0].clone(),
                ..list(0, "")
            },
            1,
        ),
        (
            proto::ListSnapshotsRequest {
                snapshot_id: all[1].clone(),
                ..list(0, "")
            },
            0,
        ),
        (
            proto::ListSnapshotsRequest {
                source_volume_id: world.volume_id.clone(),
                ..list(0, "")
            },
            4,
        ),
        (
            proto::ListSnapshotsRequest {
                source_volume_id: first::volume("x", "x"),
                ..list(0, "")
            },
            0,
        ),
    ] {
        assert_eq!(world.snapshots(filter.clone()).await.0.len(), wanted, "{filter:?}");
    }
    let clone = world.make(from("clone", of_volume(&world.volume_id))).await.unwrap();
    let volumes = world
        .csi
        .list_volumes(Request::new(Default::default()))
        .await
        .unwrap()
        .into_inner()
        .entries;
    let volumes: Vec<proto::Volume> = volumes.into_iter().filter_map(|entry| entry.volume).collect();
    assert_eq!(volumes.len(), 2);
    assert!(volumes.contains(&clone), "{volumes:?}");
    // What the clone was made from is no snapshot that anybody asked for.
    assert_eq!(world.snapshots(list(0, "")).await.0.len(), 4);
}

#[tokio::test]
async fn a_change_of_how_data_is_kept_leaves_the_rest() {
    let world = World::new().await;
    let dataset = |world: &World| {
        let inventory = world.zfs.inventory();
        let is_volume = |name: &str| name.split('/').count() == 5;
        let object = inventory.iter().find(|object| is_volume(&object.name)).unwrap();
        format!("{:?}", object.local)
    };
    for _ in 0..2 {
        let change = modify(&world.volume_id, &[("recordsize", "16Ki")]);
        world.csi.controller_modify_volume(Request::new(change)).await.unwrap();
        let local = dataset(&world);
        assert!(local.contains("16384") && local.contains("zstd"), "{local}");
    }
    let of_class = proto::CreateVolumeRequest {
        name: "classed".to_owned(),
        mutable_parameters: [("compression".to_owned(), "lz4".to_owned())].into(),
        ..create()
    };
    let made = world.make(of_class.clone()).await.unwrap();
    assert_eq!(world.make(of_class).await.unwrap(), made);
}

#[tokio::test]
async fn capacity_is_that_of_the_pool_here_and_none_elsewhere() {
    let world = World::new().await;
    let ask = async |node: &str, capabilities: Vec<proto::VolumeCapability>| {
        let request = proto::GetCapacityRequest {
            volume_capabilities: capabilities,
            accessible_topology: on_node(node).requisite.pop(),
            ..proto::GetCapacityRequest::default()
        };
        world
            .csi
            .get_capacity(Request::new(request))
            .await
            .unwrap()
            .into_inner()
    };
    let here = ask("n1", vec![files("")]).await;
    assert!(here.available_capacity > 0);
    assert!(here.maximum_volume_size >= Some(here.available_capacity), "{here:?}");
    assert!(here.minimum_volume_size.is_some());
    assert_eq!(
        ask("n1", vec![block()]).await.maximum_volume_size,
        Some(here.available_capacity)
    );
    assert_eq!(ask("n1", Vec::new()).await.maximum_volume_size, None);
    assert_eq!(ask("n2", vec![files("")]).await.available_capacity, 0);
}
