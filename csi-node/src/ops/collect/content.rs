//! What is in a head that is to go.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_model::id::DotId;
use dotmesh_mount::Mount;
use dotmesh_zfs::{DatasetName, Kind, ListRequest, ObjectName, SnapName, Zfs};

use super::{CREATETXG, VOLSIZE, WRITTEN};
use crate::layout::parse_volume_dataset;
use crate::ops::branch::ORIGIN;
use crate::ops::{Error, KnownPool, Ops};

/// What is in a head.
pub(super) struct HeadContent {
    /// The datasets directly below it, with the bytes written to each since its newest snapshot.
    pub(super) volumes: BTreeMap<DatasetName, u64>,
    /// Those of them that are volumes of ZFS.
    pub(super) devices: BTreeSet<DatasetName>,
    /// The other Dots that some of them are clones of.
    pub(super) others: BTreeSet<DotId>,
    /// The newest snapshot of each dataset that has any, whoever made it.
    pub(super) newest: BTreeMap<DatasetName, SnapName>,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// What is in a head, by one `zfs list`; nothing when it is not there itself.
    pub(super) async fn content(&self, pool: &KnownPool, head: &DatasetName) -> Result<Option<HeadContent>, Error> {
        let list = ListRequest {
            roots: vec![ObjectName::from(head.clone())],
            depth: Some(2),
            kinds: vec![Kind::Filesystem, Kind::Volume, Kind::Snapshot],
            columns: vec![WRITTEN, CREATETXG, VOLSIZE, ORIGIN],
        };
        let looked = self.host.zfs.list(&list).await;
        let Some(rows) = self.unless_absent(pool, &format!("listing {head}"), looked).await? else {
            return Ok(None);
        };
        let (mut volumes, mut devices, mut others) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut newest: BTreeMap<DatasetName, (u64, SnapName)> = BTreeMap::new();
        for row in &rows {
            let dataset = row.name.dataset();
            let Some(snapshot) = row.name.snapshot() else {
                if dataset.parent().as_ref() == Some(head) {
                    volumes.insert(dataset.clone(), row.number(&WRITTEN).unwrap_or(0));
                    if row.number(&VOLSIZE).is_ok() {
                        devices.insert(dataset.clone());
                    }
                    let origin = row.value(&ORIGIN).and_then(|origin| origin.split('@').next());
                    let source = origin.and_then(parse_volume_dataset).map(|(dot, ..)| dot);
                    others.extend(source.filter(|dot| head.parent() != Some(pool.layout.dot(*dot))));
                }
                continue;
            };
            let txg = row.number(&CREATETXG).unwrap_or(0);
            let candidate = (txg, snapshot.snap().clone());
            newest
                .entry(dataset.clone())
                .and_modify(|current| {
                    if current.0 < txg {
                        *current = candidate.clone();
                    }
                })
                .or_insert(candidate);
        }
        let newest = newest.into_iter().map(|(dataset, (_, snap))| (dataset, snap)).collect();
        Ok(Some(HeadContent {
            volumes,
            devices,
            others,
            newest,
        }))
    }
}
