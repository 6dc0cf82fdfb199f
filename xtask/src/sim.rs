//! The simulator's longer runs: each is one run of the program of `dotmesh-sim`.

use std::time::Duration;

use anyhow::Result;

use crate::process::Cmd;
use crate::workspace;

/// What compiling may take, beside the run itself.
const COMPILING: Duration = Duration::from_secs(2400);

fn sim(features: &[&str], time: Duration) -> Cmd {
    workspace::cargo()
        .within(COMPILING + time)
        .args(["run", "--quiet", "--package", "dotmesh-sim"])
        .args(features)
        .arg("--")
}

/// Histories by chance for so many minutes. What was reached stands in a file, from which the next campaign goes on.
pub(crate) fn campaign(minutes: u64) -> Result<u8> {
    let file = workspace::root().join("target/sim-campaign.json");
    sim(&[], Duration::from_secs(60 * (minutes + 5)))
        .args(["campaign", &minutes.to_string()])
        .arg(file)
        .interactive()
}

/// Each planted defect: killed or not.
pub(crate) fn mutants() -> Result<u8> {
    sim(&["--features", "mutants"], COMPILING).arg("mutants").interactive()
}
