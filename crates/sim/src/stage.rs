//! The stage on which all actors act: every effect of theirs passes here, in one order, and here faults strike.
//!
//! An effect is a call of one of the seams (API, node, ZFS, mounts, files). It is numbered when it is about to happen;
//! a fault is planned for a number. An actor that crashed is over: none of its calls ever returns, and nothing that
//! it left running has an effect any more.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::fault::{Class, Failure, Fault};
use crate::oracle::Oracle;

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// The replica of the operator of this number: its controllers and its façade.
    Operator(u8),
    /// csi-node on the node of this number.
    Node(u8),
    /// Kubernetes itself: scheduler, binder, csi-provisioner.
    Kubernetes,
    /// The kubelet of the node of this number.
    Kubelet(u8),
    /// A person.
    Person,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(number) => write!(f, "operator {number}"),
            Self::Node(number) => write!(f, "csi-node {number}"),
            Self::Kubernetes => f.write_str("kubernetes"),
            Self::Kubelet(number) => write!(f, "kubelet {number}"),
            Self::Person => f.write_str("person"),
        }
    }
}

/// One incarnation of an actor.
#[derive(Debug, Clone)]
pub struct Life(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    actor: Actor,
    over: AtomicBool,
    ended: Notify,
    frozen: AtomicBool,
    thawed: Notify,
    cut_off: AtomicBool,
}

impl Life {
    /// It begins.
    #[must_use]
    pub fn new(actor: Actor) -> Self {
        Self(Arc::new(Inner {
            actor,
            over: AtomicBool::new(false),
            ended: Notify::new(),
            frozen: AtomicBool::new(false),
            thawed: Notify::new(),
            cut_off: AtomicBool::new(false),
        }))
    }

    /// Whose.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.0.actor
    }

    /// It crashes now.
    pub fn end(&self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }

    /// Whether it crashed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.over.load(Ordering::SeqCst)
    }

    /// It is stopped, and goes on where it was.
    pub fn set_frozen(&self, frozen: bool) {
        self.0.frozen.store(frozen, Ordering::SeqCst);
        if !frozen {
            self.0.thawed.notify_waiters();
        }
    }

    /// Whether it is stopped.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.0.frozen.load(Ordering::SeqCst)
    }

    /// Until it is not stopped.
    pub async fn thawed(&self) {
        loop {
            let thawed = self.0.thawed.notified();
            if !self.is_frozen() {
                return;
            }
            thawed.await;
        }
    }

    /// The API cannot be reached, or can be again.
    pub fn set_cut_off(&self, cut_off: bool) {
        self.0.cut_off.store(cut_off, Ordering::SeqCst);
    }

    /// Whether the API cannot be reached.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.0.cut_off.load(Ordering::SeqCst)
    }

    /// Until it crashes.
    pub async fn over(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.is_over() {
                return;
            }
            ended.await;
        }
    }
}

/// A line of the trace.
#[derive(Debug, Clone)]
pub struct Line {
    /// Virtual time since the beginning.
    pub at: Duration,
    /// Who.
    pub actor: Actor,
    /// The effect's number and class; absent for what is no effect of the programs.
    pub effect: Option<(usize, Class)>,
    /// What.
    pub text: String,
}

/// An actor crashed.
#[derive(Debug, Clone, Copy)]
pub struct Crash {
    /// Who.
    pub actor: Actor,
    /// How.
    pub fault: Fault,
}

/// More effects than this and a history is taken for one that never ends.
const EFFECTS_MAX: usize = 60_000;

/// What happened, in order.
#[derive(Default)]
struct Trace {
    lines: Vec<Line>,
    hash: DefaultHasher,
}

impl Trace {
    fn add(&mut self, line: Line) {
        (line.actor, line.effect.map(|(_, class)| class), &line.text).hash(&mut self.hash);
        self.lines.push(line);
    }
}

struct State {
    effects: usize,
    /// Effects when faults were stopped.
    reach: Option<usize>,
    faults: BTreeMap<usize, Fault>,
    rates: Option<Rates>,
    random: Option<fastrand::Rng>,
    /// Absent: nobody will read it.
    trace: Option<Trace>,
    last_write: Instant,
    writes: usize,
    oracle: Oracle,
}

/// How often faults strike by chance.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Rates {
    /// One in so many effects.
    pub one_in: usize,
    /// None after that effect.
    pub until: usize,
}

/// The stage; shared by cloning.
#[derive(Clone)]
pub struct Stage {
    state: Arc<Mutex<State>>,
    crashes: mpsc::UnboundedSender<Crash>,
    began: Instant,
}

