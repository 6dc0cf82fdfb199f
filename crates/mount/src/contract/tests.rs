use std::fs;

use super::*;
use crate::{DeviceFs, FakeMount, FakeZvol, LinuxMount};

impl Surroundings for FakeMount {
    fn file(&self, path: &Path) {
        self.put_file(path);
    }

    fn link(&self, path: &Path) {
        self.put_link(path);
    }

    fn writable(&self, path: &Path) -> Option<bool> {
        Some(self.write(path).is_ok())
    }
}

struct Disk;

impl Surroundings for Disk {
    fn file(&self, path: &Path) {
        fs::write(path, "x").unwrap();
    }

    fn link(&self, path: &Path) {
        std::os::unix::fs::symlink("/tmp", path).unwrap();
    }

    fn writable(&self, path: &Path) -> Option<bool> {
        Some(fs::write(path, "x").is_ok())
    }
}

#[tokio::test]
async fn the_fake_keeps_the_contract() {
    let fake = FakeMount::new();
    let root = Path::new("/root");
    fake.make_dir(root).await.unwrap();
    run_binds(&fake, &fake, root).await.unwrap();
    fake.set_missing("p/missing", true);
    run_zfs(&fake, &fake, root, ["p/a", "p/b", "p/missing"]).await.unwrap();
    assert_eq!(fake.table().iter().count(), 0);
}

#[tokio::test]
async fn the_fake_keeps_the_contract_of_volumes() {
    let fake = FakeMount::new();
    let (root, nodes) = (Path::new("/root"), Path::new("/dev/nodes"));
    for folder in [root, nodes] {
        fake.make_dir(folder).await.unwrap();
    }
    let bytes = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeMap::new()));
    for (index, name) in ["p/blank", "p/e", "p/f", "p/x", "p/y"].into_iter().enumerate() {
        bytes.lock().unwrap().insert(name, (index as u64 + 1) << 30);
    }
    let told = std::sync::Arc::clone(&bytes);
    fake.watch_volumes(move |name| {
        let told = told.lock().unwrap();
        let (name, bytes) = told.get_key_value(name)?;
        Some(FakeZvol {
            identity: 1,
            bytes: *bytes,
            filesystem: match *name {
                "p/e" | "p/f" => Some("ext4"),
                "p/x" | "p/y" => Some("xfs"),
                _ => None,
            },
            is_blank: *name == "p/blank",
        })
    });
    let volumes = Volumes {
        blank: "p/blank",
        blank_bytes: 1 << 30,
        missing: "p/missing",
        filesystems: [(DeviceFs::Ext4, "p/e", "p/f"), (DeviceFs::Xfs, "p/x", "p/y")],
    };
    let grow = |name: &str| *bytes.lock().unwrap().get_mut(name).unwrap() *= 2;
    run_zvols(&fake, (root, nodes), &volumes, grow).await.unwrap();
    assert_eq!(fake.table().iter().count(), 0);
}

/// Needs root, and a mount namespace of its own: the test starts itself again in one.
#[test]
fn the_kernel_keeps_the_contract() {
    if std::env::var_os("MOUNT_CONTRACT_INSIDE").is_some() {
        let folder = tempfile::tempdir().unwrap();
        nix::mount::mount(
            Some("none"),
            folder.path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime
            .block_on(run_binds(&LinuxMount::new(), &Disk, folder.path()))
            .unwrap();
        nix::mount::umount(folder.path()).unwrap();
        return;
    }
    let allowed = std::process::Command::new("unshare").args(["-m", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must be able to make a mount namespace"
        );
        eprintln!("SKIPPED: the contract on the real kernel needs root");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let status = std::process::Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(this)
        .args([
            "--exact",
            "contract::tests::the_kernel_keeps_the_contract",
            "--nocapture",
        ])
        .env("MOUNT_CONTRACT_INSIDE", "1")
        .status()
        .unwrap();
    assert!(status.success());
}
