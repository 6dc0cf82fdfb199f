//! What is wrong with a call is told by its code and by the field's name, and changes nothing: no dataset, no property,
//! no mount. Whatever the strings are, nothing panics.

mod inline;

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_csi_proto::csi as proto;
use dotmesh_csi_proto::csi::controller_server::Controller;
use dotmesh_csi_proto::csi::node_server::Node;
use dotmesh_csi_proto::csi::volume_capability::access_mode::Mode;
use dotmesh_csi_proto::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use dotmesh_mount::{FakeMount, MountTable};
use dotmesh_zfs::FakeZfs;
use tempfile::TempDir;
use tonic::{Code, Request, Status};

use super::{Csi, TOPOLOGY_KEY};
use crate::edge::Calls;
use crate::ops::{Config, HostFiles, Place, PoolRequest, Pools};

const GIB: i64 = 1 << 30;
const TARGET: &str = "/var/lib/kubelet/pods/p/volumes/kubernetes.io~csi/v/mount";

/// The driver with a volume `there`, published at [`TARGET`].
struct World {
    zfs: FakeZfs,
    mount: FakeMount,
    csi: Csi<FakeZfs, FakeMount>,
    volume_id: String,
    _disk: TempDir,
}

impl World {
    async fn new() -> Self {
        let (zfs, mount) = (FakeZfs::new(), FakeMount::new());
        let disk = tempfile::tempdir().unwrap();
        zfs.watch_devices(|file| Some(std::fs::metadata(file).ok()?.len() * 100));
        zfs.watch_mounts(mount.tell_sources());
        mount.watch_datasets(zfs.tell_mountable());
        let config = Config {
            state_dir: disk.path().join("state"),
            host_root: None,
            files: Arc::new(HostFiles),
        };
        let pools = Pools::new(zfs.clone(), mount.clone(), config);
        let request = PoolRequest {
            name: "dotmesh".parse().unwrap(),
            known: None,
            place: Place::File {
                path: disk.path().join("pool.img"),
            },
            size: 1 << 30,
            newest: None,
        };
        pools.ensure_pool(&request).await.unwrap();
        let csi = Csi::new(pools, Calls::default(), "n1".to_owned());
        let made = csi.create_volume(Request::new(create())).await.unwrap().into_inner();
        let volume_id = made.volume.unwrap().volume_id;
        csi.node_publish_volume(Request::new(publish(&volume_id)))
            .await
            .unwrap();
        Self {
            zfs,
            mount,
            csi,
            volume_id,
            _disk: disk,
        }
    }

    /// All that a call could change: names with their properties, and mounts.
    fn all(&self) -> (BTreeMap<String, String>, MountTable) {
        let inventory = self.zfs.inventory();
        let objects = inventory.iter();
        let objects = objects.map(|object| (object.name.clone(), format!("{:?} {:?}", object.guid, object.local)));
        (objects.collect(), self.mount.table())
    }

    async fn call(&self, call: Call) -> Result<(), Status> {
        let csi = &self.csi;
        match call {
            Call::Create(request) => csi.create_volume(Request::new(request)).await.map(drop),
            Call::Delete(request) => csi.delete_volume(Request::new(request)).await.map(drop),
            Call::Expand(request) => csi.controller_expand_volume(Request::new(request)).await.map(drop),
            Call::Validate(request) => csi.validate_volume_capabilities(Request::new(request)).await.map(drop),
            Call::Publish(request) => csi.node_publish_volume(Request::new(request)).await.map(drop),
            Call::Unpublish(request) => csi.node_unpublish_volume(Request::new(request)).await.map(drop),
            Call::Stats(request) => csi.node_get_volume_stats(Request::new(request)).await.map(drop),
        }
    }
}

