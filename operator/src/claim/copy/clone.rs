//! What another claim has now, by a Commit that is taken for this one. Commits that were taken for clones go by themselves
//! ([`is_done_with`]).

use std::collections::BTreeMap;

use dotmesh_crds::commit::CommitSpec;
use dotmesh_crds::names::{
    ANNOTATION_CLAIM, DRIVER, LABEL_AUTOMATIC, LABEL_CLAIM_UID, LABEL_DOT, snapshot_object, volume_object,
};
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_model::handle::Handle;
use dotmesh_model::size::parse_quantity;
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::error::CopyError;
use super::{Original, check};
use crate::api::{Api, ApiError, Key};
use crate::claim::apply::made;
use crate::claim::error::ClaimError;
use crate::claim::is_still_there;
use crate::claim::observe::ObserveError;
use crate::claim::own::{Owner, is_made_for, observe_own_claim};
use crate::claim::validate::Request;
use crate::dot::import::is_importing;
use crate::facade::delete::find_dot;
use crate::facade::held::{self, held_volume};
use crate::meta::{belongs_to, is_deleting, uid};
use crate::status::{is_ready, stuck_condition};

/// Finds it; nothing: the Commit is being taken.
///
/// # Errors
/// Why nothing can be made from it, or not yet.
pub async fn find<A: Api>(
    api: &A,
    claim: &PersistentVolumeClaim,
    request: &Request,
    name: &str,
) -> Result<Option<(Original, Commit)>, ObserveError> {
    let what = format!("PersistentVolumeClaim {name:?}");
    let source: Option<PersistentVolumeClaim> = api.get(&Key::namespaced(&request.namespace, name)).await?;
    let source = source.ok_or_else(|| CopyError::NotFound {
        kind: "PersistentVolumeClaim",
        name: name.to_owned(),
        namespace: request.namespace.clone(),
    })?;
    if is_deleting(&source) {
        return Err(CopyError::Going { what }.into());
    }
    let handle = handle_of(api, &what, &source).await?;
    let gone = || CopyError::Gone { what: what.clone() };
    let dot = find_dot(api, handle.dot).await?.ok_or_else(gone)?;
    if dot.namespace().as_deref() != Some(&request.namespace) && !is_planted(Mutant::WhatIsClonedIsAnybodys) {
        let why = "its PersistentVolume stands for data of another namespace".to_owned();
        return Err(CopyError::NotYours { what, why }.into());
    }
    let mut world = held::World::default();
    held::observe(api, &Key::of(&dot), handle, &mut world).await?;
    let dot = world.dot.ok_or_else(gone)?;
    held_volume(&dot, handle).ok_or_else(gone)?;
    if is_deleting(&dot) {
        return Err(CopyError::Going { what }.into());
    }
    let capacity = source.status.as_ref().and_then(|status| status.capacity.as_ref());
    let capacity = capacity.and_then(|capacity| parse_quantity(&capacity.get("storage")?.0).ok());
    let original = Original {
        may_convert: false,
        what: what.clone(),
        dot,
        volume: handle.volume,
        least_bytes: capacity.unwrap_or_default(),
    };
    // Nothing is taken for a claim that can never have it.
    check(request, &original)?;
    let dot = &original.dot;
    let key = Key::namespaced(&request.namespace, snapshot_object(&request.uid.to_string()));
    let Some(commit) = api.get::<Commit>(&key).await? else {
        let branch = world.branch.filter(|branch| !is_deleting(branch));
        let branch = branch.ok_or_else(|| CopyError::NotReady {
            what: what.clone(),
            why: format!("the branch of Dot {:?} that it follows is not there", dot.name_any()),
        })?;
        if is_still_there(api, claim).await? {
            made(api.create(&build(request, name, dot, &branch)).await)?;
        }
        return Ok(None);
    };
    if !is_made_for(&commit, &request.uid.to_string()) || !belongs_or_will(&commit, dot) {
        let name = commit.name_any();
        return Err(ClaimError::Conflict { kind: "Commit", name }.into());
    }
    if !is_taken(&what, &commit)? {
        return Ok(None);
    }
    Ok(Some((original, commit)))
}

