//! Deletions: a tombstone in one `zfs set`, then one attempt to collect what it names.
//!
//! The tombstone is the acknowledgement; what cannot be collected at once (clones, pods that still use it) is left to
//! [`super::collect`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use dotmesh_model::id::{BranchId, CommitId, DotId, HeadId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::Zfs;

use super::{Error, Ops, gather};
use crate::layout::{BranchRecord, MAX_DEAD, encode_branch, encode_dead_commits, encode_deleted};

/// How long a deletion waits for the first attempt to collect, which goes on without it.
const PATIENCE: Duration = Duration::from_secs(3);

/// A commit to delete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deletion {
    commit: CommitId,
    head: HeadId,
}

impl gather::Item for Deletion {
    type Load = usize;

    fn add(&self, load: &mut usize) -> bool {
        *load += 1;
        *load <= MAX_DEAD
    }
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// The commit is deleted; its snapshots go when nothing was cloned from them any more. Returns whether they are
    /// gone already. Commits of one Dot that are deleted meanwhile go together with it.
    ///
    /// # Errors
    /// Those of the pool; a commit or Dot that is not there is gone.
    pub async fn delete_commit(self: &Arc<Self>, dot: DotId, commit: CommitId, head: HeadId) -> Result<bool, Error> {
        let deletion = Deletion { commit, head };
        let serve = async |all: Vec<Deletion>| match self.delete_commits(dot, &all).await {
            Ok(left) => all.iter().map(|one| Ok(!left.contains(&one.commit))).collect(),
            Err(error) => vec![Err(error); all.len()],
        };
        let deleted = self.deletions.join(dot, deletion, serve).await;
        deleted.unwrap_or_else(|| {
            Err(Error::Deadline(format!(
                "commit {commit} of Dot {dot} may be deleted; repeat"
            )))
        })
    }

    /// One tombstone or few for all of them, then one attempt to collect them. Returns those that are left.
    async fn delete_commits(self: &Arc<Self>, dot: DotId, all: &[Deletion]) -> Result<BTreeSet<CommitId>, Error> {
        let pool = self.known_pool()?;
        let asked: BTreeSet<CommitId> = all.iter().map(|one| one.commit).collect();
        let tombstones = {
            let _guard = self.host.dots.exclusive(dot).await;
            let Some(state) = self.read_dot(&pool, dot).await? else {
                return Ok(BTreeSet::new());
            };
            self.note_tombstone(dot);
            if state.deleted {
                return Ok(asked);
            }
            for one in all {
                self.cache.drop_head(one.head);
            }
            let new = state.bury(all.iter().map(|one| (one.head, one.commit)));
            if !new.is_empty() && !is_planted(Mutant::ACommitIsDeletedWithoutATombstone) {
                let properties = new.iter().map(|(named, dead)| encode_dead_commits(*named, dead));
                self.set_dot(&pool, dot, properties).await?;
            }
            // Who asks again wants to know.
            self.cache.unpin(dot, &asked);
            let known = state.dead_commits.iter().map(|(named, dead)| (*named, dead.clone()));
            let known = known.filter(|(_, dead)| !dead.commits.is_disjoint(&asked));
            known.chain(new).collect::<BTreeMap<_, _>>()
        };
        let ops = Arc::clone(self);
        let collection = async move {
            let mut left = BTreeSet::new();
            for (named, dead) in &tombstones {
                left.append(&mut ops.collect_commits(&pool, dot, *named, dead).await?);
            }
            Ok(left)
        };
        let left = attempt(collection).await.unwrap_or_else(|| asked.clone());
        Ok(left.intersection(&asked).copied().collect())
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
        let guard = self.host.dots.exclusive(dot).await;
        let Some(mut state) = self.read_dot(&pool, dot).await?.map(Arc::unwrap_or_clone) else {
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
            state.branches.insert(branch, record);
        }
        let ops = Arc::clone(self);
        let collection = attempt(async move { ops.collect_branch(&pool, dot, branch, &state, guard).await });
        Ok(collection.await.unwrap_or(false))
    }

    /// The Dot is deleted with everything in it, as far as no pod uses it. Returns whether it is gone already.
    ///
    /// # Errors
    /// Those of the pool; a Dot that is not there is gone.
    pub async fn delete_dot(self: &Arc<Self>, dot: DotId) -> Result<bool, Error> {
        let pool = self.known_pool()?;
        {
            let _guard = self.host.dots.exclusive(dot).await;
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
        let collection = attempt(async move { ops.collect_dot(&pool, dot).await });
        Ok(collection.await.unwrap_or(false))
    }

    /// Collects what is possible of a Dot's tombstones now; the collector does the rest.
    ///
    /// # Errors
    /// The pool is away.
    pub async fn collect_now(self: &Arc<Self>, dot: DotId) -> Result<(), Error> {
        let pool = self.known_pool()?;
        let ops = Arc::clone(self);
        attempt(async move { ops.collect_dot(&pool, dot).await }).await;
        Ok(())
    }
}

/// Runs a collection and waits a little for what it says; nothing: it failed, or goes on.
async fn attempt<T: Send + 'static>(collection: impl Future<Output = Result<T, Error>> + Send + 'static) -> Option<T> {
    let task = tokio::spawn(async move {
        let result = collection.await;
        result
            .inspect_err(|error| tracing::info!(%error, "collected later"))
            .ok()
    });
    tokio::time::timeout(PATIENCE, task).await.ok()?.ok()?
}
