//! The simulator's bounded part: a sample of the single faults of each workload, of pairs and of histories by chance, and
//! what failed once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use dotmesh_sim::explore::{Totals, all_of, by_chance, compare_end, ends, explore, pairs, single_faults};
use dotmesh_sim::regression;
use dotmesh_sim::stage::Schedule;
use dotmesh_sim::workload::{self, Workload};
use dotmesh_sim::world::{run, run_untraced};

/// Of the single faults every so manieth is tried here; `cargo xtask test` tries all.
const STRIDE: usize = 97;
/// Histories by chance of each workload.
const SEEDS: Range<u64> = 2..4;
/// Pairs of faults of each workload.
const PAIRS: usize = 1;

fn check(what: &str, work: &[(&Workload, Schedule)], ends: &BTreeMap<&str, Vec<String>>) {
    let began = Instant::now();
    let totals = explore(work, ends);
    let took = began.elapsed();
    let Totals {
        histories,
        effects,
        struck,
        failures,
    } = totals;
    println!("{what}: {histories} histories, {effects} effects in {took:.0?}; faults {struck:?}");
    for failure in failures.iter().take(3) {
        println!("{failure:#?}");
    }
    assert!(failures.is_empty(), "{} histories broke a rule", failures.len());
}

#[test]
fn no_single_fault_breaks_a_rule() {
    let workloads = workload::all();
    let some = |workload: &Workload| single_faults(workload).into_iter().step_by(STRIDE).collect();
    check("single faults", &all_of(&workloads, some), &ends(&workloads));
}

#[test]
fn no_two_faults_break_a_rule() {
    let workloads = workload::all();
    let work = all_of(&workloads, |workload| pairs(workload, PAIRS, 7));
    check("pairs", &work, &ends(&workloads));
}

#[test]
fn no_order_and_no_mix_of_faults_breaks_a_rule() {
    let workloads = workload::all();
    let work = all_of(&workloads, |_| by_chance(SEEDS));
    check("by chance", &work, &ends(&workloads));
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let workloads = workload::all();
    let threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for first in 0..threads {
            let part = workloads.iter().skip(first).step_by(threads);
            scope.spawn(|| part.for_each(repeat));
        }
    });
}

fn repeat(workload: &Workload) {
    for schedule in by_chance(SEEDS).into_iter().chain([Schedule::default()]) {
        let (first, second) = (run(workload, &schedule), run(workload, &schedule));
        assert_eq!(first.hash, second.hash, "{} {schedule:?}", workload.name);
        assert_eq!(first.end, second.end, "{} {schedule:?}", workload.name);
        let untraced = run_untraced(workload, &schedule);
        assert_eq!(first.effects, untraced.effects, "{} {schedule:?}", workload.name);
        assert_eq!(first.end, untraced.end, "{} {schedule:?}", workload.name);
    }
}

#[test]
fn what_failed_once_is_right_now() {
    let workloads = workload::all();
    for (name, saved) in regression::all().unwrap() {
        let workload = workloads.iter().find(|workload| workload.name == saved.workload);
        let workload = workload.unwrap_or_else(|| panic!("{name}: no workload {:?}", saved.workload));
        let expected = run(workload, &Schedule::default()).end;
        let mut outcome = run(workload, &saved.schedule);
        compare_end(&mut outcome, Some(&expected));
        assert!(outcome.violations.is_empty(), "{name}: {:?}", outcome.violations);
    }
}
