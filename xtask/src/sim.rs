//! The simulator's runs: each is one run of the program of `dotmesh-sim`, optimised, in the folder of cargo in which the
//! images' programs are made: most of what it uses is compiled once for both.

use std::time::Duration;

use anyhow::Result;

use crate::process::Cmd;
use crate::{images, report, workspace};

/// What compiling may take, beside the run itself.
const COMPILING: Duration = Duration::from_secs(2400);

/// The longest that the complete part may take.
const COMPLETE: Duration = Duration::from_secs(1200);

/// The longest that all planted defects may take.
const MUTANTS: Duration = Duration::from_secs(7200);

const PACKAGE: [&str; 2] = ["--package", "dotmesh-sim"];

fn sim(features: &[&str], time: Duration) -> Result<Cmd> {
    let cargo = images::cargo("run")?.within(COMPILING + time);
    Ok(cargo.args(PACKAGE).args(features).arg("--"))
}

/// Every single fault of every workload, and of pairs, old caches and histories by chance a part.
pub(crate) fn test() -> Result<()> {
    report::step("build the simulator", || {
        images::cargo("build")?.within(COMPILING).args(PACKAGE).run()
    })?;
    report::step("simulate", || sim(&[], COMPLETE)?.arg("test").run())
}

/// Histories by chance for so many minutes. What was reached stands in a file, from which the next campaign goes on.
pub(crate) fn campaign(minutes: u64) -> Result<u8> {
    let file = workspace::root().join("target/sim-campaign.json");
    sim(&[], Duration::from_secs(60 * (minutes + 5)))?
        .args(["campaign", &minutes.to_string()])
        .arg(file)
        .interactive()
}

/// Planted defects, all of them or those named: killed or not.
pub(crate) fn mutants(names: &[String]) -> Result<u8> {
    sim(&["--features", "mutants"], MUTANTS)?
        .arg("mutants")
        .args(names)
        .interactive()
}
