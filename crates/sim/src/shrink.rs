//! A failing history made small: faults are left out as long as it still fails, first of all those that came by chance.

use crate::stage::Schedule;
use crate::workload::Workload;
use crate::world::run;

/// The smallest schedule found that still violates the same oracle.
#[must_use]
pub fn shrink(
    workload: &Workload,
    schedule: &Schedule,
    oracle: &str,
    fails: impl Fn(&Workload, &Schedule) -> Vec<&'static str>,
) -> Schedule {
    let is_failing = |schedule: &Schedule| fails(workload, schedule).contains(&oracle);
    let mut best = schedule.clone();
    if best.rates.is_some() {
        // What chance brought is written down; the order of everything else follows the seed as before.
        let written = Schedule {
            faults: run(workload, &best).struck,
            rates: None,
            seed: best.seed,
        };
        if is_failing(&written) {
            best = written;
        }
    }
    if best.seed.is_some() && best.rates.is_none() {
        let ordered = Schedule {
            seed: None,
            ..best.clone()
        };
        if is_failing(&ordered) {
            best = ordered;
        }
    }
    loop {
        let smaller = best.faults.keys().rev().find_map(|number| {
            let mut fewer = best.clone();
            fewer.faults.remove(number);
            is_failing(&fewer).then_some(fewer)
        });
        match smaller {
            Some(smaller) => best = smaller,
            None => return best,
        }
    }
}
