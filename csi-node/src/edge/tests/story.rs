//! A story of every call that changes something, each after those that it needs, with volumes of every format.

use dotmesh_csi_proto::csi;
use dotmesh_csi_proto::csi::volume_capability::access_mode::Mode;
use dotmesh_csi_proto::csi::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use dotmesh_csi_proto::csi::volume_content_source::{SnapshotSource, Type, VolumeSource};
use dotmesh_csi_proto::node as proto;
use dotmesh_csi_proto::node::VolumeFormat;
use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_model::handle::Handle;
use dotmesh_model::id::{ClaimUid, DotId, VolumeId};
use dotmesh_zfs::PoolName;
use uuid::Uuid;

use super::{Call, Program, World};
use crate::edge::csi::first;

/// The pool of all stories; the first of a host by its name.
pub(super) const POOL: &str = "first";
/// Bytes of a volume: the least of an xfs, and a little.
pub(super) const SIZE: u64 = 320 << 20;
/// Its volumes.
pub(super) const VOLUMES: [(&str, VolumeFormat); 4] = [
    ("zfs", VolumeFormat::Zfs),
    ("ext4", VolumeFormat::Ext4),
    ("xfs", VolumeFormat::Xfs),
    ("raw", VolumeFormat::Block),
];

pub(super) fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + n)
}

/// A Dot, its default branch, and those that are numbered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dot {
    /// Told apart by it; below 16.
    pub(super) number: u128,
    /// The GUID of its pool.
    pub(super) pool: u64,
}

impl Dot {
    pub(super) fn id(self) -> DotId {
        DotId::new(uuid(self.number))
    }

    pub(super) fn branch_id(self, branch: u128) -> String {
        uuid(self.number << 16 | 0x1000 | branch).to_string()
    }

    pub(super) fn commit_id(self, commit: u128) -> String {
        uuid(self.number << 16 | 0x2000 | commit).to_string()
    }

    pub(super) fn volume_id(self, name: &str) -> VolumeId {
        VolumeId::derive(self.id(), name)
    }

    /// The claim on the volume of that number.
    pub(super) fn claim(self, volume: u128) -> ClaimUid {
        ClaimUid::new(uuid(self.number << 16 | 0x3000 | volume))
    }

    pub(super) fn handle(self, volume: u128) -> String {
        let (name, _) = VOLUMES[usize::try_from(volume).unwrap()];
        let handle = Handle {
            dot: self.id(),
            volume: self.volume_id(name),
            claim: self.claim(volume),
        };
        handle.to_string()
    }

    pub(super) fn ensure(self) -> proto::EnsureDotRequest {
        proto::EnsureDotRequest {
            dot_id: self.id().to_string(),
            namespace: "dev".to_owned(),
            name: "shop".to_owned(),
            pool_guid: self.pool,
            take_over: false,
        }
    }

    pub(super) fn branch(self, branch: u128) -> proto::EnsureBranchRequest {
        let volume = |(name, format): (&str, VolumeFormat)| proto::Volume {
            id: self.volume_id(name).to_string(),
            name: name.to_owned(),
            size_bytes: SIZE,
            known_guid: 0,
            format: format.into(),
            tuning: Some(proto::Tuning {
                compression: "zstd".to_owned(),
                ..proto::Tuning::default()
            }),
            adopted_snapshot: String::new(),
            origin: None,
        };
        proto::EnsureBranchRequest {
            dot_id: self.id().to_string(),
            branch_id: self.branch_id(branch),
            branch_name: format!("branch-{branch}"),
            head_id: self.branch_id(branch),
            volumes: VOLUMES.map(volume).into(),
            origin: None,
            checkout: branch == 0,
            pool_guid: self.pool,
            object_name: format!("shop-{branch}"),
        }
    }

    /// A branch from a commit of the default branch.
    pub(super) fn fork(self, world: &World, pool: &str, branch: u128, commit: u128) -> proto::EnsureBranchRequest {
        let head = format!("{pool}/dotmesh/{}/{}", self.id(), self.branch_id(0));
        let inventory = world.zfs.inventory();
        let guid = |name: &str| {
            let volume = self.volume_id(name).to_string();
            let snapshot = format!("{head}/{volume}@{}", self.commit_id(commit));
            (volume, inventory.get(&snapshot).unwrap().guid.0)
        };
        proto::EnsureBranchRequest {
            origin: Some(proto::Origin {
                commit_id: self.commit_id(commit),
                head_id: self.branch_id(0),
                snapshot_guids: VOLUMES.map(|(name, _)| guid(name)).into(),
            }),
            ..self.branch(branch)
        }
    }

