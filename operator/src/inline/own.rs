//! The pod that a Branch was made for, and goes with.

use dotmesh_crds::Branch;
use dotmesh_crds::branch::BranchUser;
use dotmesh_crds::names::{ANNOTATION_POD, LABEL_POD_UID};
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::api::{Api, ApiError, Key};
use crate::claim::own::Owner;
use crate::meta::{is_deleting, uid};

/// Whether a Branch was made for an inline volume of a pod.
pub fn is_pods(branch: &Branch) -> bool {
    branch.labels().contains_key(LABEL_POD_UID)
}

/// Whether the kubelet is done with a pod's volumes, or about to be: it has ended, or shall.
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    is_deleting(pod) || matches!(phase, Some("Succeeded" | "Failed"))
}

/// Looks for the pod that a Branch was made for. While something of the Branch is mounted the pod needs it, whatever the
/// API says of the pod.
///
/// # Errors
/// Those of the API.
pub async fn observe_own_pod<A: Api>(
    api: &A,
    branch: &Branch,
    users: Option<&[BranchUser]>,
) -> Result<Owner, ApiError> {
    let (Some(pod_uid), Some(name)) = (
        branch.labels().get(LABEL_POD_UID),
        branch.annotations().get(ANNOTATION_POD),
    ) else {
        return Ok(Owner::None);
    };
    if users.is_some_and(|users| !users.is_empty()) {
        return Ok(Owner::Present);
    }
    if is_planted(Mutant::ABranchOfAPodGoesBeforeIt) {
        return Ok(Owner::Gone);
    }
    let key = Key {
        namespace: branch.namespace(),
        name: name.clone(),
    };
    let pod: Option<Pod> = api.get(&key).await?;
    match pod.is_some_and(|pod| uid(&pod) == pod_uid && !has_ended(&pod)) {
        true => Ok(Owner::Present),
        false => Ok(Owner::Gone),
    }
}
