//! Both services over the fakes, by their own requests: together, held up, killed, wrong, and by chance.

mod disk;
mod held;
mod nasty;
mod orders;
mod stage;
mod story;
mod together;
mod wrong;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use dotmesh_csi_proto::csi;
use dotmesh_csi_proto::csi::controller_server::Controller;
use dotmesh_csi_proto::csi::group_controller_server::GroupController;
use dotmesh_csi_proto::csi::node_server::Node as CsiNode;
use dotmesh_csi_proto::node as proto;
use dotmesh_csi_proto::node::node_server::Node;
use dotmesh_mount::FakeMount;
use dotmesh_zfs::FakeZfs;
use tonic::{Request, Response, Status};

use super::Calls;
use super::csi::Csi;
use super::node_v1::NodeService;
use crate::metrics::Rpcs;
use crate::ops::tests::told_volumes;
use crate::ops::{Config, Pools};
use disk::{Disk, StagedFiles};
use stage::{Stage, StagedMount, StagedZfs};

/// The folder that is ours.
const STATE: &str = "/var/lib/dotmesh";

/// A host, which outlives the program.
struct World {
    zfs: FakeZfs,
    mount: FakeMount,
    stage: Stage,
    disk: Disk,
}

/// The program: both its services.
#[derive(Clone)]
struct Program {
    csi: Csi<StagedZfs, StagedMount>,
    node: NodeService<StagedZfs, StagedMount>,
}

/// Calls `$to` with all calls of both services that name something, each with its request.
macro_rules! each_call {
    ($to:ident) => {
        $to! {
            Create(csi::CreateVolumeRequest),
            Delete(csi::DeleteVolumeRequest),
            Expand(csi::ControllerExpandVolumeRequest),
            Validate(csi::ValidateVolumeCapabilitiesRequest),
            ListVolumes(csi::ListVolumesRequest),
            Modify(csi::ControllerModifyVolumeRequest),
            Capacity(csi::GetCapacityRequest),
            Snapshot(csi::CreateSnapshotRequest),
            DeleteSnapshot(csi::DeleteSnapshotRequest),
            ListSnapshots(csi::ListSnapshotsRequest),
            GetSnapshot(csi::GetSnapshotRequest),
            Group(csi::CreateVolumeGroupSnapshotRequest),
            DeleteGroup(csi::DeleteVolumeGroupSnapshotRequest),
            GetGroup(csi::GetVolumeGroupSnapshotRequest),
            VolumeHealth(csi::NodeGetVolumeHealthRequest),
            StorageHealth(csi::NodeGetStorageHealthRequest),
            GetVolumeHealth(csi::ControllerGetVolumeHealthRequest),
            ListVolumeHealth(csi::ControllerListVolumeHealthRequest),
            Publish(csi::NodePublishVolumeRequest),
            Unpublish(csi::NodeUnpublishVolumeRequest),
            Stats(csi::NodeGetVolumeStatsRequest),
            EnsurePool(proto::EnsurePoolRequest),
            EnsureDot(proto::EnsureDotRequest),
            EnsureBranch(proto::EnsureBranchRequest),
            Commit(proto::CommitRequest),
            Attach(proto::AttachRequest),
            Detach(proto::DetachRequest),
            DeleteCommit(proto::DeleteCommitRequest),
            DeleteBranch(proto::DeleteBranchRequest),
            DeleteDot(proto::DeleteDotRequest),
            DescribeDot(proto::DescribeDotRequest),
            FindMissing(proto::FindMissingRequest),
        }
    };
}
use each_call;

macro_rules! calls {
    ($($name:ident($request:ty),)*) => {
        /// A call of either service that names something.
        #[derive(Debug, Clone)]
        enum Call {
            $($name($request),)*
        }
    };
}

each_call!(calls);

impl World {
    /// What is mounted is busy for ZFS, and what ZFS has not cannot be mounted. Pools are as large as their files.
    fn new() -> Self {
        let (zfs, mount, disk) = (FakeZfs::new(), FakeMount::new(), Disk::default());
        let lengths = disk.clone();
        zfs.watch_devices(move |file| lengths.length(file));
        zfs.watch_mounts(mount.tell_sources());
        mount.watch_datasets(zfs.tell_mountable());
        mount.watch_volumes(told_volumes(&zfs));
        Self {
            zfs,
            mount,
            stage: Stage::new(),
            disk,
        }
    }

    /// The program as after a start.
    fn start(&self) -> Program {
        let zfs = StagedZfs {
            fake: self.zfs.clone(),
            stage: self.stage.clone(),
        };
        let mount = StagedMount {
            fake: self.mount.clone(),
            stage: self.stage.clone(),
        };
        let files = StagedFiles {
            disk: self.disk.clone(),
            stage: self.stage.clone(),
        };
        let config = Config {
            state_dir: STATE.into(),
            host_root: None,
            files: Arc::new(files),
        };
        let pools = Pools::new(zfs, mount, config);
        Program {
            csi: Csi::new(Arc::clone(&pools), Calls::default(), "n1".to_owned()).with_alpha(true),
            node: NodeService::new(pools, Calls::of_operator(Rpcs::default())),
        }
    }

