//! Commands with mounts of their own: what the host unmounts while one runs is unmounted for it, too.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dotmesh_zfs::cmd::CHROOT_EXEC;
use dotmesh_zfs::contract::Findings;

use crate::host::command;

/// Longest that a change of the mount table takes to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn check(findings: &mut Findings) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("zfs-launcher-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let place = folder.to_string_lossy();
    command(&["mount", "-t", "tmpfs", "none", &place])?;
    let mut running = Command::new(std::env::current_exe()?)
        .args([CHROOT_EXEC, "own", "/", "sleep", "1000"])
        .spawn()?;
    let seen = look(&running, &folder);
    running.kill()?;
    running.wait()?;
    findings.tried += 1;
    if let Err(why) = seen {
        findings.violations.push(format!("mounts of a command's own: {why:#}"));
    }
    fs::remove_dir(&folder).with_context(|| format!("remove {}", folder.display()))
}

fn look(running: &Child, folder: &Path) -> anyhow::Result<()> {
    let of = |file: &str| format!("/proc/{}/{file}", running.id());
    let own = fs::read_link("/proc/self/ns/mnt")?;
    let program = || fs::read_to_string(of("comm")).unwrap_or_default();
    until("the command runs", || program().trim() == "sleep")?;
    ensure!(fs::read_link(of("ns/mnt"))? != own, "it has the mounts of others");
    let place = folder.to_string_lossy();
    let has_it = || fs::read_to_string(of("mountinfo")).is_ok_and(|table| table.contains(&*place));
    ensure!(has_it(), "what is mounted is not there");
    command(&["umount", &place])?;
    until("what was unmounted is gone", || !has_it())
}

fn until(what: &str, condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        ensure!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
    Ok(())
}
