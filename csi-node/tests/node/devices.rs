//! Volumes of every format on real devices: what a commit holds that was never synced, branches beside their origin,
//! growth while mounted, and nothing left in the end.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use dotmesh_csi_proto::csi::node_client::NodeClient;
use dotmesh_csi_proto::csi::volume_capability::{AccessType, BlockVolume, MountVolume};
use dotmesh_csi_proto::csi::{NodeGetVolumeStatsRequest, VolumeCapability};
use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_csi_proto::node::{
    AttachRequest, DeleteDotRequest, EnsureBranchRequest, EnsurePoolRequest, PoolFile, Tuning, Volume, VolumeFormat,
};
use dotmesh_model::handle::Handle;
use tonic::Code;
use uuid::Uuid;

use crate::machine::{Dot, Machine, capability, run};

const MIB: u64 = 1 << 20;
/// The least that an xfs has is 300 MiB.
const FORMATS: [(&str, VolumeFormat, u64); 4] = [
    ("native", VolumeFormat::Zfs, 64 * MIB),
    ("ext", VolumeFormat::Ext4, 64 * MIB),
    ("xfs", VolumeFormat::Xfs, 320 * MIB),
    ("raw", VolumeFormat::Block, 64 * MIB),
];

/// A branch with a volume of each format, of that many times its size.
fn branch(request: EnsureBranchRequest, dot: &Dot, times: u64) -> EnsureBranchRequest {
    let volumes = FORMATS.map(|(name, format, size)| Volume {
        id: dot.volume(name).to_string(),
        name: name.into(),
        size_bytes: size * times,
        format: format.into(),
        ..Volume::default()
    });
    EnsureBranchRequest {
        volumes: volumes.into(),
        ..request
    }
}

pub(crate) fn asked(format: VolumeFormat) -> VolumeCapability {
    let files = |fs_type: &str| {
        AccessType::Mount(MountVolume {
            fs_type: fs_type.into(),
            ..MountVolume::default()
        })
    };
    let access_type = match format {
        VolumeFormat::Ext4 => files("ext4"),
        VolumeFormat::Xfs => files("xfs"),
        VolumeFormat::Block => AccessType::Block(BlockVolume {}),
        VolumeFormat::Zfs | VolumeFormat::Unspecified => files(""),
    };
    VolumeCapability {
        access_type: Some(access_type),
        ..capability()
    }
}

/// The claim of a volume on a branch, at its target.
async fn claim(machine: &Machine, dot: &Dot, name: &str, format: VolumeFormat, on: Uuid) -> (Handle, PathBuf) {
    let claim = Uuid::new_v4();
    let attach = AttachRequest {
        dot_id: dot.id.to_string(),
        claim_uid: claim.to_string(),
        volume_id: dot.volume(name).to_string(),
        branch_id: on.to_string(),
        pool_guid: dot.pool,
    };
    machine.node().await.attach(attach).await.unwrap();
    let (handle, target) = (dot.handle(name, claim), machine.target(&format!("{name}-{on}")));
    for _ in 0..2 {
        machine.publish_as(handle, &target, asked(format)).await.unwrap();
    }
    (handle, target)
}

/// Writes, and leaves it in the page cache: of a device, as long as what is returned is not closed.
fn write(target: &Path, format: VolumeFormat, text: &str) -> Option<File> {
    if format == VolumeFormat::Block {
        let mut device = File::options().write(true).open(target).unwrap();
        device.seek(SeekFrom::Start(MIB)).unwrap();
        device.write_all(text.as_bytes()).unwrap();
        Some(device)
    } else {
        fs::write(target.join("state"), text).unwrap();
        None
    }
}

fn read(target: &Path, format: VolumeFormat) -> String {
    if format == VolumeFormat::Block {
        let mut device = File::open(target).unwrap();
        device.seek(SeekFrom::Start(MIB)).unwrap();
        let mut text = [0; 4];
        device.read_exact(&mut text).unwrap();
        String::from_utf8(text.into()).unwrap()
    } else {
        fs::read_to_string(target.join("state")).unwrap()
    }
}

