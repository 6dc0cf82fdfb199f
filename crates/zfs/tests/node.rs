//! The contract suite on this host's OpenZFS, on a pool in a file that it makes and destroys.
//!
//! No test harness: the commands start this very program again as their launcher.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use anyhow::{Context, ensure};
use dotmesh_zfs::cmd::{CHROOT_EXEC, HostCommand, chroot_exec_main};
use dotmesh_zfs::contract::{Findings, Setup, Surroundings, run};
use dotmesh_zfs::{DatasetName, Zfs, ZfsCli};

const POOL: &str = "zfs-contract";

/// Mounts filesystems below a folder.
struct Mounts {
    folder: PathBuf,
    used: Mutex<Vec<(DatasetName, File)>>,
}

fn command(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(arguments[0])
        .args(&arguments[1..])
        .status()
        .context("cannot start")?;
    ensure!(status.success(), "{arguments:?} failed");
    Ok(())
}

impl Mounts {
    fn mount(&self, dataset: &DatasetName) -> PathBuf {
        let target = self.folder.join(dataset.base());
        fs::create_dir_all(&target).expect("a folder for a mount");
        let text = target.to_str().expect("a plain path");
        command(&["mount", "-t", "zfs", dataset.as_str(), text]).expect("mount");
        target
    }

    fn unmount(&self, target: &Path) {
        command(&["umount", target.to_str().expect("a plain path")]).expect("umount");
    }
}

impl Surroundings for Mounts {
    fn write(&self, dataset: &DatasetName, bytes: u64) {
        let target = self.mount(dataset);
        let mut state = 0x9e37_79b9_u32;
        let noise: Vec<u8> = (0..bytes)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state.to_le_bytes()[0]
            })
            .collect();
        let mut file = File::create(target.join("noise")).expect("a file");
        file.write_all(&noise).and_then(|()| file.sync_all()).expect("write");
        drop(file);
        self.unmount(&target);
        command(&["zpool", "sync", POOL]).expect("sync");
    }

    fn set_mounted(&self, dataset: &DatasetName, mounted: bool, used: bool) {
        let mut all = self.used.lock().expect("no panic before");
        all.retain(|(name, _)| name != dataset);
        if mounted {
            let target = self.mount(dataset);
            if used {
                all.push((dataset.clone(), File::create(target.join("open")).expect("a file")));
            }
        } else if self.is_mounted(dataset) {
            self.unmount(&self.folder.join(dataset.base()));
        }
    }

    fn fill(&self, dataset: &DatasetName) {
        let target = self.mount(dataset);
        let mut file = File::create(target.join("zeros")).expect("a file");
        let zeros = vec![0; 1 << 20];
        while file.write_all(&zeros).and_then(|()| file.sync_data()).is_ok() {}
        drop(file);
        self.unmount(&target);
        command(&["zpool", "sync", POOL]).expect("sync");
    }

    fn is_mounted(&self, dataset: &DatasetName) -> bool {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
        table.contains(&format!(" - zfs {dataset} "))
    }
}

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
    let mounts = Mounts {
        folder: folder.join("mounts"),
        used: Mutex::default(),
    };
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
    let findings = contract()?;
    for violation in &findings.violations {
        println!("VIOLATION {violation}");
    }
    let kept = findings.tried - findings.violations.len();
    let (word, code) = if findings.violations.is_empty() {
        ("ok", 0)
    } else {
        ("FAILED", 1)
    };
    println!(
        "test result: {word}. {kept} passed; {} failed; 0 ignored",
        findings.violations.len()
    );
    Ok(ExitCode::from(code))
}