/// A call that names something.
#[derive(Debug, Clone)]
enum Call {
    Create(proto::CreateVolumeRequest),
    Delete(proto::DeleteVolumeRequest),
    Expand(proto::ControllerExpandVolumeRequest),
    Validate(proto::ValidateVolumeCapabilitiesRequest),
    Publish(proto::NodePublishVolumeRequest),
    Unpublish(proto::NodeUnpublishVolumeRequest),
    Stats(proto::NodeGetVolumeStatsRequest),
}

fn capability(access_type: Option<AccessType>, mode: Mode) -> proto::VolumeCapability {
    proto::VolumeCapability {
        access_type,
        access_mode: Some(AccessMode { mode: mode.into() }),
    }
}

fn files(fs_type: &str) -> proto::VolumeCapability {
    let mount = MountVolume {
        fs_type: fs_type.to_owned(),
        ..MountVolume::default()
    };
    capability(Some(AccessType::Mount(mount)), Mode::SingleNodeWriter)
}

fn block() -> proto::VolumeCapability {
    capability(Some(AccessType::Block(BlockVolume {})), Mode::SingleNodeWriter)
}

const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

/// Makes it one of a volume in a pod's spec, as the kubelet asks for it.
fn inline(request: &mut proto::NodePublishVolumeRequest) {
    request.volume_id = format!("csi-{}", "0123456789abcdef".repeat(4));
    request.target_path = TARGET.replace("/p/", "/look/");
    let context = [
        (EPHEMERAL, "true"),
        ("csi.storage.k8s.io/pod.namespace", "dev"),
        ("csi.storage.k8s.io/pod.name", "look"),
        ("csi.storage.k8s.io/pod.uid", "u1"),
        ("csi.storage.k8s.io/serviceAccount.name", "default"),
        ("dotmesh.io/commit", "before"),
    ];
    request.volume_context = context.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
}

fn range(required_bytes: i64, limit_bytes: i64) -> proto::CapacityRange {
    proto::CapacityRange {
        required_bytes,
        limit_bytes,
    }
}

fn create() -> proto::CreateVolumeRequest {
    proto::CreateVolumeRequest {
        name: "there".to_owned(),
        capacity_range: Some(range(GIB, 0)),
        volume_capabilities: vec![files("")],
        parameters: [("compression".to_owned(), "zstd".to_owned())].into(),
        ..proto::CreateVolumeRequest::default()
    }
}

fn publish(volume_id: &str) -> proto::NodePublishVolumeRequest {
    proto::NodePublishVolumeRequest {
        volume_id: volume_id.to_owned(),
        target_path: TARGET.to_owned(),
        volume_capability: Some(files("")),
        ..proto::NodePublishVolumeRequest::default()
    }
}

fn unpublish(volume_id: &str) -> proto::NodeUnpublishVolumeRequest {
    proto::NodeUnpublishVolumeRequest {
        volume_id: volume_id.to_owned(),
        target_path: TARGET.to_owned(),
    }
}

fn stats(volume_id: &str) -> proto::NodeGetVolumeStatsRequest {
    proto::NodeGetVolumeStatsRequest {
        volume_id: volume_id.to_owned(),
        volume_path: TARGET.to_owned(),
        ..proto::NodeGetVolumeStatsRequest::default()
    }
}

fn expand(volume_id: &str, range: Option<proto::CapacityRange>) -> proto::ControllerExpandVolumeRequest {
    proto::ControllerExpandVolumeRequest {
        volume_id: volume_id.to_owned(),
        capacity_range: range,
        ..proto::ControllerExpandVolumeRequest::default()
    }
}

fn validate(
    volume_id: &str,
    volume_capabilities: Vec<proto::VolumeCapability>,
) -> proto::ValidateVolumeCapabilitiesRequest {
    proto::ValidateVolumeCapabilitiesRequest {
        volume_id: volume_id.to_owned(),
        volume_capabilities,
        ..proto::ValidateVolumeCapabilitiesRequest::default()
    }
}

