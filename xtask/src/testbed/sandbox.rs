//! Work inside a root folder of its own, with mounts that vanish with the process.
//!
//! The program starts itself again (`xtask sandbox`), and that process leaves the mount namespace (unshare(2)) before it
//! mounts anything: an interrupted build leaves no mount behind that a later `remove` could walk into.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::process::Cmd;

/// What `xtask sandbox` is asked to do.
#[derive(Debug, clap::Args)]
pub(crate) struct SandboxArgs {
    /// The root folder to change into, with /proc and /dev mounted.
    #[arg(long)]
    root: Option<PathBuf>,
    /// SOURCE:TARGET, a folder to show under TARGET (a path inside the root).
    #[arg(long)]
    bind: Vec<String>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// A command in a private mount namespace on this machine's own root.
pub(crate) fn private() -> Cmd {
    ourselves().arg("--")
}

/// A command in `root`, which sees each (source, target) of `binds`.
pub(crate) fn inside(root: &Path, binds: &[(&Path, &str)]) -> Cmd {
    let mut cmd = ourselves().arg("--root").arg(root);
    for (source, target) in binds {
        cmd = cmd.arg("--bind").arg(format!("{}:{target}", source.display()));
    }
    cmd.arg("--")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
}

/// This very program, even when its file was replaced meanwhile.
fn ourselves() -> Cmd {
    Cmd::new("/proc/self/exe").arg("sandbox")
}

/// The other side: mounts, changes root, becomes the program. Returns only on failure.
pub(crate) fn enter(args: &SandboxArgs) -> Result<()> {
    // Nothing of it outlives the run that wanted it, however that ended.
    set_pdeathsig(Signal::SIGKILL).context("tie our life to our parent's")?;
    unshare(CloneFlags::CLONE_NEWNS).context("leave the mount namespace")?;
    mount_at(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    if let Some(root) = &args.root {
        mount_at(Some("proc"), &root.join("proc"), Some("proc"), MsFlags::empty())?;
        mount_at(
            Some("/dev"),
            &root.join("dev"),
            None,
            MsFlags::MS_BIND | MsFlags::MS_REC,
        )?;
        for bind in &args.bind {
            let Some((source, target)) = bind.split_once(':') else {
                bail!("{bind} is not SOURCE:TARGET")
            };
            let target = root.join(target.trim_start_matches('/'));
            std::fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
            mount_at(Some(source), &target, None, MsFlags::MS_BIND)?;
        }
        std::os::unix::fs::chroot(root).with_context(|| format!("change root to {}", root.display()))?;
        std::env::set_current_dir("/").context("change to the new root")?;
    }
    let error = Command::new(&args.command[0]).args(&args.command[1..]).exec();
    Err(error).with_context(|| format!("start {}", args.command[0]))
}

fn mount_at(source: Option<&str>, target: &Path, kind: Option<&str>, flags: MsFlags) -> Result<()> {
    mount(source, target, kind, flags, None::<&str>).with_context(|| format!("mount on {}", target.display()))
}
