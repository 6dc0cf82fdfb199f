//! Volumes that begin as clones of snapshots that are not ours.
//!
//! Nothing of what lies outside our root is changed: the snapshot stays, and ZFS keeps it while there is a clone of it.
//! Whoever manages the host allows it, by a property of the snapshot itself that names the volume.

use dotmesh_model::format::VolumeFormat;
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{GetRequest, PropName, PropertyRow, SnapshotName, Source, Zfs};

use super::{REFERENCED, VOLSIZE, VolumeRequest};
use crate::layout::{ADOPT, DotState};
use crate::ops::{Error, KnownPool, Ops};

const ENCRYPTION: PropName = PropName::from_static("encryption");

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// A snapshot that is not ours, with which a missing volume begins.
    ///
    /// # Errors
    /// [`Error::Invalid`] of a snapshot that is not there, that nobody has allowed, or that the volume cannot be cloned
    /// from; those of the pool.
    pub(super) async fn check_adopted(
        &self,
        pool: &KnownPool,
        state: &DotState,
        volume: &VolumeRequest,
        snapshot: &SnapshotName,
    ) -> Result<(), Error> {
        self.check_place(pool, volume, snapshot)?;
        let get = GetRequest {
            targets: vec![snapshot.clone().into()],
            properties: vec![ADOPT, ENCRYPTION, REFERENCED, VOLSIZE],
            sources: Vec::new(),
            depth: Some(0),
            kinds: Vec::new(),
        };
        let looked = self.host.zfs.get(&get).await;
        let rows = self
            .unless_absent(pool, &format!("reading {snapshot}"), looked)
            .await?
            .unwrap_or_default();
        check_allowed(state, volume, snapshot, &rows)?;
        check_clonable(volume, snapshot, &rows)
    }

    fn check_place(&self, pool: &KnownPool, volume: &VolumeRequest, snapshot: &SnapshotName) -> Result<(), Error> {
        let refused = |why: String| Err(refusal(volume, snapshot, &why));
        let dataset = snapshot.dataset();
        let all = pool.layout.pool().root();
        if *dataset != all && !dataset.is_below(&all) {
            return refused(format!("is not in pool {}, where the Dot lies", pool.layout.pool()));
        }
        if pool.layout.owns(dataset) {
            return refused("is of Dotmesh already: make a Branch of its Dot".to_owned());
        }
        Ok(())
    }
}

fn refusal(volume: &VolumeRequest, snapshot: &SnapshotName, why: &str) -> Error {
    Error::Invalid(format!("volume {}: snapshot {snapshot} {why}", volume.name))
}

fn find<'a>(rows: &'a [PropertyRow], property: &PropName) -> Option<&'a PropertyRow> {
    rows.iter()
        .find(|row| row.property == *property && row.value != "-" && !row.value.is_empty())
}

/// Its own property names the volume; one that it has from its dataset was not said of it.
fn check_allowed(
    state: &DotState,
    volume: &VolumeRequest,
    snapshot: &SnapshotName,
    rows: &[PropertyRow],
) -> Result<(), Error> {
    let identity = state.identity.clone().unwrap_or_default();
    let wanted = format!("{}/{}/{}", identity.namespace, identity.name, volume.name);
    let why = match find(rows, &ADOPT).filter(|row| row.source == Source::Local) {
        Some(row) if row.value == wanted => return Ok(()),
        _ if is_planted(Mutant::WhatIsAdoptedNeedsNoPermission) && !rows.is_empty() => return Ok(()),
        Some(row) => format!("is for {}, and not for {wanted}", row.value),
        None if rows.is_empty() => {
            format!("does not exist; on its node: zfs snapshot -o {ADOPT}={wanted} {snapshot}")
        }
        None => format!("is not given to it; on its node: zfs set {ADOPT}={wanted} {snapshot}"),
    };
    Err(refusal(volume, snapshot, &why))
}

fn check_clonable(volume: &VolumeRequest, snapshot: &SnapshotName, rows: &[PropertyRow]) -> Result<(), Error> {
    let refused = |why: String| Err(refusal(volume, snapshot, &why));
    let number = |property: &PropName| find(rows, property).and_then(|row| row.value.parse::<u64>().ok());
    if let Some(row) = find(rows, &ENCRYPTION).filter(|row| row.value != "off") {
        return refused(format!("is encrypted ({}); only what is not can be adopted", row.value));
    }
    let is_device = number(&VOLSIZE).is_some();
    if is_device != (volume.format != VolumeFormat::Zfs) {
        let found = if is_device {
            "a block device"
        } else {
            "a filesystem of ZFS"
        };
        return refused(format!("is of {found}, and the volume has format {}", volume.format));
    }
    let content = number(&REFERENCED).unwrap_or(0);
    if !is_device && content > volume.size {
        return refused(format!(
            "holds {content} bytes; {} bytes are too few for it",
            volume.size
        ));
    }
    Ok(())
}