fn on_node(node: &str) -> proto::TopologyRequirement {
    let topology = proto::Topology {
        segments: [(TOPOLOGY_KEY.to_owned(), node.to_owned())].into(),
    };
    proto::TopologyRequirement {
        requisite: vec![topology],
        preferred: Vec::new(),
    }
}

/// Each wrong call, its code, and a word of the message.
fn wrong_calls(id: &str) -> Vec<(Call, Code, &'static str)> {
    let other = "1.0c5a6f6e-1111-4222-8333-444455556666.0c5a6f6e-1111-4222-8333-444455556667.0c5a6f6e-1111-4222-8333-444455556668";
    let with = |change: &dyn Fn(&mut proto::CreateVolumeRequest)| {
        let mut request = create();
        change(&mut request);
        Call::Create(request)
    };
    let publish_with = |change: &dyn Fn(&mut proto::NodePublishVolumeRequest)| {
        let mut request = publish(id);
        change(&mut request);
        Call::Publish(request)
    };
    let (invalid, not_found) = (Code::InvalidArgument, Code::NotFound);
    let mut calls = vec![
        (with(&|r| r.name.clear()), invalid, "name"),
        (with(&|r| r.name = "x".repeat(129)), invalid, "name"),
        (with(&|r| r.volume_capabilities.clear()), invalid, "volume_capabilities"),
        (
            with(&|r| r.volume_capabilities = vec![files("btrfs")]),
            invalid,
            "btrfs",
        ),
        (
            with(&|r| r.volume_capabilities = vec![files(""), block()]),
            invalid,
            "both",
        ),
        (
            with(&|r| r.volume_capabilities[0].access_type = None),
            invalid,
            "access type",
        ),
        (
            with(&|r| r.volume_capabilities[0].access_mode = None),
            invalid,
            "access mode",
        ),
        (with(&|r| r.capacity_range = Some(range(-1, 0))), invalid, "capacity"),
        (with(&|r| r.capacity_range = Some(range(2, 1))), invalid, "limit"),
        (
            with(&|r| r.capacity_range = Some(range(0, 1))),
            Code::OutOfRange,
            "at least",
        ),
        (
            with(&|r| r.capacity_range = Some(range(2 * GIB, 0))),
            Code::AlreadyExists,
            "there",
        ),
        (
            with(&|r| r.capacity_range = Some(range(0, GIB / 2))),
            Code::AlreadyExists,
            "there",
        ),
        (
            with(&|r| r.volume_capabilities = vec![block()]),
            Code::AlreadyExists,
            "format",
        ),
        (
            with(&|r| drop(r.parameters.insert("recordsise".to_owned(), "16Ki".to_owned()))),
            invalid,
            "recordsise",
        ),
        (
            with(&|r| drop(r.parameters.insert("recordsize".to_owned(), "16k".to_owned()))),
            invalid,
            "recordsize",
        ),
        (
            with(&|r| drop(r.parameters.insert("compression".to_owned(), "lz4".to_owned()))),
            Code::AlreadyExists,
            "parameters",
        ),
        (
            with(&|r| r.volume_content_source = Some(Default::default())),
            invalid,
            "snapshots",
        ),
        (
            with(&|r| r.mutable_parameters = [("a".to_owned(), "b".to_owned())].into()),
            invalid,
            "mutable",
        ),
        (
            with(&|r| r.accessibility_requirements = Some(on_node("n2"))),
            Code::ResourceExhausted,
            "n1",
        ),
        (
            with(&|r| (r.name, r.capacity_range) = ("new".to_owned(), Some(range(GIB << 20, 0)))),
            Code::ResourceExhausted,
            "pool",
        ),
        (Call::Expand(expand(id, None)), invalid, "capacity_range"),
        (Call::Expand(expand(id, Some(range(-1, 0)))), invalid, "capacity"),
        (Call::Expand(expand(id, Some(range(2, 1)))), invalid, "limit"),
        (
            Call::Expand(expand(id, Some(range(0, GIB / 2)))),
            Code::OutOfRange,
            "shrink",
        ),
        (
            Call::Expand(expand(other, Some(range(GIB, 0)))),
            invalid,
            "not made here",
        ),
        (Call::Validate(validate(id, Vec::new())), invalid, "volume_capabilities"),
        (Call::Validate(validate(other, vec![files("")])), not_found, "Dot"),
        (publish_with(&|r| r.target_path.clear()), invalid, "target_path"),
        (
            publish_with(&|r| r.target_path = "relative/mount".to_owned()),
            invalid,
            "target_path",
        ),
        (
            publish_with(&|r| r.target_path = "/var/../etc".to_owned()),
            invalid,
            "target_path",
        ),
        (
            publish_with(&|r| r.target_path = "/var/a\0b".to_owned()),
            invalid,
            "target_path",
        ),
        (publish_with(&|r| r.volume_capability = None), invalid, "capability"),
        (
            publish_with(&|r| r.volume_capability = Some(block())),
            Code::AlreadyExists,
            "form",
        ),
        (
            publish_with(&|r| {
                r.volume_capability = Some(files("xfs"));
                r.target_path = TARGET.replace("/p/", "/q/");
            }),
            Code::AlreadyExists,
            "format",
        ),
        (publish_with(&|r| r.volume_id = other.to_owned()), not_found, "Dot"),
        (
            publish_with(&|r| r.volume_context = [(EPHEMERAL.to_owned(), "true".to_owned())].into()),
            invalid,
            "volume_id",
        ),
        (publish_with(&inline), Code::Unimplemented, "operator"),
        (
            publish_with(&|r| {
                inline(r);
                r.volume_context.remove("csi.storage.k8s.io/pod.uid");
            }),
            invalid,
            "podInfoOnMount",
        ),
        (
            publish_with(&|r| {
                inline(r);
                r.volume_capability = Some(block());
            }),
            invalid,
            "block device",
        ),
        (
            publish_with(&|r| {
                inline(r);
                r.target_path = "relative".to_owned();
            }),
            invalid,
            "target_path",
        ),
        (
            Call::Unpublish(proto::NodeUnpublishVolumeRequest {
                target_path: String::new(),
                ..unpublish(id)
            }),
            invalid,
            "target_path",
        ),
        (
            Call::Unpublish(proto::NodeUnpublishVolumeRequest {
                target_path: "a/b".to_owned(),
                ..unpublish(id)
            }),
            invalid,
            "target_path",
        ),
        (
            Call::Stats(proto::NodeGetVolumeStatsRequest {
                volume_path: String::new(),
                ..stats(id)
            }),
            invalid,
            "volume_path",
        ),
        (
            Call::Stats(proto::NodeGetVolumeStatsRequest {
                volume_path: "/nowhere".to_owned(),
                ..stats(id)
            }),
            not_found,
            "/nowhere",
        ),
    ];
    // Without an id, and with one that is none of ours.
    for (bad, code) in [("", invalid), ("vol-0123", not_found), ("1.a.b.c", not_found)] {
        calls.extend([
            (Call::Expand(expand(bad, Some(range(GIB, 0)))), code, "volume"),
            (Call::Validate(validate(bad, vec![files("")])), code, "volume"),
            (Call::Publish(publish(bad)), code, "volume"),
            (Call::Unpublish(unpublish(bad)), code, "volume"),
            (Call::Stats(stats(bad)), code, "volume"),
        ]);
    }
    calls.push((
        Call::Delete(proto::DeleteVolumeRequest::default()),
        invalid,
        "volume_id",
    ));
    // It is published.
    let delete = proto::DeleteVolumeRequest {
        volume_id: id.to_owned(),
        ..proto::DeleteVolumeRequest::default()
    };
    calls.push((Call::Delete(delete), Code::FailedPrecondition, "published"));
    calls
}

