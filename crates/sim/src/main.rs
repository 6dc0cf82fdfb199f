//! `dotmesh-sim`: histories by the thousand, or one of them to look at.
//!
//! ```text
//! dotmesh-sim test                                     what `cargo xtask test` runs: all single faults, a part of the rest
//! dotmesh-sim list                                     the workloads
//! dotmesh-sim explore [SEEDS [WORKLOAD]]               each single fault, SEEDS pairs, old caches, SEEDS by chance
//! dotmesh-sim show WORKLOAD [SEED|-] [NUMBER=FAULT…]   one history: who did what, in order
//! dotmesh-sim save NAME WORKLOAD [SEED|-] [NUMBER=FAULT…]  makes it small and keeps it as a regression
//! dotmesh-sim campaign MINUTES FILE                    histories by chance; goes on where FILE says
//! dotmesh-sim mutants [NAME…]                          each planted defect, or these (feature `mutants`)
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use dotmesh_sim::campaign;
use dotmesh_sim::complete::{self, Part};
use dotmesh_sim::explore::{
    Failure, Totals, by_chance, compare_end, ends, explore, pairs, single_faults, stale_views, threads,
};
use dotmesh_sim::fault::Fault;
use dotmesh_sim::regression::{Regression, save};
use dotmesh_sim::show::show;
use dotmesh_sim::shrink::shrink;
use dotmesh_sim::stage::Schedule;
use dotmesh_sim::workload::{self, Workload};
use dotmesh_sim::world::{Outcome, run};

/// Histories are made of small objects: the C library's allocator took a quarter of their time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Failures of one oracle that are told of each workload; the others are counted.
const TOLD: usize = 2;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test"] => test(),
        ["list"] => {
            for workload in workload::all() {
                println!("{}", workload.name);
            }
            Ok(())
        }
        ["explore"] => explore_all(20, None),
        ["explore", seeds] => explore_all(seeds.parse()?, None),
        ["explore", seeds, name] => explore_all(seeds.parse()?, Some(name)),
        ["show", name, rest @ ..] => {
            let outcome = judged(&find(name)?, &schedule(rest)?);
            print!("{}", show(&outcome));
            Ok(())
        }
        ["save", file, name, rest @ ..] => keep(file, &find(name)?, &schedule(rest)?),
        ["campaign", minutes, file] => run_campaign(minutes.parse()?, Path::new(file)),
        ["mutants", names @ ..] => mutants(names),
        _ => bail!("one of: test, list, explore, show, save, campaign, mutants"),
    }
}

fn find(name: &str) -> anyhow::Result<Workload> {
    let found = workload::all().into_iter().find(|workload| workload.name == name);
    found.with_context(|| format!("no workload {name:?}"))
}

fn schedule(words: &[&str]) -> anyhow::Result<Schedule> {
    let mut schedule = Schedule::default();
    if let Some(seed) = words.first().filter(|seed| **seed != "-") {
        let seed: u64 = seed.parse()?;
        schedule = by_chance(seed..seed + 1).remove(0);
    }
    for word in words.iter().skip(1) {
        let (number, fault) = word.split_once('=').context("NUMBER=FAULT")?;
        let fault: Fault = serde_json::from_value(fault.into())?;
        schedule.faults.insert(number.parse()?, fault);
    }
    Ok(schedule)
}

/// One history, its end compared with that of the history without faults.
fn judged(workload: &Workload, schedule: &Schedule) -> Outcome {
    let expected = run(workload, &Schedule::default()).end;
    let mut outcome = run(workload, schedule);
    compare_end(&mut outcome, Some(&expected));
    outcome
}

/// The smallest schedule that violates the same oracle.
fn small(workload: &Workload, schedule: &Schedule, oracle: &str) -> Schedule {
    shrink(workload, schedule, oracle, |workload, schedule| {
        let violations = judged(workload, schedule).violations.into_iter();
        violations.map(|violation| violation.oracle).collect()
    })
}

fn keep(file: &str, workload: &Workload, schedule: &Schedule) -> anyhow::Result<()> {
    let outcome = judged(workload, schedule);
    let first = outcome.violations.first().context("nothing is wrong with it")?;
    let small = small(workload, schedule, first.oracle);
    println!("{small:?}");
    let regression = Regression {
        workload: workload.name.to_owned(),
        schedule: small,
        found: format!("{}: {}", first.oracle, outcome.names.of(&first.what)),
    };
    save(file, &regression)
}

fn tell(failures: &[Failure]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for failure in failures {
        let Some(first) = failure.violations.first() else {
            continue;
        };
        let count = counts.entry(first.oracle).or_default();
        *count += 1;
        if *count <= TOLD {
            let Schedule { faults, seed, .. } = &failure.schedule;
            println!(
                "   {} {faults:?} seed {seed:?}\n      {}: {}",
                failure.workload, first.oracle, first.what
            );
        }
    }
    if !counts.is_empty() {
        println!("   {counts:?}");
    }
}

