//! Arbitrary bytes as a request to any call of both services, over the fakes: nothing panics, and nothing that is not
//! ours changes.

#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dotmesh_csi_node::edge::Calls;
use dotmesh_csi_node::edge::csi::Csi;
use dotmesh_csi_node::edge::node_v1::NodeService;
use dotmesh_csi_node::ops::{Config, Device, Error, Files, Found, Pools};
use dotmesh_csi_proto::csi;
use dotmesh_csi_proto::csi::controller_server::Controller;
use dotmesh_csi_proto::csi::group_controller_server::GroupController;
use dotmesh_csi_proto::csi::node_server::Node as CsiNode;
use dotmesh_csi_proto::node as proto;
use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_csi_proto::node::node_server::Node;
use dotmesh_mount::FakeMount;
use dotmesh_zfs::{CreateKind, CreateRequest, FakeZfs, Properties, Zfs};
use futures::FutureExt;
use futures::future::BoxFuture;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use tonic::{Code, Request, Response, Status};

/// Files in memory: content, and how long they are.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<BTreeMap<PathBuf, (Vec<u8>, u64)>>>);

impl Disk {
    fn with<'a, T: Send + 'a>(
        &self,
        work: impl FnOnce(&mut BTreeMap<PathBuf, (Vec<u8>, u64)>) -> T,
    ) -> BoxFuture<'a, T> {
        std::future::ready(work(&mut self.0.lock().unwrap())).boxed()
    }
}

impl Files for Disk {
    fn read<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        self.with(|files| Ok(files.get(file).map(|(content, _)| content.clone())))
    }

    fn list<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        self.with(|files| {
            let below = files.keys().filter(|file| file.parent() == Some(folder));
            let names = below.filter_map(|file| file.file_name());
            Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
        })
    }

    fn replace<'a>(&'a self, file: &'a Path, content: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        self.with(|files| {
            let length = content.len() as u64;
            files.insert(file.to_owned(), (content, length));
            Ok(())
        })
    }

    fn remove<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.with(|files| {
            files.remove(file);
            Ok(())
        })
    }

    fn look<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Found, Error>> {
        self.with(|files| {
            Ok(match files.get(path) {
                None => Found::Nothing,
                Some((_, 0)) => Found::Empty,
                Some(_) => Found::File,
            })
        })
    }

    fn allocate<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<(), Error>> {
        self.with(|files| {
            files.entry(path.to_owned()).or_default().1 = size;
            Ok(())
        })
    }

    fn grow<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<u64, Error>> {
        self.with(|files| {
            let (_, length) = files.entry(path.to_owned()).or_default();
            *length = size.max(*length);
            Ok(*length)
        })
    }

    fn look_at_device<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Device, Error>> {
        let none = Error::Invalid(format!("{} is no block device", path.display()));
        std::future::ready(Err(none)).boxed()
    }
}

/// A host with a pool, and in it a dataset that is not ours.
struct World {
    zfs: FakeZfs,
    csi: Csi<FakeZfs, FakeMount>,
    node: NodeService<FakeZfs, FakeMount>,
}

impl World {
    async fn new() -> Self {
        let (zfs, mount, disk) = (FakeZfs::new(), FakeMount::new(), Disk::default());
        let lengths = disk.clone();
        zfs.watch_devices(move |file| lengths.0.lock().unwrap().get(file).map(|(_, length)| *length));
        zfs.watch_mounts(mount.tell_sources());
        mount.watch_datasets(zfs.tell_mountable());
        let config = Config {
            state_dir: "/var/lib/dotmesh".into(),
            host_root: None,
            files: Arc::new(disk),
        };
        let pools = Pools::new(zfs.clone(), mount, config);
        let world = Self {
            zfs,
            csi: Csi::new(Arc::clone(&pools), Calls::default(), "n1".to_owned()).with_alpha(true),
            node: NodeService::new(pools, Calls::default()),
        };
        let pool = proto::EnsurePoolRequest {
            name: "first".to_owned(),
            known_guid: 0,
            source: Some(Source::File(proto::PoolFile {
                path: "/var/lib/dotmesh/first.img".to_owned(),
                size_bytes: 64 << 30,
            })),
            newest: None,
        };
        world.node.ensure_pool(Request::new(pool)).await.unwrap();
        let theirs = CreateRequest {
            dataset: "first/other".parse().unwrap(),
            kind: CreateKind::Filesystem,
            properties: Properties::new(),
            parents: false,
        };
        world.zfs.create(&theirs).await.unwrap();
        world
    }

