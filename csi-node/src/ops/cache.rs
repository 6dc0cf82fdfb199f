//! Copies of what is on disk, so that a commit needs no more than its own commands.
//!
//! Only this program writes what is copied here. Each copy is dropped before what it is a copy of is written, and all
//! of them when the pool is imported anew.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{CommitId, DotId, HeadId, VolumeId};

use crate::layout::DotState;

/// What a commit needs to know of its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadState {
    /// The volumes that are completely there, with their formats.
    pub volumes: BTreeMap<VolumeId, VolumeFormat>,
    /// The newest commit of the head that is not deleted, else what the head was cloned from.
    pub parent: Option<CommitId>,
    /// Commits that were taken since the copy was made, the newest last: a call that is repeated need not try again.
    recent: VecDeque<CommitId>,
}

/// How many commits of a head are remembered: more than are asked for at once.
const RECENT: usize = 256;

impl HeadState {
    pub(crate) fn new(volumes: BTreeMap<VolumeId, VolumeFormat>, parent: Option<CommitId>) -> Self {
        Self {
            volumes,
            parent,
            recent: VecDeque::new(),
        }
    }

    /// As it is after a commit.
    pub(crate) fn after(&self, commit: CommitId) -> Self {
        let mut recent = self.recent.clone();
        recent.push_back(commit);
        if recent.len() > RECENT {
            recent.pop_front();
        }
        Self {
            volumes: self.volumes.clone(),
            parent: Some(commit),
            recent,
        }
    }

    /// Whether it is known that the commit was taken.
    pub(crate) fn is_taken(&self, commit: CommitId) -> bool {
        self.parent == Some(commit) || self.recent.contains(&commit)
    }
}

/// Copies by key.
#[derive(Debug)]
struct Copies<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K, V> Default for Copies<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V> Copies<K, V> {
    fn get(&self, key: &K) -> Option<Arc<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn put(&self, key: K, value: Arc<V>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }

    fn drop(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Dots and heads.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    dots: Copies<DotId, DotState>,
    heads: Copies<HeadId, HeadState>,
    /// Tombstoned commits that something still needs: by Dot, until a head of it is destroyed.
    pinned: Mutex<BTreeMap<DotId, BTreeSet<CommitId>>>,
}

impl Cache {
    pub(crate) fn dot(&self, dot: DotId) -> Option<Arc<DotState>> {
        self.dots.get(&dot)
    }

    pub(crate) fn put_dot(&self, dot: DotId, state: Arc<DotState>) {
        self.dots.put(dot, state);
    }

    pub(crate) fn drop_dot(&self, dot: DotId) {
        self.dots.drop(&dot);
    }

    pub(crate) fn head(&self, head: HeadId) -> Option<Arc<HeadState>> {
        self.heads.get(&head)
    }

    pub(crate) fn put_head(&self, head: HeadId, state: HeadState) {
        self.heads.put(head, Arc::new(state));
    }

    pub(crate) fn drop_head(&self, head: HeadId) {
        self.heads.drop(&head);
    }

    pub(crate) fn is_pinned(&self, dot: DotId, commit: CommitId) -> bool {
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.get(&dot).is_some_and(|commits| commits.contains(&commit))
    }

    pub(crate) fn pin(&self, dot: DotId, commits: &BTreeSet<CommitId>) {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.entry(dot).or_default().extend(commits);
    }

    pub(crate) fn unpin(&self, dot: DotId, commits: &BTreeSet<CommitId>) {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pinned) = pinned.get_mut(&dot) {
            pinned.retain(|commit| !commits.contains(commit));
        }
    }

    pub(crate) fn unpin_all(&self, dot: DotId) {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).remove(&dot);
    }

    pub(crate) fn clear(&self) {
        self.dots.clear();
        self.heads.clear();
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
