//! Deletions: a tombstone in one `zfs set`, then one attempt to collect what it names.
//!
//! The tombstone is the acknowledgement; what cannot be collected at once (clones, pods that still use it) is left to
//! [`super::collect`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dotmesh_model::id::{BranchId, CommitId, DotId, HeadId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::Zfs;

use super::{Error, Ops};
use crate::layout::{BranchRecord, encode_branch, encode_dead_commit, encode_deleted};

/// How long a deletion waits for the first attempt to collect, which goes on without it.
const PATIENCE: Duration = Duration::from_secs(3);

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// The commit is deleted; its snapshots go when nothing was cloned from them any more. Returns whether they are
    /// gone already.
    ///
    /// # Errors
    /// Those of the pool; a commit or Dot that is not there is gone.
    pub async fn delete_commit(self: &Arc<Self>, dot: DotId, commit: CommitId, head: HeadId) -> Result<bool, Error> {
        let pool = self.known_pool()?;
        {
            let _guard = self.dots.exclusive(dot).await;
            let Some(state) = self.read_dot(&pool, dot).await? else {
                return Ok(true);
            };
            self.note_tombstone(dot);
            if state.deleted {
                return Ok(false);
            }
            self.cache.drop_head(head);
            if !state.dead_commits.contains_key(&commit) && !is_planted(Mutant::ACommitIsDeletedWithoutATombstone) {
                self.set_dot(&pool, dot, [encode_dead_commit(commit, head)]).await?;
            }
        }
        let ops = Arc::clone(self);
        Ok(attempt(async move { ops.collect_commit(&pool, dot, commit, head).await }).await)
    }

    /// The branch is deleted; its heads go when no commit of them is left and no pod uses them. Returns whether they are
    /// gone already.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another branch points at one of the heads; those of the pool.
    pub async fn delete_branch(
        self: &Arc<Self>,
        dot: DotId,
        branch: BranchId,
        heads: &[HeadId],
    ) -> Result<bool, Error> {
        let pool = self.known_pool()?;
        {
            let _guard = self.dots.exclusive(dot).await;
            let Some(state) = self.read_dot(&pool, dot).await? else {
                return Ok(true);
            };
            if state.deleted {
                self.note_tombstone(dot);
                return Ok(false);
            }
            let (mut dead, name) = match state.branches.get(&branch) {
                None => (Vec::new(), String::new()),
                Some(BranchRecord::Live { head, name }) => (vec![*head], name.clone()),
                Some(BranchRecord::Dead { heads, name }) => (heads.clone(), name.clone()),
            };
            for head in heads {
                if let Some(other) = state.branch_of(*head).filter(|other| *other != branch) {
                    return Err(Error::Conflict(format!("head {head} is the head of branch {other}")));
                }
                if !dead.contains(head) {
                    dead.push(*head);
                }
            }
            if dead.is_empty() {
                return Ok(true);
            }
            self.note_tombstone(dot);
            for head in &dead {
                self.cache.drop_head(*head);
            }
            let record = BranchRecord::Dead { heads: dead, name };
            if state.branches.get(&branch) != Some(&record) && !is_planted(Mutant::ABranchIsDeletedWithoutATombstone) {
                self.set_dot(&pool, dot, [encode_branch(branch, &record)]).await?;
            }
        }
        let ops = Arc::clone(self);
        Ok(attempt(async move { ops.collect_branch(&pool, dot, branch).await }).await)
    }

    /// The Dot is deleted with everything in it, as far as no pod uses it. Returns whether it is gone already.
    ///
    /// # Errors
    /// Those of the pool; a Dot that is not there is gone.
    pub async fn delete_dot(self: &Arc<Self>, dot: DotId) -> Result<bool, Error> {
        let pool = self.known_pool()?;
        {
            let _guard = self.dots.exclusive(dot).await;
            let Some(state) = self.read_dot(&pool, dot).await? else {
                return Ok(true);
            };
            self.note_tombstone(dot);
            for branch in state.branches.keys() {
                if let Some(head) = state.live_head(*branch) {
                    self.cache.drop_head(head);
                }
            }
            if !state.deleted {
                self.set_dot(&pool, dot, [encode_deleted()]).await?;
            }
        }
        let ops = Arc::clone(self);
        Ok(attempt(async move { ops.collect_dot(&pool, dot).await }).await)
    }
}

/// Runs a collection and waits a little for it. Whether it collected everything.
async fn attempt(collection: impl Future<Output = Result<bool, Error>> + Send + 'static) -> bool {
    let task = tokio::spawn(async move {
        collection.await.unwrap_or_else(|error| {
            tracing::info!(%error, "collected later");
            false
        })
    });
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(collected)) => collected,
        Ok(Err(_)) | Err(_) => false,
    }
}
