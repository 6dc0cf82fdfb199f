//! Filesystems and volumes: made, listed, changed, destroyed.

use super::{
    ABSENT, ALL_KINDS, CREATETXG, Findings, GUID, ID, LEGACY, MOUNTPOINT, NOTE, ONE, REFQUOTA, Surroundings, TWO, at,
    child, columns, filesystem, listing, local, names,
};
use crate::{
    CreateRequest, DatasetName, ErrorKind, GetRequest, MAX_NAME_LEN, PropName, PropValue, Properties, Source, Zfs,
};

pub(super) async fn run<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, root: &DatasetName) {
    create(findings, zfs, root).await;
    properties(findings, zfs, root).await;
    quotas(findings, zfs, around, root).await;
    longest(findings, zfs, root).await;
}

async fn create<Z: Zfs>(findings: &mut Findings, zfs: &Z, root: &DatasetName) {
    let (a, b, deep) = (child(root, "a"), child(root, "b"), child(&child(root, "c"), "d"));
    findings.works("create", zfs.create(&filesystem(&a)).await);
    findings.fails(
        "create again",
        zfs.create(&filesystem(&a)).await,
        &ErrorKind::DatasetExists,
    );
    findings.fails(
        "create below nothing",
        zfs.create(&filesystem(&deep)).await,
        &ErrorKind::ParentNotFound,
    );
    let with_parents = CreateRequest {
        parents: true,
        ..filesystem(&deep)
    };
    findings.works("create with parents", zfs.create(&with_parents).await);
    findings.works("create with parents again", zfs.create(&with_parents).await);
    let wrong = CreateRequest {
        properties: Properties::new().with(PropName::from_static("recordsizes"), TWO),
        ..filesystem(&b)
    };
    findings.fails(
        "create with an unknown property",
        zfs.create(&wrong).await,
        &ErrorKind::InvalidProperty,
    );
    findings.fails(
        "which made nothing",
        columns(zfs, b.clone(), &[]).await,
        &ErrorKind::DatasetNotFound,
    );

    let all = findings.works(
        "list all",
        zfs.list(&listing(root.clone(), None, &ALL_KINDS, &[])).await,
    );
    let expected = [root, &a, &child(root, "c"), &deep].map(ToString::to_string).to_vec();
    findings.equal("everything below", names(all), expected);
    let near = findings.works(
        "list one level",
        zfs.list(&listing(root.clone(), Some(1), &ALL_KINDS, &[])).await,
    );
    findings.equal(
        "one level",
        names(near),
        [root, &a, &child(root, "c")].map(ToString::to_string).to_vec(),
    );
    let alone = findings.works(
        "list alone",
        zfs.list(&listing(root.clone(), Some(0), &ALL_KINDS, &[])).await,
    );
    findings.equal("alone", names(alone), vec![root.to_string()]);

    let children = ErrorKind::HasChildren(vec![deep.to_string()]);
    findings.fails(
        "destroy with a child",
        zfs.destroy_dataset(&child(root, "c")).await,
        &children,
    );
    for dataset in [&deep, &child(root, "c"), &a] {
        findings.works("destroy", zfs.destroy_dataset(dataset).await);
    }
    findings.fails(
        "destroy again",
        zfs.destroy_dataset(&a).await,
        &ErrorKind::DatasetNotFound,
    );
    findings.fails(
        "destroy the pool's root",
        zfs.destroy_dataset(&root.pool().root()).await,
        &ErrorKind::WrongType,
    );
}

