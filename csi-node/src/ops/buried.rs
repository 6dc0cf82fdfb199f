//! Ids whose deletion this program has acknowledged: a call that was sent before the deletion may arrive after it, even
//! when nothing is left that would tell.
//!
//! Memory is enough. A call can only be on its way to the program that was there when it was sent; the next one has
//! other connections. Kubernetes never gives an id out again; CSI standing alone makes its ids of names, and says so.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use dotmesh_model::id::{BranchId, CommitId, DotId};
use dotmesh_mount::Mount;
use dotmesh_mutant::is_planted;
use dotmesh_zfs::Zfs;
use uuid::Uuid;

use super::{Error, Ops};

/// What was deleted.
#[derive(Debug, Default)]
pub(super) struct Buried(Mutex<BTreeSet<Uuid>>);

impl Buried {
    fn note(&self, id: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn refuse(&self, id: Uuid, what: &str) -> Result<(), Error> {
        let buried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buried.contains(&id) && !is_planted("late calls are obeyed") {
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
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
