//! Ctrl-C and termination: remembered, passed on to the programs that run, and left to the ordinary error path to clean up after.
//!
//! A thread of its own takes them, so that no code of ours runs in a signal handler. The first one makes the running step
//! fail, and what the step's owner does on failure (take the machines down, remove temporary folders) happens; the
//! second one ends the process at once.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static CHILDREN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Exit code of a run that was interrupted, as shells report it for Ctrl-C.
pub(crate) const EXIT_CODE: u8 = 130;

/// Starts to listen.
pub(crate) fn install() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("listen for signals")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(EXIT_CODE));
            }
            for child in lock().iter() {
                let _ = kill(Pid::from_raw(*child), Signal::SIGTERM);
            }
        }
    });
    Ok(())
}

/// Whether a signal came.
pub(crate) fn seen() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Fails when a signal came; called before each step.
pub(crate) fn check() -> Result<()> {
    if seen() {
        bail!("interrupted");
    }
    Ok(())
}

/// A running program that a signal ends as well; forget it by dropping the value.
pub(crate) struct Registered(i32);

/// Registers a program: a process id, or a process group as negative number (kill(2)).
pub(crate) fn register(id: i32) -> Registered {
    lock().insert(id);
    Registered(id)
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock().remove(&self.0);
    }
}

fn lock() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    CHILDREN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
