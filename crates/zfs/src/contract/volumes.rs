//! Volumes: thick ones, their snapshots and clones, their growth, and the filesystems on them.

use super::{
    Findings, NOTE, ONE, Surroundings, at, child, columns, filesystem, listing, local, names, snap_name, snapshots,
};
use crate::{
    BlockFilesystem, CloneRequest, CreateKind, CreateRequest, DatasetName, ErrorKind, Kind, PropName, PropValue,
    Properties, VolumeDevice, Zfs,
};

const VOLSIZE: PropName = PropName::from_static("volsize");
const REFRESERVATION: PropName = PropName::from_static("refreservation");
const AUTO: PropValue = PropValue::from_static("auto");
const MIB: u64 = 1 << 20;

pub(super) async fn run<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, root: &DatasetName) {
    kinds(findings, zfs, around, root).await;
    thick(findings, zfs, around, root).await;
    with_filesystems(findings, zfs, around, root).await;
}

fn volume(dataset: &DatasetName, size: u64, sparse: bool) -> CreateRequest {
    CreateRequest {
        kind: CreateKind::Volume {
            size,
            sparse,
            block_size: Some(16 << 10),
        },
        ..filesystem(dataset)
    }
}

/// Bytes of a volume, and whether all of them are reserved.
async fn size<Z: Zfs>(zfs: &Z, dataset: &DatasetName) -> Option<(u64, bool)> {
    let row = columns(zfs, dataset.clone(), &[VOLSIZE, REFRESERVATION]).await.ok()?;
    let (size, reserved) = (row.number(&VOLSIZE).ok()?, row.number(&REFRESERVATION).ok()?);
    Some((size, reserved >= size))
}

async fn kinds<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, root: &DatasetName) {
    let one = child(root, "v");
    let kind = PropName::from_static("type");
    let refused = zfs.create(&volume(&one, 0, true)).await;
    findings.fails("a volume of no bytes", refused, &ErrorKind::InvalidProperty);
    let made = zfs.create(&volume(&one, 16 * MIB - 1, true)).await;
    findings.works("create a volume", made);
    let row = columns(zfs, one.clone(), &[VOLSIZE, kind.clone()]).await;
    let row = findings.works("columns", row);
    let row = row.map(|row| (row.number(&VOLSIZE), row.value(&kind).map(str::to_owned)));
    let expected = Some((Ok(16 * MIB), Some("volume".to_owned())));
    findings.equal("its size is rounded up", row, expected);
    findings.equal("nothing is reserved", size(zfs, &one).await, Some((16 * MIB, false)));
    let below = zfs.create(&filesystem(&child(&one, "a"))).await;
    findings.fails("create below a volume", below, &ErrorKind::WrongType);
    let only = zfs.list(&listing(root.clone(), None, &[Kind::Volume], &[])).await;
    let only = findings.works("list", only);
    findings.equal("volumes alone", names(only), vec![one.to_string()]);
    around.device(&one);
    around.set_open(&one, true);
    let busy = zfs.destroy_dataset(&one).await;
    findings.fails("destroy a volume that is open", busy, &ErrorKind::Busy);
    around.set_open(&one, false);
    destroy(findings, zfs, &one).await;
}

