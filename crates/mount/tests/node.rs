//! The contract suite on this host's kernel and OpenZFS, with a pool in a file that it makes and destroys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use dotmesh_mount::contract::{Surroundings, Volumes, run_binds, run_zfs, run_zvols};
use dotmesh_mount::{DeviceFs, LinuxMount, Mount, MountErrorKind, ZfsMount};

struct Disk;

impl Surroundings for Disk {
    fn file(&self, path: &Path) {
        fs::write(path, "x").expect("write");
    }

    fn link(&self, path: &Path) {
        std::os::unix::fs::symlink("/tmp", path).expect("link");
    }

    fn writable(&self, path: &Path) -> Option<bool> {
        Some(fs::write(path, "x").is_ok())
    }
}

/// What only a real kernel shows: a mount that is in use, and one that comes back after a lazy unmount.
async fn in_use(mount: &LinuxMount, folder: &Path, dataset: &str) -> anyhow::Result<()> {
    let target = folder.join("used");
    mount.make_dir(&target).await?;
    let request = ZfsMount {
        source: dataset.to_owned(),
        target: target.clone(),
        readonly: false,
        context: None,
    };
    mount.mount_zfs(&request).await?;
    let file = fs::File::create(target.join("open"))?;
    let error = mount
        .unmount(&target, false)
        .await
        .err()
        .context("an open file does not keep the mount")?;
    ensure!(error.kind == MountErrorKind::Busy, "{error}");
    mount.unmount(&target, true).await?;
    mount
        .mount_zfs(&request)
        .await
        .context("mount again while the old one is still used")?;
    drop(file);
    mount.unmount(&target, false).await?;
    mount.remove_dir(&target).await?;
    Ok(())
}

/// A pool in a file, gone when dropped.
struct Pool {
    name: String,
    folder: PathBuf,
}

fn command(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(arguments[0])
        .args(&arguments[1..])
        .status()
        .context("cannot start")?;
    ensure!(status.success(), "{arguments:?} failed");
    Ok(())
}

impl Pool {
    fn create(name: &str) -> anyhow::Result<Self> {
        let name = format!("{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        let pool = Self { name, folder };
        fs::create_dir(&pool.folder)?;
        let file = pool.folder.join("pool.img");
        fs::File::create_new(&file)?.set_len(256 << 20)?;
        command(&[
            "zpool",
            "create",
            "-m",
            "none",
            &pool.name,
            file.to_str().context("a plain path")?,
        ])?;
        for dataset in ["a", "b"] {
            command(&[
                "zfs",
                "create",
                "-o",
                "mountpoint=legacy",
                &format!("{}/{dataset}", pool.name),
            ])?;
        }
        Ok(pool)
    }

    fn dataset(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }

    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let destroyed = command(&["zpool", "destroy", &self.name]).is_ok();
        if destroyed {
            // Nothing of the pool is mounted below it any more.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn on_a_node() -> anyhow::Result<()> {
    ensure!(
        std::env::var_os("DOTMESH_TEST_NODE").is_some(),
        "this makes pools and mounts: run it on a test node"
    );
    Ok(())
}

#[tokio::test]
async fn the_kernel_and_zfs_keep_the_contract() -> anyhow::Result<()> {
    on_a_node()?;
    let pool = Pool::create("mount-contract")?;
    let (binds, zfs) = (pool.folder("binds")?, pool.folder("zfs")?);
    let mount = LinuxMount::new();
    run_binds(&mount, &Disk, &binds).await?;
    let names = [pool.dataset("a"), pool.dataset("b"), pool.dataset("missing")];
    run_zfs(&mount, &Disk, &zfs, names.each_ref().map(String::as_str)).await?;
    ensure!(
        mount.list().await?.below(&pool.folder).count() == 0,
        "something is left mounted"
    );
    Ok(())
}

#[tokio::test]
async fn devices_of_volumes_keep_the_contract() -> anyhow::Result<()> {
    on_a_node()?;
    let pool = Pool::create("mount-volumes")?;
    let (targets, nodes) = (pool.folder("targets")?, Path::new("/dev").join(&pool.name));
    let name = |volume: &str| pool.dataset(volume);
    let make = |volume: &str, bytes: &str| command(&["zfs", "create", "-s", "-V", bytes, &name(volume)]);
    make("blank", "16777216")?;
    for (volume, bytes, mkfs) in [("e", "33554432", "mkfs.ext4"), ("x", "335544320", "mkfs.xfs")] {
        make(volume, bytes)?;
        command(&["udevadm", "settle"])?;
        command(&[mkfs, "-q", &format!("/dev/zvol/{}", name(volume))])?;
        command(&["zfs", "snapshot", &format!("{}@s", name(volume))])?;
        let clone = format!("{}2", name(volume));
        command(&["zfs", "clone", &format!("{}@s", name(volume)), &clone])?;
    }
    let [blank, missing, ext4, ext4_clone, xfs, xfs_clone] = ["blank", "missing", "e", "e2", "x", "x2"].map(name);
    let volumes = Volumes {
        blank: &blank,
        blank_bytes: 16 << 20,
        missing: &missing,
        filesystems: [(DeviceFs::Ext4, &ext4, &ext4_clone), (DeviceFs::Xfs, &xfs, &xfs_clone)],
    };
    let grow = |volume: &str| {
        let bytes = if volume == ext4 { 64 << 20 } else { 640 << 20 };
        command(&["zfs", "set", &format!("volsize={bytes}"), volume]).expect("a larger volume");
    };
    let mount = LinuxMount::new();
    mount.make_dir(&nodes).await?;
    run_zvols(&mount, (&targets, &nodes), &volumes, grow).await?;
    mount.remove_dir(&nodes).await?;
    Ok(())
}

#[tokio::test]
async fn a_mount_in_use_goes_lazily_and_comes_back() -> anyhow::Result<()> {
    on_a_node()?;
    let pool = Pool::create("mount-in-use")?;
    in_use(&LinuxMount::new(), &pool.folder("targets")?, &pool.dataset("a")).await
}

#[tokio::test]
async fn a_snapshot_mounts_read_only() -> anyhow::Result<()> {
    on_a_node()?;
    let pool = Pool::create("mount-snapshot")?;
    let mount = LinuxMount::new();
    let target = pool.folder("target")?;
    let request = |source: &str, readonly| ZfsMount {
        source: source.to_owned(),
        target: target.clone(),
        readonly,
        context: None,
    };
    let dataset = pool.dataset("a");
    mount.mount_zfs(&request(&dataset, false)).await?;
    fs::write(target.join("f"), "x")?;
    mount.syncfs(&target).await?;
    mount.unmount(&target, false).await?;
    command(&["zfs", "snapshot", &format!("{dataset}@s")])?;
    mount.mount_zfs(&request(&format!("{dataset}@s"), true)).await?;
    ensure!(
        fs::read_to_string(target.join("f"))? == "x",
        "the snapshot shows something else"
    );
    ensure!(fs::write(target.join("g"), "x").is_err(), "a snapshot was written to");
    mount.unmount(&target, false).await?;
    Ok(())
}