    pub(super) fn commit(self, commit: u128) -> proto::CommitRequest {
        self.commit_of(0, commit)
    }

    /// A commit of the default branch, together with one of branch 1.
    pub(super) fn commit_together(self, commit: u128) -> proto::CommitRequest {
        proto::CommitRequest {
            together: vec![self.commit_of(1, commit + 10)],
            ..self.commit(commit)
        }
    }

    fn commit_of(self, branch: u128, commit: u128) -> proto::CommitRequest {
        proto::CommitRequest {
            dot_id: self.id().to_string(),
            branch_id: self.branch_id(branch),
            head_id: self.branch_id(branch),
            commit_id: self.commit_id(commit),
            volume_ids: VOLUMES.map(|(name, _)| self.volume_id(name).to_string()).into(),
            record: None,
            pool_guid: self.pool,
            together: Vec::new(),
        }
    }

    pub(super) fn attach(self, volume: u128) -> proto::AttachRequest {
        let (name, _) = VOLUMES[usize::try_from(volume).unwrap()];
        proto::AttachRequest {
            dot_id: self.id().to_string(),
            claim_uid: self.claim(volume).to_string(),
            volume_id: self.volume_id(name).to_string(),
            branch_id: String::new(),
            pool_guid: self.pool,
        }
    }

    pub(super) fn detach(self, volume: u128) -> proto::DetachRequest {
        proto::DetachRequest {
            dot_id: self.id().to_string(),
            claim_uid: self.claim(volume).to_string(),
            pool_guid: self.pool,
        }
    }

    pub(super) fn publish(self, volume: u128, target: &str) -> csi::NodePublishVolumeRequest {
        let (_, format) = VOLUMES[usize::try_from(volume).unwrap()];
        publish(&self.handle(volume), target, format)
    }

    pub(super) fn unpublish(self, volume: u128, target: &str) -> csi::NodeUnpublishVolumeRequest {
        unpublish(&self.handle(volume), target)
    }

    pub(super) fn delete_commit(self, commit: u128) -> proto::DeleteCommitRequest {
        self.delete_commit_of(0, commit)
    }

    /// Of the two that [`Self::commit_together`] takes, that of branch 1.
    pub(super) fn delete_other(self, commit: u128) -> proto::DeleteCommitRequest {
        self.delete_commit_of(1, commit + 10)
    }

    fn delete_commit_of(self, branch: u128, commit: u128) -> proto::DeleteCommitRequest {
        proto::DeleteCommitRequest {
            dot_id: self.id().to_string(),
            commit_id: self.commit_id(commit),
            head_id: self.branch_id(branch),
            pool_guid: self.pool,
        }
    }

    pub(super) fn delete_branch(self, branch: u128) -> proto::DeleteBranchRequest {
        proto::DeleteBranchRequest {
            dot_id: self.id().to_string(),
            branch_id: self.branch_id(branch),
            head_ids: vec![self.branch_id(branch)],
            pool_guid: self.pool,
        }
    }

    pub(super) fn delete(self) -> proto::DeleteDotRequest {
        proto::DeleteDotRequest {
            dot_id: self.id().to_string(),
            pool_guid: self.pool,
        }
    }
}

pub(super) fn capability(format: VolumeFormat) -> csi::VolumeCapability {
    let files = |fs_type: &str| {
        AccessType::Mount(MountVolume {
            fs_type: fs_type.to_owned(),
            ..MountVolume::default()
        })
    };
    let access_type = match format {
        VolumeFormat::Ext4 => files("ext4"),
        VolumeFormat::Xfs => files("xfs"),
        VolumeFormat::Block => AccessType::Block(BlockVolume {}),
        VolumeFormat::Zfs | VolumeFormat::Unspecified => files(""),
    };
    csi::VolumeCapability {
        access_type: Some(access_type),
        access_mode: Some(AccessMode {
            mode: Mode::SingleNodeWriter.into(),
        }),
    }
}

