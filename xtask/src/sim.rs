//! The simulator's runs: each is one run of the program of `dotmesh-sim`, optimised, built with the images' programs.

use std::time::Duration;

use anyhow::Result;

use crate::process::Cmd;
use crate::{images, report, workspace};

/// The longest that the complete part may take.
const COMPLETE: Duration = Duration::from_secs(1200);

/// The longest that all planted defects may take, with compiling them in.
const MUTANTS: Duration = Duration::from_secs(7200);

/// The simulator, built.
fn sim(time: Duration) -> Result<Cmd> {
    images::build()?;
    Ok(Cmd::new(images::simulator()?).within(time))
}

/// Every single fault of every workload, and of pairs, old caches and histories by chance a part.
pub(crate) fn test() -> Result<()> {
    let sim = sim(COMPLETE)?;
    report::step("simulate", || sim.arg("test").run())
}

/// Histories by chance for so many minutes. What was reached stands in a file, from which the next campaign goes on.
pub(crate) fn campaign(minutes: u64) -> Result<u8> {
    let file = workspace::root().join("target/sim-campaign.json");
    sim(Duration::from_secs(60 * (minutes + 5)))?
        .args(["campaign", &minutes.to_string()])
        .arg(file)
        .interactive()
}

/// Planted defects, all of them or those named: killed or not. The programs have them in a build of their own.
pub(crate) fn mutants(names: &[String]) -> Result<u8> {
    let cargo = images::cargo("run")?.within(MUTANTS);
    cargo
        .args(["--package", "dotmesh-sim", "--features", "mutants", "--", "mutants"])
        .args(names)
        .interactive()
}
