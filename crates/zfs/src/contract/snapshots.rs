//! Snapshots, clones, holds and deferred destroys.

use super::{
    CREATETXG, Findings, GUID, ID, NOTE, ONE, ORIGIN, Surroundings, TWO, at, child, columns, filesystem, local,
    snap_name, snapshots,
};
use crate::{
    CloneRequest, CreateRequest, DatasetName, ErrorKind, GetRequest, Hold, HoldTag, PropName, Properties, SnapshotName,
    Source, Zfs,
};

const WRITTEN: PropName = PropName::from_static("written");
const TAG: HoldTag = HoldTag::from_static("contract");

pub(super) async fn run<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, root: &DatasetName) {
    let head = child(root, "head");
    let (one, two) = (child(&head, "one"), child(&head, "two"));
    for dataset in [&head, &one, &two] {
        findings.works("create", zfs.create(&filesystem(dataset)).await);
    }
    take(findings, zfs, [&head, &one, &two]).await;
    clones(findings, zfs, around, root, [&head, &one]).await;
    holds(findings, zfs, [&head, &one, &two]).await;
    lists(findings, zfs, [&head, &one, &two]).await;
    rollback(findings, zfs, around, &one).await;
    for dataset in [&two, &one, &head] {
        findings.works("destroy", zfs.destroy_dataset(dataset).await);
    }
}

async fn take<Z: Zfs>(findings: &mut Findings, zfs: &Z, [head, one, two]: [&DatasetName; 3]) {
    let all = [at(head, "c1"), at(one, "c1"), at(two, "c1")];
    let noted = Properties::new().with(NOTE, TWO);
    findings.works("snapshot three datasets", zfs.snapshot(&all, &noted).await);
    let mut groups = Vec::new();
    for snapshot in &all {
        let row = findings.works("columns", columns(zfs, snapshot.clone(), &[GUID, CREATETXG]).await);
        groups.extend(row.and_then(|row| row.number(&CREATETXG).ok()));
        let note = local(zfs, snapshot.clone(), NOTE).await;
        findings.equal("its own property", note.ok().flatten(), Some("two".to_owned()));
    }
    groups.dedup();
    findings.equal("all in one transaction group", groups.len(), 1);
    let get = GetRequest {
        sources: Vec::new(),
        ..GetRequest::local(vec![all[1].clone().into()], vec![ID])
    };
    let inherited = findings.works("get", zfs.get(&get).await).unwrap_or_default();
    let source = inherited.into_iter().next().map(|row| (row.value, row.source));
    let work = head.parent().map(Source::Inherited).unwrap_or(Source::None);
    findings.equal(
        "a snapshot inherits user properties",
        source,
        Some(("one".to_owned(), work)),
    );

    let partly = [at(head, "c2"), at(one, "c1"), at(two, "c2")];
    findings.fails(
        "one of them exists",
        zfs.snapshot(&partly, &noted).await,
        &ErrorKind::SnapshotExists,
    );
    findings.equal(
        "none was made",
        snapshots(zfs, head).await.ok(),
        Some(vec![at(head, "c1").to_string()]),
    );
    let missing = [at(head, "c2"), at(&child(head, "gone"), "c2")];
    let result = zfs.snapshot(&missing, &noted).await;
    findings.equal(
        "one dataset is missing",
        result.is_err_and(|error| error.is_not_found()),
        true,
    );
    findings.equal(
        "none was made",
        snapshots(zfs, head).await.ok(),
        Some(vec![at(head, "c1").to_string()]),
    );
    let twice = [at(head, "c2"), at(head, "c3")];
    findings.fails(
        "the same dataset twice",
        zfs.snapshot(&twice, &noted).await,
        &ErrorKind::Other,
    );
    findings.equal(
        "none was made",
        snapshots(zfs, head).await.ok(),
        Some(vec![at(head, "c1").to_string()]),
    );
    let gone = at(head, "gone");
    findings.fails(
        "a snapshot that is not there",
        columns(zfs, gone, &[]).await,
        &ErrorKind::SnapshotNotFound,
    );
}

