//! VolumeSnapshotContents of Commits that are gone. A VolumeSnapshot goes with its Commit by itself; it is deleted here as
//! well, so that snapshot-controller hears of both at once.

use std::sync::Arc;

use dotmesh_crds::Commit;
use dotmesh_crds::names::{LABEL_COMMIT, LABEL_COMMIT_UID};
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::apply::{delete_content, delete_snapshot, loosen};
use super::build::{is_loose, is_of, is_pair};
use crate::api::{Api, Key};
use crate::context::{Context, ReconcileError};
use crate::meta::{is_deleting, reread, uid};
use crate::nodes::Nodes;
use crate::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};

/// Where the Commit is that a content was made for, and its uid; nothing: it is not ours.
pub fn commit_of(content: &VolumeSnapshotContent) -> Option<(Key, &str)> {
    let labels = content.labels();
    let key = Key {
        namespace: content.spec.volume_snapshot_ref.namespace.clone(),
        name: labels.get(LABEL_COMMIT)?.clone(),
    };
    Some((key, labels.get(LABEL_COMMIT_UID)?))
}

/// Where the VolumeSnapshot is that a content is for.
fn snapshot_of(content: &VolumeSnapshotContent) -> Option<Key> {
    let of = &content.spec.volume_snapshot_ref;
    Some(Key::namespaced(of.namespace.clone()?, of.name.clone()?))
}

/// Removes a content, if its Commit is gone.
///
/// # Errors
/// What is to be repeated.
pub async fn reconcile<A: Api, N: Nodes>(
    content: Arc<VolumeSnapshotContent>,
    context: Arc<Context<A, N>>,
) -> Result<Action, ReconcileError> {
    let api = &context.api;
    let Some((key, commit)) = commit_of(&content) else {
        return Ok(Action::await_change());
    };
    let is_it = |found: &Commit| uid(found) == commit;
    let goes = |content: &VolumeSnapshotContent| is_deleting(content) && is_loose(content);
    if goes(&content)
        || api.cached::<Commit>(&key).is_some_and(|found| is_it(&found))
        || api.get::<Commit>(&key).await?.as_ref().is_some_and(is_it)
        || is_planted(Mutant::AContentOutlivesItsCommit)
    {
        return Ok(Action::await_change());
    }
    if let Some(key) = snapshot_of(&content) {
        let found: Option<VolumeSnapshot> = api.get(&key).await?;
        let is_its = |found: &VolumeSnapshot| is_of(found, commit) && is_pair(found, &Key::of(&*content));
        if let Some(found) = found.filter(|found| is_its(found) && !is_deleting(found)) {
            context.must_lead()?;
            delete_snapshot(api, &found).await?;
        }
    }
    let Some(mut now) = reread(api, &*content).await? else {
        return Ok(Action::await_change());
    };
    if !is_loose(&now) {
        context.must_lead()?;
        let Some(loose) = loosen(api, &now).await? else {
            return Ok(Action::await_change());
        };
        now = loose;
    }
    if !is_deleting(&now) {
        context.must_lead()?;
        delete_content(api, &now).await?;
    }
    Ok(Action::await_change())
}
