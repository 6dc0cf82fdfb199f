//! The collector: frees what tombstones name, whenever it has become possible. Level-triggered: it looks at what is
//! there and remembers nothing that it needs.
//!
//! Only what a tombstone names positively is destroyed, by exact names, or for a commit by the one recursive form that
//! touches neither datasets nor clones. Snapshots and datasets of others are left alone; they keep what they lie on.
//! Each step has the Dot's lock for itself, so commits and pods are let in between steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dotmesh_model::id::{BranchId, CommitId, DotId, HeadId, VolumeId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{
    DatasetName, ErrorKind, GetRequest, Kind, ListRequest, ObjectName, PropName, SnapName, SnapshotName, Source,
    SourceKind, Zfs, ZfsError,
};

use super::publish::is_private;
use super::{Error, KnownPool, Ops};
use crate::layout::{BranchRecord, COMMIT, DotState, HOLD, branch_property, dead_property, snapshot};

/// How often it is tried again what could not be collected.
const PERIOD: Duration = Duration::from_secs(30);

const CREATETXG: PropName = PropName::from_static("createtxg");
const WRITTEN: PropName = PropName::from_static("written");

/// What became of an attempt to destroy something.
enum Destroyed {
    Gone,
    /// Something needs it: clones, holds of others, children, a mount.
    Needed,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// This Dot has tombstones.
    pub(super) fn note_tombstone(&self, dot: DotId) {
        self.tombstoned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(dot);
    }

    /// Collects for ever: at once after a start or import, when something became free, and every 30 seconds.
    pub async fn collect(self: Arc<Self>) {
        let (mut scanned, mut audited) = (None, None);
        loop {
            if let Ok(pool) = self.known_pool() {
                if scanned != Some(pool.guid) && !is_planted(Mutant::CleanUpOnlyOnTheEvent) {
                    match self.find_tombstones(&pool).await {
                        Ok(()) => scanned = Some(pool.guid),
                        Err(error) => tracing::warn!(%error, "tombstones cannot be read yet"),
                    }
                }
                if audited != Some(pool.guid) || self.unheld.load(Ordering::Relaxed) {
                    match self.audit_holds(&pool).await {
                        Ok(()) => audited = Some(pool.guid),
                        Err(error) => tracing::warn!(%error, "commits may lack their holds"),
                    }
                }
                let dots: Vec<DotId> = {
                    let tombstoned = self.tombstoned.lock().unwrap_or_else(PoisonError::into_inner);
                    tombstoned.iter().copied().collect()
                };
                for dot in dots {
                    if let Err(error) = self.collect_dot(&pool, dot).await {
                        tracing::warn!(%dot, %error, "not everything deleted is collected");
                    }
                }
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(PERIOD) => {}
                () = self.collect_now.notified() => {}
            }
        }
    }