async fn thick<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, root: &DatasetName) {
    let (one, files, clone) = (child(root, "v"), child(root, "f"), child(root, "c"));
    findings.works(
        "create a thick volume",
        zfs.create(&volume(&one, 16 * MIB, false)).await,
    );
    findings.equal("all is reserved", size(zfs, &one).await, Some((16 * MIB, true)));
    findings.works("create a filesystem", zfs.create(&filesystem(&files)).await);
    let both = [at(&one, "x"), at(&files, "x")];
    let note = Properties::new().with(NOTE, ONE);
    findings.works("snapshot both", zfs.snapshot(&both, &note).await);
    let mut txgs = Vec::new();
    for snapshot in &both {
        let column = PropName::from_static("createtxg");
        let row = columns(zfs, snapshot.clone(), std::slice::from_ref(&column)).await;
        txgs.push(row.ok().and_then(|row| row.number(&column).ok()));
        let said = local(zfs, snapshot.clone(), NOTE).await.ok().flatten();
        findings.equal("with the property", said, Some("one".to_owned()));
    }
    findings.equal("in one transaction", txgs[0].is_some() && txgs[0] == txgs[1], true);
    let again = zfs.snapshot(&[at(&one, "y"), at(&files, "x")], &note).await;
    findings.fails("snapshot one of them anew", again, &ErrorKind::SnapshotExists);
    let left = snapshots(zfs, &one).await.ok();
    findings.equal("takes none", left, Some(vec![at(&one, "x").to_string()]));

    let grow = |bytes: u64| Properties::new().with(VOLSIZE, bytes);
    findings.works("grow", zfs.set(&one, &grow(32 * MIB)).await);
    findings.equal("with its reservation", size(zfs, &one).await, Some((32 * MIB, true)));
    let odd = zfs.set(&one, &grow(32 * MIB + 1)).await;
    findings.fails("to no multiple of a block", odd, &ErrorKind::InvalidProperty);
    let vast = zfs.set(&one, &grow(1 << 40)).await;
    findings.fails("beyond the pool", vast, &ErrorKind::OutOfSpace);
    findings.equal("leaves it as it was", size(zfs, &one).await, Some((32 * MIB, true)));

    let request = CloneRequest {
        snapshot: at(&one, "x"),
        dataset: clone.clone(),
        properties: note,
    };
    findings.works("clone", zfs.clone_snapshot(&request).await);
    let told = size(zfs, &clone).await;
    findings.equal("of the old size, nothing reserved", told, Some((16 * MIB, false)));
    findings.works("grow the clone", zfs.set(&clone, &grow(32 * MIB)).await);
    let reserve = Properties::new().with(REFRESERVATION, AUTO);
    findings.works("reserve all of it", zfs.set(&clone, &reserve).await);
    findings.equal("it is thick", size(zfs, &clone).await, Some((32 * MIB, true)));
    findings.works("reserve it again", zfs.set(&clone, &reserve).await);

    // Its device comes after the command, and looking at it makes it busy.
    around.device(&clone);
    destroy(findings, zfs, &clone).await;
    for dataset in [&one, &files] {
        let gone = zfs.destroy_snapshots_deferred(dataset, &[snap_name("x")]).await;
        findings.works("destroy the snapshot", gone);
    }
    destroy(findings, zfs, &one).await;
    findings.works("destroy the filesystem", zfs.destroy_dataset(&files).await);
}

async fn with_filesystems<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, root: &DatasetName) {
    // The least that mkfs.xfs makes is 300 MiB.
    for (kind, bytes) in [(BlockFilesystem::Ext4, 32 * MIB), (BlockFilesystem::Xfs, 320 * MIB)] {
        let (one, clone) = (child(root, "v"), child(root, "c"));
        let word = kind.as_str();
        findings.works("create", zfs.create(&volume(&one, bytes, true)).await);
        let device = |dataset: &DatasetName| VolumeDevice {
            dataset: dataset.clone(),
            node: around.device(dataset),
        };
        let on = device(&one);
        if kind == BlockFilesystem::Ext4 {
            let nothing = zfs.check_filesystem(&on, kind).await;
            findings.fails("check a blank volume", nothing, &ErrorKind::Other);
        }
        findings.works(format!("make {word}"), zfs.make_filesystem(&on, kind).await);
        findings.works(format!("make {word} again"), zfs.make_filesystem(&on, kind).await);
        findings.works(format!("check {word}"), zfs.check_filesystem(&on, kind).await);
        around.settle();
        findings.works("snapshot", zfs.snapshot(&[at(&one, "x")], &Properties::new()).await);
        let request = CloneRequest {
            snapshot: at(&one, "x"),
            dataset: clone.clone(),
            properties: Properties::new(),
        };
        findings.works("clone", zfs.clone_snapshot(&request).await);
        let on = device(&clone);
        findings.works(
            format!("check the clone's {word}"),
            zfs.check_filesystem(&on, kind).await,
        );
        destroy(findings, zfs, &clone).await;
        let gone = zfs.destroy_snapshots_deferred(&one, &[snap_name("x")]).await;
        findings.works("destroy the snapshot", gone);
        destroy(findings, zfs, &one).await;
    }
}

/// A volume that was just made is busy while udev looks at it: tried again for a while.
async fn destroy<Z: Zfs>(findings: &mut Findings, zfs: &Z, volume: &DatasetName) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        match zfs.destroy_dataset(volume).await {
            Err(error) if error.kind == ErrorKind::Busy && std::time::Instant::now() < until => {
                tokio::task::yield_now().await;
            }
            result => {
                findings.works("destroy a volume", result);
                return;
            }
        }
    }
}
