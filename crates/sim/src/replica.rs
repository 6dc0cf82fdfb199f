//! One incarnation of a replica of the operator: its caches, and its part in who leads.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dotmesh_crds::pool::PoolFile;
use dotmesh_operator::context::{Clock, Config, Context};
use dotmesh_operator::dot::import::observe::Importer;
use dotmesh_operator::lead::Election;
use dotmesh_operator::metrics::Metrics;
use dotmesh_operator::pool::discover::PoolSource;
use dotmesh_testkit::{Change, FakeApi};
use k8s_openapi::jiff::Timestamp;

use crate::api::SimApi;
use crate::leader::Leader;
use crate::machine::{Machine, POOL_FILE, spawn_until_over};
use crate::nodes::SimNodes;
use crate::stage::{Actor, Life, Stage};
use crate::view::{View, WATCHED};

/// The moment at which every history begins: 2026-01-01.
const BEGINNING: i64 = 1_767_225_600;

/// How many changes old caches miss.
const BEHIND: usize = 6;

/// How long caches stay behind that began so.
const LAG: Duration = Duration::from_millis(500);

/// The installation's namespace.
pub const NAMESPACE: &str = "dotmesh-system";

/// What all replicas see.
#[derive(Clone)]
pub struct Cluster {
    /// The stage.
    pub stage: Stage,
    /// The API, except for who leads.
    pub server: FakeApi,
    /// The Lease, apart: it changes every few seconds, and nobody but the replicas looks at it.
    pub leases: FakeApi,
    /// The nodes.
    pub machines: Arc<Vec<Machine>>,
    /// Seconds for which deleted data can come back.
    pub grace: u64,
}

/// The incarnation; shared by cloning.
#[derive(Clone)]
pub struct Replica {
    /// This incarnation.
    pub life: Life,
    /// Its way to the API.
    pub api: SimApi,
    cluster: Cluster,
    leader: Arc<OnceLock<Leader>>,
}

impl Replica {
    /// It begins; `stale`: with caches that miss the newest changes, and that stay so for a while.
    #[must_use]
    pub fn start(cluster: &Cluster, number: u8, stale: bool) -> Self {
        let life = Life::new(Actor::Operator(number));
        let log = cluster.server.log_after(0);
        let missed = if stale {
            missed(&cluster.stage, &log)
        } else {
            BTreeMap::new()
        };
        let view = View::listed(&log, missed);
        let api = SimApi::new(cluster, life.clone(), view);
        let replica = Self {
            life: life.clone(),
            api,
            cluster: cluster.clone(),
            leader: Arc::default(),
        };
        cluster.stage.say(life.actor(), "begins");
        spawn_until_over(life.clone(), replica.clone().watch(stale));
        spawn_until_over(life, replica.clone().run(number));
        replica
    }

    /// Whether its controllers act.
    #[must_use]
    pub fn leads(&self) -> bool {
        !self.life.is_over() && self.leader.get().is_some()
    }

    /// Whether somebody who calls it gets answers.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        !self.life.is_over() && !self.life.is_frozen() && !self.life.is_cut_off()
    }

    /// Waits until it leads, and runs the controllers until it does so no more; then the process ends.
    async fn run(self, number: u8) {
        let Cluster { stage, machines, .. } = &self.cluster;
        let clock = clock(stage);
        let election = Election::new(
            self.api.clone(),
            NAMESPACE,
            format!("operator-{number}"),
            Arc::clone(&clock),
        );
        let lead = election.win().await;
        let config = Config {
            namespace: NAMESPACE.to_owned(),
            pool: PoolSource::File(PoolFile {
                path: POOL_FILE.to_owned(),
                size: "20Gi".to_owned(),
            }),
            grace: self.cluster.grace,
            importer: Some(Importer {
                image: "importer".to_owned(),
                pull_policy: "IfNotPresent".to_owned(),
            }),
            snapshots: true,
        };
        let nodes = SimNodes::new(stage.clone(), self.life.clone(), Arc::clone(machines), lead.term());
        let metrics = Metrics::default();
        let context = Context::new(self.api.clone(), nodes, config, clock, metrics, Arc::clone(&lead));
        let leader = self.leader.get_or_init(|| Leader::start(stage, &self.life, context));
        let all = self.api.view().all_seen();
        for object in all {
            leader.wake(object.wakes(&self.api));
        }
        election.keep(&lead).await;
        // A stopped process sees only then that its time is over.
        self.life.thawed().await;
        stage.say(self.life.actor(), "leads no more, and ends");
        stage.end(&self.life);
    }

    /// Delivers changes to the caches, in each kind's order, and wakes whom they concern.
    async fn watch(self, stale: bool) {
        let mut changes = 0;
        if stale {
            tokio::time::sleep(LAG).await;
        }
        loop {
            let is_late = !self.api.view().waiting().is_empty();
            if !is_late {
                changes = self.cluster.server.changes(changes).await;
            }
            self.cluster.stage.pause(&self.life).await;
            let read = self.api.view().read();
            let news = self.cluster.server.log_after(read);
            self.api.view().receive(news);
            loop {
                let waiting = self.api.view().waiting();
                if waiting.is_empty() {
                    break;
                }
                let (kind, count) = waiting[self.cluster.stage.choose(waiting.len())];
                let seen = self.api.view().deliver(kind, self.cluster.stage.choose(count.min(3)));
                if let (Some(seen), Some(leader)) = (seen, self.leader.get()) {
                    leader.wake(seen.wakes(&self.api));
                }
                if self.cluster.stage.is_random() && self.cluster.stage.choose(3) == 0 {
                    break;
                }
            }
        }
    }
}

/// How many of the newest changes of each kind old caches miss: of the newest [`BEHIND`] of all kinds each its part, as
/// from one server that is behind; or, by chance, of each kind another number, as each kind has a cache of its own.
fn missed(stage: &Stage, log: &[Arc<Change>]) -> BTreeMap<&'static str, usize> {
    if stage.is_random() {
        return WATCHED.map(|kind| (kind, stage.choose(BEHIND + 1))).into();
    }
    let mut missed = BTreeMap::new();
    for change in log.iter().rev().take(BEHIND) {
        *missed.entry(change.kind).or_default() += 1;
    }
    missed
}

fn clock(stage: &Stage) -> Clock {
    let stage = stage.clone();
    Arc::new(move || {
        let seconds = i64::try_from(stage.now().as_secs()).unwrap_or(0);
        Timestamp::from_second(BEGINNING + seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    })
}