/// What is to go wrong, and who comes first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Schedule {
    /// Faults by the number of the effect that they strike.
    pub faults: BTreeMap<usize, Fault>,
    /// Seed of latencies and orders; absent: first come, first served, at once.
    pub seed: Option<u64>,
    /// Faults by chance; they need a seed.
    pub rates: Option<Rates>,
}

impl Stage {
    /// With nothing on it yet; crashes are told to the receiver. With `traced`, what happens is written down: that
    /// takes longer than some effects do.
    #[must_use]
    pub fn new(schedule: &Schedule, oracle: Oracle, traced: bool) -> (Self, mpsc::UnboundedReceiver<Crash>) {
        let (crashes, crashed) = mpsc::unbounded_channel();
        let state = State {
            effects: 0,
            reach: None,
            faults: schedule.faults.clone(),
            rates: schedule.rates,
            random: schedule.seed.map(fastrand::Rng::with_seed),
            trace: traced.then(Trace::default),
            last_write: Instant::now(),
            writes: 0,
            oracle,
        };
        let stage = Self {
            state: Arc::new(Mutex::new(state)),
            crashes,
            began: Instant::now(),
        };
        (stage, crashed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One effect of an actor: perhaps struck by a fault.
    ///
    /// # Errors
    /// Those of `perform`, and those that a fault makes of it.
    pub async fn effect<T, E, F>(
        &self,
        life: &Life,
        class: Class,
        text: impl FnOnce() -> String + Send,
        error: impl Fn(Failure) -> E + Send,
        mut perform: impl FnMut() -> F + Send,
    ) -> Result<T, E>
    where
        T: Send,
        E: Send + fmt::Display,
        F: Future<Output = Result<T, E>> + Send,
    {
        self.pause(life).await;
        let fault = self.begin(life, class, text);
        let is_unreachable = life.is_cut_off() && matches!(class, Class::ApiRead | Class::ApiWrite);
        let fault = if is_unreachable { Some(Fault::Refused) } else { fault };
        let result = match fault {
            None => perform().await,
            Some(Fault::CrashBefore | Fault::Reboot) => {
                self.crash(life, fault).await;
                std::future::pending().await
            }
            Some(Fault::CrashAfter | Fault::CrashStale) => {
                let _ = perform().await;
                self.note_write(class);
                self.crash(life, fault).await;
                std::future::pending().await
            }
            Some(Fault::Refused) => Err(error(Failure::NotDone)),
            Some(Fault::Delayed) => Err(error(Failure::Delayed)),
            Some(Fault::Conflict) => Err(error(Failure::Conflict)),
            Some(Fault::Lost) => perform().await.and_then(|_| Err(error(Failure::Unknown))),
            Some(Fault::Late) => {
                let _ = perform().await;
                tokio::time::sleep(Failure::LATE).await;
                Err(error(Failure::Late))
            }
            Some(Fault::Held) => {
                life.set_frozen(true);
                let held = Fault::HELD + Duration::from_secs(self.choose(10) as u64);
                // Whoever waits for this effect may give it up meanwhile: the process goes on all the same.
                let process = life.clone();
                let thaw = tokio::spawn(async move {
                    tokio::time::sleep(held).await;
                    process.set_frozen(false);
                });
                let _ = thaw.await;
                if life.is_over() {
                    std::future::pending::<()>().await;
                }
                perform().await
            }
            Some(Fault::Twice) => {
                let _ = perform().await;
                perform().await
            }
        };
        life.thawed().await;
        if life.is_over() {
            std::future::pending::<()>().await;
        }
        if let Err(error) = &result {
            self.say(life.actor(), format_args!("  answer: {error}"));
        }
        if class.is_write() {
            self.note_write(class);
        }
        result
    }

    /// Lets others go first.
    pub async fn pause(&self, life: &Life) {
        let latency = {
            let mut state = self.lock();
            let ends = state.effects <= EFFECTS_MAX;
            ends.then(|| state.random.as_mut().map(|random| random.u64(0..6)))
        };
        let Some(latency) = latency else {
            return std::future::pending().await;
        };
        match latency {
            None | Some(0) => tokio::task::yield_now().await,
            Some(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        }
        life.thawed().await;
        if life.is_over() {
            std::future::pending::<()>().await;
        }
    }

    /// A number below `end` by the history's seed; without one, 0.
    #[must_use]
    pub fn choose(&self, end: usize) -> usize {
        let mut state = self.lock();
        state.random.as_mut().map_or(0, |random| random.usize(0..end.max(1)))
    }

    /// Whether things happen by chance.
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.lock().random.is_some()
    }

    fn begin(&self, life: &Life, class: Class, text: impl FnOnce() -> String) -> Option<Fault> {
        let mut state = self.lock();
        let number = state.effects;
        state.effects += 1;
        if number == EFFECTS_MAX {
            state.oracle.violated("progress", "the history does not end".to_owned());
        }
        let mut fault = state.faults.get(&number).copied();
        if let Some(rates) = state.rates.filter(|rates| number < rates.until)
            && let Some(random) = state.random.as_mut()
            && random.usize(0..rates.one_in) == 0
        {
            let possible = class.faults();
            fault = random.choice(possible).copied();
        }
        let fault = fault.filter(|fault| class.faults().contains(fault));
        if let Some(fault) = fault {
            state.faults.insert(number, fault);
        }
        if let Some(trace) = &mut state.trace {
            let line = |effect, text| Line {
                at: self.began.elapsed(),
                actor: life.actor(),
                effect,
                text,
            };
            trace.add(line(Some((number, class)), text()));
            if let Some(fault) = fault {
                trace.add(line(None, format!("  FAULT {fault:?}")));
            }
        }
        fault
    }

    /// An actor ends by itself, and is begun again.
    pub fn end(&self, life: &Life) {
        life.end();
        let (actor, fault) = (life.actor(), Fault::CrashBefore);
        // The supervisor ends with the history.
        let _ = self.crashes.send(Crash { actor, fault });
    }

    async fn crash(&self, life: &Life, fault: Option<Fault>) {
        life.end();
        let fault = fault.unwrap_or(Fault::CrashBefore);
        let actor = life.actor();
        // The supervisor ends with the history.
        let _ = self.crashes.send(Crash { actor, fault });
    }

    /// Something that is no effect of the programs, for the trace.
    pub fn say(&self, actor: Actor, text: impl fmt::Display) {
        if let Some(trace) = &mut self.lock().trace {
            trace.add(Line {
                at: self.began.elapsed(),
                actor,
                effect: None,
                text: text.to_string(),
            });
        }
    }

    fn note_write(&self, class: Class) {
        let mut state = self.lock();
        state.last_write = Instant::now();
        state.writes += 1;
        state.oracle.look(class == Class::ZfsWrite);
    }

    /// Others than the programs wrote something, which the programs may answer.
    pub fn wrote(&self) {
        let mut state = self.lock();
        state.last_write = Instant::now();
        state.oracle.look(false);
    }

    /// Lets the oracles look, whoever acted.
    pub fn with_oracle<T>(&self, look: impl FnOnce(&mut Oracle) -> T) -> T {
        look(&mut self.lock().oracle)
    }

    /// Effects of class write so far.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.lock().writes
    }

    /// Lines of the trace so far.
    #[must_use]
    pub fn history_len(&self) -> usize {
        self.lock().trace.as_ref().map_or(0, |trace| trace.lines.len())
    }

    /// Writes in the trace after so many lines.
    #[must_use]
    pub fn writes_after(&self, lines: usize) -> Vec<String> {
        let state = self.lock();
        let after = state.trace.iter().flat_map(|trace| trace.lines.iter().skip(lines));
        let writes = after.filter(|line| line.effect.is_some_and(|(_, class)| class.is_write()));
        writes
            .map(|line| format!("{} {}", line.actor, state.oracle.names.of(&line.text)))
            .collect()
    }

    /// Effects so far.
    #[must_use]
    pub fn effects(&self) -> usize {
        self.lock().effects
    }

    /// Time since the last write.
    #[must_use]
    pub fn quiet_for(&self) -> Duration {
        self.lock().last_write.elapsed()
    }

    /// No fault strikes any more.
    pub fn stop_faults(&self) {
        let mut state = self.lock();
        state.rates = None;
        let effects = state.effects;
        state.faults.retain(|number, _| *number < effects);
        state.reach = Some(effects);
    }

    /// How many effects there were until no fault could strike any more.
    #[must_use]
    pub fn reach(&self) -> usize {
        let state = self.lock();
        state.reach.unwrap_or(state.effects)
    }

    /// Time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// What happened: the trace, the faults that struck, and a hash of the trace.
    #[must_use]
    pub fn history(&self) -> (Vec<Line>, BTreeMap<usize, Fault>, u64) {
        let mut state = self.lock();
        let Trace { lines, hash } = state.trace.take().unwrap_or_default();
        let struck = std::mem::take(&mut state.faults);
        (lines, struck, hash.finish())
    }
}
