//! Runs the contract suite on this host's OpenZFS, on a pool in a file that it makes and destroys.
//!
//! `zfs_contract <empty folder>` as root.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;

use anyhow::{Context, ensure};
use dotmesh_zfs::cmd::{CHROOT_EXEC, HostCommand, chroot_exec_main};
use dotmesh_zfs::contract::{Setup, Surroundings, run};
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

    fn is_mounted(&self, dataset: &DatasetName) -> bool {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
        table.contains(&format!(" - zfs {dataset} "))
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek() == Some(&OsString::from(CHROOT_EXEC)) {
        std::process::exit(chroot_exec_main(arguments.skip(1)));
    }
    let folder = PathBuf::from(arguments.next().context("usage: zfs_contract <empty folder>")?);
    let host = HostCommand::new(None);
    ensure!(
        fs::read_dir(&folder)?.next().is_none(),
        "{} is not empty",
        folder.display()
    );
    let vdevs = folder.join("vdevs");
    fs::create_dir(&vdevs)?;
    let vdev = vdevs.join("pool.img");
    File::create_new(&vdev)?.set_len(1 << 30)?;
    let setup = Setup {
        pool: POOL.parse()?,
        vdev,
    };
    let mounts = Mounts {
        folder: folder.join("mounts"),
        used: Mutex::default(),
    };

    let zfs = ZfsCli::new(host);
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
    for violation in &findings.violations {
        println!("VIOLATION {violation}");
    }
    println!(
        "{} expectations, {} violations",
        findings.tried,
        findings.violations.len()
    );
    Ok(if findings.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
