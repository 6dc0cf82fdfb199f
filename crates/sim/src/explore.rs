//! Many histories of one workload: each fault at each effect, pairs of them, and mixes by chance; over all cores.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::fault::Fault;
use crate::oracle::Violation;
use crate::stage::{Rates, Schedule};
use crate::workload::Workload;
use crate::world::{Outcome, run, run_untraced};

/// A history in which a rule did not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The workload's name.
    pub workload: &'static str,
    /// How to see it again.
    pub schedule: Schedule,
    /// What was violated.
    pub violations: Vec<Violation>,
}

/// What many histories came to.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Histories.
    pub histories: usize,
    /// Effects in all of them.
    pub effects: usize,
    /// Faults that struck, by kind.
    pub struck: BTreeMap<Fault, usize>,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

impl Totals {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.histories += other.histories;
        self.effects += other.effects;
        for (fault, count) in other.struck {
            *self.struck.entry(fault).or_default() += count;
        }
        self.failures.extend(other.failures);
    }

    fn note(&mut self, workload: &Workload, schedule: &Schedule, outcome: Outcome) {
        self.histories += 1;
        self.effects += outcome.effects;
        for fault in outcome.struck.values() {
            *self.struck.entry(*fault).or_default() += 1;
        }
        if !outcome.violations.is_empty() {
            let violations = outcome.violations.into_iter().map(|violation| Violation {
                what: outcome.names.of(&violation.what),
                ..violation
            });
            self.failures.push(Failure {
                workload: workload.name,
                schedule: schedule.clone(),
                violations: violations.collect(),
            });
        }
    }
}

/// Every fault that is possible at every effect of the workload, each alone.
#[must_use]
pub fn single_faults(workload: &Workload) -> Vec<Schedule> {
    let outcome = run(workload, &Schedule::default());
    let mut schedules = vec![Schedule::default()];
    for (number, class) in outcome.classes().into_iter().take(outcome.reach).enumerate() {
        let apply = |fault: &&Fault| **fault != Fault::Held || workload.replicas > 1;
        for fault in class.faults().iter().filter(apply) {
            schedules.push(Schedule {
                faults: [(number, *fault)].into(),
                ..Schedule::default()
            });
        }
    }
    schedules
}

/// Some pairs of faults, by seed: the second where the first has led to.
#[must_use]
pub fn pairs(workload: &Workload, count: usize, seed: u64) -> Vec<Schedule> {
    let mut random = fastrand::Rng::with_seed(seed);
    let effects = run_untraced(workload, &Schedule::default()).reach;
    let all = [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::CrashStale,
        Fault::Reboot,
        Fault::Refused,
        Fault::Lost,
        Fault::Conflict,
        Fault::Late,
        Fault::Twice,
    ];
    let mut pick = || {
        let fault = random.choice(all).unwrap_or(Fault::CrashAfter);
        (random.usize(0..effects), fault)
    };
    (0..count)
        .map(|_| Schedule {
            faults: [pick(), pick()].into(),
            ..Schedule::default()
        })
        .collect()
}

/// Orders and faults by chance, one history for each seed.
#[must_use]
pub fn by_chance(seeds: std::ops::Range<u64>) -> Vec<Schedule> {
    seeds
        .map(|seed| Schedule {
            seed: Some(seed),
            // From none at all to one in ten effects.
            rates: (seed % 5 > 0).then_some(Rates {
                one_in: [0, 200, 80, 30, 12][usize::try_from(seed % 5).unwrap_or(1)],
                until: 600,
            }),
            ..Schedule::default()
        })
        .collect()
}

/// Effects in which the operator crashes at its next write, see [`stale_views`].
const WINDOW: usize = 8;

/// The operator crashes and begins again with old caches, at writes all over the workload, while watches are late and
/// changes that follow each other are seen as one: orders are by chance, a seed for each history.
#[must_use]
pub fn stale_views(workload: &Workload) -> Vec<Schedule> {
    let effects = run_untraced(workload, &Schedule::default()).reach;
    (0..effects)
        .step_by(WINDOW)
        .zip(0..)
        .map(|(from, seed)| Schedule {
            faults: (from..from + WINDOW)
                .map(|number| (number, Fault::CrashStale))
                .collect(),
            seed: Some(seed),
            ..Schedule::default()
        })
        .collect()
}

/// Each workload with each of its schedules.
pub fn all_of(workloads: &[Workload], of: impl Fn(&Workload) -> Vec<Schedule>) -> Vec<(&Workload, Schedule)> {
    let each = workloads.iter();
    each.flat_map(|workload| of(workload).into_iter().map(move |schedule| (workload, schedule)))
        .collect()
}

/// Runs all of these, on all cores; the totals do not depend on how many there are. Each history must end in the
/// picture of `ends` (I10).
#[must_use]
pub fn explore(work: &[(&Workload, Schedule)], ends: &BTreeMap<&str, Vec<String>>) -> Totals {
    run_all(work, ends, false)
}

/// Runs these in turn until one fails: its failure, which does not depend on how many cores there are, and how many
/// histories that took.
#[must_use]
pub fn first_failure(work: &[(&Workload, Schedule)], ends: &BTreeMap<&str, Vec<String>>) -> (Option<Failure>, usize) {
    let totals = run_all(work, ends, true);
    (totals.failures.into_iter().next(), totals.histories)
}

fn run_all(work: &[(&Workload, Schedule)], ends: &BTreeMap<&str, Vec<String>>, until_failure: bool) -> Totals {
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, Outcome>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((workload, schedule)) = work.get(index) else {
                        break;
                    };
                    let mut outcome = run_untraced(workload, schedule);
                    compare_end(&mut outcome, ends.get(workload.name));
                    outcome.trace = Vec::new();
                    outcome.end = Vec::new();
                    if outcome.violations.is_empty() {
                        outcome.names = crate::names::Names::default();
                    } else if until_failure {
                        // What was begun before goes on to its end.
                        next.store(work.len(), Ordering::Relaxed);
                    }
                    results
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(index, outcome);
                }
            });
        }
    });
    let mut totals = Totals::default();
    for (index, outcome) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let (workload, schedule) = &work[index];
        totals.note(workload, schedule, outcome);
    }
    totals
}

/// How many histories run at a time.
#[must_use]
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// I10: a history ends as the one without faults.
pub fn compare_end(outcome: &mut Outcome, expected: Option<&Vec<String>>) {
    let Some(expected) = expected.filter(|_| outcome.violations.is_empty()) else {
        return;
    };
    if outcome.end == *expected {
        return;
    }
    let missing = expected.iter().find(|line| !outcome.end.contains(line));
    let more = outcome.end.iter().find(|line| !expected.contains(line));
    let what = match (missing, more) {
        (Some(missing), Some(more)) => {
            let same = missing.chars().zip(more.chars()).take_while(|(a, b)| a == b).count();
            let around = |line: &String| line.chars().skip(same.saturating_sub(60)).take(200).collect::<String>();
            format!("expected …{}, found …{}", around(missing), around(more))
        }
        (missing, more) => format!("expected {missing:?}, found {more:?}"),
    };
    outcome.violations.push(Violation {
        oracle: "I10 same end",
        what,
    });
}

/// How each workload ends when nothing goes wrong.
#[must_use]
pub fn ends(workloads: &[Workload]) -> BTreeMap<&'static str, Vec<String>> {
    let end = |workload: &Workload| (workload.name, run_untraced(workload, &Schedule::default()).end);
    workloads.iter().map(end).collect()
}
