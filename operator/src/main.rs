//! Entry point of the operator.

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use dotmesh_operator::args::{Args, Command};
use dotmesh_operator::{check, run};
use kube::Client;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let logs = dotmesh_telemetry::init_logs(args.log_format, &args.log_filter)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match args.command {
        None => runtime.block_on(run::run(args, logs)),
        Some(Command::Check { seconds }) => runtime.block_on(async {
            let client = Client::try_default().await.context("connecting to Kubernetes")?;
            println!("{}", check::run(client, Duration::from_secs(seconds)).await?);
            Ok(())
        }),
    }
}
