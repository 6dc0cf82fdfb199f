//! The demo as a program. The cluster and everything else come by environment, see the library.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use dotmesh_e2e::demo::{self, Options, Story};
use dotmesh_e2e::dump::dump;
use dotmesh_e2e::scenario::Scenario;

/// Git for data: databases are committed while they are written to, branched, examined and deleted.
#[derive(Debug, Parser)]
struct Args {
    /// How many commits are made, branched and examined.
    #[arg(long, default_value_t = 1)]
    commits: u32,
    /// Decides the order of the deletions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match tell(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn tell(Args { commits, seed }: Args) -> Result<()> {
    let scenario = Scenario::new("demo").await?;
    let mut story = Story::new();
    let told = demo::run(&scenario, Options { commits, seed }, &mut story).await;
    if told.is_err() {
        eprintln!("{}", dump(&scenario.cluster).await);
    }
    let ended = scenario.end().await;
    told?;
    ended?;
    story.end();
    Ok(())
}
