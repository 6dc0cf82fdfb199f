//! What the reconcilers share: the two traits for effects, and memory that may be lost at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_crds::{Dot, Pool};
use dotmesh_csi_proto::node::{PoolState, VolumeUser};
use dotmesh_model::import::Progress;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{Api, ApiError, ApiErrorKind};
use crate::dot::import::observe::Importer;
use crate::lead::Lead;
use crate::loss::Data;
use crate::meta::dot_id;
use crate::metrics::Metrics;
use crate::nodes::{NodeError, NodeErrorKind, Nodes};
use crate::pool::discover::PoolSource;
use crate::pool::suspects::Suspects;

/// Shared by all reconcilers.
pub struct Context<A, N> {
    /// Kubernetes.
    pub api: A,
    /// The nodes.
    pub nodes: N,
    /// What was configured.
    pub config: Config,
    /// Now, as conditions show it.
    pub clock: Clock,
    /// Counts and durations.
    pub metrics: Metrics,
    /// By what right this replica acts.
    pub lead: Arc<Lead>,
    /// What is only remembered, never relied on.
    pub memory: Memory,
}

impl<A: Api, N: Nodes> Context<A, N> {
    /// With an empty memory.
    pub fn new(api: A, nodes: N, config: Config, clock: Clock, metrics: Metrics, lead: Arc<Lead>) -> Self {
        Self {
            api,
            nodes,
            config,
            clock,
            metrics,
            lead,
            memory: Memory::default(),
        }
    }

    /// To be asked before each effect.
    ///
    /// # Errors
    /// When another replica may lead.
    pub fn must_lead(&self) -> Result<(), ReconcileError> {
        if self.lead.holds() {
            Ok(())
        } else {
            Err(ReconcileError::NotLeading)
        }
    }

    /// Now, to the second, as Kubernetes stores times.
    pub fn now(&self) -> Timestamp {
        let now = (self.clock)();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }
}

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What was configured for the controllers.
#[derive(Debug, Clone)]
pub struct Config {
    /// The installation's namespace.
    pub namespace: String,
    /// Where the pool of a node lies that nobody made a Pool of class `default` for.
    pub pool: PoolSource,
    /// Seconds for which deleted data can come back; 0: it is destroyed at once.
    pub grace: u64,
    /// What copies the data of claims into volumes; absent: nothing is imported.
    pub importer: Option<Importer>,
    /// VolumeSnapshots are served here, by csi-snapshotter.
    pub snapshots: bool,
}

/// State that speeds things up or spares repetition. Losing it costs time, never correctness.
#[derive(Debug, Default)]
pub struct Memory {
    failures: Mutex<BTreeMap<String, u32>>,
    pools: Mutex<BTreeMap<String, Vec<PoolState>>>,
    users: Mutex<BTreeMap<String, Vec<VolumeUser>>>,
    data: Mutex<BTreeMap<Place, BTreeMap<String, Data>>>,
    suspects: Mutex<BTreeMap<Place, Suspects>>,
    early: Mutex<BTreeMap<Place, Timestamp>>,
    retiring: Mutex<BTreeSet<String>>,
    followed: Mutex<BTreeSet<String>>,
    progress: Mutex<BTreeMap<String, (Timestamp, Option<Progress>)>>,
    follow_wanted: tokio::sync::Notify,
    groups: Mutex<BTreeMap<GroupKey, Arc<tokio::sync::Mutex<()>>>>,
    /// Held while a branch gets its name, so that two of them never get the same one.
    pub naming: Arc<tokio::sync::Mutex<()>>,
}

/// The namespace and the name of a group of Commits.
pub type GroupKey = (String, String);

/// The names of a node and of a Pool on it.
pub type Place = (String, String);

/// Where a Dot lies, once its dataset is there.
pub fn place_of(dot: &Dot) -> Option<Place> {
    let status = dot.status.as_ref()?;
    Some((status.node.clone()?, status.pool.clone()?))
}

/// Where a Pool is.
pub fn place(pool: &Pool) -> Place {
    (pool.spec.node_name.clone(), pool.name_any())
}

/// Heads of which others use volumes than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewUsers {
    /// It was not known who used them before.
    Unknown,
    /// These.
    Of(BTreeSet<String>),
}

/// Head, volume, and who.
fn user_key(user: &VolumeUser) -> (&str, &str, &str, &str) {
    (&user.head_id, &user.volume_id, &user.pod_uid, &user.path)
}

