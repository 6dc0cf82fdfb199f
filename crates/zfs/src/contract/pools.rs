//! Pools: made, exported, found, imported; and that a missing pool is never taken for a missing dataset.

use std::time::Duration;

use super::{Findings, Setup, Surroundings, child, filesystem, listing};
use crate::{ErrorKind, Health, ImportRequest, Kind, PoolSelector, PoolSpec, PropName, PropValue, Properties, Zfs};

/// What the file grows by: several units of space even of a small pool.
const GROWTH: u64 = 64 << 20;
/// How often is looked for it.
const PATIENCE: usize = 100;

pub(super) async fn run<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, setup: &Setup) {
    let Setup { pool, vdev } = setup;
    let missing = &ErrorKind::PoolMissing;
    let versions = findings.works("version", zfs.version().await);
    findings.equal(
        "it is OpenZFS 2 or later",
        versions.is_some_and(|v| v.kernel.number >= (2, 0, 0)),
        true,
    );

    let below = child(&pool.root(), "a");
    let list = listing(below.clone(), Some(0), &[Kind::Filesystem], &[]);
    findings.fails("a pool that is not there", zfs.pool_get(pool).await, missing);
    findings.fails("list in it", zfs.list(&list).await, missing);
    findings.fails("create in it", zfs.create(&filesystem(&below)).await, missing);
    findings.fails("destroy in it", zfs.destroy_dataset(&below).await, missing);
    findings.fails(
        "snapshot in it",
        zfs.snapshot(&[super::at(&below, "x")], &Properties::new()).await,
        missing,
    );
    findings.fails("export it", zfs.pool_export(pool).await, missing);

    let spec = PoolSpec {
        name: pool.clone(),
        vdevs: vec![vdev.clone()],
        properties: Properties::new().with(PropName::from_static("ashift"), 12),
        root_properties: Properties::new().with(PropName::from_static("atime"), PropValue::from_static("off")),
    };
    findings.works("create a pool", zfs.pool_create(&spec).await);
    findings.fails("create it again", zfs.pool_create(&spec).await, &ErrorKind::DeviceInUse);
    let other = PoolSpec {
        name: "contract-other".parse().expect("a legal name"),
        ..spec
    };
    findings.fails(
        "create another on its file",
        zfs.pool_create(&other).await,
        &ErrorKind::DeviceInUse,
    );
    let Some(before) = findings.works("pool status", zfs.pool_get(pool).await) else {
        return;
    };
    findings.equal("its health", before.health, Health::Online);
    findings.equal(
        "it has a size",
        before.size > 0 && before.free > 0 && !before.readonly,
        true,
    );
    findings.fails(
        "a dataset that is not in it",
        zfs.list(&list).await,
        &ErrorKind::DatasetNotFound,
    );

    let folder = vec![vdev.parent().unwrap_or(vdev).to_owned()];
    let none = findings.works("search while it is imported", zfs.pools_importable(&folder).await);
    findings.equal("which finds nothing", none.map(|pools| pools.len()), Some(0));
    let by_name = ImportRequest {
        pool: PoolSelector::Name(pool.clone()),
        search: folder.clone(),
    };
    let by_guid = ImportRequest {
        pool: PoolSelector::Guid(before.guid),
        search: folder.clone(),
    };
    for (what, request) in [("name", &by_name), ("identity", &by_guid)] {
        findings.fails(
            format!("import what is imported, by {what}"),
            zfs.pool_import(request).await,
            &ErrorKind::PoolExists,
        );
    }
    findings.works("export", zfs.pool_export(pool).await);
    findings.fails("it is gone", zfs.pool_get(pool).await, missing);
    findings.fails("its datasets are not absent", zfs.list(&list).await, missing);
    let found = findings
        .works("search", zfs.pools_importable(&folder).await)
        .unwrap_or_default();
    let found: Vec<_> = found
        .into_iter()
        .map(|found| (found.name, found.guid, found.health))
        .collect();
    findings.equal(
        "which finds it",
        found,
        vec![(pool.clone(), before.guid, Health::Online)],
    );
    let unknown = ImportRequest {
        pool: PoolSelector::Name(other.name.clone()),
        search: folder.clone(),
    };
    findings.fails("import another name", zfs.pool_import(&unknown).await, missing);
    findings.works("import by identity", zfs.pool_import(&by_guid).await);
    let Some(after) = findings.works("pool status", zfs.pool_get(pool).await) else {
        return;
    };
    findings.equal("the same pool", after.guid, before.guid);
    findings.equal("another load", after.load_guid != before.load_guid, true);
    grows(findings, zfs, around, setup, after.size).await;
}

/// The file grows, then the pool.
async fn grows<Z: Zfs>(findings: &mut Findings, zfs: &Z, around: &impl Surroundings, setup: &Setup, before: u64) {
    let Setup { pool, vdev } = setup;
    let absent = "contract-absent".parse().expect("a legal name");
    findings.fails(
        "expand a pool that is not there",
        zfs.pool_expand(&absent, vdev).await,
        &ErrorKind::PoolMissing,
    );
    findings.fails(
        "expand by a file that is none of its own",
        zfs.pool_expand(pool, &vdev.with_extension("other")).await,
        &ErrorKind::DeviceMissing,
    );
    findings.works("expand by a file that has not grown", zfs.pool_expand(pool, vdev).await);
    around.grow(vdev, GROWTH);
    let size = findings.works("pool status", zfs.pool_get(pool).await);
    findings.equal(
        "a larger file is no larger pool",
        size.map(|status| status.size),
        Some(before),
    );
    for _ in 0..2 {
        findings.works("expand", zfs.pool_expand(pool, vdev).await);
    }
    let mut grown = None;
    for _ in 0..PATIENCE {
        grown = findings.works("pool status", zfs.pool_get(pool).await);
        if grown.as_ref().is_none_or(|status| status.size > before) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    findings.equal(
        "it is larger, and healthy",
        grown.map(|status| (status.size > before, status.health)),
        Some((true, Health::Online)),
    );
}
