//! One effect per step of a claim's plan.

use dotmesh_crds::Dot;

use super::entries;
use super::plan::Plan;
use crate::api::{Api, ApiError, ApiErrorKind};

/// Carries the step out. A conflict means that the Dot changed meanwhile: the claim is looked at again.
pub async fn apply<A: Api>(api: &A, dot: &Dot, plan: Plan) -> Result<(), ApiError> {
    match plan {
        Plan::Done | Plan::Wait(_) => Ok(()),
        Plan::CreateBranch(branch) => made(api.create(&*branch).await),
        Plan::Enter(entry) => entries::write(api, dot, &entries::with(dot, *entry)).await.map(|_| ()),
        Plan::CreateVolume(volume) => made(api.create(&*volume).await),
    }
}

/// What is there already was made by an earlier attempt, or is somebody else's: the next look at it tells.
///
/// # Errors
/// Those of the API.
pub fn made<K>(created: Result<K, ApiError>) -> Result<(), ApiError> {
    match created {
        Err(error) if error.kind == ApiErrorKind::AlreadyExists => Ok(()),
        result => result.map(|_| ()),
    }
}