async fn clones<Z: Zfs>(
    findings: &mut Findings,
    zfs: &Z,
    around: &impl Surroundings,
    root: &DatasetName,
    [head, one]: [&DatasetName; 2],
) {
    around.write(one, 4 << 20);
    let written = findings
        .works("written", zfs.written(one, None).await)
        .unwrap_or_default();
    findings.equal("about 4 MiB were written", (4 << 20..6 << 20).contains(&written), true);
    let since = findings
        .works("written since", zfs.written(one, Some(&snap_name("c1"))).await)
        .unwrap_or_default();
    findings.equal("the same since the snapshot", since, written);
    let never = zfs.written(one, Some(&snap_name("never"))).await;
    findings.fails("written since no snapshot", never, &ErrorKind::SnapshotNotFound);
    findings.works("snapshot", zfs.snapshot(&[at(one, "c2")], &Properties::new()).await);

    let column = columns(zfs, at(one, "c2"), &[WRITTEN])
        .await
        .ok()
        .and_then(|row| row.number(&WRITTEN).ok());
    let near = |bytes: u64| (4 << 20..6 << 20).contains(&bytes);
    findings.equal(
        "a snapshot tells what was written before it",
        column.is_some_and(near),
        true,
    );

    let clone = child(root, "clone");
    let request = |snapshot: SnapshotName, dataset: &DatasetName| CloneRequest {
        snapshot,
        dataset: dataset.clone(),
        properties: Properties::new().with(NOTE, ONE),
    };
    findings.works(
        "set on the origin",
        zfs.set(one, &Properties::new().with(ID, TWO)).await,
    );
    findings.works("clone", zfs.clone_snapshot(&request(at(one, "c2"), &clone)).await);
    let again = zfs.clone_snapshot(&request(at(one, "c2"), &clone)).await;
    findings.fails("clone again", again, &ErrorKind::DatasetExists);
    let orphan = child(&child(root, "gone"), "clone");
    let result = zfs.clone_snapshot(&request(at(one, "c2"), &orphan)).await;
    findings.fails("clone below nothing", result, &ErrorKind::ParentNotFound);
    let result = zfs
        .clone_snapshot(&request(at(one, "gone"), &child(root, "other")))
        .await;
    findings.fails("clone of nothing", result, &ErrorKind::SnapshotNotFound);
    let row = findings.works("columns", columns(zfs, clone.clone(), &[ORIGIN, ID, NOTE]).await);
    let cells = row.map(|row| [ORIGIN, ID, NOTE].map(|column| row.value(&column).map(str::to_owned)));
    let origin = Some(at(one, "c2").to_string());
    let expected = [origin, Some("one".to_owned()), Some("one".to_owned())];
    findings.equal(
        "it inherits from its parent and not from its origin",
        cells,
        Some(expected),
    );
    findings.equal(
        "nothing was written to it",
        zfs.written(&clone, None).await.is_ok_and(|n| n < 1 << 20),
        true,
    );

    findings.works(
        "destroy the clone's origin, deferred",
        zfs.destroy_snapshots_deferred(one, &[snap_name("c2")]).await,
    );
    let both = vec![at(one, "c1").to_string(), at(one, "c2").to_string()];
    findings.equal(
        "it stays while it has a clone",
        snapshots(zfs, one).await.ok(),
        Some(both),
    );
    let result = zfs.destroy_dataset(one).await.map_err(|error| error.kind);
    let listed =
        |kind: ErrorKind| matches!(kind, ErrorKind::HasChildren(names) if names.contains(&at(one, "c1").to_string()));
    findings.equal("destroy with snapshots", result.is_err_and(listed), true);
    findings.works("destroy the clone", zfs.destroy_dataset(&clone).await);
    let left = vec![at(one, "c1").to_string()];
    findings.equal("its origin went with it", snapshots(zfs, one).await.ok(), Some(left));
    findings.works("set back", zfs.inherit(one, &ID).await);
    findings.equal(
        "the head keeps its own",
        snapshots(zfs, head).await.is_ok_and(|list| list.len() == 1),
        true,
    );
}

async fn holds<Z: Zfs>(findings: &mut Findings, zfs: &Z, [head, one, two]: [&DatasetName; 3]) {
    let all = [at(head, "c1"), at(one, "c1"), at(two, "c1")];
    let c1 = [snap_name("c1")];
    findings.works("hold", zfs.hold_recursive(&TAG, &all[0]).await);
    findings.fails(
        "hold again",
        zfs.hold_recursive(&TAG, &all[0]).await,
        &ErrorKind::HoldExists,
    );
    findings.fails(
        "hold nothing",
        zfs.hold_recursive(&TAG, &at(head, "no")).await,
        &ErrorKind::SnapshotNotFound,
    );
    let gone = at(&child(head, "gone"), "c1");
    findings.fails(
        "hold in nothing",
        zfs.hold_recursive(&TAG, &gone).await,
        &ErrorKind::DatasetNotFound,
    );
    let mut found = findings.works("holds", zfs.holds(&all).await).unwrap_or_default();
    found.sort_by(|one, other| one.snapshot.cmp(&other.snapshot));
    let expected = all
        .iter()
        .map(|snapshot| Hold {
            snapshot: snapshot.clone(),
            tag: TAG.to_string(),
        })
        .collect();
    findings.equal("each is held", found, expected);
    findings.works(
        "destroy all, deferred",
        zfs.destroy_snapshots_deferred_recursive(head, &c1).await,
    );
    findings.works(
        "destroy all again",
        zfs.destroy_snapshots_deferred_recursive(head, &c1).await,
    );
    for snapshot in &all {
        findings.works("it stays while it is held", columns(zfs, snapshot.clone(), &[]).await);
    }
    findings.works("release", zfs.release_recursive(&TAG, head, &c1).await);
    for dataset in [head, one, two] {
        findings.equal(
            "it went with its hold",
            snapshots(zfs, dataset).await.ok(),
            Some(Vec::new()),
        );
    }
    let missing = &ErrorKind::SnapshotNotFound;
    findings.fails(
        "release what is gone",
        zfs.release_recursive(&TAG, head, &c1).await,
        &ErrorKind::HoldNotFound,
    );
    findings.fails(
        "destroy what is gone",
        zfs.destroy_snapshots_deferred_recursive(head, &c1).await,
        missing,
    );
    let result = zfs
        .destroy_snapshots_deferred(one, &[snap_name("c1"), snap_name("c2")])
        .await;
    findings.fails("destroy a list that is gone", result, missing);
    findings.fails("holds of what is gone", zfs.holds(&all[..1]).await, missing);
    let result = zfs
        .destroy_snapshots_deferred(&child(head, "gone"), &[snap_name("c1")])
        .await;
    findings.fails("destroy in nothing", result, &ErrorKind::DatasetNotFound);
    findings.works("snapshot", zfs.snapshot(&[at(one, "c3")], &Properties::new()).await);
    findings.fails(
        "release what is not held",
        zfs.release_recursive(&TAG, one, &[snap_name("c3")]).await,
        &ErrorKind::HoldNotFound,
    );
    let result = zfs
        .destroy_snapshots_deferred(one, &[snap_name("c1"), snap_name("c3")])
        .await;
    findings.works("destroy a list that is partly gone", result);
    findings.equal("the rest went", snapshots(zfs, one).await.ok(), Some(Vec::new()));
}

