//! The program in the importer's container; see the library.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::{error, fs, thread};

use clap::Parser;
use dotmesh_importer::args::Args;
use dotmesh_importer::copy::{Request, copy};
use dotmesh_importer::effects::Effects;
use dotmesh_importer::progress::{Counters, answer, listen};
use dotmesh_model::import::{ENDING_MAX, Ending, FailureKind};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Identifies this run of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn main() -> ExitCode {
    let args = Args::parse();
    // Two folders are open at each depth.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, files) {
        eprintln!("dotmesh-importer: only few files can be open: {error}");
    }
    let counters = Arc::new(Counters::default());
    match listen(args.progress_port) {
        Ok(listener) => {
            let counters = Arc::clone(&counters);
            thread::spawn(move || answer(&listener, &counters));
        }
        // Nobody sees how far it is; the copy is none the worse.
        Err(error) => eprintln!("dotmesh-importer: port {}: {error}", args.progress_port),
    }
    let ending = run(&args, &counters);
    tell(&args, &ending);
    match ending {
        Ending::Done(_) => ExitCode::SUCCESS,
        Ending::Failed { .. } => ExitCode::FAILURE,
    }
}

fn run(args: &Args, counters: &Counters) -> Ending {
    let boot = match fs::read_to_string(BOOT_ID) {
        Ok(boot) => boot,
        Err(error) => return failed(FailureKind::Other, &format!("cannot read {BOOT_ID}: {error}")),
    };
    let request = Request {
        source: &args.source,
        target: &args.target,
        boot: boot.trim(),
        record_interval: None,
        effects: Effects(&|_| Ok(())),
        counters,
    };
    match copy(&request) {
        Ok(()) => Ending::Done(counters.now()),
        Err(error) => failed(error.kind(), &chain(&error)),
    }
}

/// A message with its causes.
fn chain(error: &dyn error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn failed(kind: FailureKind, message: &str) -> Ending {
    // Escaped, a character may need six bytes.
    let message = message.chars().take(ENDING_MAX / 8).collect();
    Ending::Failed { kind, message }
}

/// To whoever runs the container, and to its log.
fn tell(args: &Args, ending: &Ending) {
    let text = serde_json::to_string(ending).unwrap_or_default();
    println!("{text}");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&args.ending)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        eprintln!("dotmesh-importer: {}: {error}", args.ending.display());
    }
}