async fn total(machine: &Machine, handle: Handle, target: &Path) -> (u64, usize) {
    let request = NodeGetVolumeStatsRequest {
        volume_id: handle.to_string(),
        volume_path: target.to_string_lossy().into_owned(),
        ..NodeGetVolumeStatsRequest::default()
    };
    let mut node = NodeClient::new(machine.csi().await);
    let usage = node.node_get_volume_stats(request).await.unwrap().into_inner().usage;
    (u64::try_from(usage[0].total).unwrap(), usage.len())
}

#[tokio::test]
async fn every_format_lives_through_commit_branch_growth_and_deletion() {
    let machine = Machine::new().await;
    let pool = EnsurePoolRequest {
        source: Some(Source::File(PoolFile {
            path: machine.pool_file().to_string_lossy().into_owned(),
            size_bytes: 4 << 30,
        })),
        ..machine.pool_request()
    };
    let mut node = machine.node().await;
    node.ensure_pool(pool).await.unwrap();
    let dot = Dot::on(&machine);
    node.ensure_dot(dot.ensure()).await.unwrap();
    let main = branch(dot.branch(dot.main), &dot, 1);
    let made = node.ensure_branch(main.clone()).await.unwrap().into_inner();
    let again = node.ensure_branch(main).await.unwrap().into_inner();
    assert_eq!(made, again);
    for (name, format, size) in FORMATS {
        let state = made
            .volumes
            .iter()
            .find(|state| state.id == dot.volume(name).to_string());
        let state = state.unwrap();
        assert_eq!((state.format(), state.size_bytes), (format, size));
    }

    let (mut claims, mut open) = (Vec::new(), Vec::new());
    for (name, format, _) in FORMATS {
        let (handle, target) = claim(&machine, &dot, name, format, dot.main).await;
        open.push(write(&target, format, "then"));
        claims.push((name, format, handle, target));
    }
    let commit = Uuid::new_v4();
    let mut request = dot.commit(commit, dot.main);
    request.volume_ids = FORMATS.map(|(name, ..)| dot.volume(name).to_string()).into();
    let taken = node.commit(request).await.unwrap().into_inner();
    assert_eq!(taken.snapshots.len(), FORMATS.len());
    for (_, format, _, target) in &claims {
        open.push(write(target, *format, "late"));
    }

    drop(open);

    // Beside their origin, with the same UUIDs.
    let fork = Uuid::new_v4();
    let request = branch(dot.fork(fork, commit, dot.main, &taken), &dot, 1);
    let forked = node.ensure_branch(request).await.unwrap().into_inner();
    assert!(forked.volumes.iter().all(|state| state.cloned));
    for (name, format, _) in FORMATS {
        let (handle, target) = claim(&machine, &dot, name, format, fork).await;
        assert_eq!(read(&target, format), "then", "{name}");
        claims.push((name, format, handle, target));
    }
    for (name, format, _, target) in &claims[..FORMATS.len()] {
        assert_eq!(read(target, *format), "late", "{name}");
    }
    for (name, format, ..) in FORMATS
        .into_iter()
        .filter(|(_, format, _)| *format != VolumeFormat::Zfs)
    {
        let dataset = dot.dataset(&machine, fork, name);
        let number = |property: &str| machine.property(&dataset, property).parse::<u64>().unwrap();
        assert!(
            number("refreservation") >= number("volsize"),
            "{name} of {format:?} is thick"
        );
    }
    let (_, _, handle, _) = &claims[1];
    let other = machine.target("other");
    let refused = machine.publish_as(*handle, &other, asked(VolumeFormat::Xfs)).await;
    assert_eq!(refused.unwrap_err().code(), Code::AlreadyExists);

    let mut before = Vec::new();
    for (_, _, handle, target) in &claims {
        before.push(total(&machine, *handle, target).await);
    }
    for request in [dot.branch(dot.main), dot.fork(fork, commit, dot.main, &taken)] {
        node.ensure_branch(branch(request, &dot, 2)).await.unwrap();
    }
    for ((name, format, handle, target), (was, units)) in claims.iter().zip(before) {
        let (is, _) = total(&machine, *handle, target).await;
        assert!(is > was + was / 2, "{name}: {was} became {is}");
        assert_eq!(units, if *format == VolumeFormat::Block { 1 } else { 2 }, "{name}");
    }

    for (_, _, handle, target) in &claims {
        for _ in 0..2 {
            machine.unpublish(*handle, target).await.unwrap();
        }
        assert!(!target.exists());
    }
    let folder = Path::new("/dev/dotmesh").join(dot.id.to_string());
    assert!(!folder.exists(), "a device is left: {}", run(&["find", "/dev/dotmesh"]));
    let delete = DeleteDotRequest {
        dot_id: dot.id.to_string(),
        pool_guid: dot.pool,
    };
    node.delete_dot(delete).await.unwrap();
    machine.wait_empty().await;
}

