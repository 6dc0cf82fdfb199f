//! One hold per commit, which guards it against other people's `zfs destroy`.
//!
//! It is put on after the answer, so a program that ends in between, or a command that fails, leaves a commit without
//! it. The audit finds those: at each start and import, and after each failure, by one `zfs list`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dotmesh_model::id::{CommitId, DotId, HeadId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{ErrorKind, Kind, ListRequest, ObjectName, PropName, Row, SnapshotName, Zfs};

use super::{Error, KnownPool, Ops};
use crate::layout::HOLD;

const USERREFS: PropName = PropName::from_static("userrefs");

/// How far below the root the snapshots of heads are: Dot, head, snapshot.
const HEADS: u32 = 3;

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Holds a new commit, in one transaction, after the answer. The Dot's lock keeps the collector away meanwhile.
    pub(super) fn hold_in_background(self: &Arc<Self>, dot: DotId, commit: CommitId, on_head: SnapshotName) {
        let ops = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(_permit) = ops.holds.acquire().await else { return };
            let Ok(pool) = ops.known_pool() else { return };
            if let Err(error) = ops.hold(&pool, dot, commit, &on_head).await {
                tracing::warn!(%commit, %error, "the commit is not held yet");
                ops.unheld.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Holds a commit that lives.
    async fn hold(&self, pool: &KnownPool, dot: DotId, commit: CommitId, on_head: &SnapshotName) -> Result<(), Error> {
        if is_planted(Mutant::NoHold) {
            return Ok(());
        }
        let _dot = self.host.dots.shared(dot).await;
        match self.living_dot_cached(pool, dot).await {
            Ok(state) if state.is_dead(commit) => return Ok(()),
            Ok(_) => {}
            Err(Error::NotFound(_) | Error::Deleted(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        match self.host.zfs.hold_recursive(&HOLD, on_head).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind == ErrorKind::HoldExists || error.is_not_found() => Ok(()),
            Err(error) => Err(Error::zfs(&format!("holding {on_head}"), &error)),
        }
    }

    /// Holds every commit that lives and has no hold.
    pub(super) async fn audit_holds(&self, pool: &KnownPool) -> Result<(), Error> {
        if is_planted(Mutant::HoldsAreNotAudited) {
            return Ok(());
        }
        // A commit that fails to be held from here on is found by the next audit.
        self.unheld.store(false, Ordering::Relaxed);
        let result = self.hold_all(pool).await;
        if result.is_err() {
            self.unheld.store(true, Ordering::Relaxed);
        }
        result
    }

    async fn hold_all(&self, pool: &KnownPool) -> Result<(), Error> {
        let list = ListRequest {
            roots: vec![ObjectName::from(pool.layout.root().clone())],
            depth: Some(HEADS),
            kinds: vec![Kind::Snapshot],
            columns: vec![USERREFS],
        };
        let rows = self
            .host
            .zfs
            .list(&list)
            .await
            .map_err(|error| Error::zfs("looking for commits without a hold", &error))?;
        let unheld: BTreeSet<(DotId, HeadId, CommitId)> = rows
            .iter()
            .filter(|row| row.number(&USERREFS).is_ok_and(|holds| holds == 0))
            .filter_map(|row| commit_of(pool, row))
            .collect();
        for (dot, head, commit) in unheld {
            let on_head = pool.layout.head_snapshot(dot, head, commit);
            // Another tool may name snapshots like we do.
            if self.read_record(pool, &on_head).await?.is_some() {
                self.hold(pool, dot, commit, &on_head).await?;
            }
        }
        Ok(())
    }
}

/// The commit whose snapshot on its head's dataset this is.
fn commit_of(pool: &KnownPool, row: &Row) -> Option<(DotId, HeadId, CommitId)> {
    let snapshot = row.name.snapshot()?;
    let name = snapshot.dataset().as_str().strip_prefix(pool.layout.root().as_str())?;
    let (dot, head) = name.strip_prefix('/')?.split_once('/')?;
    let commit = snapshot.snap().as_str().parse().ok()?;
    Some((dot.parse().ok()?, head.parse().ok()?, commit))
}