/// The complete part: what it found is shown as the smallest history that has it.
fn test() -> anyhow::Result<()> {
    ensure!(
        !cfg!(feature = "mutants"),
        "a program with planted defects proves nothing"
    );
    let workloads = workload::all();
    let ends = ends(&workloads);
    let (mut totals, began) = (Totals::default(), Instant::now());
    for Part { name, work } in complete::parts(&workloads) {
        let (mut part, began) = (Totals::default(), Instant::now());
        print!("{name}: ");
        for some in work.chunks(work.len().div_ceil(TICKS).max(1)) {
            part.add(explore(some, &ends));
            print!(".");
            std::io::stdout().flush()?;
        }
        println!(" {}", sum(&part, began.elapsed()));
        tell(&part.failures);
        totals.add(part);
    }
    println!("together: {}", sum(&totals, began.elapsed()));
    if let Some(failure) = totals.failures.first() {
        show_small(failure)?;
    }
    ensure!(totals.failures.is_empty(), "rules did not hold");
    Ok(())
}

/// How often a part tells that it goes on.
const TICKS: usize = 20;

fn show_small(failure: &Failure) -> anyhow::Result<()> {
    let workload = find(failure.workload)?;
    let oracle = failure.violations.first().map_or("", |violation| violation.oracle);
    let small = small(&workload, &failure.schedule, oracle);
    println!("{:?} {small:?}\n{}", workload.name, show(&judged(&workload, &small)));
    Ok(())
}

fn explore_all(seeds: u64, only: Option<&str>) -> anyhow::Result<()> {
    let mut workloads = workload::all();
    workloads.retain(|workload| only.is_none_or(|only| workload.name == only));
    let ends = ends(&workloads);
    let (mut totals, began) = (Totals::default(), Instant::now());
    for workload in &workloads {
        let single = single_faults(workload);
        let count = single.len();
        let two = pairs(workload, usize::try_from(seeds)?, 1);
        let all = single
            .into_iter()
            .chain(two)
            .chain(stale_views(workload))
            .chain(by_chance(0..seeds));
        let work: Vec<(&Workload, Schedule)> = all.map(|schedule| (workload, schedule)).collect();
        let part = explore(&work, &ends);
        println!(
            "{}: {count} single faults, {} histories, {} effects, {} failures",
            workload.name,
            part.histories,
            part.effects,
            part.failures.len()
        );
        tell(&part.failures);
        totals.add(part);
    }
    println!("{}", sum(&totals, began.elapsed()));
    ensure!(totals.failures.is_empty(), "rules did not hold");
    Ok(())
}

fn sum(totals: &Totals, took: Duration) -> String {
    let of_all_cores = usize::try_from(took.as_millis()).unwrap_or(1).max(1) * threads();
    let per_second = totals.effects * 1000 / of_all_cores;
    format!(
        "{} histories, {} effects in {took:.0?} ({per_second} per second and core), {} failures; faults {:?}",
        totals.histories,
        totals.effects,
        totals.failures.len(),
        totals.struck
    )
}

fn run_campaign(minutes: u64, file: &Path) -> anyhow::Result<()> {
    let reached = campaign::run(Duration::from_secs(minutes * 60), file, |reached, totals| {
        tell(&totals.failures);
        println!("{reached:?}");
    })?;
    ensure!(reached.failures == 0, "rules did not hold");
    Ok(())
}

#[cfg(feature = "mutants")]
fn mutants(names: &[&str]) -> anyhow::Result<()> {
    let chosen = dotmesh_sim::mutants::named(names)?;
    let verdicts = dotmesh_sim::mutants::judge(&chosen, |verdict| match &verdict.killed {
        Some(failure) => {
            let Schedule { faults, seed, .. } = &failure.schedule;
            let first = failure.violations.first();
            println!(
                "killed    {} | by {} | {} {faults:?} seed {seed:?} | after {} histories",
                verdict.mutant.name(),
                first.map_or("", |violation| violation.oracle),
                failure.workload,
                verdict.histories
            );
        }
        None => println!("SURVIVED  {} | {} histories", verdict.mutant.name(), verdict.histories),
    });
    let survived = verdicts.iter().filter(|verdict| verdict.killed.is_none()).count();
    println!("{} killed, {survived} survived", verdicts.len() - survived);
    ensure!(survived == 0, "planted defects were not noticed");
    Ok(())
}

#[cfg(not(feature = "mutants"))]
fn mutants(_: &[&str]) -> anyhow::Result<()> {
    bail!("build with --features mutants")
}