/// The handle of a claim's volume, if it is bound, of our driver, and its own.
async fn handle_of<A: Api>(api: &A, what: &str, source: &PersistentVolumeClaim) -> Result<Handle, ObserveError> {
    let what = || what.to_owned();
    let not_bound = || CopyError::NotReady {
        what: what(),
        why: "it is not bound".to_owned(),
    };
    let bound = source.spec.as_ref().and_then(|spec| spec.volume_name.clone());
    let bound = bound.filter(|name| !name.is_empty()).ok_or_else(not_bound)?;
    let volume: Option<PersistentVolume> = api.get(&Key::cluster(bound)).await?;
    let spec = volume.and_then(|volume| volume.spec).ok_or_else(not_bound)?;
    let is_for = spec.claim_ref.and_then(|claim| claim.uid);
    if is_for.as_deref() != Some(uid(source)) {
        return Err(not_bound().into());
    }
    let csi = spec.csi.filter(|csi| csi.driver == DRIVER);
    let csi = csi.ok_or_else(|| CopyError::OtherDriver {
        what: what(),
        of: "another driver".to_owned(),
    })?;
    let handle: Option<Handle> = csi.volume_handle.parse().ok();
    let is_its = |handle: &Handle| handle.claim.to_string() == uid(source);
    let handle = handle.filter(|handle| is_its(handle) || is_planted(Mutant::WhatIsClonedIsAnybodys));
    Ok(handle.ok_or_else(|| CopyError::NotYours {
        what: what(),
        why: "its PersistentVolume has a handle that was not made for it".to_owned(),
    })?)
}

fn belongs_or_will(commit: &Commit, dot: &Dot) -> bool {
    commit.spec.dot == dot.name_any() && (commit.status.is_none() || belongs_to(commit, dot))
}

fn is_taken(what: &str, commit: &Commit) -> Result<bool, CopyError> {
    if is_deleting(commit) {
        return Err(CopyError::NotReady {
            what: what.to_owned(),
            why: format!("Commit {:?} of it is being deleted", commit.name_any()),
        });
    }
    let conditions = commit.status.as_ref().map_or(&[][..], |status| &status.conditions);
    if is_ready(conditions) {
        return Ok(true);
    }
    match stuck_condition(conditions) {
        None => Ok(false),
        Some(ready) => Err(CopyError::NotReady {
            what: what.to_owned(),
            why: ready.message.clone(),
        }),
    }
}

/// The Commit that is taken for a clone. People do not keep the Dot by it.
fn build(request: &Request, source: &str, dot: &Dot, branch: &Branch) -> Commit {
    let uid = request.uid.to_string();
    Commit {
        metadata: ObjectMeta {
            name: Some(snapshot_object(&uid)),
            namespace: Some(request.namespace.clone()),
            labels: Some(BTreeMap::from([
                (LABEL_AUTOMATIC.to_owned(), "true".to_owned()),
                (LABEL_CLAIM_UID.to_owned(), uid),
                (LABEL_DOT.to_owned(), dot.name_any()),
            ])),
            annotations: Some(BTreeMap::from([(ANNOTATION_CLAIM.to_owned(), request.name.clone())])),
            ..ObjectMeta::default()
        },
        spec: CommitSpec {
            dot: dot.name_any(),
            branch: Some(branch.spec.name.clone()),
            message: Some(format!("Clone of claim {source} for claim {}", request.name)),
            ..CommitSpec::default()
        },
        status: None,
    }
}

/// Whether a Commit was taken for a clone, and that is made or nobody waits for it any more: by consistent reads.
///
/// # Errors
/// Those of the API.
pub async fn is_done_with<A: Api>(api: &A, commit: &Commit) -> Result<bool, ApiError> {
    let Some(claim) = commit.labels().get(LABEL_CLAIM_UID) else {
        return Ok(false);
    };
    match observe_own_claim(api, commit).await? {
        Owner::None => Ok(false),
        Owner::Gone => Ok(!is_planted(Mutant::TheCommitOfACloneStays)),
        Owner::Present => {
            let own = Key {
                namespace: commit.namespace(),
                name: volume_object(claim),
            };
            let own: Option<Dot> = api.get(&own).await?;
            let is_made = own.is_some_and(|dot| is_made_for(&dot, claim) && !is_importing(&dot));
            Ok(is_made && !is_planted(Mutant::TheCommitOfACloneStays))
        }
    }
}