/// First wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Seconds between two Remnants of a node that go before their time: what the first frees takes its time to show.
const EARLY_INTERVAL: i64 = 60;

/// Seconds for which it is remembered what an importer said.
const PROGRESS_KEPT: i64 = 60;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// What is held while a group of Commits is taken, or one of it is deleted.
    pub fn group(&self, key: &GroupKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut groups = lock(&self.groups);
        groups.retain(|_, held| Arc::strong_count(held) > 1);
        Arc::clone(groups.entry(key.clone()).or_default())
    }

    /// An object's reconcile failed: how long to wait before the next one.
    pub fn failed(&self, uid: &str) -> Duration {
        let mut failures = lock(&self.failures);
        let count = failures.entry(uid.to_owned()).or_default();
        let wait = BACKOFF_FIRST.saturating_mul(1 << (*count).min(6)).min(BACKOFF_MAX);
        *count += 1;
        wait
    }

    /// An object's reconcile ended well, or the object is gone.
    pub fn succeeded(&self, uid: &str) {
        lock(&self.failures).remove(uid);
    }

    /// What a node last said of its zpool of that name, while its stream is connected.
    pub fn pool(&self, node: &str, zpool: &str) -> Option<PoolState> {
        let pools = lock(&self.pools);
        pools.get(node)?.iter().find(|state| state.name == zpool).cloned()
    }

    /// Remembers what a node said of one of its pools.
    pub fn set_pool(&self, node: &str, state: PoolState) {
        let mut pools = lock(&self.pools);
        let of_node = pools.entry(node.to_owned()).or_default();
        of_node.retain(|known| known.name != state.name);
        of_node.push(state);
    }

    /// Remembers what a node said of all its pools; none: its stream ended. Whether that is news.
    pub fn set_pools(&self, node: &str, mut states: Vec<PoolState>) -> bool {
        states.sort_by(|one, other| one.name.cmp(&other.name));
        let mut pools = lock(&self.pools);
        let of_node = pools.entry(node.to_owned()).or_default();
        of_node.sort_by(|one, other| one.name.cmp(&other.name));
        let is_news = *of_node != states;
        *of_node = states;
        is_news
    }

    /// Who has volumes of a head mounted, as its node last said; nothing while its stream is not connected.
    pub fn users_of_head(&self, node: &str, head: &str) -> Option<Vec<VolumeUser>> {
        let users = lock(&self.users);
        let of_node = users.get(node)?;
        Some(of_node.iter().filter(|user| user.head_id == head).cloned().collect())
    }

    /// Remembers who uses volumes on a node. Returns the heads of which others use volumes now.
    pub fn set_users(&self, node: &str, now: Vec<VolumeUser>) -> NewUsers {
        let Some(before) = lock(&self.users).insert(node.to_owned(), now.clone()) else {
            return NewUsers::Unknown;
        };
        let before: BTreeSet<_> = before.iter().map(user_key).collect();
        let now: BTreeSet<_> = now.iter().map(user_key).collect();
        let heads = before.symmetric_difference(&now).map(|(head, ..)| (*head).to_owned());
        NewUsers::Of(heads.collect())
    }

    /// Nobody knows any more who uses volumes on a node: its stream ended.
    pub fn forget_users(&self, node: &str) {
        lock(&self.users).remove(node);
    }

    /// What the last look at a Dot's pool told of data in the Dot, by the id of the Dot, head or commit.
    pub fn data(&self, dot: Option<&Dot>, id: Option<&String>) -> Data {
        let data = lock(&self.data);
        let of_pool = dot.and_then(place_of).and_then(|place| data.get(&place));
        let found = of_pool.zip(id).and_then(|(of_pool, id)| of_pool.get(id));
        found.cloned().unwrap_or_default()
    }

    /// Remembers what a look at a Pool told.
    pub fn set_data(&self, pool: &Pool, now: BTreeMap<String, Data>) {
        lock(&self.data).insert(place(pool), now);
    }

    /// Remembers what a look at a Pool made suspect.
    pub fn set_suspects(&self, pool: &Pool, now: Suspects) {
        lock(&self.suspects).insert(place(pool), now);
    }

    /// Dots on a Pool that may have no object.
    pub fn unknown_on(&self, pool: &Pool) -> BTreeSet<String> {
        let suspects = lock(&self.suspects);
        suspects
            .get(&place(pool))
            .map(|of_pool| of_pool.unknown.clone())
            .unwrap_or_default()
    }

    /// Whether a Dot may hold more than objects stand for.
    pub fn is_incomplete(&self, dot: &Dot) -> bool {
        let suspects = lock(&self.suspects);
        let of_pool = place_of(dot).and_then(|place| suspects.get(&place));
        of_pool.is_some_and(|of_pool| of_pool.incomplete.contains(dot_id(dot)))
    }

    /// That of this Dot is settled.
    pub fn clear_suspect(&self, pool: &Place, dot: &str) {
        if let Some(of_pool) = lock(&self.suspects).get_mut(pool) {
            of_pool.unknown.remove(dot);
            of_pool.incomplete.remove(dot);
        }
    }

    /// Nobody knows any more what is in a node's pools.
    pub fn forget_data(&self, node: &str) {
        lock(&self.suspects).retain(|(of, _), _| of != node);
        lock(&self.data).retain(|(of, _), _| of != node);
    }

    /// A Remnant of a pool went before its time.
    pub fn went_early(&self, pool: &Pool, now: Timestamp) {
        lock(&self.early).insert(place(pool), now);
    }

    /// Seconds until one more of the pool's Remnants may go before its time.
    pub fn early_in(&self, pool: &Pool, now: Timestamp) -> u64 {
        let early = lock(&self.early);
        let passed = early.get(&place(pool)).map(|last| now.as_second() - last.as_second());
        let left = passed.map_or(0, |passed| EARLY_INTERVAL.saturating_sub(passed));
        u64::try_from(left).unwrap_or(0)
    }

    /// What the importer in the pod of this uid last said of its copy, and when.
    pub fn progress(&self, pod: &str) -> Option<(Timestamp, Option<Progress>)> {
        lock(&self.progress).get(pod).copied()
    }

    /// Remembers what an importer said; of those that nobody asks any more nothing is kept.
    pub fn set_progress(&self, pod: &str, now: Timestamp, told: Option<Progress>) {
        let mut progress = lock(&self.progress);
        progress.retain(|_, (at, _)| now.as_second() - at.as_second() < PROGRESS_KEPT);
        progress.insert(pod.to_owned(), (now, told));
    }

    /// This node's pools are to be followed.
    pub fn follow(&self, node: &str) {
        lock(&self.followed).insert(node.to_owned());
        self.follow_wanted.notify_one();
    }

    /// Waits for nodes that are to be followed.
    pub async fn next_followed(&self) -> BTreeSet<String> {
        loop {
            let nodes = std::mem::take(&mut *lock(&self.followed));
            if !nodes.is_empty() {
                return nodes;
            }
            self.follow_wanted.notified().await;
        }
    }

    /// From now on nothing new is recorded in this Dot (by uid): it is about to be deleted by itself.
    pub fn retire(&self, dot: &str) {
        lock(&self.retiring).insert(dot.to_owned());
    }

    /// The Dot stays after all.
    pub fn keep(&self, dot: &str) {
        lock(&self.retiring).remove(dot);
    }

    /// Whether the Dot is about to be deleted by itself.
    pub fn is_retiring(&self, dot: &str) -> bool {
        lock(&self.retiring).contains(dot)
    }
}

/// A reconcile that ended before its end, and is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// The Kubernetes API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// This replica no longer leads.
    #[error("another replica may lead")]
    NotLeading,
}

impl ReconcileError {
    /// Whether a condition should show it. A guard that did not hold only means: look again; and what the API does
    /// not answer, it does not record either.
    pub fn is_for_people(&self) -> bool {
        match self {
            Self::Api(error) => match error.kind {
                ApiErrorKind::Conflict | ApiErrorKind::NotFound | ApiErrorKind::Unavailable => false,
                ApiErrorKind::AlreadyExists | ApiErrorKind::Invalid | ApiErrorKind::Forbidden => true,
            },
            // Another replica leads, and tells.
            Self::NotLeading => false,
            Self::Node(error) => error.kind != NodeErrorKind::Superseded,
        }
    }

    /// As in metric labels.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Api(error) => error.kind.as_str(),
            Self::Node(error) => error.kind.as_str(),
            Self::NotLeading => "not_leading",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_start_again_after_a_success() {
        let memory = Memory::default();
        let waits: Vec<u64> = (0..8).map(|_| memory.failed("a").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(memory.failed("b").as_secs(), 1);
        memory.succeeded("a");
        assert_eq!(memory.failed("a").as_secs(), 1);
    }
}