/// Several commits' snapshots at once, of which some are held, some are not, and some are not there.
async fn lists<Z: Zfs>(findings: &mut Findings, zfs: &Z, [head, one, two]: [&DatasetName; 3]) {
    let take = async |snap: &str| {
        let all = [head, one, two].map(|dataset| at(dataset, snap));
        zfs.snapshot(&all, &Properties::new()).await
    };
    for snap in ["l1", "l2", "l3"] {
        findings.works("snapshot", take(snap).await);
    }
    for snap in ["l1", "l3"] {
        findings.works("hold", zfs.hold_recursive(&TAG, &at(head, snap)).await);
    }
    let list = ["l0", "l1", "l2", "l3"].map(snap_name);
    let (held, gone) = ([list[1].clone(), list[3].clone()], [list[0].clone()]);
    findings.works(
        "destroy several, of which one is not there",
        zfs.destroy_snapshots_deferred_recursive(head, &list).await,
    );
    let left = |dataset: &DatasetName| Some(["l1", "l3"].map(|snap| at(dataset, snap).to_string()).to_vec());
    for dataset in [head, one, two] {
        let found = snapshots(zfs, dataset).await.ok();
        findings.equal("those that are held stay", found, left(dataset));
    }
    findings.fails(
        "release several, of which one is not there",
        zfs.release_recursive(&TAG, head, &list[..2]).await,
        &ErrorKind::HoldNotFound,
    );
    let found = snapshots(zfs, one).await.ok();
    findings.equal("the other was released", found, Some(vec![at(one, "l3").to_string()]));
    findings.fails(
        "release several, one of them again",
        zfs.release_recursive(&TAG, head, &held).await,
        &ErrorKind::HoldNotFound,
    );
    for dataset in [head, one, two] {
        let found = snapshots(zfs, dataset).await.ok();
        findings.equal("the last one went", found, Some(Vec::new()));
    }
    findings.fails(
        "destroy what is gone",
        zfs.destroy_snapshots_deferred_recursive(head, &gone).await,
        &ErrorKind::SnapshotNotFound,
    );
}

async fn rollback<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, one: &DatasetName) {
    let (older, newer) = (at(one, "r1"), at(one, "r2"));
    findings.works(
        "snapshot",
        zfs.snapshot(std::slice::from_ref(&older), &Properties::new()).await,
    );
    findings.works(
        "snapshot",
        zfs.snapshot(std::slice::from_ref(&newer), &Properties::new()).await,
    );
    around.write(one, 4 << 20);
    findings.fails(
        "roll back past one",
        zfs.rollback_to_newest(&older).await,
        &ErrorKind::NewerSnapshots,
    );
    let kept = zfs.written(one, None).await.is_ok_and(|written| written >= 4 << 20);
    findings.equal("which changed nothing", kept, true);
    findings.works("roll back to the newest", zfs.rollback_to_newest(&newer).await);
    findings.equal(
        "what was written is gone",
        zfs.written(one, None).await.is_ok_and(|n| n < 1 << 20),
        true,
    );
    let nothing = zfs.rollback_to_newest(&at(one, "gone")).await;
    findings.fails("roll back to nothing", nothing, &ErrorKind::SnapshotNotFound);
    let both = [older.snap().clone(), newer.snap().clone()];
    findings.works("destroy both", zfs.destroy_snapshots_deferred(one, &both).await);
    let request = CreateRequest { ..filesystem(one) };
    findings.fails(
        "create what exists",
        zfs.create(&request).await,
        &ErrorKind::DatasetExists,
    );
}
