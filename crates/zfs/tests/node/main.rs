//! On this host's OpenZFS, on pools in files that are made and destroyed here: the contract suite, then known and
//! generated sequences on OpenZFS and on the fake side by side, which must have the same answers.
//!
//! `DOTMESH_CONTRACT_OPS` is about how many generated operations are compared (60 unless said), `DOTMESH_CONTRACT_SEED`
//! which ones. No test harness: the commands start this very program again as their launcher.

#[path = "../generated/mod.rs"]
mod generated;
mod host;
mod launcher;
mod side_by_side;

use std::fs::{self, File};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use dotmesh_zfs::cmd::{CHROOT_EXEC, HostCommand, chroot_exec_main};
use dotmesh_zfs::contract::{Findings, Setup, run};
use dotmesh_zfs::{Zfs, ZfsCli};
use host::{Mounts, command};

const POOL: &str = "zfs-contract";

fn contract() -> anyhow::Result<Findings> {
    let folder = std::env::temp_dir().join(format!("zfs-contract-{}", std::process::id()));
    let vdevs = folder.join("vdevs");
    fs::create_dir_all(&vdevs)?;
    let vdev = vdevs.join("pool.img");
    File::create_new(&vdev)?.set_len(256 << 20)?;
    let setup = Setup {
        pool: POOL.parse()?,
        vdev,
    };
    let mounts = Mounts::new(folder.join("mounts"), POOL);
    let zfs = ZfsCli::new(HostCommand::new(None));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(run(&zfs, &mounts, &setup));
    command(&["zpool", "destroy", POOL])?;
    fs::remove_dir_all(&folder)?;
    for (verb, count) in zfs.counts().snapshot() {
        println!(
            "{verb}: {} processes, {} failed, {:?}",
            count.count, count.failures, count.total
        );
    }
    Ok(findings)
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == CHROOT_EXEC) {
        std::process::exit(chroot_exec_main(arguments));
    }
    ensure!(
        std::env::var_os("DOTMESH_TEST_NODE").is_some(),
        "this makes pools and mounts: run it on a test node"
    );
    let mut findings = contract()?;
    launcher::check(&mut findings)?;
    let operations = number("DOTMESH_CONTRACT_OPS", 60)?;
    let seed = number("DOTMESH_CONTRACT_SEED", 1)?;
    side_by_side::run(&mut findings, operations, seed)?;
    for violation in &findings.violations {
        println!("VIOLATION {violation}");
    }
    let failed = findings.violations.len();
    let (word, code) = if failed == 0 { ("ok", 0) } else { ("FAILED", 1) };
    println!(
        "test result: {word}. {} passed; {failed} failed; 0 ignored",
        findings.tried - failed
    );
    Ok(ExitCode::from(code))
}

/// A number that is said in the environment.
fn number(variable: &str, otherwise: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is no number")),
        Err(_) => Ok(otherwise),
    }
}
