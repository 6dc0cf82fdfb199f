//! Taking over what another Dot left.
//!
//! The Remnant first says who takes it, in the version in which nobody did and its end was not asked for: from then on
//! its end destroys nothing. Then the Dot records the id; then the Remnant goes.

use std::collections::BTreeMap;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::names::dot_remnant;
use dotmesh_crds::remnant::RemnantTaker;
use dotmesh_crds::{Dot, Remnant, RemnantSpec, RemnantStatus};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::size::{parse_quantity, parse_volume_size};
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;

use super::observe::Observed;
use crate::api::{Api, ApiError, Guard, Key};
use crate::claim::plan::describe;
use crate::meta::{is_deleting, namespace_of, uid};
use crate::remnant::observe::holders;
use crate::status::{Verdict, apply_status};

/// What a Dot wants to take over, by consistent reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Source {
    /// The Remnant of that id.
    pub remnant: Option<Remnant>,
    /// The Dot that has recorded the id, and is another one.
    pub holder: Option<Key>,
    /// The uid of the Dot's namespace.
    pub namespace_uid: String,
}

/// How it stands with the data.
pub enum Standing<'a> {
    /// Nothing is to be taken over, or it is recorded.
    NotAsked,
    /// The Remnant says that this Dot takes it.
    Taken(&'a RemnantSpec),
    /// This Dot may take it.
    Free(&'a Remnant),
    /// It may not.
    Refused(Verdict),
}

/// Reads it; absent when the Dot takes nothing over, or has done so.
///
/// # Errors
/// Those of the API.
pub async fn observe_source<A: Api>(api: &A, dot: &Dot) -> Result<Option<Source>, ApiError> {
    let is_recorded = dot.status.as_ref().is_some_and(|status| status.id.is_some());
    let Some(id) = dot
        .spec
        .restore_from
        .as_ref()
        .filter(|_| !is_recorded && !is_deleting(dot))
    else {
        return Ok(None);
    };
    let remnant: Option<Remnant> = api.get(&Key::cluster(dot_remnant(id))).await?;
    let holder = holders(api, id)
        .await?
        .iter()
        .find(|other| uid(*other) != uid(dot))
        .map(Key::of);
    let namespace = namespace_of(api, dot).await?;
    Ok(Some(Source {
        remnant,
        holder,
        namespace_uid: namespace.map(|(uid, _)| uid).unwrap_or_default(),
    }))
}

/// Whether the Dot may have what it wants.
#[must_use]
pub fn standing(seen: &Observed) -> Standing<'_> {
    let dot = &seen.dot;
    let is_recorded = dot.status.as_ref().is_some_and(|status| status.id.is_some());
    let Some(id) = dot.spec.restore_from.as_ref().filter(|_| !is_recorded) else {
        return Standing::NotAsked;
    };
    let refused = |reason, why: String| Standing::Refused(Verdict::new(reason, why));
    let source = seen.source.clone().unwrap_or_default();
    let namespace = dot.namespace().unwrap_or_default();
    let remnant = seen.source.as_ref().and_then(|source| source.remnant.as_ref());
    let Some(remnant) = remnant.filter(|remnant| {
        let of = &remnant.spec.namespace;
        of.name == namespace && of.uid == source.namespace_uid
    }) else {
        let why = format!(
            "spec.restoreFrom: no Remnant of a Dot has the id {id} in this namespace (kubectl get remnants); one of another \
             namespace is handed over by its spec.namespace, with name and uid"
        );
        return refused(Reason::RemnantNotFound, why);
    };
    let name = remnant.name_any();
    if is_planted(Mutant::ARemnantIsTakenByWhoeverAsks) {
        return Standing::Taken(&remnant.spec);
    }
    match remnant.status.as_ref().and_then(|status| status.taken_by.as_ref()) {
        Some(taker) if taker.uid == uid(dot) => return Standing::Taken(&remnant.spec),
        Some(taker) => {
            let why = format!(
                "Remnant {name:?} is taken over by Dot {}/{}",
                taker.namespace, taker.name
            );
            return refused(Reason::RemnantTaken, why);
        }
        None => {}
    }
    if is_deleting(remnant) {
        return refused(Reason::RemnantTaken, format!("Remnant {name:?} is being destroyed"));
    }
    if let Some(holder) = source.holder {
        let why = format!("waits until Dot {holder}, which has the data, is gone");
        return refused(Reason::NotReady, why);
    }
    match contradiction(dot, &remnant.spec) {
        Some(why) => refused(Reason::Invalid, why),
        None => Standing::Free(remnant),
    }
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

/// The Remnant says from now on that this Dot takes it.
///
/// # Errors
/// A conflict when it is not as it was seen; others of the API.
pub async fn take<A: Api>(api: &A, dot: &Dot, remnant: &Remnant) -> Result<Remnant, ApiError> {
    let status = RemnantStatus {
        taken_by: Some(RemnantTaker {
            namespace: dot.namespace().unwrap_or_default(),
            name: dot.name_any(),
            uid: uid(dot).to_owned(),
        }),
        ..remnant.status.clone().unwrap_or_default()
    };
    apply_status(api, remnant, &Guard::unchanged(remnant), &status).await
}
