//! The controllers of the replica that leads: who is to be looked at, and the production reconcilers that look.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_crds::{Branch, Commit, Dot, Pool, Remnant};
use dotmesh_operator::api::{Cached, Key};
use dotmesh_operator::claim::copy;
use dotmesh_operator::claim::report::Said;
use dotmesh_operator::context::{Context, ReconcileError};
use dotmesh_operator::dot::import::plan::WAITS;
use dotmesh_operator::volume_snapshot::VolumeSnapshotContent;
use dotmesh_operator::wake::Wake;
use dotmesh_operator::{branch, commit, pool, publish, remnant, turn};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::runtime::controller::Action;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::SimApi;
use crate::machine::spawn_until_over;
use crate::nodes::SimNodes;
use crate::stage::{Life, Stage};

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
    Remnant,
    Dot,
    Branch,
    Commit,
    Claim,
    /// What is published of a Commit.
    Published,
    /// A VolumeSnapshotContent.
    Content,
    /// What the scheduler is told, all of it.
    Capacities,
}

/// What waits and what runs: never one object twice at a time, as kube's own runner has it.
#[derive(Debug, Default)]
struct Turns {
    waiting: Vec<Turn>,
    running: BTreeSet<Turn>,
    /// Repeats that are due later; an earlier one replaces a later one.
    due: BTreeMap<Turn, Instant>,
}

/// The controllers; shared by cloning.
#[derive(Clone)]
pub struct Leader {
    stage: Stage,
    context: Arc<Context<SimApi, SimNodes>>,
    said: Arc<Said>,
    turns: Arc<Mutex<Turns>>,
    wanted: Arc<Notify>,
}

impl Leader {
    /// They begin, and end with that life.
    #[must_use]
    pub fn start(stage: &Stage, life: &Life, context: Context<SimApi, SimNodes>) -> Self {
        let leader = Self {
            stage: stage.clone(),
            context: Arc::new(context),
            said: Arc::default(),
            turns: Arc::default(),
            wanted: Arc::default(),
        };
        let sender = leader.clone();
        let follow = pool::follow::follow_all(leader.context.clone(), move |wake| sender.wake(wake));
        spawn_until_over(life.clone(), follow);
        spawn_until_over(life.clone(), leader.clone().work());
        leader
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are to be looked at.
    pub fn wake(&self, wake: Wake) {
        let Wake {
            dots,
            branches,
            commits,
            pools,
            remnants,
            pods,
            claims,
            published,
            contents,
            capacities,
        } = wake;
        let all = capacities.then(|| Key::cluster("all"));
        for (kind, keys) in [
            (Controller::Dot, dots),
            (Controller::Branch, branches),
            (Controller::Commit, commits),
            (Controller::Pool, pools),
            (Controller::Remnant, remnants),
            (Controller::Pod, pods),
            (Controller::Claim, claims),
            (Controller::Published, published),
            (Controller::Content, contents),
            (Controller::Capacities, all.into_iter().collect()),
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
        // Each boxed by itself: one for all kinds would be as large as the largest, and is copied until it runs.
        let run = match turn.kind {
            Controller::Pod => self
                .look(&turn, |pod: Arc<Pod>| pool::discover::reconcile(pod, context))
                .boxed(),
            Controller::Pool => self
                .look(&turn, |pool: Arc<Pool>| pool::reconcile(pool, context))
                .boxed(),
            Controller::Remnant => self
                .look(&turn, |remnant: Arc<Remnant>| remnant::reconcile(remnant, context))
                .boxed(),
            Controller::Dot => self.look(&turn, |dot: Arc<Dot>| turn::take_dot(dot, context)).boxed(),
            Controller::Branch => self
                .look(&turn, |branch: Arc<Branch>| branch::reconcile(branch, context))
                .boxed(),
            Controller::Commit => self
                .look(&turn, |commit: Arc<Commit>| commit::reconcile(commit, context))
                .boxed(),
            Controller::Claim => {
                let said = self.said.clone();
                let take = |claim: Arc<PersistentVolumeClaim>| turn::take_claim(claim, context, said);
                self.look(&turn, take).boxed()
            }
            Controller::Published => self
                .look(&turn, |commit: Arc<Commit>| publish::reconcile(commit, context))
                .boxed(),
            Controller::Content => self
                .look(&turn, |content: Arc<VolumeSnapshotContent>| {
                    publish::sweep::reconcile(content, context)
                })
                .boxed(),
            Controller::Capacities => async move { turn::take_capacities(&context).await }.boxed(),
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
        let object: Arc<K> = self.context.api.view().get(&turn.key)?;
        let result = reconcile(Arc::clone(&object)).await;
        turn::note(&self.context, &*object, &result);
        match result {
            Ok(action) if action == Action::await_change() => None,
            Ok(action) if turn.kind == Controller::Remnant => Some(self.wait_of(&turn.key, &action)),
            Ok(action) if turn.kind == Controller::Dot && import_waits(&action).is_some() => import_waits(&action),
            Ok(action) if turn.kind == Controller::Claim && copy_waits(&action).is_some() => copy_waits(&action),
            Ok(action) if turn.kind == Controller::Branch && action == Action::requeue(branch::POD_CHECK) => {
                Some(branch::POD_CHECK)
            }
            Ok(action) if turn.kind == Controller::Published && action == Action::requeue(publish::AGAIN) => {
                Some(publish::AGAIN)
            }
            Ok(_) => {
                let what = format!("the plan of {turn:?} does not end");
                self.stage.with_oracle(|oracle| oracle.violated("progress", what));
                None
            }
            Err(error) => Some(turn::retry_after(&self.context, &*object, &error)),
        }
    }

    /// How long a turn wants to wait for the next one: an action does not tell.
    fn wait_of(&self, key: &Key, action: &Action) -> Duration {
        let remnant: Option<Arc<Remnant>> = self.context.api.view().get(key);
        let seen = remnant.map(|remnant| remnant::observe::observe(&self.context, Arc::unwrap_or_clone(remnant)));
        let wait = seen.and_then(|seen| remnant::plan::again(&seen));
        // What was seen then is known by its action; if it has changed since, it is looked at again anyway.
        wait.filter(|wait| Action::requeue(*wait) == *action)
            .unwrap_or(Duration::from_secs(1))
    }
}

/// How long a Dot whose volumes are being filled wants to wait.
/// When a claim is to be looked at again that waits for what it is to be a copy of.
fn copy_waits(action: &Action) -> Option<Duration> {
    let mut waits = copy::error::WAITS.into_iter();
    waits.find(|wait| *action == Action::requeue(*wait))
}

fn import_waits(action: &Action) -> Option<Duration> {
    let mut waits = WAITS.into_iter();
    waits.find(|wait| Action::requeue(*wait) == *action)
}