#[tokio::test]
async fn what_is_wrong_is_told_and_changes_nothing() {
    let world = World::new().await;
    let before = world.all();
    let mut wrong = Vec::new();
    for (call, code, word) in wrong_calls(&world.volume_id) {
        let told = match world.call(call.clone()).await {
            Ok(()) => "nothing".to_owned(),
            Err(status) if status.code() == code && status.message().contains(word) => String::new(),
            Err(status) => format!("{:?} {}", status.code(), status.message()),
        };
        if !told.is_empty() {
            wrong.push(format!("{call:?}\n  is to say {code:?} with {word:?}, said {told}"));
        }
        if world.all() != before {
            wrong.push(format!("{call:?} changed something"));
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Strings that other programs have come to grief with.
fn nasty(id: &str) -> Vec<String> {
    let mut all: Vec<String> = [
        "../../../etc/passwd",
        "/",
        ".",
        "..",
        "-r",
        "--help",
        "a@b",
        "a/b@c#d",
        "pool/data",
        "%2e%2e",
        "\0",
        "a\0b",
        "ü",
        "\u{202e}",
        "𝕏",
        " ",
        "\n",
        "a\nb",
        "$(reboot)",
        "`id`",
        "'",
        "\"",
        "\\",
        ";",
        "*",
        "1....",
        "....",
        "1.-.-.-",
    ]
    .map(str::to_owned)
    .into();
    all.push("x".repeat(10_000));
    all.push(format!("{id}/.."));
    all.push(format!("{id}@{id}"));
    all.push(id.to_uppercase());
    all.push(format!(" {id}"));
    all.push(format!("{id}."));
    all.push(id.replacen('1', "2", 1));
    all
}

#[tokio::test]
async fn whatever_an_id_or_a_path_says_nothing_is_reached_by_it() {
    let world = World::new().await;
    let (before, id) = (world.all(), world.volume_id.clone());
    for text in nasty(&id) {
        let calls = [
            Call::Delete(proto::DeleteVolumeRequest {
                volume_id: text.clone(),
                ..proto::DeleteVolumeRequest::default()
            }),
            Call::Expand(expand(&text, Some(range(2 * GIB, 0)))),
            Call::Validate(validate(&text, vec![files("")])),
            Call::Publish(publish(&text)),
            Call::Unpublish(unpublish(&text)),
            Call::Stats(stats(&text)),
            Call::Stats(proto::NodeGetVolumeStatsRequest {
                volume_path: text.clone(),
                ..stats(&id)
            }),
            Call::Create(proto::CreateVolumeRequest {
                volume_capabilities: vec![files(&text)],
                ..create()
            }),
        ];
        for call in calls {
            let is_delete = matches!(call, Call::Delete(_));
            let said = world.call(call.clone()).await;
            // What cannot be a volume of ours is deleted already (CSI, DeleteVolume).
            assert_eq!(said.is_ok(), is_delete, "{call:?}: {said:?}");
            assert_eq!(world.all(), before, "{call:?}");
        }
    }
}

#[tokio::test]
async fn a_name_is_only_a_name() {
    let world = World::new().await;
    let outside = |world: &World| {
        let all = world.all().0.into_keys();
        all.filter(|name| !name.starts_with("dotmesh/dotmesh/"))
            .collect::<Vec<_>>()
    };
    let before = outside(&world);
    for name in nasty(&world.volume_id) {
        let request = proto::CreateVolumeRequest {
            name: name.clone(),
            capacity_range: Some(range(1 << 20, 0)),
            ..create()
        };
        match world.csi.create_volume(Request::new(request)).await {
            Ok(made) => {
                let volume_id = made.into_inner().volume.unwrap().volume_id;
                assert!(volume_id.len() <= 128 && volume_id.is_ascii(), "{volume_id}");
            }
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{name:?}: {status}"),
        }
        assert_eq!(outside(&world), before, "{name:?}");
    }
}
