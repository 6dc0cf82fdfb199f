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
use tokio::sync::OwnedRwLockWriteGuard;

use super::publish::is_private;
use super::shown::of_dataset;
use super::{Error, KnownPool, Ops};
use crate::layout::{
    BranchRecord, COMMIT, DeadCommits, DotState, HOLD, MAX_DEAD, branch_property, dead_property, encode_dead_commits,
    parse_volume_dataset, snap_name,
};

mod content;

use content::HeadContent;

/// How often it is tried again what could not be collected.
const PERIOD: Duration = Duration::from_secs(30);

const CREATETXG: PropName = PropName::from_static("createtxg");
const WRITTEN: PropName = PropName::from_static("written");
const VOLSIZE: PropName = PropName::from_static("volsize");

/// What became of an attempt to destroy something.
enum Destroyed {
    Gone,
    /// Something needs it: clones, holds of others, children, a mount.
    Needed,
}

/// Dead commits that are left.
#[derive(Debug, Default)]
struct Left {
    /// Marked to go with the last clone or hold.
    needed: BTreeSet<CommitId>,
    /// Mounted, or being sent.
    busy: BTreeSet<CommitId>,
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

    /// The Dots, and which of them have tombstones, by one `zfs get`.
    pub(super) async fn find_tombstones(&self, pool: &KnownPool) -> Result<(), Error> {
        let dots = self.read_dots(pool).await;
        let dots = dots.map_err(|error| Error::zfs("reading tombstones", &error))?;
        self.index.complete(dots.keys().copied());
        for (dot, _) in dots.iter().filter(|(_, state)| state.has_tombstones()) {
            self.note_tombstone(*dot);
        }
        Ok(())
    }

