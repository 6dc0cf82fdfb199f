//! DeleteVolume: takes the claim's entry out of its Dot and waits until the node has forgotten the attachment. What
//! else goes with it is decided by the Dot's controller.

use std::time::Duration;

use dotmesh_crds::Dot;
use dotmesh_model::handle::Handle;
use dotmesh_model::id::DotId;
use kube::ResourceExt;
use tokio::time::timeout;

use super::watch::{WatchObject, changed};
use crate::api::{Api, ApiError, ApiErrorKind, Key};
use crate::claim::entries;

/// Why DeleteVolume did not end.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The node has not answered yet; a repeated call finds where it is.
    #[error("the volume is not detached within {0:?}")]
    Deadline(Duration),
    /// The API did not do what was needed.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Takes the claim off its Dot; a handle that nothing belongs to is a success.
pub async fn delete_volume<A: Api, W: WatchObject>(
    api: &A,
    watches: &W,
    handle: Handle,
    budget: Duration,
) -> Result<(), DeleteError> {
    timeout(budget, work(api, watches, handle))
        .await
        .unwrap_or(Err(DeleteError::Deadline(budget)))
}

async fn work<A: Api, W: WatchObject>(api: &A, watches: &W, handle: Handle) -> Result<(), DeleteError> {
    let uid = handle.claim.to_string();
    let Some(key) = find_dot(api, handle.dot).await?.map(|dot| Key::of(&dot)) else {
        return Ok(());
    };
    let mut changes = watches.watch_object::<Dot>(&key);
    loop {
        let Some(dot) = api.get::<Dot>(&key).await?.filter(|dot| is_dot(dot, handle.dot)) else {
            return Ok(());
        };
        if entries::entry_of(&dot, &uid).is_some() {
            match entries::write(api, &dot, &entries::without(&dot, &uid)).await {
                Err(error) if !matches!(error.kind, ApiErrorKind::Conflict | ApiErrorKind::NotFound) => {
                    return Err(error.into());
                }
                Ok(_) | Err(_) => {}
            }
        } else if entries::is_attached(&dot, &uid) {
            changed(&mut changes, Some(&dot)).await;
        } else {
            return Ok(());
        }
    }
}

/// The Dot of an id; absent is concluded from a consistent read of all Dots.
pub async fn find_dot<A: Api>(api: &A, id: DotId) -> Result<Option<Dot>, ApiError> {
    for cached in api.cached_where::<Dot>(|dot| is_dot(dot, id)) {
        let current: Option<Dot> = api.get(&Key::of(&*cached)).await?;
        if let Some(dot) = current.filter(|dot| is_dot(dot, id)) {
            return Ok(Some(dot));
        }
    }
    let all: Vec<Dot> = api.list(None, None).await?;
    Ok(all.into_iter().find(|dot| is_dot(dot, id)))
}

fn is_dot(dot: &Dot, id: DotId) -> bool {
    let id = id.to_string();
    let recorded = dot.status.as_ref().and_then(|status| status.id.as_ref());
    recorded.map_or_else(|| dot.uid().as_ref() == Some(&id), |recorded| *recorded == id)
}
