//! This host around a pool: its mounts, its other programs.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, ensure};
use dotmesh_zfs::contract::Surroundings;
use dotmesh_zfs::{DatasetName, ErrorKind, ObjectName, PoolName, Tampering, classify};

use crate::generated::around::Around;

const MIB: u64 = 1 << 20;

/// Runs a program that must succeed.
pub(crate) fn command(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(arguments[0])
        .args(&arguments[1..])
        .status()
        .context("cannot start")?;
    ensure!(status.success(), "{arguments:?} failed");
    Ok(())
}

/// Runs a program of ZFS and reads what it complains of.
fn tool(arguments: &[&str]) -> Result<String, ErrorKind> {
    let output = Command::new(arguments[0])
        .args(&arguments[1..])
        .env("LC_ALL", "C")
        .output()
        .expect("the programs are there");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(classify(&String::from_utf8_lossy(&output.stderr)))
    }
}

/// A mebibyte that cannot be compressed.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    });
    words.flat_map(u32::to_le_bytes).take(1 << 20).collect()
}

/// Mounts below a folder, one for each dataset or snapshot, and who uses them.
pub(crate) struct Mounts {
    folder: PathBuf,
    pool: String,
    used: Mutex<Vec<(DatasetName, File)>>,
    files: Cell<u64>,
}

impl Mounts {
    pub(crate) fn new(folder: PathBuf, pool: &str) -> Self {
        Self {
            folder,
            pool: pool.to_owned(),
            used: Mutex::default(),
            files: Cell::new(0),
        }
    }

    fn target(&self, source: &str, what: &str) -> PathBuf {
        self.folder.join(format!("{what}-{}", source.replace('/', "_")))
    }

    fn mount(&self, source: &str, what: &str) -> PathBuf {
        let target = self.target(source, what);
        fs::create_dir_all(&target).expect("a folder for a mount");
        let options = if source.contains('@') { "ro" } else { "rw" };
        let text = target.to_str().expect("a plain path");
        command(&["mount", "-t", "zfs", "-o", options, source, text]).expect("mount");
        target
    }

    fn unmount(&self, target: &Path) {
        command(&["umount", target.to_str().expect("a plain path")]).expect("umount");
    }

    /// Writes a new file through a mount of its own, and waits until ZFS has counted it.
    fn write_file(&self, dataset: &DatasetName, work: impl FnOnce(&mut File)) {
        let target = self.mount(dataset.as_str(), "written");
        self.files.set(self.files.get() + 1);
        let mut file = File::create(target.join(format!("file-{}", self.files.get()))).expect("a file");
        work(&mut file);
        drop(file);
        self.unmount(&target);
        command(&["zpool", "sync", &self.pool]).expect("sync");
    }

    fn write_noise(&self, dataset: &DatasetName, bytes: u64) {
        let noise = noise();
        self.write_file(dataset, |file| {
            for _ in 0..bytes / MIB {
                file.write_all(&noise).expect("write");
            }
            file.sync_all().expect("write");
        });
    }
}

impl Surroundings for Mounts {
    fn write(&self, dataset: &DatasetName, bytes: u64) {
        self.write_noise(dataset, bytes);
    }

    fn set_mounted(&self, dataset: &DatasetName, mounted: bool, used: bool) {
        let mut all = self.used.lock().expect("no panic before");
        all.retain(|(name, _)| name != dataset);
        if mounted {
            let target = self.mount(dataset.as_str(), "mounted");
            if used {
                all.push((dataset.clone(), File::create(target.join("open")).expect("a file")));
            }
        } else if Surroundings::is_mounted(self, dataset) {
            self.unmount(&self.target(dataset.as_str(), "mounted"));
        }
    }

    fn fill(&self, dataset: &DatasetName) {
        let zeros = vec![0; 1 << 20];
        self.write_file(dataset, |file| {
            while file.write_all(&zeros).and_then(|()| file.sync_data()).is_ok() {}
        });
    }

    fn grow(&self, vdev: &Path, bytes: u64) {
        let file = File::options().write(true).open(vdev).expect("the pool's file");
        let length = file.metadata().expect("the pool's file").len();
        file.set_len(length + bytes).expect("a larger file");
    }

    fn is_mounted(&self, dataset: &DatasetName) -> bool {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
        table.contains(&format!(" - zfs {dataset} "))
    }

    fn device(&self, volume: &DatasetName) -> PathBuf {
        self.settle();
        let link = Path::new("/dev/zvol").join(volume.as_str());
        fs::canonicalize(link).expect("udev has made the link")
    }