#[tokio::test]
async fn data_is_kept_as_is_said_on_every_branch() {
    let machine = Machine::with_pool().await;
    let dot = Dot::on(&machine);
    let mut node = machine.node().await;
    node.ensure_dot(dot.ensure()).await.unwrap();
    let said = |compression: &str, recordsize| Tuning {
        compression: compression.into(),
        recordsize,
        sync: "disabled".into(),
        ..Tuning::default()
    };
    let thin = Tuning {
        compression: "lz4".into(),
        volblocksize: 8 << 10,
        thin: true,
        ..Tuning::default()
    };
    let volumes = |native: Tuning, raw: Tuning| {
        let of = |name: &str, format: VolumeFormat, tuning| Volume {
            id: dot.volume(name).to_string(),
            name: name.into(),
            size_bytes: 64 * MIB,
            format: format.into(),
            tuning: Some(tuning),
            ..Volume::default()
        };
        vec![
            of("native", VolumeFormat::Zfs, native),
            of("raw", VolumeFormat::Block, raw),
        ]
    };
    let main = |native, raw| EnsureBranchRequest {
        volumes: volumes(native, raw),
        ..dot.branch(dot.main)
    };
    let zfs =
        |branch: Uuid, name: &str, property: &str| machine.property(&dot.dataset(&machine, branch, name), property);

    let first = main(said("zstd-3", 16 << 10), thin.clone());
    let made = node.ensure_branch(first.clone()).await.unwrap().into_inner();
    let again = node.ensure_branch(first).await.unwrap().into_inner();
    assert_eq!(made, again);
    let told: Vec<Option<Tuning>> = made.volumes.iter().map(|volume| volume.tuning.clone()).collect();
    assert_eq!(told, [Some(said("zstd-3", 16 << 10)), Some(thin.clone())]);
    assert_eq!(zfs(dot.main, "native", "recordsize"), "16384");
    assert_eq!(zfs(dot.main, "raw", "volblocksize"), "8192");
    assert_eq!(zfs(dot.main, "raw", "refreservation"), "0");

    let commit = Uuid::new_v4();
    let mut request = dot.commit(commit, dot.main);
    request.volume_ids = vec![dot.volume("native").to_string(), dot.volume("raw").to_string()];
    let taken = node.commit(request).await.unwrap().into_inner();
    let side = Uuid::new_v4();
    let forked = EnsureBranchRequest {
        volumes: volumes(said("zstd-3", 16 << 10), thin.clone()),
        ..dot.fork(side, commit, dot.main, &taken)
    };
    node.ensure_branch(forked).await.unwrap();
    assert_eq!(zfs(side, "native", "compression"), "zstd-3");
    assert_eq!(zfs(side, "native", "sync"), "disabled");
    assert_eq!(zfs(side, "raw", "volblocksize"), "8192");
    assert_eq!(zfs(side, "raw", "refreservation"), "0");

    // Changed while it is used; gzip's default level is shown without it.
    let (_, target) = claim(&machine, &dot, "native", VolumeFormat::Zfs, dot.main).await;
    write(&target, VolumeFormat::Zfs, "then");
    let thick = Tuning { thin: false, ..thin };
    let other = main(said("gzip-6", 8 << 10), thick.clone());
    let made = node.ensure_branch(other).await.unwrap().into_inner();
    let told: Vec<Option<Tuning>> = made.volumes.iter().map(|volume| volume.tuning.clone()).collect();
    assert_eq!(told, [Some(said("gzip", 8 << 10)), Some(thick)]);
    assert_eq!(zfs(dot.main, "native", "recordsize"), "8192");
    assert_eq!(zfs(side, "native", "recordsize"), "16384");
    let reserved: u64 = zfs(dot.main, "raw", "refreservation").parse().unwrap();
    assert!(reserved >= 64 * MIB, "{reserved}");
    assert_eq!(read(&target, VolumeFormat::Zfs), "then");
}
