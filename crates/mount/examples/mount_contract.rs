//! Runs the contract suite on this host's kernel and OpenZFS.
//!
//! `mount_contract <empty folder> <dataset> <other dataset>` as root: the datasets are empty, and their `mountpoint` is
//! `legacy`. Nothing of them is left mounted.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use dotmesh_mount::contract::{Surroundings, run_binds, run_zfs};
use dotmesh_mount::{LinuxMount, Mount, MountErrorKind, ZfsMount};

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
        options: String::new(),
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

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, dataset, other] = arguments.as_slice() else {
        anyhow::bail!("usage: mount_contract <empty folder> <dataset> <other dataset>");
    };
    let folder = PathBuf::from(folder);
    let (binds, zfs) = (folder.join("binds"), folder.join("zfs"));
    fs::create_dir(&binds)?;
    fs::create_dir(&zfs)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mount = LinuxMount::new();
    runtime.block_on(async {
        run_binds(&mount, &Disk, &binds).await?;
        run_zfs(&mount, &Disk, &zfs, [dataset, other, "no-such-pool/dataset"]).await?;
        in_use(&mount, &zfs, dataset).await?;
        let table = mount.list().await?;
        ensure!(table.below(&folder).count() == 0, "something is left mounted");
        println!("the contract holds");
        Ok(())
    })
}
