//! A long run by chance that can be stopped and gone on with: what was reached stands in a file.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::explore::{Totals, by_chance, ends, explore, pairs};
use crate::workload;

/// What all campaigns so far came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The first seed that was not tried yet.
    pub next_seed: u64,
    /// Histories.
    pub histories: usize,
    /// Effects.
    pub effects: usize,
    /// Faults that struck.
    pub faults: usize,
    /// Histories in which a rule did not hold.
    pub failures: usize,
}

/// Seeds that are tried before the file is written and the clock is looked at.
const STEP: u64 = 20;

/// Tries seeds for so long; tells after each step.
///
/// # Errors
/// When the file cannot be read or written.
pub fn run(time: Duration, file: &Path, mut tell: impl FnMut(&Reached, &Totals)) -> anyhow::Result<Reached> {
    let mut reached = match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Reached::default(),
        Err(error) => return Err(error.into()),
    };
    let workloads = workload::all();
    let ends = ends(&workloads);
    let began = Instant::now();
    while began.elapsed() < time {
        let seeds = reached.next_seed..reached.next_seed + STEP;
        let mut work = Vec::new();
        for workload in &workloads {
            work.extend(
                by_chance(seeds.clone())
                    .into_iter()
                    .map(|schedule| (workload, schedule)),
            );
            let two = pairs(workload, usize::try_from(STEP)?, seeds.start);
            work.extend(two.into_iter().map(|schedule| (workload, schedule)));
        }
        let totals = explore(&work, &ends);
        reached.next_seed = seeds.end;
        reached.histories += totals.histories;
        reached.effects += totals.effects;
        reached.faults += totals.struck.values().sum::<usize>();
        reached.failures += totals.failures.len();
        tell(&reached, &totals);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, serde_json::to_vec(&reached)?)?;
    }
    Ok(reached)
}