    fn set_open(&self, volume: &DatasetName, open: bool) {
        let mut all = self.used.lock().expect("no panic before");
        all.retain(|(name, _)| name != volume);
        if open {
            let device = File::open(self.device(volume)).expect("the device");
            all.push((volume.clone(), device));
        }
    }

    fn settle(&self) {
        command(&["udevadm", "settle"]).expect("udev");
    }
}

/// What befalls a pool in a file on this host. The file goes when this does, with the pool if it is there.
pub(crate) struct Host {
    folder: PathBuf,
    mounts: Mounts,
}

impl Host {
    pub(crate) fn new(folder: PathBuf, pool: &PoolName) -> anyhow::Result<Self> {
        fs::create_dir_all(folder.join("vdevs"))?;
        let mounts = Mounts::new(folder.join("mounts"), pool.as_str());
        let host = Self { folder, mounts };
        File::create_new(host.vdev())?.set_len(512 * MIB)?;
        Ok(host)
    }

    fn pool(&self) -> &str {
        &self.mounts.pool
    }

    /// Leaves nothing available: what is, is reserved for a dataset that nobody writes to.
    fn reserve_all(&self) -> Result<(), ErrorKind> {
        let ballast = format!("{}/ballast", self.pool());
        if tool(&["zfs", "list", "-H", &ballast]).is_err() {
            tool(&["zfs", "create", "-o", "mountpoint=none", &ballast])?;
        }
        let mut reserved = 0;
        for _ in 0..5 {
            let left = tool(&["zfs", "get", "-Hp", "-o", "value", "available", self.pool()])?;
            let left: u64 = left.parse().expect("bytes");
            if left < 64 << 10 {
                return Ok(());
            }
            reserved += left;
            tool(&["zfs", "set", &format!("reservation={reserved}"), &ballast])?;
        }
        Ok(())
    }
}

impl Around for Host {
    fn vdev(&self) -> PathBuf {
        self.folder.join("vdevs/pool.img")
    }

    fn write(&self, dataset: &DatasetName, bytes: u64) {
        self.mounts.write_noise(dataset, bytes);
    }

    fn mount(&self, object: &ObjectName) {
        self.mounts.mount(&object.to_string(), "mounted");
    }

    fn unmount(&self, object: &ObjectName) {
        self.mounts.unmount(&self.mounts.target(&object.to_string(), "mounted"));
    }

    fn set_full(&self, pool: &PoolName, full: bool) {
        let result = if full {
            self.reserve_all()
        } else {
            tool(&["zfs", "set", "reservation=none", &format!("{pool}/ballast")]).map(drop)
        };
        result.expect("a reservation");
    }

    fn tamper(&self, tampering: &Tampering) -> Result<(), ErrorKind> {
        match tampering {
            Tampering::DestroyAll(dataset) => tool(&["zfs", "destroy", "-r", dataset.as_str()]),
            Tampering::DestroySnapshot(snapshot) => tool(&["zfs", "destroy", &snapshot.to_string()]),
            Tampering::Hold(tag, snapshot) => tool(&["zfs", "hold", tag.as_str(), &snapshot.to_string()]),
            Tampering::Release(tag, snapshot) => tool(&["zfs", "release", tag.as_str(), &snapshot.to_string()]),
            Tampering::Checkpoint(pool) => tool(&["zpool", "checkpoint", pool.as_str()]),
            Tampering::Rewind(pool) => tool(&["zpool", "export", pool.as_str()]).and_then(|_| {
                let vdevs = self.folder.join("vdevs");
                let vdevs = vdevs.to_str().expect("a plain path");
                let import = ["zpool", "import", "-N", "-o", "cachefile=none", "-d", vdevs];
                tool(&[&import[..], &["--rewind-to-checkpoint", pool.as_str()]].concat())
            }),
            Tampering::Reguid(pool) => tool(&["zpool", "reguid", pool.as_str()]),
        }
        .map(drop)
    }

    fn settle(&self) {
        command(&["udevadm", "settle"]).expect("udev");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let there = || tool(&["zpool", "list", "-H", self.pool()]).is_ok();
        for _ in 0..10 {
            if !there() || tool(&["zpool", "destroy", "-f", self.pool()]).is_ok() {
                break;
            }
            self.settle();
        }
        if !there() {
            // Nothing of the pool is mounted below it any more.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
