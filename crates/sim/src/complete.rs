//! What `cargo xtask test` tries: each fault at each effect of each workload, and of what is without end a fixed part.

use crate::explore::{all_of, by_chance, pairs, single_faults, stale_views};
use crate::stage::Schedule;
use crate::workload::Workload;

/// Pairs of faults of each workload.
const PAIRS: usize = 40;
/// Histories by chance of each workload.
const SEEDS: u64 = 80;

/// Histories of one sort.
pub struct Part<'a> {
    /// Which sort.
    pub name: &'static str,
    /// The histories.
    pub work: Vec<(&'a Workload, Schedule)>,
}

/// All of it.
#[must_use]
pub fn parts(workloads: &[Workload]) -> Vec<Part<'_>> {
    vec![
        part("each fault at each effect", workloads, single_faults),
        part("pairs of faults", workloads, |workload| pairs(workload, PAIRS, 1)),
        part("restarts with old caches", workloads, stale_views),
        part("faults and orders by chance", workloads, |_| by_chance(0..SEEDS)),
    ]
}

fn part<'a>(name: &'static str, workloads: &'a [Workload], of: impl Fn(&Workload) -> Vec<Schedule>) -> Part<'a> {
    let work = all_of(workloads, of);
    Part { name, work }
}
