//! One incarnation of the operator: its caches, its queue, and the production reconcilers.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_crds::{Branch, Commit, Dot, Pool};
use dotmesh_operator::api::{Cached, Key};
use dotmesh_operator::claim::report::Said;
use dotmesh_operator::context::{Clock, Config, Context, ReconcileError};
use dotmesh_operator::metrics::Metrics;
use dotmesh_operator::wake::Wake;
use dotmesh_operator::{branch, commit, pool, turn};
use dotmesh_testkit::FakeApi;
use futures::FutureExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::SimApi;
use crate::machine::{Machine, POOL_FILE, until_over};
use crate::nodes::SimNodes;
use crate::stage::{Actor, Life, Stage};
use crate::view::View;

/// The moment at which every history begins: 2026-01-01.
const BEGINNING: i64 = 1_767_225_600;

/// How long caches stay behind that began so.
const LAG: Duration = Duration::from_millis(500);

/// An object to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    kind: Controller,
    key: Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Controller {
    Pod,
    Pool,
    Dot,
    Branch,
    Commit,
    Claim,
}

/// What waits and what runs: never one object twice at a time, as kube's own runner has it.
#[derive(Debug, Default)]
struct Turns {
    waiting: Vec<Turn>,
    running: BTreeSet<Turn>,
    /// Repeats that are due later; an earlier one replaces a later one.
    due: BTreeMap<Turn, Instant>,
}

/// The incarnation; shared by cloning.
#[derive(Clone)]
pub struct Replica {
    /// This incarnation.
    pub life: Life,
    /// Its way to the API.
    pub api: SimApi,
    stage: Stage,
    server: FakeApi,
    context: Arc<Context<SimApi, SimNodes>>,
    said: Arc<Said>,
    turns: Arc<Mutex<Turns>>,
    wanted: Arc<Notify>,
}

impl Replica {
    /// It begins, with caches that miss the newest `behind` changes, and that stay so for a while.
    #[must_use]
    pub fn start(stage: &Stage, server: &FakeApi, machines: &Arc<Vec<Machine>>, behind: usize) -> Self {
        let life = Life::new(Actor::Operator);
        let log = server.log_after(0);
        let view = View::listed(&log[..log.len().saturating_sub(behind)]);
        let all = view.all_seen();
        let api = SimApi::new(stage.clone(), life.clone(), server.clone(), view);
        let nodes = SimNodes::new(stage.clone(), life.clone(), Arc::clone(machines));
        let config = Config {
            namespace: "dotmesh-system".to_owned(),
            pool_file_path: POOL_FILE.to_owned(),
            pool_file_size: "20Gi".to_owned(),
        };
        let context = Context::new(api.clone(), nodes, config, clock(stage), Metrics::default());
        let replica = Self {
            life: life.clone(),
            api,
            stage: stage.clone(),
            server: server.clone(),
            context: Arc::new(context),
            said: Arc::default(),
            turns: Arc::default(),
            wanted: Arc::default(),
        };
        stage.say(life.actor(), "begins".to_owned());
        for object in all {
            replica.wake(object.wakes(&replica.api));
        }
        let sender = replica.clone();
        let follow = pool::follow::follow_all(replica.context.clone(), move |wake| sender.wake(wake));
        tokio::spawn(until_over(life.clone(), follow));
        tokio::spawn(until_over(life.clone(), replica.clone().watch(behind > 0)));
        tokio::spawn(until_over(life, replica.clone().work()));
        replica
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, wake: Wake) {
        let Wake {
            dots,
            branches,
            commits,
            pools,
            pods,
            claims,
        } = wake;
        for (kind, keys) in [
            (Controller::Dot, dots),
            (Controller::Branch, branches),
            (Controller::Commit, commits),
            (Controller::Pool, pools),
            (Controller::Pod, pods),
            (Controller::Claim, claims),
        ] {
            for key in keys {
                self.push(Turn { kind, key });
            }
        }
    }

    fn push(&self, turn: Turn) {
        let mut turns = self.turns();
        turns.due.remove(&turn);
        if !turns.waiting.contains(&turn) {
            turns.waiting.push(turn);
        }
        drop(turns);
        self.wanted.notify_one();
    }

