//! Floors: the bare command on the node, timed there by the shell, without starting a process for the clock.

use anyhow::{Context, Result};

use super::PATIENCE;
use crate::scenario::Scenario;

/// A dataset beside ours, of the same shape: a container and volumes below it.
pub(super) const ROOT: &str = "dotmesh/floor";

/// Makes the container with this many volumes, properties as ours have them.
pub(super) async fn prepare(scenario: &Scenario, volumes: usize) -> Result<()> {
    shell(
        scenario,
        &format!(
            "zfs destroy -r {ROOT} 2>/dev/null; zfs create -o mountpoint=legacy -o atime=off -o snapdir=disabled {ROOT}; \
             mkdir -p /run/floor/a /run/floor/b"
        ),
    )
    .await?;
    for first in (0..volumes).step_by(20) {
        let last = volumes.min(first + 20) - 1;
        let loop_ = format!("for i in $(seq {first} {last}); do zfs create -o refquota=1G {ROOT}/v$i; done");
        shell(scenario, &loop_).await?;
    }
    Ok(())
}

/// Seconds that making so many volumes one after the other takes.
pub(super) async fn create(scenario: &Scenario, volumes: usize) -> Result<f64> {
    let make = format!("for i in $(seq {volumes}); do zfs create -o refquota=64M {ROOT}/v$i || exit 1; done");
    timed(scenario, &make).await
}

/// Takes the container away again.
pub(super) async fn remove(scenario: &Scenario) -> Result<()> {
    shell(
        scenario,
        &format!("umount -q /run/floor/b /run/floor/a; zfs destroy -r {ROOT}"),
    )
    .await
    .map(drop)
}

/// Seconds that a bare snapshot of the container and its first volumes takes.
pub(super) async fn snapshot(scenario: &Scenario, name: &str, volumes: usize) -> Result<f64> {
    let names: Vec<String> = (0..volumes).map(|i| format!("{ROOT}/v{i}@{name}")).collect();
    timed(scenario, &format!("zfs snapshot {ROOT}@{name} {}", names.join(" "))).await
}

/// Seconds that a bare clone of a volume's snapshot and its mount take. The clone is removed again.
pub(super) async fn clone_and_mount(scenario: &Scenario, snapshot: &str) -> Result<f64> {
    let make = format!("zfs clone {ROOT}/v0@{snapshot} {ROOT}/clone && mount -t zfs {ROOT}/clone /run/floor/a");
    let seconds = timed(scenario, &make).await?;
    shell(scenario, &format!("umount /run/floor/a && zfs destroy {ROOT}/clone")).await?;
    Ok(seconds)
}

/// Seconds that mounting a volume and binding it take. Both are undone again.
pub(super) async fn mount_and_bind(scenario: &Scenario) -> Result<f64> {
    let make = format!("mount -t zfs {ROOT}/v0 /run/floor/a && mount --bind /run/floor/a /run/floor/b");
    let seconds = timed(scenario, &make).await?;
    shell(scenario, "umount /run/floor/b && umount /run/floor/a").await?;
    Ok(seconds)
}

/// Runs a script in the node's bash.
pub(super) async fn shell(scenario: &Scenario, script: &str) -> Result<String> {
    let quoted = format!("'{}'", script.replace('\'', "'\\''"));
    scenario.nodes.run_within(PATIENCE, "", &["bash", "-c", &quoted]).await
}

async fn timed(scenario: &Scenario, script: &str) -> Result<f64> {
    let text = shell(
        scenario,
        &format!("s=$EPOCHREALTIME; {script} || exit 1; echo $s $EPOCHREALTIME"),
    )
    .await?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let mut next = || -> Result<f64> { Ok(numbers.next().context("no time printed")??) };
    let start = next()?;
    Ok(next()? - start)
}
