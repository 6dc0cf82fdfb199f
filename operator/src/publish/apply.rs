//! One effect per step.

use dotmesh_crds::names::{ANNOTATION_SNAPSHOT_GOES, MANAGER_PUBLISH};
use serde_json::json;

use super::observe::Observed;
use super::plan::Step;
use crate::api::{Api, ApiError, ApiErrorKind, Guard, Key};
use crate::context::{Context, ReconcileError};
use crate::driver::Then;
use crate::meta::create_or_find;
use crate::nodes::Nodes;
use crate::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};

/// Does it, and notes the outcome in `seen`.
pub async fn apply<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &mut Observed,
    step: Step,
) -> Result<Then, ReconcileError> {
    let api = &context.api;
    match step {
        Step::CreateContent(place, content) => match create_or_find(api, &*content).await {
            Ok(found) => seen.pairs[place].content = Some(found),
            Err(error) => seen.is_unknown = is_unknown(error)?,
        },
        Step::CreateSnapshot(place, snapshot) => match create_or_find(api, &*snapshot).await {
            Ok(found) => seen.pairs[place].snapshot = Some(found),
            Err(error) => seen.is_unknown = is_unknown(error)?,
        },
        Step::DeleteSnapshot(place) => {
            if let Some(snapshot) = seen.pairs[place].snapshot.take() {
                delete_snapshot(api, &snapshot).await?;
            }
        }
        Step::Loosen(place) => {
            if let Some(content) = seen.pairs[place].content.take() {
                seen.pairs[place].content = loosen(api, &content).await?;
            }
        }
        Step::DeleteContent(place) => {
            if let Some(content) = seen.pairs[place].content.take() {
                delete_content(api, &content).await?;
            }
        }
        Step::Forget => {
            let (key, guard) = (Key::of(&seen.commit), Guard::unchanged(&seen.commit));
            seen.commit = api.apply_status(&key, &guard, MANAGER_PUBLISH, json!({})).await?;
        }
    }
    Ok(Then::Continue)
}

/// Only where its kind is not known can an object that is made not be found.
fn is_unknown(error: ApiError) -> Result<bool, ApiError> {
    if error.kind == ApiErrorKind::NotFound {
        return Ok(true);
    }
    Err(error)
}

/// Deletes this VolumeSnapshot.
///
/// # Errors
/// Those of the API.
pub async fn delete_snapshot<A: Api>(api: &A, snapshot: &VolumeSnapshot) -> Result<(), ApiError> {
    api.delete::<VolumeSnapshot>(&Key::of(snapshot), &Guard::same(snapshot))
        .await
}

/// Tells csi-snapshotter that it may let go of a content. The content as it is then, if it is there.
///
/// # Errors
/// Those of the API.
pub async fn loosen<A: Api>(
    api: &A,
    content: &VolumeSnapshotContent,
) -> Result<Option<VolumeSnapshotContent>, ApiError> {
    let patch = json!({ "metadata": { "annotations": { ANNOTATION_SNAPSHOT_GOES: "yes" } } });
    match api.patch(&Key::of(content), &Guard::unchanged(content), patch).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == ApiErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes this content.
///
/// # Errors
/// Those of the API.
pub async fn delete_content<A: Api>(api: &A, content: &VolumeSnapshotContent) -> Result<(), ApiError> {
    api.delete::<VolumeSnapshotContent>(&Key::of(content), &Guard::same(content))
        .await
}
