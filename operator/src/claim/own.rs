//! The claim that a Dot or Branch was made for, and goes with.

use dotmesh_crds::names::{ANNOTATION_CLAIM, LABEL_CLAIM_UID};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Resource, ResourceExt};

use crate::api::{Api, ApiError, Key};
use crate::meta::uid;

/// Whether an object goes with a claim or a pod, and whether that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A person made the object.
    None,
    /// The claim is there, or the Dot still has an entry for it.
    Present,
    /// The claim is gone, and so is its entry: by consistent reads.
    Gone,
}

/// Whether an object was made for the claim of this uid and goes with it.
pub fn is_made_for<K: Resource>(object: &K, claim: &str) -> bool {
    object.labels().get(LABEL_CLAIM_UID).is_some_and(|uid| uid == claim)
}

/// Looks for the claim that an object was made for. Entries are the caller's to look at.
///
/// # Errors
/// Those of the API.
pub async fn observe_own_claim<A: Api, K: Resource>(api: &A, object: &K) -> Result<Owner, ApiError> {
    let (Some(claim_uid), Some(name)) = (
        object.labels().get(LABEL_CLAIM_UID),
        object.annotations().get(ANNOTATION_CLAIM),
    ) else {
        return Ok(Owner::None);
    };
    let key = Key {
        namespace: object.namespace(),
        name: name.clone(),
    };
    let claim: Option<PersistentVolumeClaim> = api.get(&key).await?;
    match claim.is_some_and(|claim| uid(&claim) == claim_uid) {
        true => Ok(Owner::Present),
        false => Ok(Owner::Gone),
    }
}
