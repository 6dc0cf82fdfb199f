//! Entry point of the operator.

use clap::Parser;
use dotmesh_operator::{args::Args, run};

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    dotmesh_telemetry::init_logs(args.log_format, &args.log_filter)?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run::run(args))
}
