//! Taking over what another Dot left.

use std::collections::BTreeMap;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::remnant::RemnantKind;
use dotmesh_crds::{Dot, RemnantSpec};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::size::{parse_quantity, parse_volume_size};

use super::observe::Observed;
use crate::api::{Api, ApiError};
use crate::claim::plan::describe;
use crate::remnant::takeover::{self, Source, Standing};
use crate::status::Verdict;

/// Reads what the Dot wants to take over; absent when that is nothing, or recorded.
///
/// # Errors
/// Those of the API.
pub async fn observe_source<A: Api>(api: &A, dot: &Dot) -> Result<Option<Source>, ApiError> {
    let is_recorded = dot.status.as_ref().is_some_and(|status| status.id.is_some());
    let wanted = dot.spec.restore_from.as_ref().filter(|_| !is_recorded);
    takeover::observe_source(api, RemnantKind::Dot, dot, wanted).await
}

/// Whether the Dot may have what it wants; nothing when there is nothing to take over, or it is recorded.
#[must_use]
pub fn standing(seen: &Observed) -> Option<Standing<'_>> {
    let dot = &seen.dot;
    let is_recorded = dot.status.as_ref().is_some_and(|status| status.id.is_some());
    if is_recorded || dot.spec.restore_from.is_none() {
        return None;
    }
    Some(match &seen.source {
        Some(source) => takeover::standing(dot, source, |remnant| contradiction(dot, remnant)),
        None => Standing::Refused(Verdict::new(
            Reason::Deleting,
            "it goes before it has taken anything over",
        )),
    })
}

/// What the list of volumes says that the data does not have: nothing begins empty, or smaller, because of a slip.
fn contradiction(dot: &Dot, remnant: &RemnantSpec) -> Option<String> {
    let volumes = remnant.volumes.iter();
    let there: BTreeMap<&str, (u64, VolumeFormat)> = volumes
        .map(|volume| {
            let bytes = parse_quantity(&volume.size).unwrap_or_default();
            (volume.name.as_str(), (bytes, volume.format()))
        })
        .collect();
    let names = || there.keys().copied().collect::<Vec<_>>().join(", ");
    if dot.spec.pool_class() != remnant.pool_class {
        return Some(format!(
            "spec.placement.poolClass: the data lies on a Pool of class {:?}, not {:?}; make the Dot with that class",
            remnant.pool_class,
            dot.spec.pool_class()
        ));
    }
    dot.spec.volumes.iter().flatten().find_map(|volume| {
        let bytes = parse_volume_size(&volume.size).ok()?;
        match there.get(volume.name.as_str()) {
            None => Some(format!(
                "spec.volumes: {:?} is not one of the volumes to be restored, which are {}; add it when they are there",
                volume.name,
                names()
            )),
            Some((_, format)) if *format != volume.format() => Some(format!(
                "spec.volumes: {:?} is to be {}, and the volume to be restored is {}; leave volumes out",
                volume.name,
                describe(volume.format()),
                describe(*format)
            )),
            Some((has, _)) if bytes < *has => Some(format!(
                "spec.volumes: {:?} has {} and the volume to be restored is larger; leave volumes out",
                volume.name, volume.size
            )),
            Some(_) => None,
        }
    })
}
