//! What a Dot asks for, as values that can no longer be wrong.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::{DotClaim, DotVolume, DotVolumeStatus};
use dotmesh_crds::format::words_of;
use dotmesh_crds::names::LABEL_CLAIM_UID;
use dotmesh_crds::zfs::ZfsProperties;
use dotmesh_crds::{Dot, Pool};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{DotId, VolumeId};
use dotmesh_model::name::VolumeName;
use dotmesh_model::size::{MIN_VOLUME_BYTES, format_quantity, parse_quantity, parse_volume_size};
use dotmesh_model::tuning::Tuning;
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;

use super::import::clones;
use super::observe::{Observed, node_of};
use super::takeover::standing;
use crate::claim::entries;
use crate::claim::plan::describe;
use crate::meta::{dot_id, uid};
use crate::pool::room::check_growth;
use crate::remnant::takeover::Standing;
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
    /// Why a volume is not as large as it is asked for. All else goes on.
    pub refused: Option<Verdict>,
    /// The claims' entries.
    pub claims: Vec<DotClaim>,
}

/// Checks a Dot.
pub fn validate(seen: &Observed) -> Result<Valid, Verdict> {
    let dot = &seen.dot;
    let taken = match standing(seen) {
        None => None,
        Some(Standing::Taken(remnant)) => Some(remnant),
        Some(Standing::Free(_)) => return Err(Verdict::new(Reason::Progressing, "being taken over")),
        Some(Standing::Refused(verdict)) => return Err(verdict),
    };
    let id = match (taken, &dot.spec.restore_from) {
        (Some(remnant), _) => &remnant.id,
        (None, Some(_)) => dot_id(dot),
        (None, None) => uid(dot),
    };
    let id: DotId = id
        .parse()
        .map_err(|why| Verdict::new(Reason::Error, format!("the Dot's id: {why}")))?;
    let begun_at = seen.begun_at.clone().transpose()?;
    if let Some(place) = &begun_at {
        place.check(dot)?;
    }
    let there = taken.map_or(&[][..], |remnant| &remnant.volumes);
    let (mut volumes, refused) = effective_volumes(dot, id, there, seen.pool.as_deref())?;
    for volume in &mut volumes {
        let found = begun_at.as_ref().and_then(|place| place.origins.get(&volume.name));
        volume.origin = found.cloned().or_else(|| clones::recorded(dot, there, &volume.name));
    }
    if let Some(pool) = seen.pool.as_deref() {
        fits(&volumes, pool)?;
    }
    Ok(Valid {
        id,
        node: taken
            .map(|remnant| remnant.node.clone())
            .or_else(|| node_of(dot))
            .or_else(|| Some(begun_at?.node()?.to_owned())),
        volumes,
        refused,
        claims: dot
            .status
            .as_ref()
            .map(|status| status.claims.clone())
            .unwrap_or_default(),
    })
}

/// The union of what spec, claims, status and the data to be taken over name, each with the largest size: a volume
/// neither shrinks nor goes. One that cannot grow stays as it is; why, is told.
fn effective_volumes(
    dot: &Dot,
    id: DotId,
    taken: &[DotVolumeStatus],
    pool: Option<&Pool>,
) -> Result<(Vec<DotVolumeStatus>, Option<Verdict>), Verdict> {
    let (wanted, recorded) = (wanted_sizes(dot)?, recorded_sizes(dot, taken)?);
    let names: BTreeSet<&String> = wanted.keys().chain(recorded.keys()).collect();
    let (mut volumes, mut refused) = (Vec::new(), None);
    for name in names {
        let wanted = wanted.get(name).copied();
        let bytes = match (wanted, recorded.get(name).copied()) {
            (Some(wanted), Some(_)) if is_planted(Mutant::AVolumeIsAsLargeAsItsClaims) => wanted,
            (Some(wanted), Some(recorded)) if wanted > recorded => match check_growth(pool, wanted) {
                Ok(()) => wanted,
                Err(why) => {
                    let asked = format_quantity(wanted);
                    let stays = format_quantity(recorded);
                    let message = format!("volume {name:?} of {stays} cannot grow to {asked}: {why}");
                    refused = refused.or(Some(Verdict::new(why.reason(), message)));
                    recorded
                }
            },
            (_, Some(recorded)) => recorded,
            (wanted, None) => wanted.unwrap_or_default(),
        };
        let format = effective_format(dot, taken, name)?;
        if bytes < format.min_bytes() {
            return Err(Verdict::new(
                Reason::Invalid,
                format!(
                    "volume {name:?} of {}: {} has at least {}",
                    format_quantity(bytes),
                    describe(format),
                    format_quantity(format.min_bytes())
                ),
            ));
        }
        let (volume_mode, fs_type) = words_of(format);
        let tuning = effective_tuning(dot, taken, name)?.of_format(format);
        volumes.push(DotVolumeStatus {
            id: VolumeId::derive(id, name).to_string(),
            size: format_quantity(bytes),
            name: name.clone(),
            volume_mode,
            fs_type,
            zfs: ZfsProperties::of(&tuning),
            origin: None,
        });
    }
    Ok((volumes, refused))
}