    /// What the Dots of the pool say of themselves, by one `zfs get`. One that cannot be read is left alone.
    pub(super) async fn read_dots(&self, pool: &KnownPool) -> Result<BTreeMap<DotId, DotState>, ZfsError> {
        let request = GetRequest {
            targets: vec![ObjectName::from(pool.layout.root().clone())],
            properties: Vec::new(),
            sources: vec![SourceKind::Local],
            depth: Some(1),
            kinds: vec![Kind::Filesystem],
        };
        let rows = self.host.zfs.get(&request).await?;
        let mut by_dot: BTreeMap<DotId, Vec<(&PropName, &str)>> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.source == Source::Local) {
            if let Ok(dot) = row.name.dataset().base().parse() {
                by_dot.entry(dot).or_default().push((&row.property, &row.value));
            }
        }
        let mut dots = BTreeMap::new();
        for (dot, properties) in by_dot {
            match DotState::decode(properties) {
                Ok(state) => drop(dots.insert(dot, state)),
                Err(error) => tracing::warn!(%dot, %error, "the Dot is left alone"),
            }
        }
        Ok(dots)
    }

    /// Collects what is possible of a Dot's tombstones. Returns whether the Dot is gone.
    pub(super) async fn collect_dot(&self, pool: &KnownPool, dot: DotId) -> Result<bool, Error> {
        loop {
            let state = {
                let _guard = self.host.dots.exclusive(dot).await;
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
        for (named, dead) in &state.dead_commits {
            self.collect_commits(pool, dot, *named, dead).await?;
        }
        let mut progress = false;
        for (branch, record) in &state.branches {
            match record {
                BranchRecord::Live { .. } => {}
                BranchRecord::Dead { .. } => {
                    let guard = self.host.dots.exclusive(dot).await;
                    let Some(state) = self.read_dot(pool, dot).await? else {
                        return Ok(progress);
                    };
                    progress |= self.collect_branch(pool, dot, *branch, &state, guard).await?;
                }
            }
        }
        Ok(progress)
    }

    /// Releases and destroys the snapshots of a tombstone's commits; with the last of them it goes itself. Returns the
    /// commits that are left; those that something was cloned from are left alone until a head of the Dot goes.
    pub(super) async fn collect_commits(
        &self,
        pool: &KnownPool,
        dot: DotId,
        named: CommitId,
        dead: &DeadCommits,
    ) -> Result<BTreeSet<CommitId>, Error> {
        let DeadCommits { head, commits } = dead;
        let _guard = self.host.dots.exclusive(dot).await;
        let (mut left, asked): (BTreeSet<CommitId>, BTreeSet<CommitId>) =
            commits.iter().partition(|commit| self.cache.is_pinned(dot, **commit));
        if asked.is_empty() {
            return Ok(left);
        }
        let head_dataset = pool.layout.head(dot, *head);
        let Left { needed, busy } = self.destroy_commits(pool, &head_dataset, &asked).await?;
        self.cache.pin(dot, &needed);
        if needed.len() + busy.len() < asked.len() {
            self.note_usage();
        }
        left.extend(needed);
        left.extend(busy);
        if is_planted(Mutant::ATombstoneStaysForEver) || left.len() == commits.len() {
            return Ok(left);
        }
        let written = if left.is_empty() || is_planted(Mutant::ATombstoneGoesWithTheFirst) {
            self.unset_dot(pool, dot, &dead_property(named)).await
        } else {
            let (head, commits) = (*head, left.clone());
            let property = encode_dead_commits(named, &DeadCommits { head, commits });
            self.set_dot(pool, dot, [property]).await
        };
        match written {
            Ok(()) | Err(Error::NotFound(_)) => Ok(left),
            Err(error) => Err(error),
        }
    }

    /// Marks commits' snapshots to go with the last of what needs them. Returns those that are left.
    async fn destroy_commits(
        &self,
        pool: &KnownPool,
        head: &DatasetName,
        commits: &BTreeSet<CommitId>,
    ) -> Result<Left, Error> {
        let mut left = Left::default();
        let all: Vec<CommitId> = commits.iter().copied().collect();
        for some in all.chunks(MAX_DEAD) {
            match self.destroy_together(pool, head, some).await? {
                Some(needed) => left.needed.extend(needed),
                // One that is busy fails all.
                None => {
                    for one in some {
                        match self.destroy_together(pool, head, std::slice::from_ref(one)).await? {
                            Some(needed) => left.needed.extend(needed),
                            None => drop(left.busy.insert(*one)),
                        }
                    }
                }
            }
        }
        Ok(left)
    }

    /// The same in as few commands as possible; nothing: one of them is busy.
    async fn destroy_together(
        &self,
        pool: &KnownPool,
        head: &DatasetName,
        commits: &[CommitId],
    ) -> Result<Option<BTreeSet<CommitId>>, Error> {
        let doing = format!("destroying {} commits of {head}", commits.len());
        let snaps: Vec<SnapName> = commits.iter().map(|commit| snap_name(*commit)).collect();
        let released = if is_planted(Mutant::AHoldIsNeverReleased) {
            Ok(())
        } else {
            self.host.zfs.release_recursive(&HOLD, head, &snaps).await
        };
        match released {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::HoldNotFound || error.is_not_found() => {}
            Err(error) if error.kind == ErrorKind::Busy => return Ok(None),
            Err(error) => return Err(Error::zfs(&doing, &error)),
        }
        // The second time tells whether anything of them is left: what is marked can be marked again.
        for _ in 0..2 {
            if let Err(error) = self.host.zfs.destroy_snapshots_deferred_recursive(head, &snaps).await {
                return match self.outcome(pool, &doing, &error).await? {
                    Destroyed::Gone => Ok(Some(BTreeSet::new())),
                    Destroyed::Needed => Ok(None),
                };
            }
        }
        match commits {
            [one] => Ok(Some(BTreeSet::from([*one]))),
            all => self.still_there(pool, head, all).await.map(Some),
        }
    }

    /// Those of the commits of which there still are snapshots, on the head or on one of its volumes.
    async fn still_there(
        &self,
        pool: &KnownPool,
        head: &DatasetName,
        commits: &[CommitId],
    ) -> Result<BTreeSet<CommitId>, Error> {
        let list = ListRequest {
            roots: vec![ObjectName::from(head.clone())],
            depth: Some(2),
            kinds: vec![Kind::Snapshot],
            columns: Vec::new(),
        };
        let looked = self.host.zfs.list(&list).await;
        let Some(rows) = self
            .unless_absent(pool, &format!("listing snapshots of {head}"), looked)
            .await?
        else {
            return Ok(BTreeSet::new());
        };
        let there: BTreeSet<&SnapName> = rows
            .iter()
            .filter_map(|row| Some(row.name.snapshot()?.snap()))
            .collect();
        let is_there = |commit: &&CommitId| there.contains(&snap_name(**commit));
        Ok(commits.iter().filter(is_there).copied().collect())
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

    /// Collects the heads of a dead branch; its tombstone goes with the last. Returns whether it did. `state` was read
    /// under the guard.
    pub(super) async fn collect_branch(
        &self,
        pool: &KnownPool,
        dot: DotId,
        branch: BranchId,
        state: &DotState,
        _guard: OwnedRwLockWriteGuard<()>,
    ) -> Result<bool, Error> {
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
        if !state.dead_commits.is_empty() {
            self.collect_now.notify_one();
        }
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
        let Some(content) = self.content(pool, &dataset).await? else {
            return Ok(Destroyed::Gone);
        };
        let HeadContent {
            volumes,
            devices,
            others,
            newest,
        } = content;
        if !self.unmount_unused(&what, head, &volumes).await? {
            return Ok(Destroyed::Needed);
        }
        if !newest.is_empty() && is_planted(Mutant::DestroyTakesSnapshotsAlong) {
            let commits = self.commits_of(pool, &dataset).await?;
            self.destroy_commits(pool, &dataset, &commits).await?;
        }
        for (volume, snap) in &newest {
            if volumes.get(volume).is_some_and(|written| *written > 0) {
                self.roll_back(volume, snap).await?;
            }
        }
        let free: Vec<&DatasetName> = volumes
            .keys()
            .filter(|volume| !newest.contains_key(*volume) && volume.base().parse::<VolumeId>().is_ok())
            .collect();
        let destroyed = self.destroy_volumes(pool, &free, &devices).await;
        if !free.is_empty() {
            self.note_usage();
        }
        // What these were cloned from may go now, whatever became of the answer.
        for other in others.iter().filter(|_| !free.is_empty()) {
            self.cache.unpin_all(*other);
            self.collect_now.notify_one();
        }
        let is_needed = matches!(destroyed?, Destroyed::Needed);
        if is_needed || !newest.is_empty() {
            return Ok(Destroyed::Needed);
        }
        self.note_usage();
        self.destroy(pool, &dataset).await
    }

    /// Destroys volumes of a dead head that have no snapshots.
    async fn destroy_volumes(
        &self,
        pool: &KnownPool,
        volumes: &[&DatasetName],
        devices: &BTreeSet<DatasetName>,
    ) -> Result<Destroyed, Error> {
        for volume in volumes {
            let device = parse_volume_dataset(volume.as_str()).filter(|_| devices.contains(*volume));
            if let Some(device) = device {
                self.host.forget_device(device).await?;
            }
            match self.destroy(pool, volume).await? {
                Destroyed::Gone => {}
                Destroyed::Needed => return Ok(Destroyed::Needed),
            }
        }
        Ok(Destroyed::Gone)
    }

    async fn destroy(&self, pool: &KnownPool, dataset: &DatasetName) -> Result<Destroyed, Error> {
        match self.host.zfs.destroy_dataset(dataset).await {
            Ok(()) => Ok(Destroyed::Gone),
            Err(error) => self.outcome(pool, &format!("destroying {dataset}"), &error).await,
        }
    }

    /// The datasets directly below a Dot's; nothing when it is not there itself.
    async fn heads_of(&self, pool: &KnownPool, dot: &DatasetName) -> Result<Option<Vec<DatasetName>>, Error> {
        let list = ListRequest {
            roots: vec![ObjectName::from(dot.clone())],
            depth: Some(1),
            kinds: vec![Kind::Filesystem, Kind::Volume],
            columns: Vec::new(),
        };
        let looked = self.host.zfs.list(&list).await;
        let Some(rows) = self.unless_absent(pool, &format!("listing {dot}"), looked).await? else {
            return Ok(None);
        };
        let below = rows.into_iter().filter(|row| row.name.dataset() != dot);
        Ok(Some(below.map(|row| row.name.dataset().clone()).collect()))
    }

    /// Frees what was written to a dead, unmounted volume since its newest snapshot.
    async fn roll_back(&self, volume: &DatasetName, snap: &SnapName) -> Result<(), Error> {
        let snapshot = SnapshotName::new(volume.clone(), snap.clone())
            .map_err(|error| Error::Internal(format!("{volume}@{snap}: {error}")))?;
        self.note_usage();
        match self.host.zfs.rollback_to_newest(&snapshot).await {
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
        let table = self.host.mount_table().await?;
        let mut private: Vec<PathBuf> = Vec::new();
        for volume in volumes.keys() {
            let own = volume.base().parse().ok().map(|id| self.host.private_dir(head, id));
            for entry in of_dataset(&table, volume) {
                if !own.as_ref().is_some_and(|own| is_private(&entry.target, own)) {
                    tracing::info!(what, at = %entry.target.display(), "deleted, but still mounted");
                    return Ok(false);
                }
            }
            private.extend(own.filter(|own| table.at(own).is_some()));
        }
        for target in private {
            self.host.drop_private(&target).await?;
        }
        Ok(true)
    }

    /// One pass over a deleted Dot: all its commits and heads are dead. Returns whether a head went, and whether
    /// anything is left.
    async fn collect_deleted(&self, pool: &KnownPool, dot: DotId) -> Result<(bool, bool), Error> {
        let dataset = pool.layout.dot(dot);
        let Some(heads) = self.heads_of(pool, &dataset).await? else {
            return Ok((false, false));
        };
        let (mut progress, mut left) = (false, false);
        for child in &heads {
            let Ok(head) = child.base().parse::<HeadId>() else {
                tracing::info!(%dot, dataset = %child, "the dataset of others keeps the Dot");
                left = true;
                continue;
            };
            let _guard = self.host.dots.exclusive(dot).await;
            let commits = self.commits_of(pool, child).await?;
            self.destroy_commits(pool, child, &commits).await?;
            match self.collect_head(pool, dot, head).await? {
                Destroyed::Gone => progress = true,
                Destroyed::Needed => left = true,
            }
        }
        if left {
            return Ok((progress, true));
        }
        let _guard = self.host.dots.exclusive(dot).await;
        self.cache.drop_dot(dot);
        self.cache.unpin_all(dot);
        self.note_usage();
        match self.destroy(pool, &dataset).await? {
            Destroyed::Gone => {
                self.index.remove(dot);
                Ok((true, false))
            }
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
        let looked = self.host.zfs.get(&request).await;
        let Some(rows) = self
            .unless_absent(pool, &format!("listing commits of {head}"), looked)
            .await?
        else {
            return Ok(BTreeSet::new());
        };
        let ours = rows.iter().filter(|row| row.source == Source::Local);
        let ids = ours.filter_map(|row| row.name.snapshot()?.snap().as_str().parse().ok());
        Ok(ids.collect())
    }
}