pub(super) fn publish(volume_id: &str, target: &str, format: VolumeFormat) -> csi::NodePublishVolumeRequest {
    csi::NodePublishVolumeRequest {
        volume_id: volume_id.to_owned(),
        target_path: target.to_owned(),
        volume_capability: Some(capability(format)),
        ..csi::NodePublishVolumeRequest::default()
    }
}

pub(super) fn unpublish(volume_id: &str, target: &str) -> csi::NodeUnpublishVolumeRequest {
    csi::NodeUnpublishVolumeRequest {
        volume_id: volume_id.to_owned(),
        target_path: target.to_owned(),
    }
}

/// A plain volume of CSI of so many times [`SIZE`], of the format of that number.
pub(super) fn create(name: &str, volume: usize, times: u64) -> csi::CreateVolumeRequest {
    csi::CreateVolumeRequest {
        name: name.to_owned(),
        capacity_range: Some(range(times)),
        volume_capabilities: vec![capability(VOLUMES[volume].1)],
        ..csi::CreateVolumeRequest::default()
    }
}

fn range(times: u64) -> csi::CapacityRange {
    csi::CapacityRange {
        required_bytes: i64::try_from(times * SIZE).unwrap(),
        limit_bytes: 0,
    }
}

pub(super) fn expand(volume_id: &str, times: u64) -> csi::ControllerExpandVolumeRequest {
    csi::ControllerExpandVolumeRequest {
        volume_id: volume_id.to_owned(),
        capacity_range: Some(range(times)),
        ..csi::ControllerExpandVolumeRequest::default()
    }
}

pub(super) fn take(name: &str, source: &str) -> csi::CreateSnapshotRequest {
    csi::CreateSnapshotRequest {
        name: name.to_owned(),
        source_volume_id: source.to_owned(),
        ..csi::CreateSnapshotRequest::default()
    }
}

/// A volume of the same format from a snapshot.
pub(super) fn restore(name: &str, volume: usize, snapshot_id: &str) -> csi::CreateVolumeRequest {
    let snapshot_id = snapshot_id.to_owned();
    of_source(name, volume, Type::Snapshot(SnapshotSource { snapshot_id }))
}

/// A volume of the same format from another.
pub(super) fn clone(name: &str, volume: usize, volume_id: &str) -> csi::CreateVolumeRequest {
    let volume_id = volume_id.to_owned();
    of_source(name, volume, Type::Volume(VolumeSource { volume_id }))
}

