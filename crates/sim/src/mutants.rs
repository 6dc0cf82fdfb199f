//! Proof that the oracles notice: each planted defect, and the first history that gives it away.

use std::collections::BTreeMap;

use anyhow::Context;
use dotmesh_mutant::{Mutant, plant};

use crate::explore::{Failure, all_of, by_chance, ends, first_failure, single_faults, stale_views};
use crate::stage::Schedule;
use crate::workload::{self, Workload};

/// Histories by chance for each workload, when no single fault gives a defect away.
const SEEDS: u64 = 40;

/// What became of a defect.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Which.
    pub mutant: Mutant,
    /// The first history that gave it away.
    pub killed: Option<Failure>,
    /// How many histories that took.
    pub histories: usize,
}

/// The defects of these names, as they are told or as they are written in the code; all of them if none is named.
///
/// # Errors
/// When no defect has such a name.
pub fn named(names: &[&str]) -> anyhow::Result<Vec<Mutant>> {
    if names.is_empty() {
        return Ok(Mutant::ALL.to_vec());
    }
    let find = |name: &&str| {
        let is_it = |mutant: &&Mutant| mutant.name() == *name || format!("{mutant:?}") == *name;
        let found = Mutant::ALL.iter().find(is_it).copied();
        found.with_context(|| format!("no mutant {name:?}"))
    };
    names.iter().map(find).collect()
}

/// Plants each of these defects in turn and looks for a history that gives it away.
pub fn judge(mutants: &[Mutant], mut tell: impl FnMut(&Verdict)) -> Vec<Verdict> {
    plant(None);
    let workloads = workload::all();
    let ends = ends(&workloads);
    let schedules: Vec<Vec<Schedule>> = workloads.iter().map(single_faults).collect();
    let mut verdicts = Vec::new();
    for &mutant in mutants {
        plant(Some(mutant));
        let verdict = hunt(mutant, &workloads, &schedules, &ends);
        plant(None);
        tell(&verdict);
        verdicts.push(verdict);
    }
    verdicts
}

fn hunt(
    mutant: Mutant,
    workloads: &[Workload],
    schedules: &[Vec<Schedule>],
    ends: &BTreeMap<&'static str, Vec<String>>,
) -> Verdict {
    let mut histories = 0;
    let mut attempt = |work: Vec<(&Workload, Schedule)>| {
        let (failure, tried) = first_failure(&work, ends);
        histories += tried;
        failure
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
        killed = attempt(all_of(workloads, stale_views));
    }
    if killed.is_none() {
        killed = attempt(all_of(workloads, |_| by_chance(0..SEEDS)));
    }
    Verdict {
        mutant,
        killed,
        histories,
    }
}

/// The single faults are tried in this many parts, each spread over all workloads.
const SLICES: usize = 16;
