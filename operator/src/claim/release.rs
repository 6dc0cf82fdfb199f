//! Entries whose claim is gone: level-triggered, from what is there now and never from an event that may be missed.
//!
//! An entry goes when consistent reads find neither the claim (by uid) nor its PersistentVolume. What goes with it is
//! another matter: the live data of a claim's own Dot or Branch is deleted by csi-provisioner asking for it (reclaim
//! policy Delete). A volume that was handed out and vanished without that was kept on purpose (Retain, removed by
//! hand), so its Dot or Branch first becomes one that people own.

use dotmesh_crds::dot::DotClaim;
use dotmesh_crds::names::{LABEL_CLAIM_UID, volume_object};
use dotmesh_crds::{Branch, Dot};
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::json;

use super::entries;
use super::own::is_made_for;
use crate::api::{Api, ApiError, Guard, Key, Kind};

/// The Dot's entries that look abandoned in the caches.
pub fn abandoned<A: Api>(api: &A, dot: &Dot) -> Vec<DotClaim> {
    entries::entries(dot)
        .iter()
        .filter(|entry| {
            let claim = api.cached::<PersistentVolumeClaim>(&claim_key(entry));
            let volume = api.cached::<PersistentVolume>(&volume_key(entry));
            !is_claim(claim.as_deref(), entry) && !is_volume(volume.as_deref(), entry)
        })
        .cloned()
        .collect()
}

/// Removes the entries of a Dot whose claims are gone.
pub async fn release<A: Api>(api: &A, key: &Key) -> Result<(), ApiError> {
    let suspects = match api.cached::<Dot>(key) {
        Some(dot) => abandoned(api, &dot),
        None => return Ok(()),
    };
    let mut gone = Vec::new();
    for entry in suspects {
        if is_planted(Mutant::AnOldCacheForTheTruth) {
            gone.push(entry);
            continue;
        }
        // The claim first: once it is gone by uid, nobody makes a volume for it that could be missed here.
        if !is_claim(api.get(&claim_key(&entry)).await?.as_ref(), &entry)
            && !is_volume(api.get(&volume_key(&entry)).await?.as_ref(), &entry)
        {
            gone.push(entry);
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    let Some(mut dot) = api.get::<Dot>(key).await? else {
        return Ok(());
    };
    // From the version that is read now, or a volume could be handed out in between.
    let handed_out = entries::entries(&dot)
        .iter()
        .filter(|entry| entry.provisioned && gone.iter().any(|gone| gone.uid == entry.uid));
    let handed_out: Vec<DotClaim> = handed_out.cloned().collect();
    for entry in handed_out {
        if is_made_for(&dot, &entry.uid) {
            dot = keep_data(api, &dot).await?;
        }
        let branch: Option<Branch> = match &entry.branch {
            Some(branch) => {
                api.get(&Key {
                    name: branch.clone(),
                    ..key.clone()
                })
                .await?
            }
            None => None,
        };
        if let Some(branch) = branch.filter(|branch| is_made_for(branch, &entry.uid)) {
            keep_data(api, &branch).await?;
        }
    }
    let remaining: Vec<DotClaim> = entries::entries(&dot)
        .iter()
        .filter(|entry| !gone.iter().any(|gone| gone.uid == entry.uid))
        .cloned()
        .collect();
    if remaining.len() < entries::entries(&dot).len() {
        entries::write(api, &dot, &remaining).await?;
        tracing::info!(dot = %key, entries = gone.len(), "claims are gone, their entries go too");
    }
    Ok(())
}

/// Makes a claim's own Dot or Branch one that only people delete.
async fn keep_data<A: Api, K: Kind>(api: &A, object: &K) -> Result<K, ApiError> {
    let kind = K::kind(&());
    tracing::warn!(%kind, object = %Key::of(object), "volume went without being deleted: what it was made of stays until somebody deletes it");
    let patch = json!({ "metadata": { "labels": { LABEL_CLAIM_UID: null } } });
    api.patch(&Key::of(object), &Guard::unchanged(object), patch).await
}

fn claim_key(entry: &DotClaim) -> Key {
    Key::namespaced(&entry.namespace, &entry.name)
}

fn volume_key(entry: &DotClaim) -> Key {
    Key::cluster(volume_object(&entry.uid))
}

fn is_claim(claim: Option<&PersistentVolumeClaim>, entry: &DotClaim) -> bool {
    claim.is_some_and(|claim| claim.metadata.uid.as_deref() == Some(&entry.uid) || is_planted(Mutant::ANameForAUid))
}

fn is_volume(volume: Option<&PersistentVolume>, entry: &DotClaim) -> bool {
    let reference = volume
        .and_then(|volume| volume.spec.as_ref())
        .and_then(|spec| spec.claim_ref.as_ref());
    reference.and_then(|reference| reference.uid.as_deref()) == Some(&entry.uid)
}
