//! A full pool: what needs room says so, and what gives some back still works.

use super::{Findings, NOTE, ONE, Surroundings, at, child, columns, filesystem, snap_name};
use crate::{CloneRequest, CreateRequest, DatasetName, ErrorKind, HoldTag, PropName, PropValue, Properties, Zfs};

const TAG: HoldTag = HoldTag::from_static("contract");
const COMPRESSION: PropName = PropName::from_static("compression");
const OFF: PropValue = PropValue::from_static("off");

pub(super) async fn run<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, root: &DatasetName) {
    let (big, small) = (child(root, "big"), child(root, "small"));
    let request = CreateRequest {
        properties: Properties::new().with(COMPRESSION, OFF),
        ..filesystem(&big)
    };
    findings.works("create", zfs.create(&request).await);
    findings.works("create", zfs.create(&filesystem(&small)).await);
    let taken = at(&small, "before");
    findings.works(
        "snapshot",
        zfs.snapshot(std::slice::from_ref(&taken), &Properties::new()).await,
    );
    around.fill(&big);

    let full = &ErrorKind::OutOfSpace;
    findings.fails(
        "create when full",
        zfs.create(&filesystem(&child(root, "more"))).await,
        full,
    );
    let names = [at(&small, "after"), at(&big, "after")];
    findings.fails(
        "snapshot when full",
        zfs.snapshot(&names, &Properties::new()).await,
        full,
    );
    let clone = CloneRequest {
        snapshot: taken.clone(),
        dataset: child(root, "clone"),
        properties: Properties::new(),
    };
    findings.fails("clone when full", zfs.clone_snapshot(&clone).await, full);
    for absent in ["more", "clone"] {
        let result = columns(zfs, child(root, absent), &[]).await;
        findings.fails(format!("{absent} was not made"), result, &ErrorKind::DatasetNotFound);
    }
    findings.works(
        "set when full",
        zfs.set(&small, &Properties::new().with(NOTE, ONE)).await,
    );
    findings.works("hold when full", zfs.hold_recursive(&TAG, &taken).await);
    findings.works(
        "release when full",
        zfs.release_recursive(&TAG, taken.dataset(), &[taken.snap().clone()])
            .await,
    );
    let result = zfs.destroy_snapshots_deferred(&small, &[snap_name("before")]).await;
    findings.works("destroy a snapshot when full", result);
    findings.works("destroy when full", zfs.destroy_dataset(&small).await);
    findings.works("destroy what fills it", zfs.destroy_dataset(&big).await);
}