    /// Delivers changes to the caches, in each kind's order, and wakes whom they concern.
    async fn watch(self, is_behind: bool) {
        let mut changes = 0;
        if is_behind {
            tokio::time::sleep(LAG).await;
        }
        loop {
            let is_late = !self.api.view().waiting().is_empty();
            if !is_late {
                changes = self.server.changes(changes).await;
            }
            self.stage.pause(&self.life).await;
            let read = self.api.view().read();
            let news = self.server.log_after(read);
            self.api.view().receive(news);
            loop {
                let waiting = self.api.view().waiting();
                if waiting.is_empty() {
                    break;
                }
                let (kind, count) = waiting[self.stage.choose(waiting.len())];
                let seen = self.api.view().deliver(kind, self.stage.choose(count.min(3)));
                if let Some(seen) = seen {
                    self.wake(seen.wakes(&self.api));
                }
                if self.stage.is_random() && self.stage.choose(3) == 0 {
                    break;
                }
            }
        }
    }

    /// Gives turns.
    async fn work(self) {
        loop {
            let next = {
                let mut turns = self.turns();
                let now = Instant::now();
                let due: Vec<Turn> = turns
                    .due
                    .iter()
                    .filter(|(_, at)| **at <= now)
                    .map(|(turn, _)| turn.clone())
                    .collect();
                for turn in due {
                    turns.due.remove(&turn);
                    if !turns.waiting.contains(&turn) {
                        turns.waiting.push(turn);
                    }
                }
                let free: Vec<usize> = (0..turns.waiting.len())
                    .filter(|index| !turns.running.contains(&turns.waiting[*index]))
                    .collect();
                match free.get(self.stage.choose(free.len())) {
                    Some(index) => {
                        let turn = turns.waiting.remove(*index);
                        turns.running.insert(turn.clone());
                        Ok(turn)
                    }
                    None => Err(turns.due.values().min().copied()),
                }
            };
            match next {
                Ok(turn) => {
                    tokio::spawn(self.clone().take(turn));
                    tokio::task::yield_now().await;
                }
                Err(None) => self.wanted.notified().await,
                Err(Some(due)) => {
                    tokio::select! {
                        biased;
                        () = self.wanted.notified() => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
            }
        }
    }

    async fn take(self, turn: Turn) {
        let context = self.context.clone();
        self.stage.with_oracle(|oracle| oracle.turn_taken());
        let run = async {
            match turn.kind {
                Controller::Pod => {
                    self.look(&turn, |pod: Arc<Pod>| pool::discover::reconcile(pod, context))
                        .await
                }
                Controller::Pool => self.look(&turn, |pool: Arc<Pool>| pool::reconcile(pool, context)).await,
                Controller::Dot => self.look(&turn, |dot: Arc<Dot>| turn::take_dot(dot, context)).await,
                Controller::Branch => {
                    self.look(&turn, |object: Arc<Branch>| branch::reconcile(object, context))
                        .await
                }
                Controller::Commit => {
                    self.look(&turn, |object: Arc<Commit>| commit::reconcile(object, context))
                        .await
                }
                Controller::Claim => {
                    let said = self.said.clone();
                    self.look(&turn, |claim: Arc<PersistentVolumeClaim>| {
                        turn::take_claim(claim, context, said)
                    })
                    .await
                }
            }
        };
        let ended = AssertUnwindSafe(run).catch_unwind().await;
        let retry = ended.unwrap_or_else(|_| {
            let what = format!("the turn of {turn:?} panicked");
            self.stage.with_oracle(|oracle| oracle.violated("panic", what));
            None
        });
        let mut turns = self.turns();
        turns.running.remove(&turn);
        if let Some(wait) = retry
            && !turns.waiting.contains(&turn)
        {
            turns.due.insert(turn, Instant::now() + wait);
        }
        drop(turns);
        self.wanted.notify_one();
    }

    /// One turn of an object, if it is in the cache; when it is to be repeated.
    async fn look<K: Cached, F>(&self, turn: &Turn, reconcile: impl FnOnce(Arc<K>) -> F) -> Option<Duration>
    where
        F: Future<Output = Result<Action, ReconcileError>>,
    {
        let object: Arc<K> = self.api.view().get(&turn.key)?;
        let result = reconcile(Arc::clone(&object)).await;
        turn::note(&self.context, &*object, &result);
        match result {
            Ok(action) if action == Action::await_change() => None,
            Ok(_) => {
                let what = format!("the plan of {turn:?} does not end");
                self.stage.with_oracle(|oracle| oracle.violated("progress", what));
                None
            }
            Err(error) => Some(turn::retry_after(&self.context, &*object, &error)),
        }
    }
}

fn clock(stage: &Stage) -> Clock {
    let stage = stage.clone();
    Arc::new(move || {
        let seconds = i64::try_from(stage.now().as_secs()).unwrap_or(0);
        Timestamp::from_second(BEGINNING + seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    })
}
