//! Taking over what another object left.
//!
//! The Remnant first says who takes it, in the version in which nobody did and its end was not asked for: from then on
//! its end destroys nothing. Then the taker records the id; then the Remnant goes.

use dotmesh_crds::condition::Reason;
use dotmesh_crds::remnant::{RemnantKind, RemnantTaker};
use dotmesh_crds::{Remnant, RemnantSpec, RemnantStatus};
use dotmesh_mutant::{Mutant, is_planted};
use kube::{Resource, ResourceExt};

use super::observe::{Party, holders};
use crate::api::{Api, ApiError, Guard, Key, Kind};
use crate::meta::{is_deleting, namespace_of, uid};
use crate::status::{Verdict, apply_status};

/// What an object wants to take over, by consistent reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Of what kind both are.
    pub kind: RemnantKind,
    /// What it asks for.
    pub id: String,
    /// The Remnant of that id.
    pub remnant: Option<Remnant>,
    /// The object that has recorded the id, and is another one.
    pub holder: Option<Key>,
    /// The uid of the taker's namespace.
    pub namespace_uid: String,
}

/// How it stands with the data.
pub enum Standing<'a> {
    /// The Remnant says that this object takes it.
    Taken(&'a RemnantSpec),
    /// This object may take it.
    Free(&'a Remnant),
    /// It may not.
    Refused(Verdict),
}

/// Reads what an object of this kind wants that has not recorded it yet; nothing when it is about to go.
///
/// # Errors
/// Those of the API.
pub async fn observe_source<A: Api, K: Kind>(
    api: &A,
    kind: RemnantKind,
    object: &K,
    wanted: Option<&String>,
) -> Result<Option<Source>, ApiError> {
    let Some(id) = wanted.filter(|_| !is_deleting(object)) else {
        return Ok(None);
    };
    let remnant: Option<Remnant> = api.get(&Key::cluster(kind.remnant(id))).await?;
    let holders = holders(api, kind, id).await?;
    let holder = holders.into_iter().find(|other| other.uid != uid(object));
    let namespace = namespace_of(api, object).await?;
    Ok(Some(Source {
        kind,
        id: id.clone(),
        remnant,
        holder: holder.map(|Party { key, .. }| key),
        namespace_uid: namespace.map(|(uid, _)| uid).unwrap_or_default(),
    }))
}

/// Whether an object may have what it wants, or what of it contradicts the data.
pub fn standing<'a, K: Resource>(
    object: &K,
    source: &'a Source,
    contradiction: impl FnOnce(&RemnantSpec) -> Option<String>,
) -> Standing<'a> {
    let refused = |reason, why: String| Standing::Refused(Verdict::new(reason, why));
    let kind = source.kind.as_str();
    let namespace = object.namespace().unwrap_or_default();
    let Some(remnant) = source.remnant.as_ref().filter(|remnant| {
        let of = &remnant.spec.namespace;
        of.name == namespace && of.uid == source.namespace_uid
    }) else {
        let why = format!(
            "spec.restoreFrom: no Remnant of a {kind} has the id {} in this namespace (kubectl get remnants); one of \
             another namespace is handed over by its spec.namespace, with name and uid",
            source.id
        );
        return refused(Reason::RemnantNotFound, why);
    };
    let name = remnant.name_any();
    if is_planted(Mutant::ARemnantIsTakenByWhoeverAsks) {
        return Standing::Taken(&remnant.spec);
    }
    match remnant.status.as_ref().and_then(|status| status.taken_by.as_ref()) {
        Some(taker) if taker.uid == uid(object) => return Standing::Taken(&remnant.spec),
        Some(taker) => {
            let why = format!(
                "Remnant {name:?} is taken over by {kind} {}/{}",
                taker.namespace, taker.name
            );
            return refused(Reason::RemnantTaken, why);
        }
        None => {}
    }
    if is_deleting(remnant) {
        return refused(Reason::RemnantTaken, format!("Remnant {name:?} is being destroyed"));
    }
    if let Some(holder) = &source.holder {
        let why = format!("waits until {kind} {holder}, which has the data, is gone");
        return refused(Reason::NotReady, why);
    }
    match contradiction(&remnant.spec) {
        Some(why) => refused(Reason::Invalid, why),
        None => Standing::Free(remnant),
    }
}

/// The Remnant says from now on that this object takes it.
///
/// # Errors
/// A conflict when it is not as it was seen; others of the API.
pub async fn take<A: Api, K: Resource>(api: &A, object: &K, remnant: &Remnant) -> Result<Remnant, ApiError> {
    let status = RemnantStatus {
        taken_by: Some(RemnantTaker {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: uid(object).to_owned(),
        }),
        ..remnant.status.clone().unwrap_or_default()
    };
    apply_status(api, remnant, &Guard::unchanged(remnant), &status).await
}