    /// The same host, when nothing that the program still waits for is ever answered.
    fn without_the_program(self) -> Self {
        Self {
            stage: Stage::new(),
            ..self
        }
    }

    /// What is on the host, without what another host would have otherwise: names in the pools with their own
    /// properties, and mounts.
    fn state(&self) -> BTreeMap<String, String> {
        let inventory = self.zfs.inventory();
        let objects = inventory.iter();
        let objects = objects.map(|object| (object.name.clone(), format!("{:?}", object.local)));
        let mounts = self.mount.table();
        let mounts = mounts.iter().map(|entry| {
            let target = entry.target.to_string_lossy().into_owned();
            (target, format!("{} {}", entry.source, entry.readonly))
        });
        objects.chain(mounts).collect()
    }

    /// All that a call could change.
    fn all(&self) -> impl PartialEq + Debug + use<> {
        let inventory = self.zfs.inventory();
        let objects: Vec<_> = inventory.iter().map(|object| format!("{object:?}")).collect();
        (objects, self.mount.table(), self.disk.contents())
    }
}

/// Whatever can be done is done: a paused clock moves only when nobody has anything to do.
async fn quiet() {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
}

/// What was answered, in words.
fn told<T: Debug>(result: Result<Response<T>, Status>) -> Result<String, Status> {
    result.map(|response| format!("{:?}", response.into_inner()))
}

impl Program {
    async fn call(&self, call: Call) -> Result<String, Status> {
        let Self { csi, node } = self;
        match call {
            Call::Create(request) => told(csi.create_volume(Request::new(request)).await),
            Call::Delete(request) => told(csi.delete_volume(Request::new(request)).await),
            Call::Expand(request) => told(csi.controller_expand_volume(Request::new(request)).await),
            Call::Validate(request) => told(csi.validate_volume_capabilities(Request::new(request)).await),
            Call::ListVolumes(request) => told(csi.list_volumes(Request::new(request)).await),
            Call::Modify(request) => told(csi.controller_modify_volume(Request::new(request)).await),
            Call::Capacity(request) => told(csi.get_capacity(Request::new(request)).await),
            Call::Snapshot(request) => told(csi.create_snapshot(Request::new(request)).await),
            Call::DeleteSnapshot(request) => told(csi.delete_snapshot(Request::new(request)).await),
            Call::ListSnapshots(request) => told(csi.list_snapshots(Request::new(request)).await),
            Call::GetSnapshot(request) => told(csi.get_snapshot(Request::new(request)).await),
            Call::Group(request) => told(csi.create_volume_group_snapshot(Request::new(request)).await),
            Call::DeleteGroup(request) => told(csi.delete_volume_group_snapshot(Request::new(request)).await),
            Call::GetGroup(request) => told(csi.get_volume_group_snapshot(Request::new(request)).await),
            Call::VolumeHealth(request) => told(csi.node_get_volume_health(Request::new(request)).await),
            Call::StorageHealth(request) => told(csi.node_get_storage_health(Request::new(request)).await),
            Call::GetVolumeHealth(request) => told(csi.controller_get_volume_health(Request::new(request)).await),
            Call::ListVolumeHealth(request) => told(csi.controller_list_volume_health(Request::new(request)).await),
            Call::Publish(request) => told(csi.node_publish_volume(Request::new(request)).await),
            Call::Unpublish(request) => told(csi.node_unpublish_volume(Request::new(request)).await),
            Call::Stats(request) => told(csi.node_get_volume_stats(Request::new(request)).await),
            Call::EnsurePool(request) => told(node.ensure_pool(Request::new(request)).await),
            Call::EnsureDot(request) => told(node.ensure_dot(Request::new(request)).await),
            Call::EnsureBranch(request) => told(node.ensure_branch(Request::new(request)).await),
            Call::Commit(request) => told(node.commit(Request::new(request)).await),
            Call::Attach(request) => told(node.attach(Request::new(request)).await),
            Call::Detach(request) => told(node.detach(Request::new(request)).await),
            Call::DeleteCommit(request) => told(node.delete_commit(Request::new(request)).await),
            Call::DeleteBranch(request) => told(node.delete_branch(Request::new(request)).await),
            Call::DeleteDot(request) => told(node.delete_dot(Request::new(request)).await),
            Call::DescribeDot(request) => told(node.describe_dot(Request::new(request)).await),
            Call::FindMissing(request) => told(node.find_missing(Request::new(request)).await),
        }
    }
}
