//! `dotmesh-sim`: histories by the thousand, or one of them to look at.
//!
//! ```text
//! dotmesh-sim list                                     the workloads
//! dotmesh-sim explore [SEEDS [WORKLOAD]]               each single fault, pairs, and SEEDS histories by chance
//! dotmesh-sim show WORKLOAD [SEED|-] [NUMBER=FAULT…]   one history: who did what, in order
//! dotmesh-sim save NAME WORKLOAD [SEED|-] [NUMBER=FAULT…]  makes it small and keeps it as a regression
//! dotmesh-sim campaign MINUTES FILE                    histories by chance; goes on where FILE says
//! dotmesh-sim mutants                                  each planted defect (feature `mutants`)
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use dotmesh_sim::campaign;
use dotmesh_sim::explore::{Failure, Totals, by_chance, compare_end, ends, explore, pairs, single_faults};
use dotmesh_sim::fault::Fault;
use dotmesh_sim::regression::{Regression, save};
use dotmesh_sim::show::show;
use dotmesh_sim::shrink::shrink;
use dotmesh_sim::stage::Schedule;
use dotmesh_sim::workload::{self, Workload};
use dotmesh_sim::world::{Outcome, run};

/// Failures of one oracle that are told of each workload; the others are counted.
const TOLD: usize = 2;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
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
        ["mutants"] => mutants(),
        _ => bail!("one of: list, explore, show, save, campaign, mutants"),
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

fn keep(file: &str, workload: &Workload, schedule: &Schedule) -> anyhow::Result<()> {
    let outcome = judged(workload, schedule);
    let first = outcome.violations.first().context("nothing is wrong with it")?;
    let small = shrink(workload, schedule, first.oracle, |workload, schedule| {
        let violations = judged(workload, schedule).violations.into_iter();
        violations.map(|violation| violation.oracle).collect()
    });
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

fn explore_all(seeds: u64, only: Option<&str>) -> anyhow::Result<()> {
    let mut workloads = workload::all();
    workloads.retain(|workload| only.is_none_or(|only| workload.name == only));
    let ends = ends(&workloads);
    let (mut totals, began) = (Totals::default(), Instant::now());
    for workload in &workloads {
        let single = single_faults(workload);
        let count = single.len();
        let two = pairs(workload, usize::try_from(seeds)?, 1);
        let all = single.into_iter().chain(two).chain(by_chance(0..seeds));
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
    let per_second = totals.effects * 1000 / usize::try_from(took.as_millis()).unwrap_or(1).max(1);
    format!(
        "{} histories, {} effects in {took:.0?} ({per_second} per second), {} failures; faults {:?}",
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
fn mutants() -> anyhow::Result<()> {
    let verdicts = dotmesh_sim::mutants::judge(|verdict| match &verdict.killed {
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
fn mutants() -> anyhow::Result<()> {
    bail!("build with --features mutants")
}
