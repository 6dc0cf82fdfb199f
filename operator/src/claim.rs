//! Claims that name a Dot, Branch or Commit, or are copies ([`copy`]): the controller that gives them their PersistentVolume.

pub mod apply;
pub mod copy;
pub mod entries;
pub mod error;
pub mod observe;
pub mod own;
pub mod plan;
pub mod release;
pub mod report;
pub mod validate;
pub mod volume;

use std::sync::Arc;
use std::time::Duration;

use dotmesh_crds::names::{snapshot_object, volume_object};
use dotmesh_crds::{Branch, Commit};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;

use crate::api::{Api, ApiError, ApiErrorKind, Key};
use crate::context::{Memory, ReconcileError};
use crate::meta::reread;
use observe::{ObserveError, observe_class, observe_world};
use report::Said;
use validate::Source;

/// How often a claim is looked at when its Dot changes in between, before its turn ends.
const MAX_LOOKS: u32 = 5;

/// Brings one claim a step further. A claim that cannot be served is no failure: it waits, with an event, for the
/// Dot, Branch or annotation that would help. Returns how long until it is looked at again although nothing tells of a
/// change; absent: not before.
pub async fn reconcile<A: Api>(
    api: &A,
    memory: &Memory,
    said: &Said,
    claim: Arc<PersistentVolumeClaim>,
) -> Result<Option<Duration>, ReconcileError> {
    let uid = claim.metadata.uid.clone().unwrap_or_default();
    let class = observe_class(api, &claim).await?;
    let Some(class) = class.filter(|class| validate::is_served(&claim, class)) else {
        said.forget(&uid);
        return Ok(None);
    };
    match serve(api, memory, &claim, &class).await {
        Ok(()) => said.forget(&uid),
        Err(ObserveError::Claim(error)) => {
            said.tell(api, &claim, &error).await?;
            return Ok(error.again());
        }
        Err(ObserveError::Api(error)) => return Err(error.into()),
    }
    Ok(None)
}

async fn serve<A: Api>(
    api: &A,
    memory: &Memory,
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
) -> Result<(), ObserveError> {
    let request = validate::validate(claim, class)?;
    // Its Dot's coming tells of the rest.
    if copy::is_needed(api, &request).await? {
        return copy::begin(api, claim, &request).await;
    }
    let mut looks = 0;
    loop {
        looks += 1;
        let world = observe_world(api, memory, &request).await?;
        let step = plan::plan(&request, &world)?;
        // For a claim that only an old cache shows nothing is entered again, and no volume made that could stay for ever.
        let is_effect = !matches!(step, plan::Plan::Done | plan::Plan::Wait(_));
        if is_effect && !is_still_there(api, claim).await? {
            return Ok(());
        }
        match apply::apply(api, &world.dot, step).await {
            // The Dot's own controller is busy with it: what is to be written is decided anew.
            Err(error) if error.kind == ApiErrorKind::Conflict && looks < MAX_LOOKS => {}
            result => return Ok(result?),
        }
    }
}

/// Whether a claim from the cache is the one that is there now, and is unbound. If not, that is told soon.
async fn is_still_there<A: Api>(api: &A, claim: &PersistentVolumeClaim) -> Result<bool, ApiError> {
    let now: Option<PersistentVolumeClaim> = reread(api, claim).await?;
    Ok(now.is_some_and(|now| validate::is_unbound(&now)))
}

fn waits(claim: &PersistentVolumeClaim) -> bool {
    validate::is_unbound(claim) && validate::has_source(claim)
}

/// Claims that wait for one of these Dots, by name or by a Branch or Commit of it.
pub fn waiting_for<A: Api>(api: &A, is_meant: impl Fn(&Key) -> bool) -> Vec<Key> {
    let dot_of = |claim: &PersistentVolumeClaim| {
        let beside = |name: String| Key {
            namespace: claim.metadata.namespace.clone(),
            name,
        };
        let of_branch = |name: String| Some(api.cached::<Branch>(&beside(name))?.spec.dot.clone());
        let dot = match validate::parse_source(claim).ok()? {
            Source::Dot(dot) => dot,
            Source::Branch { name, .. } => of_branch(name)?,
            Source::Snapshot(_) | Source::Claim(_) => volume_object(claim.metadata.uid.as_deref()?),
            Source::Commit(name) => match api.cached::<Commit>(&beside(name)) {
                Some(commit) => commit.spec.dot.clone(),
                None => of_branch(volume_object(claim.metadata.uid.as_deref()?))?,
            },
        };
        Some(beside(dot))
    };
    let mut waiting = api.cached_where(waits);
    waiting.retain(|claim| dot_of(claim).is_some_and(|dot| is_meant(&dot)));
    waiting.iter().map(|claim| Key::of(&**claim)).collect()
}

/// Claims that wait for this Commit.
pub fn waiting_for_commit<A: Api>(api: &A, commit: &Key) -> Vec<Key> {
    let names_it = |claim: &PersistentVolumeClaim| {
        claim.metadata.namespace == commit.namespace
            && waits(claim)
            && validate::parse_source(claim).is_ok_and(|source| match source {
                Source::Commit(name) => name == commit.name,
                Source::Claim(_) => snapshot_object(claim.metadata.uid.as_deref().unwrap_or_default()) == commit.name,
                Source::Dot(_) | Source::Branch { .. } | Source::Snapshot(_) => false,
            })
    };
    let waiting = api.cached_where(names_it);
    waiting.iter().map(|claim| Key::of(&**claim)).collect()
}

#[cfg(test)]
mod tests;