    /// The Dots with tombstones, by one `zfs get`.
    async fn find_tombstones(&self, pool: &KnownPool) -> Result<(), Error> {
        let request = GetRequest {
            targets: vec![ObjectName::from(pool.layout.root().clone())],
            properties: Vec::new(),
            sources: vec![SourceKind::Local],
            depth: Some(1),
            kinds: vec![Kind::Filesystem],
        };
        let rows = self
            .zfs
            .get(&request)
            .await
            .map_err(|error| Error::zfs("reading tombstones", &error))?;
        let mut by_dot: BTreeMap<DotId, Vec<(&PropName, &str)>> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.source == Source::Local) {
            if let Ok(dot) = row.name.dataset().base().parse() {
                by_dot.entry(dot).or_default().push((&row.property, &row.value));
            }
        }
        for (dot, properties) in by_dot {
            match DotState::decode(properties) {
                Ok(state) if state.has_tombstones() => self.note_tombstone(dot),
                Ok(_) => {}
                Err(error) => tracing::warn!(%dot, %error, "the Dot is left alone"),
            }
        }
        Ok(())
    }

    /// Collects what is possible of a Dot's tombstones. Returns whether the Dot is gone.
    pub(super) async fn collect_dot(&self, pool: &KnownPool, dot: DotId) -> Result<bool, Error> {
        loop {
            let state = {
                let _guard = self.dots.exclusive(dot).await;
                self.read_dot(pool, dot).await?
            };
            let (progress, left) = match &state {
                None => (false, false),
                Some(state) if state.deleted => self.collect_deleted(pool, dot).await?,
                Some(state) if state.has_tombstones() => (self.collect_parts(pool, dot, state).await?, true),
                Some(_) => (false, false),
            };
            if !left {
                self.tombstoned
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&dot);
                // Of a deleted Dot nothing is left; one that lives on has no tombstones any more.
                return Ok(state.is_none_or(|state| state.deleted));
            }
            if !progress {
                return Ok(false);
            }
        }
    }

    /// Dead commits and branches of a Dot that lives on. Returns whether a head went: then commits that were needed for
    /// its sake may go too.
    async fn collect_parts(&self, pool: &KnownPool, dot: DotId, state: &DotState) -> Result<bool, Error> {
        for (commit, head) in &state.dead_commits {
            if !self.cache.is_pinned(dot, *commit) {
                self.collect_commit(pool, dot, *commit, *head).await?;
            }
        }
        let mut progress = false;
        for (branch, record) in &state.branches {
            match record {
                BranchRecord::Live { .. } => {}
                BranchRecord::Dead { .. } => progress |= self.collect_branch(pool, dot, *branch).await?,
            }
        }
        Ok(progress)
    }

    /// Releases and destroys a dead commit's snapshots; its tombstone goes with the last. Returns whether it did.
    pub(super) async fn collect_commit(
        &self,
        pool: &KnownPool,
        dot: DotId,
        commit: CommitId,
        head: HeadId,
    ) -> Result<bool, Error> {
        let _guard = self.dots.exclusive(dot).await;
        let on_head = pool.layout.head_snapshot(dot, head, commit);
        match self.destroy_commit(pool, &on_head).await? {
            Destroyed::Needed => {
                self.cache.pin(dot, commit);
                Ok(false)
            }
            Destroyed::Gone => {
                self.note_usage();
                if is_planted(Mutant::ATombstoneStaysForEver) {
                    return Ok(true);
                }
                match self.unset_dot(pool, dot, &dead_property(commit)).await {
                    Ok(()) | Err(Error::NotFound(_)) => Ok(true),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Marks a commit's snapshots to go with the last of what needs them.
    async fn destroy_commit(&self, pool: &KnownPool, on_head: &SnapshotName) -> Result<Destroyed, Error> {
        let doing = format!("destroying {on_head}");
        let held = is_planted(Mutant::AHoldIsNeverReleased);
        match if held {
            Ok(())
        } else {
            self.zfs.release_recursive(&HOLD, on_head).await
        } {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::HoldNotFound || error.is_not_found() => {}
            Err(error) if error.kind == ErrorKind::Busy => return Ok(Destroyed::Needed),
            Err(error) => return Err(Error::zfs(&doing, &error)),
        }
        // The second time tells whether anything of it is left: what is marked can be marked again.
        for _ in 0..2 {
            match self.zfs.destroy_snapshot_deferred_recursive(on_head).await {
                Ok(()) => {}
                Err(error) => return self.outcome(pool, &doing, &error).await,
            }
        }
        Ok(Destroyed::Needed)
    }

    /// What a failed destroy means: gone before, needed by something, or an error.
    async fn outcome(&self, pool: &KnownPool, doing: &str, error: &ZfsError) -> Result<Destroyed, Error> {
        if error.is_not_found() {
            self.verify_pool(pool).await?;
            return Ok(Destroyed::Gone);
        }
        let needed = matches!(
            error.kind,
            ErrorKind::Busy | ErrorKind::HasChildren(_) | ErrorKind::HasClones(_)
        );
        if needed {
            Ok(Destroyed::Needed)
        } else {
            Err(Error::zfs(doing, error))
        }
    }

    /// Collects the heads of a dead branch; its tombstone goes with the last. Returns whether it did.
    pub(super) async fn collect_branch(&self, pool: &KnownPool, dot: DotId, branch: BranchId) -> Result<bool, Error> {
        let _guard = self.dots.exclusive(dot).await;
        let Some(state) = self.read_dot(pool, dot).await? else {
            return Ok(true);
        };
        let Some(BranchRecord::Dead { heads, .. }) = state.branches.get(&branch) else {
            return Ok(true);
        };
        let mut left = false;
        for head in heads {
            if state.branch_of(*head).is_some() {
                tracing::error!(%dot, %branch, %head, "a dead branch names a live head; it is left alone");
                left = true;
            } else {
                match self.collect_head(pool, dot, *head).await? {
                    Destroyed::Gone => {}
                    Destroyed::Needed => left = true,
                }
            }
        }
        if left {
            return Ok(false);
        }
        // Commits that this head's clones needed may go now.
        self.cache.unpin_all(dot);
        self.collect_now.notify_one();
        match self.unset_dot(pool, dot, &branch_property(branch)).await {
            Ok(()) | Err(Error::NotFound(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Destroys a dead head, or frees what nobody can reach of it. The caller has the Dot's lock exclusively.
    async fn collect_head(&self, pool: &KnownPool, dot: DotId, head: HeadId) -> Result<Destroyed, Error> {
        let dataset = pool.layout.head(dot, head);
        let what = format!("head {head} of Dot {dot}");
        self.cache.drop_head(head);
        let Some(volumes) = self.children(pool, &dataset).await? else {
            return Ok(Destroyed::Gone);
        };
        if !self.unmount_unused(&what, head, &volumes).await? {
            return Ok(Destroyed::Needed);
        }
        let newest = self.newest_snapshots(&dataset, &what).await?;
        if !newest.is_empty() {
            if is_planted(Mutant::DestroyTakesSnapshotsAlong) {
                for commit in self.commits_of(pool, &dataset).await? {
                    self.destroy_commit(pool, &snapshot(dataset.clone(), commit)).await?;
                }
            }
            for (volume, snap) in newest {
                if volumes.get(&volume).is_some_and(|written| *written > 0) {
                    self.roll_back(&volume, &snap).await?;
                }
            }
            return Ok(Destroyed::Needed);
        }
        for volume in volumes
            .keys()
            .filter(|volume| volume.base().parse::<VolumeId>().is_ok())
        {
            match self.destroy(pool, volume).await? {
                Destroyed::Gone => {}
                Destroyed::Needed => return Ok(Destroyed::Needed),
            }
        }
        self.note_usage();
        self.destroy(pool, &dataset).await
    }

    async fn destroy(&self, pool: &KnownPool, dataset: &DatasetName) -> Result<Destroyed, Error> {
        match self.zfs.destroy_dataset(dataset).await {
            Ok(()) => Ok(Destroyed::Gone),
            Err(error) => self.outcome(pool, &format!("destroying {dataset}"), &error).await,
        }
    }

    /// The datasets directly below one, with the bytes written to each since its newest snapshot; nothing when it is
    /// not there itself.
    async fn children(
        &self,
        pool: &KnownPool,
        dataset: &DatasetName,
    ) -> Result<Option<BTreeMap<DatasetName, u64>>, Error> {
        let list = ListRequest {
            roots: vec![ObjectName::from(dataset.clone())],
            depth: Some(1),
            kinds: vec![Kind::Filesystem, Kind::Volume],
            columns: vec![WRITTEN],
        };
        let rows = match self.zfs.list(&list).await {
            Ok(rows) => rows,
            Err(error) => {
                return self
                    .failed(pool, &format!("listing {dataset}"), "", &error)
                    .await
                    .absent_as(None);
            }
        };
        let below = rows.into_iter().filter(|row| row.name.dataset() != dataset);
        let pairs = below.map(|row| (row.name.dataset().clone(), row.number(&WRITTEN).unwrap_or(0)));
        Ok(Some(pairs.collect()))
    }

    /// The newest snapshot of each dataset of a head that has any, whoever made it.
    async fn newest_snapshots(&self, head: &DatasetName, what: &str) -> Result<BTreeMap<DatasetName, SnapName>, Error> {
        let list = ListRequest {
            roots: vec![ObjectName::from(head.clone())],
            depth: Some(2),
            kinds: vec![Kind::Snapshot],
            columns: vec![CREATETXG],
        };
        let rows = self
            .zfs
            .list(&list)
            .await
            .map_err(|error| Error::zfs(&format!("listing snapshots of {what}"), &error))?;
        let mut newest: BTreeMap<DatasetName, (u64, SnapName)> = BTreeMap::new();
        for row in &rows {
            let Some(snapshot) = row.name.snapshot() else { continue };
            let txg = row.number(&CREATETXG).unwrap_or(0);
            let candidate = (txg, snapshot.snap().clone());
            newest
                .entry(snapshot.dataset().clone())
                .and_modify(|current| {
                    if current.0 < txg {
                        *current = candidate.clone();
                    }
                })
                .or_insert(candidate);
        }
        Ok(newest.into_iter().map(|(dataset, (_, snap))| (dataset, snap)).collect())
    }

    /// Frees what was written to a dead, unmounted volume since its newest snapshot.
    async fn roll_back(&self, volume: &DatasetName, snap: &SnapName) -> Result<(), Error> {
        let snapshot = SnapshotName::new(volume.clone(), snap.clone())
            .map_err(|error| Error::Internal(format!("{volume}@{snap}: {error}")))?;
        self.note_usage();
        match self.zfs.rollback_to_newest(&snapshot).await {
            Ok(()) => Ok(()),
            // A snapshot came or went meanwhile: next time.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) if matches!(error.kind, ErrorKind::NewerSnapshots | ErrorKind::Busy) => Ok(()),
            Err(error) => Err(Error::zfs(&format!("rolling back {volume}"), &error)),
        }
    }

    /// Takes away private mounts of these volumes. Returns false, and takes away nothing, when a pod uses one.
    async fn unmount_unused(
        &self,
        what: &str,
        head: HeadId,
        volumes: &BTreeMap<DatasetName, u64>,
    ) -> Result<bool, Error> {
        let table = self
            .mount
            .list()
            .await
            .map_err(|error| Error::mount("reading the mount table", &error))?;
        let mut private: Vec<PathBuf> = Vec::new();
        for volume in volumes.keys() {
            let own = volume.base().parse().ok().map(|id| self.private_dir(head, id));
            for entry in table.of_zfs(volume.as_str()) {
                if !own.as_ref().is_some_and(|own| is_private(&entry.target, own)) {
                    tracing::info!(what, at = %entry.target.display(), "deleted, but still mounted");
                    return Ok(false);
                }
            }
            private.extend(own.filter(|own| table.at(own).is_some()));
        }
        for target in private {
            self.drop_private(&target).await?;
        }
        Ok(true)
    }

    /// One pass over a deleted Dot: all its commits and heads are dead. Returns whether a head went, and whether
    /// anything is left.
    async fn collect_deleted(&self, pool: &KnownPool, dot: DotId) -> Result<(bool, bool), Error> {
        let dataset = pool.layout.dot(dot);
        let Some(heads) = self.children(pool, &dataset).await? else {
            return Ok((false, false));
        };
        let (mut progress, mut left) = (false, false);
        for child in heads.keys() {
            let Ok(head) = child.base().parse::<HeadId>() else {
                tracing::info!(%dot, dataset = %child, "the dataset of others keeps the Dot");
                left = true;
                continue;
            };
            let _guard = self.dots.exclusive(dot).await;
            for commit in self.commits_of(pool, child).await? {
                self.destroy_commit(pool, &snapshot(child.clone(), commit)).await?;
            }
            match self.collect_head(pool, dot, head).await? {
                Destroyed::Gone => progress = true,
                Destroyed::Needed => left = true,
            }
        }
        if left {
            return Ok((progress, true));
        }
        let _guard = self.dots.exclusive(dot).await;
        self.cache.drop_dot(dot);
        self.cache.unpin_all(dot);
        self.note_usage();
        match self.destroy(pool, &dataset).await? {
            Destroyed::Gone => Ok((true, false)),
            Destroyed::Needed => Ok((progress, true)),
        }
    }

    /// The commits of ours on a head.
    async fn commits_of(&self, pool: &KnownPool, head: &DatasetName) -> Result<BTreeSet<CommitId>, Error> {
        let request = GetRequest {
            targets: vec![ObjectName::from(head.clone())],
            properties: vec![COMMIT],
            sources: vec![SourceKind::Local],
            depth: Some(1),
            kinds: vec![Kind::Snapshot],
        };
        let rows = match self.zfs.get(&request).await {
            Ok(rows) => rows,
            Err(error) => {
                return self
                    .failed(pool, &format!("listing commits of {head}"), "", &error)
                    .await
                    .absent_as(BTreeSet::new());
            }
        };
        let ours = rows.iter().filter(|row| row.source == Source::Local);
        let ids = ours.filter_map(|row| row.name.snapshot()?.snap().as_str().parse().ok());
        Ok(ids.collect())
    }
}
