//! The benchmarks as a program: Markdown on standard output, progress on standard error.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use dotmesh_e2e::bench::{self, Options, Part};
use dotmesh_e2e::scenario::Scenario;

/// Counts per operation, and times beside the bare commands.
#[derive(Debug, Parser)]
struct Args {
    /// Measure only these parts, separated by commas; by default all but snapshots.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Samples of each time.
    #[arg(long, default_value_t = 15)]
    samples: usize,
    /// Commits that exist when memory is read the second time.
    #[arg(long, default_value_t = 1000)]
    commits: usize,
    /// Claims that are made at once.
    #[arg(long, default_value_t = 100)]
    claims: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: Args) -> Result<()> {
    let Args {
        only,
        samples,
        commits,
        claims,
    } = args;
    let scenario = Scenario::new("bench").await?;
    let options = Options {
        samples,
        commits,
        claims,
        large: "1Ti",
    };
    let report = bench::run(&scenario, &only, options).await;
    let ended = scenario.end().await;
    println!("{}", report?);
    ended
}