    /// What is in the pool and not ours.
    fn foreign(&self) -> Vec<String> {
        let inventory = self.zfs.inventory();
        let theirs = inventory
            .iter()
            .filter(|object| !object.name.starts_with("first/dotmesh"));
        let theirs = theirs.filter(|object| object.name.starts_with("first"));
        theirs
            .map(|object| format!("{} {:?} {:?}", object.name, object.guid, object.local))
            .collect()
    }
}

fn checked<T>(result: Result<Response<T>, Status>) {
    if let Err(status) = result {
        assert!(
            status.code() != Code::Internal || !status.message().contains("panic"),
            "{status:?}"
        );
    }
}

macro_rules! calls {
    ($world:ident, $kind:ident, $bytes:ident, $($number:literal => $service:ident.$call:ident($request:ty)),* $(,)?) => {
        match $kind {
            $($number => if let Ok(request) = <$request>::decode($bytes) {
                checked($world.$service.$call(Request::new(request)).await);
            },)*
            _ => {}
        }
    };
}

async fn call(world: &World, kind: u8, bytes: &[u8]) {
    calls! {
        world, kind, bytes,
        0 => csi.create_volume(csi::CreateVolumeRequest),
        1 => csi.delete_volume(csi::DeleteVolumeRequest),
        2 => csi.controller_expand_volume(csi::ControllerExpandVolumeRequest),
        3 => csi.validate_volume_capabilities(csi::ValidateVolumeCapabilitiesRequest),
        4 => csi.node_publish_volume(csi::NodePublishVolumeRequest),
        5 => csi.node_unpublish_volume(csi::NodeUnpublishVolumeRequest),
        6 => csi.node_get_volume_stats(csi::NodeGetVolumeStatsRequest),
        7 => node.ensure_pool(proto::EnsurePoolRequest),
        8 => node.ensure_dot(proto::EnsureDotRequest),
        9 => node.ensure_branch(proto::EnsureBranchRequest),
        10 => node.commit(proto::CommitRequest),
        11 => node.attach(proto::AttachRequest),
        12 => node.detach(proto::DetachRequest),
        13 => node.delete_commit(proto::DeleteCommitRequest),
        14 => node.delete_branch(proto::DeleteBranchRequest),
        15 => node.delete_dot(proto::DeleteDotRequest),
        16 => node.describe_dot(proto::DescribeDotRequest),
        17 => node.find_missing(proto::FindMissingRequest),
        18 => csi.list_volumes(csi::ListVolumesRequest),
        19 => csi.controller_modify_volume(csi::ControllerModifyVolumeRequest),
        20 => csi.get_capacity(csi::GetCapacityRequest),
        21 => csi.create_snapshot(csi::CreateSnapshotRequest),
        22 => csi.delete_snapshot(csi::DeleteSnapshotRequest),
        23 => csi.list_snapshots(csi::ListSnapshotsRequest),
        24 => csi.get_snapshot(csi::GetSnapshotRequest),
        25 => csi.create_volume_group_snapshot(csi::CreateVolumeGroupSnapshotRequest),
        26 => csi.delete_volume_group_snapshot(csi::DeleteVolumeGroupSnapshotRequest),
        27 => csi.get_volume_group_snapshot(csi::GetVolumeGroupSnapshotRequest),
        28 => csi.node_get_volume_health(csi::NodeGetVolumeHealthRequest),
        29 => csi.node_get_storage_health(csi::NodeGetStorageHealthRequest),
        30 => csi.controller_get_volume_health(csi::ControllerGetVolumeHealthRequest),
        31 => csi.controller_list_volume_health(csi::ControllerListVolumeHealthRequest),
    }
}

fuzz_target!(|calls: Vec<(u8, Vec<u8>)>| {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new().await;
        let before = world.foreign();
        for (kind, bytes) in &calls {
            call(&world, kind % 32, bytes).await;
            assert_eq!(world.foreign(), before);
        }
    });
});