fn of_source(name: &str, volume: usize, source: Type) -> csi::CreateVolumeRequest {
    csi::CreateVolumeRequest {
        volume_content_source: Some(csi::VolumeContentSource { r#type: Some(source) }),
        ..create(name, volume, 1)
    }
}

pub(super) fn delete(volume_id: &str) -> csi::DeleteVolumeRequest {
    csi::DeleteVolumeRequest {
        volume_id: volume_id.to_owned(),
        ..csi::DeleteVolumeRequest::default()
    }
}

pub(super) fn delete_snapshot(snapshot_id: &str) -> csi::DeleteSnapshotRequest {
    csi::DeleteSnapshotRequest {
        snapshot_id: snapshot_id.to_owned(),
        ..csi::DeleteSnapshotRequest::default()
    }
}

/// The id of the volume that was made, by the answer.
pub(super) fn told_id(answer: &str) -> String {
    let rest = answer.split("volume_id: \"").nth(1);
    rest.and_then(|rest| rest.split('"').next()).unwrap().to_owned()
}

impl World {
    pub(super) fn pool_request(&self, name: &str) -> proto::EnsurePoolRequest {
        proto::EnsurePoolRequest {
            name: name.to_owned(),
            known_guid: 0,
            source: Some(Source::File(proto::PoolFile {
                path: format!("/var/lib/dotmesh/{name}.img"),
                size_bytes: 64 << 30,
            })),
            newest: None,
        }
    }

    /// The GUID of a pool.
    pub(super) async fn guid(&self, pool: &str) -> u64 {
        use dotmesh_zfs::Zfs;
        let name: PoolName = pool.parse().unwrap();
        self.zfs.pool_get(&name).await.map_or(0, |status| status.guid.0)
    }

    /// The handle of the plain volume, of which there is one: the program says it to whoever asks for the volume.
    pub(super) fn plain_id(&self) -> String {
        let inventory = self.zfs.inventory();
        let dot = inventory.iter().find_map(|object| {
            let parts: Vec<&str> = object.name.split('/').collect();
            let [_, _, dot, _, volume] = parts[..] else { return None };
            Some((DotId::new(dot.parse().ok()?), volume.parse().ok()?))
        });
        let (dot, volume) = dot.unwrap();
        let claim = ClaimUid::new(Uuid::new_v5(&dot.uuid(), b"claim"));
        Handle { dot, volume, claim }.to_string()
    }
}

/// A call that changes something, after those that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    EnsurePool,
    /// A volume of CSI by itself, of the format of that number; and what is done with it.
    Create(usize),
    PublishPlain(usize),
    Expand(usize),
    UnpublishPlain(usize),
    Delete(usize),
    /// What is made of it: a snapshot, volumes from that and from itself, and a group of the latter and itself.
    Modify(usize),
    Snapshot(usize),
    Restore(usize),
    Clone(usize),
    PublishClone(usize),
    UnpublishClone(usize),
    Group(usize),
    DeleteGroup,
    DeleteSnapshot(usize),
    DeleteRestored(usize),
    DeleteClone(usize),
    DeleteSource(usize),
    /// A Dot, and what is done with its volume, commit or branch of that number.
    EnsureDot,
    EnsureBranch,
    Attach(u128),
    Publish(u128),
    Commit(u128),
    Fork(u128),
    /// Of two branches at once.
    Together(u128),
    Unpublish(u128),
    Detach(u128),
    DeleteCommit(u128),
    DeleteOther(u128),
    DeleteBranch(u128),
    DeleteDot,
}

/// What becomes of a volume of CSI by itself.
pub(super) fn of_plain(volume: usize) -> Vec<Step> {
    vec![
        Step::EnsurePool,
        Step::Create(volume),
        Step::PublishPlain(volume),
        Step::Expand(volume),
        Step::UnpublishPlain(volume),
        Step::Delete(volume),
    ]
}

/// What becomes of a snapshot, and of a volume that is made from it, which outlives both.
pub(super) fn of_snapshots(volume: usize) -> Vec<Step> {
    vec![
        Step::EnsurePool,
        Step::Create(volume),
        Step::Modify(volume),
        Step::Snapshot(volume),
        Step::Restore(volume),
        Step::DeleteSource(volume),
        Step::DeleteSnapshot(volume),
        Step::DeleteRestored(volume),
    ]
}

/// What becomes of a clone, and of a group of it and its source.
pub(super) fn of_clones(volume: usize) -> Vec<Step> {
    vec![
        Step::EnsurePool,
        Step::Create(volume),
        Step::Clone(volume),
        Step::PublishClone(volume),
        Step::Group(volume),
        Step::UnpublishClone(volume),
        Step::DeleteClone(volume),
        Step::DeleteSource(volume),
        Step::DeleteGroup,
    ]
}

/// What becomes of a Dot.
pub(super) fn of_dot() -> Vec<Step> {
    let begin = [Step::EnsurePool, Step::EnsureDot, Step::EnsureBranch];
    let claims = (0..4).flat_map(|volume| [Step::Attach(volume), Step::Publish(volume)]);
    let commits = [Step::Commit(0), Step::Fork(1), Step::Commit(1), Step::Together(2)];
    let gone = (0..4).flat_map(|volume| [Step::Unpublish(volume), Step::Detach(volume)]);
    let end = [
        Step::DeleteOther(2),
        Step::DeleteCommit(2),
        Step::DeleteCommit(1),
        Step::DeleteCommit(0),
        Step::DeleteBranch(1),
        Step::DeleteBranch(0),
        Step::DeleteDot,
    ];
    let all = begin.into_iter().chain(claims).chain(commits).chain(gone).chain(end);
    all.collect()
}

/// All stories.
pub(super) fn stories() -> Vec<Vec<Step>> {
    let plain = (0..VOLUMES.len()).map(of_plain);
    plain.chain([of_dot(), of_snapshots(0), of_clones(0)]).collect()
}

/// Where a pod has the volume of that number.
pub(super) fn target(volume: impl std::fmt::Display) -> String {
    format!("/pods/{volume}/mount")
}

impl Step {
    /// The call, on a host where those before it were made.
    pub(super) async fn call(self, world: &World) -> Call {
        let dot = Dot {
            number: 1,
            pool: world.guid(POOL).await,
        };
        let name = |volume: usize| format!("plain-{volume}");
        match self {
            Self::EnsurePool => Call::EnsurePool(world.pool_request(POOL)),
            Self::Create(volume) => Call::Create(create(&name(volume), volume, 1)),
            Self::PublishPlain(volume) => {
                let (_, format) = VOLUMES[volume];
                Call::Publish(publish(&world.plain_id(), &target(name(volume)), format))
            }
            Self::Expand(_) => Call::Expand(expand(&world.plain_id(), 2)),
            Self::UnpublishPlain(volume) => Call::Unpublish(unpublish(&world.plain_id(), &target(name(volume)))),
            Self::Delete(_) => Call::Delete(delete(&world.plain_id())),
            Self::Modify(volume) => Call::Modify(csi::ControllerModifyVolumeRequest {
                volume_id: first::volume(&name(volume), &name(volume)),
                mutable_parameters: [("compression".to_owned(), "lz4".to_owned())].into(),
                ..csi::ControllerModifyVolumeRequest::default()
            }),
            Self::Snapshot(volume) => {
                let source = first::volume(&name(volume), &name(volume));
                Call::Snapshot(take("snapshot", &source))
            }
            Self::Restore(volume) => {
                let snapshot = first::snapshot("snapshot", &name(volume));
                Call::Create(restore("restored", volume, &snapshot))
            }
            Self::Clone(volume) => {
                let source = first::volume(&name(volume), &name(volume));
                Call::Create(clone("clone", volume, &source))
            }
            Self::PublishClone(volume) => {
                let id = first::volume("clone", &name(volume));
                Call::Publish(publish(&id, &target("clone"), VOLUMES[volume].1))
            }
            Self::UnpublishClone(volume) => {
                Call::Unpublish(unpublish(&first::volume("clone", &name(volume)), &target("clone")))
            }
            Self::Group(volume) => {
                let of = [&name(volume), "clone"].map(|of| first::volume(of, &name(volume)));
                Call::Group(csi::CreateVolumeGroupSnapshotRequest {
                    name: "group".to_owned(),
                    source_volume_ids: of.into(),
                    ..csi::CreateVolumeGroupSnapshotRequest::default()
                })
            }
            Self::DeleteGroup => Call::DeleteGroup(csi::DeleteVolumeGroupSnapshotRequest {
                group_snapshot_id: first::group("group"),
                ..csi::DeleteVolumeGroupSnapshotRequest::default()
            }),
            Self::DeleteSnapshot(volume) => {
                Call::DeleteSnapshot(delete_snapshot(&first::snapshot("snapshot", &name(volume))))
            }
            Self::DeleteRestored(volume) => Call::Delete(delete(&first::volume("restored", &name(volume)))),
            Self::DeleteClone(volume) => Call::Delete(delete(&first::volume("clone", &name(volume)))),
            Self::DeleteSource(volume) => Call::Delete(delete(&first::volume(&name(volume), &name(volume)))),
            Self::EnsureDot => Call::EnsureDot(dot.ensure()),
            Self::EnsureBranch => Call::EnsureBranch(dot.branch(0)),
            Self::Attach(volume) => Call::Attach(dot.attach(volume)),
            Self::Publish(volume) => Call::Publish(dot.publish(volume, &target(volume))),
            Self::Commit(commit) => Call::Commit(dot.commit(commit)),
            Self::Fork(branch) => Call::EnsureBranch(dot.fork(world, POOL, branch, 0)),
            Self::Together(commit) => Call::Commit(dot.commit_together(commit)),
            Self::Unpublish(volume) => Call::Unpublish(dot.unpublish(volume, &target(volume))),
            Self::Detach(volume) => Call::Detach(dot.detach(volume)),
            Self::DeleteCommit(commit) => Call::DeleteCommit(dot.delete_commit(commit)),
            Self::DeleteOther(commit) => Call::DeleteCommit(dot.delete_other(commit)),
            Self::DeleteBranch(branch) => Call::DeleteBranch(dot.delete_branch(branch)),
            Self::DeleteDot => Call::DeleteDot(dot.delete()),
        }
    }
}

impl World {
    /// A host on which these were done, with the program that did them.
    pub(super) async fn after(steps: &[Step]) -> (Self, Program) {
        let world = Self::new();
        let program = world.start();
        for step in steps {
            let call = step.call(&world).await;
            program.call(call).await.unwrap();
        }
        world.stage.clear();
        (world, program)
    }
}
