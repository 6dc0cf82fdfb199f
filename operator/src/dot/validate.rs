//! What a Dot asks for, as values that can no longer be wrong.

use std::collections::BTreeMap;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::{DotClaim, DotVolumeStatus};
use dotmesh_crds::{Dot, Pool};
use dotmesh_model::id::{DotId, VolumeId};
use dotmesh_model::name::VolumeName;
use dotmesh_model::size::{MIN_VOLUME_BYTES, format_quantity, parse_quantity, parse_volume_size};
use kube::ResourceExt;

use super::observe::{Observed, node_of};
use super::takeover::{Standing, standing};
use crate::meta::{dot_id, uid};
use crate::status::Verdict;

/// A Dot as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Valid {
    /// Its id.
    pub id: DotId,
    /// Where it lies, or will.
    pub node: Option<String>,
    /// Spec's and claims' volumes, and those that were there before; in order of their names.
    pub volumes: Vec<DotVolumeStatus>,
    /// The claims' entries.
    pub claims: Vec<DotClaim>,
}

/// Checks a Dot.
pub fn validate(seen: &Observed) -> Result<Valid, Verdict> {
    let dot = &seen.dot;
    let taken = match standing(seen) {
        Standing::NotAsked => None,
        Standing::Taken(remnant) => Some(remnant),
        Standing::Free(_) => return Err(Verdict::new(Reason::Progressing, "being taken over")),
        Standing::Refused(verdict) => return Err(verdict),
    };
    let id = match (taken, &dot.spec.restore_from) {
        (Some(remnant), _) => &remnant.id,
        (None, Some(_)) => dot_id(dot),
        (None, None) => uid(dot),
    };
    let id: DotId = id
        .parse()
        .map_err(|why| Verdict::new(Reason::Error, format!("the Dot's id: {why}")))?;
    let volumes = effective_volumes(dot, id, taken.map_or(&[], |remnant| &remnant.volumes))?;
    if let Some(pool) = seen.pool.as_deref() {
        fits(&volumes, pool)?;
    }
    Ok(Valid {
        id,
        node: taken.map(|remnant| remnant.node.clone()).or_else(|| node_of(dot)),
        volumes,
        claims: dot
            .status
            .as_ref()
            .map(|status| status.claims.clone())
            .unwrap_or_default(),
    })
}

/// The union of what spec, claims, status and the data to be taken over name, each with the largest size: a volume neither shrinks nor goes.
fn effective_volumes(dot: &Dot, id: DotId, taken: &[DotVolumeStatus]) -> Result<Vec<DotVolumeStatus>, Verdict> {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |name: &str, bytes: u64| {
        let size = sizes.entry(name.to_owned()).or_default();
        *size = bytes.max(*size);
    };
    for volume in dot.spec.volumes.iter().flatten() {
        let invalid = |why: String| Verdict::new(Reason::Invalid, format!("spec.volumes: {:?}: {why}", volume.name));
        volume
            .name
            .parse::<VolumeName>()
            .map_err(|why| invalid(format!("the name {why}")))?;
        add(
            &volume.name,
            parse_volume_size(&volume.size).map_err(|why| invalid(format!("the size {why}")))?,
        );
    }
    for claim in dot.status.iter().flat_map(|status| &status.claims) {
        let invalid = |why: String| Verdict::new(Reason::Invalid, format!("claim {:?}: {why}", claim.name));
        claim
            .volume
            .parse::<VolumeName>()
            .map_err(|why| invalid(format!("the volume's name {why}")))?;
        let bytes = parse_quantity(&claim.size).map_err(|why| invalid(format!("the size {why}")))?;
        add(&claim.volume, bytes.max(MIN_VOLUME_BYTES));
    }
    for volume in dot.status.iter().flat_map(|status| &status.volumes).chain(taken) {
        let bytes = parse_quantity(&volume.size)
            .map_err(|why| Verdict::new(Reason::Error, format!("status.volumes: {:?}: {why}", volume.name)))?;
        add(&volume.name, bytes);
    }
    Ok(sizes
        .into_iter()
        .map(|(name, bytes)| DotVolumeStatus {
            id: VolumeId::derive(id, &name).to_string(),
            size: format_quantity(bytes),
            name,
        })
        .collect())
}

/// ZFS takes any quota; a volume that could never be filled is refused here.
fn fits(volumes: &[DotVolumeStatus], pool: &Pool) -> Result<(), Verdict> {
    let Some(size) = pool.status.as_ref().and_then(|status| status.size.clone()) else {
        return Ok(());
    };
    let bytes = |text: &str| parse_quantity(text).unwrap_or(u64::MAX);
    match volumes.iter().find(|volume| bytes(&volume.size) > bytes(&size)) {
        None => Ok(()),
        Some(volume) => Err(Verdict::new(
            Reason::OutOfSpace,
            format!(
                "volume {:?} of {} is larger than Pool {:?} of {size}",
                volume.name,
                volume.size,
                pool.name_any()
            ),
        )),
    }
}
