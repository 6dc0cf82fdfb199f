//! Ids whose deletion this program has acknowledged: a call that was sent before the deletion may arrive after it, even
//! when nothing is left that would tell.
//!
//! Memory is enough. A call can only be on its way to the program that was there when it was sent; the next one has
//! other connections. Kubernetes never gives an id out again; CSI standing alone makes its ids of names, and says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_model::id::{BranchId, CommitId, DotId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::Zfs;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Error, Ops};

/// How long an id is remembered: far longer than any call waits for its answer.
const KEPT: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
struct Graves {
    since: BTreeMap<Uuid, Instant>,
    /// The same, oldest first; an id that came again may stand here more than once.
    order: VecDeque<(Instant, Uuid)>,
}

impl Graves {
    fn forget_older(&mut self, now: Instant) {
        while let Some(&(since, id)) = self.order.front()
            && now.duration_since(since) > KEPT
        {
            self.order.pop_front();
            if self.since.get(&id) == Some(&since) {
                self.since.remove(&id);
            }
        }
    }
}

/// What was deleted.
#[derive(Debug, Default)]
pub(super) struct Buried(Mutex<Graves>);

impl Buried {
    fn lock(&self) -> MutexGuard<'_, Graves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: Uuid) {
        let (mut graves, now) = (self.lock(), Instant::now());
        graves.forget_older(now);
        graves.since.insert(id, now);
        graves.order.push_back((now, id));
    }

    fn refuse(&self, id: Uuid, what: &str) -> Result<(), Error> {
        if self.lock().since.contains_key(&id) && !is_planted(Mutant::LateCallsAreObeyed) {
            return Err(Error::Deleted(format!("{what} {id} was deleted")));
        }
        Ok(())
    }

    pub(super) fn note_dot(&self, dot: DotId) {
        self.note(dot.uuid());
    }

    pub(super) fn note_branch(&self, branch: BranchId) {
        self.note(branch.uuid());
    }

    pub(super) fn note_commit(&self, commit: CommitId) {
        self.note(commit.uuid());
    }

    fn forget(&self, id: Uuid) {
        self.lock().since.remove(&id);
    }

    /// [`Error::Deleted`] when this Dot was deleted.
    pub(super) fn refuse_dot(&self, dot: DotId) -> Result<(), Error> {
        self.refuse(dot.uuid(), "Dot")
    }

    /// [`Error::Deleted`] when this branch was deleted.
    pub(super) fn refuse_branch(&self, branch: BranchId) -> Result<(), Error> {
        self.refuse(branch.uuid(), "branch")
    }

    /// [`Error::Deleted`] when this commit was deleted.
    pub(super) fn refuse_commit(&self, commit: CommitId) -> Result<(), Error> {
        self.refuse(commit.uuid(), "commit")
    }
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// A Dot and its branch are meant to be made anew under the ids of deleted ones.
    pub fn come_again(&self, dot: DotId, branch: BranchId) {
        self.buried.forget(dot.uuid());
        self.buried.forget(branch.uuid());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ids_are_refused_for_an_hour_and_take_no_room_for_ever() {
        let buried = Buried::default();
        let id = Uuid::from_u128(1);
        buried.note(id);
        buried.forget(id);
        assert!(buried.refuse(id, "Dot").is_ok());
        tokio::time::advance(KEPT / 2).await;
        buried.note(id);
        tokio::time::advance(KEPT / 2 + Duration::from_secs(1)).await;
        buried.note(Uuid::from_u128(2));
        assert!(buried.refuse(id, "Dot").is_err(), "deleted again half an hour ago");
        tokio::time::advance(KEPT).await;
        buried.note(Uuid::from_u128(3));
        assert!(buried.refuse(id, "Dot").is_ok());
        let graves = buried.lock();
        assert_eq!((graves.since.len(), graves.order.len()), (2, 2));
    }
}
