//! Proof that the oracles notice: each planted defect, and the first history that gives it away.

use std::collections::BTreeMap;

use dotmesh_mutant::plant;

use crate::explore::{Failure, by_chance, ends, explore, single_faults};
use crate::stage::Schedule;
use crate::workload::{self, Workload};

/// The planted defects, by the names that the programs ask for.
pub const ALL: [&str; 27] = [
    "Ready before the snapshots",
    "Commit goes before its snapshots",
    "Branch goes before its head",
    "Dot goes before its data",
    "once Ready, all was done",
    "claims are never detached",
    "any error means the commit is absent",
    "any error means the Dot is absent",
    "any error means absent from the pool",
    "a claim's Dot goes with what people made of it",
    "a name for a uid",
    "observedGeneration is forgotten",
    "an old cache for the truth",
    "claims are written without a guard",
    "effects by old caches",
    "no hold",
    "holds are not audited",
    "a hold is never released",
    "a repeat finds nothing",
    "a commit leaves a volume out",
    "the flip before the clones",
    "clean-up only on the event",
    "destroy takes snapshots along",
    "a tombstone stays for ever",
    "a commit is deleted without a tombstone",
    "a branch is deleted without a tombstone",
    "late calls are obeyed",
];

/// Histories by chance for each workload, when no single fault gives a defect away.
const SEEDS: u64 = 40;

/// What became of a defect.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Its name.
    pub name: &'static str,
    /// The first history that gave it away.
    pub killed: Option<Failure>,
    /// How many histories that took.
    pub histories: usize,
}

/// Plants each defect in turn and looks for a history that gives it away.
pub fn judge(mut tell: impl FnMut(&Verdict)) -> Vec<Verdict> {
    plant(None);
    let workloads = workload::all();
    let ends = ends(&workloads);
    let schedules: Vec<Vec<Schedule>> = workloads.iter().map(single_faults).collect();
    let mut verdicts = Vec::new();
    for name in ALL {
        plant(Some(name));
        let verdict = hunt(name, &workloads, &schedules, &ends);
        plant(None);
        tell(&verdict);
        verdicts.push(verdict);
    }
    verdicts
}

fn hunt(
    name: &'static str,
    workloads: &[Workload],
    schedules: &[Vec<Schedule>],
    ends: &BTreeMap<&'static str, Vec<String>>,
) -> Verdict {
    let mut histories = 0;
    let mut attempt = |work: Vec<(&Workload, Schedule)>| {
        let totals = explore(&work, ends);
        histories += totals.histories;
        totals.failures.into_iter().next()
    };
    // Without a fault first: most defects need none.
    let plain = workloads
        .iter()
        .map(|workload| (workload, Schedule::default()))
        .collect();
    let mut killed = attempt(plain);
    for part in 0..SLICES {
        if killed.is_some() {
            break;
        }
        let slice = workloads.iter().zip(schedules).flat_map(|(workload, all)| {
            let some = all.iter().skip(part).step_by(SLICES);
            some.map(move |schedule| (workload, schedule.clone()))
        });
        killed = attempt(slice.collect());
    }
    if killed.is_none() {
        let chance = workloads.iter().flat_map(|workload| {
            by_chance(0..SEEDS)
                .into_iter()
                .map(move |schedule| (workload, schedule))
        });
        killed = attempt(chance.collect());
    }
    Verdict {
        name,
        killed,
        histories,
    }
}

/// The single faults are tried in this many parts, each spread over all workloads.
const SLICES: usize = 16;