async fn properties<Z: Zfs>(findings: &mut Findings, zfs: &Z, root: &DatasetName) {
    let a = child(root, "a");
    let request = CreateRequest {
        properties: Properties::new().with(NOTE, TWO).with(REFQUOTA, 1 << 26),
        ..filesystem(&a)
    };
    findings.works("create with properties", zfs.create(&request).await);
    let columns_of = [GUID, CREATETXG, REFQUOTA, ID, NOTE, ABSENT, MOUNTPOINT];
    let Some(row) = findings.works("columns", columns(zfs, a.clone(), &columns_of).await) else {
        return;
    };
    findings.equal("guid", row.number(&GUID).is_ok_and(|guid| guid > 0), true);
    findings.equal("createtxg", row.number(&CREATETXG).is_ok_and(|txg| txg > 0), true);
    findings.equal("refquota", row.number(&REFQUOTA), Ok(1 << 26));
    findings.equal("an inherited user property", row.value(&ID), Some("one"));
    findings.equal("a local one", row.value(&NOTE), Some("two"));
    findings.equal("one that is not set", row.value(&ABSENT), None);
    findings.equal("an inherited mountpoint", row.value(&MOUNTPOINT), Some("legacy"));

    let any = GetRequest {
        sources: Vec::new(),
        ..GetRequest::local(vec![a.clone().into()], vec![ID, NOTE, ABSENT])
    };
    let mut rows = findings.works("get", zfs.get(&any).await).unwrap_or_default();
    rows.sort_by(|one, other| one.property.cmp(&other.property));
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| (row.property, row.value, row.source))
        .collect();
    let expected = vec![
        (ABSENT, "-".to_owned(), Source::None),
        (ID, "one".to_owned(), Source::Inherited(root.clone())),
        (NOTE, "two".to_owned(), Source::Local),
    ];
    findings.equal("values with their sources", rows, expected);
    let all = findings.works(
        "get all local",
        zfs.get(&GetRequest::local(vec![a.clone().into()], vec![])).await,
    );
    let mut all: Vec<_> = all.into_iter().flatten().map(|row| row.property.to_string()).collect();
    all.sort();
    findings.equal("what was set on it", all, vec![NOTE.to_string(), REFQUOTA.to_string()]);

    let several = Properties::new().with(ID, TWO).with(NOTE, ONE);
    findings.works("set several", zfs.set(&a, &several).await);
    findings.equal(
        "the first",
        local(zfs, a.clone(), ID).await.ok().flatten(),
        Some("two".to_owned()),
    );
    findings.equal(
        "the second",
        local(zfs, a.clone(), NOTE).await.ok().flatten(),
        Some("one".to_owned()),
    );
    findings.works("inherit", zfs.inherit(&a, &ID).await);
    findings.works("inherit what is not set", zfs.inherit(&a, &ID).await);
    findings.equal(
        "it is local no more",
        local(zfs, a.clone(), ID).await.ok().flatten(),
        None,
    );
    let unknown = Properties::new().with(PropName::from_static("recordsizes"), ONE);
    findings.fails(
        "set an unknown property",
        zfs.set(&a, &unknown).await,
        &ErrorKind::InvalidProperty,
    );
    let long = "x"
        .repeat(crate::MAX_VALUE_LEN)
        .parse::<PropValue>()
        .expect("a legal value");
    findings.works(
        "set the longest value",
        zfs.set(&a, &Properties::new().with(NOTE, long.clone())).await,
    );
    let read = local(zfs, a.clone(), NOTE).await.ok().flatten();
    findings.equal("which comes back whole", read.as_deref() == Some(long.as_str()), true);
    let gone = child(root, "gone");
    findings.fails(
        "set on nothing",
        zfs.set(&gone, &several).await,
        &ErrorKind::DatasetNotFound,
    );
    findings.fails(
        "inherit on nothing",
        zfs.inherit(&gone, &ID).await,
        &ErrorKind::DatasetNotFound,
    );
    findings.fails(
        "get of nothing",
        local(zfs, gone.clone(), ID).await,
        &ErrorKind::DatasetNotFound,
    );
    findings.fails(
        "written of nothing",
        zfs.written(&gone, None).await,
        &ErrorKind::DatasetNotFound,
    );
    findings.works("destroy", zfs.destroy_dataset(&a).await);
}

async fn quotas<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, root: &DatasetName) {
    let (a, b) = (child(root, "a"), child(root, "b"));
    findings.works("create", zfs.create(&filesystem(&a)).await);
    around.write(&a, 8 << 20);
    let small = Properties::new().with(REFQUOTA, 1 << 20);
    findings.fails(
        "a quota below what is used",
        zfs.set(&a, &small).await,
        &ErrorKind::QuotaBelowUsed,
    );
    findings.works(
        "a quota above it",
        zfs.set(&a, &Properties::new().with(REFQUOTA, 16 << 20)).await,
    );
    findings.works(
        "no quota",
        zfs.set(&a, &Properties::new().with(REFQUOTA, PropValue::from_static("none")))
            .await,
    );
    let none = columns(zfs, a.clone(), &[REFQUOTA])
        .await
        .ok()
        .map(|row| row.number(&REFQUOTA));
    findings.equal("which reads as 0", none, Some(Ok(0)));
    findings.works("snapshot", zfs.snapshot(&[at(&a, "x")], &Properties::new()).await);
    let clone = crate::CloneRequest {
        snapshot: at(&a, "x"),
        dataset: b.clone(),
        properties: small,
    };
    findings.fails(
        "clone with a quota below",
        zfs.clone_snapshot(&clone).await,
        &ErrorKind::OutOfSpace,
    );
    // On the real thing the clone may have been made before its quota was refused.
    if columns(zfs, b.clone(), &[]).await.is_ok() {
        findings.works("destroy what was left", zfs.destroy_dataset(&b).await);
    }
    findings.works(
        "destroy",
        zfs.destroy_snapshots_deferred(&a, &[super::snap_name("x")]).await,
    );
    for used in [true, false] {
        around.set_mounted(&a, true, used);
        let word = if used { "used" } else { "idle" };
        let result = zfs.destroy_dataset(&a).await;
        findings.fails(format!("destroy with an {word} mount"), result, &ErrorKind::Busy);
        let result = zfs.pool_export(&a.pool()).await;
        findings.fails(format!("export with an {word} mount"), result, &ErrorKind::Busy);
        findings.equal(format!("an {word} mount stays"), around.is_mounted(&a), true);
        around.set_mounted(&a, false, used);
    }
    findings.works("destroy", zfs.destroy_dataset(&a).await);
}

async fn longest<Z: Zfs>(findings: &mut Findings, zfs: &Z, root: &DatasetName) {
    let room = MAX_NAME_LEN - root.as_str().len() - 1;
    let long = child(root, &"x".repeat(room));
    findings.works("the longest name", zfs.create(&filesystem(&long)).await);
    findings.works("comes back", columns(zfs, long.clone(), &[]).await);
    findings.works("destroy it", zfs.destroy_dataset(&long).await);
    let mut deep = root.clone();
    let mut made = Vec::new();
    for _ in 0..5 {
        deep = child(&deep, "d");
        made.push(deep.clone());
    }
    let request = CreateRequest {
        parents: true,
        properties: Properties::new().with(MOUNTPOINT, LEGACY),
        ..filesystem(&deep)
    };
    findings.works("many levels at once", zfs.create(&request).await);
    for dataset in made.iter().rev() {
        findings.works("destroy it", zfs.destroy_dataset(dataset).await);
    }
}