/// What a volume is, which the list of volumes must not say otherwise; of a new one what it is asked for as.
fn effective_format(dot: &Dot, taken: &[DotVolumeStatus], name: &str) -> Result<VolumeFormat, Verdict> {
    let recorded = dot.status.iter().flat_map(|status| &status.volumes).chain(taken);
    let there = recorded
        .filter(|volume| volume.name == name)
        .map(DotVolumeStatus::format)
        .next();
    let listed = dot.spec.volumes.iter().flatten().find(|volume| volume.name == name);
    match (there, listed.map(DotVolume::format)) {
        (Some(there), Some(asked)) if there != asked => Err(Verdict::new(
            Reason::Invalid,
            format!(
                "spec.volumes: {name:?} is {}, and not {}; that never changes",
                describe(there),
                describe(asked)
            ),
        )),
        (Some(there), _) => Ok(there),
        (None, _) => Ok(entries::format_of(dot, name).unwrap_or_default()),
    }
}

/// How a volume's data is kept: what the list of volumes says, else a claim's VolumeAttributesClass, else what was said
/// before, and of a new one its first claim's StorageClass. The size of a block device's blocks is what it was made with.
fn effective_tuning(dot: &Dot, taken: &[DotVolumeStatus], name: &str) -> Result<Tuning, Verdict> {
    let values = |zfs: Option<&ZfsProperties>| match zfs.map(ZfsProperties::tuning) {
        None => Ok(Tuning::default()),
        Some(Ok(tuning)) => Ok(tuning),
        Some(Err(why)) => Err(Verdict::new(Reason::Invalid, format!("volume {name:?}: zfs: {why}"))),
    };
    // Nothing of what is recorded is made while the Dot has no place.
    let placed = dot.status.iter().filter(|status| status.pool.is_some());
    let recorded = placed.flat_map(|status| &status.volumes).chain(taken);
    let there = recorded
        .filter(|volume| volume.name == name)
        .map(|volume| volume.zfs.as_ref());
    let there = there.map(values).next().transpose()?;
    let listed = dot.spec.volumes.iter().flatten().find(|volume| volume.name == name);
    let listed = values(listed.and_then(|volume| volume.zfs.as_ref()))?;
    let mut of_volume = entries::entries(dot).iter().filter(|entry| entry.volume == name);
    let wished = values(of_volume.find_map(|entry| entry.attributes.as_ref()))?;
    let claim = entries::entries(dot).iter().find(|entry| entry.volume == name);
    let claimed = |claim: Option<&DotClaim>| values(claim.and_then(|claim| claim.zfs.as_ref()));
    let Some(there) = there else {
        return Ok(listed.or(wished).or(claimed(claim)?));
    };
    let volblocksize = there.volblocksize;
    // A copy may be there before its claim's entry.
    let is_its = |entry: &&DotClaim| dot.labels().get(LABEL_CLAIM_UID) == Some(&entry.uid);
    let claimed = claimed(claim.filter(is_its))?;
    Ok(Tuning {
        volblocksize,
        ..listed.or(wished).or(there).or(claimed)
    })
}

/// Bytes that spec and claims ask for, by the volume's name.
fn wanted_sizes(dot: &Dot) -> Result<BTreeMap<String, u64>, Verdict> {
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
    Ok(sizes)
}

/// Bytes that volumes have had until now, in the data to be taken over as well, by name.
fn recorded_sizes(dot: &Dot, taken: &[DotVolumeStatus]) -> Result<BTreeMap<String, u64>, Verdict> {
    let recorded = dot.status.iter().flat_map(|status| &status.volumes).chain(taken);
    let size = |volume: &DotVolumeStatus| {
        let bytes = parse_quantity(&volume.size)
            .map_err(|why| Verdict::new(Reason::Error, format!("status.volumes: {:?}: {why}", volume.name)))?;
        Ok((volume.name.clone(), bytes))
    };
    recorded.map(size).collect()
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
