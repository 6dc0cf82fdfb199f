//! `cargo xtask`: whatever is not one cargo command. The test bed, the tests on it, the demo, images, checks.

mod args;
mod crds;
mod images;
mod interrupt;
mod process;
mod report;
mod sim;
mod story;
mod test;
mod testbed;
mod tidy;
mod wire;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let result = if let args::Command::Sandbox(sandbox) = &args.command {
        testbed::sandbox::enter(sandbox).map(|()| 0)
    } else {
        interrupt::install().and_then(|()| args.run())
    };
    match result {
        _ if interrupt::seen() => {
            eprintln!("interrupted");
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
