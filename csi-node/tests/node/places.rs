//! Pools on block devices, and pools that somebody else made.

use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_csi_proto::node::{EnsurePoolRequest, PoolDevices, PoolExisting, Reason};
use uuid::Uuid;

use crate::machine::{Dot, Machine, reason, run, until};

/// A disk: a loop device over a file, for as long as this lives.
struct Disk(String);

impl Disk {
    fn new(machine: &Machine, name: &str) -> Self {
        let file = machine.folder.join(name).to_string_lossy().into_owned();
        run(&["truncate", "-s", "2G", &file]);
        Self(run(&["losetup", "--find", "--show", "--partscan", &file]))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup")
            .args(["--detach", &self.0])
            .status();
    }
}

fn on(machine: &Machine, disks: &[&Disk]) -> EnsurePoolRequest {
    EnsurePoolRequest {
        source: Some(Source::Devices(PoolDevices {
            paths: disks.iter().map(|disk| disk.0.clone()).collect(),
        })),
        ..machine.pool_request()
    }
}

/// The pool is there again, by itself.
async fn is_back(machine: &Machine, guid: u64) {
    let list = || {
        let words = ["list", "-H", "-o", "guid", &machine.pool];
        std::process::Command::new("zpool").args(words).output().unwrap().stdout
    };
    until("the pool comes back", async || {
        String::from_utf8_lossy(&list()).trim() == guid.to_string()
    })
    .await;
}

#[tokio::test]
async fn a_pool_on_devices_is_made_once_and_imported_by_itself_after_a_restart() {
    let mut machine = Machine::new().await;
    let disks = ["one", "two"].map(|name| Disk::new(&machine, name));
    let request = on(&machine, &[&disks[0], &disks[1]]);
    let mut node = machine.node().await;
    let made = node.ensure_pool(request.clone()).await.unwrap().into_inner();
    assert!(made.created);
    let pool = made.pool.unwrap();
    assert!(pool.size_bytes > 3 << 30, "both are used: {pool:?}");
    assert_eq!(pool.file_bytes, 0);
    let dot = Dot::on(&machine);
    node.ensure_dot(dot.ensure()).await.unwrap();
    node.ensure_branch(dot.branch(dot.main)).await.unwrap();
    machine.kill();
    run(&["zpool", "export", &machine.pool]);
    machine.start().await;
    is_back(&machine, pool.guid).await;
    let mut node = machine.node().await;
    let again = node.ensure_pool(request).await.unwrap().into_inner();
    assert!(!again.created);
    node.commit(dot.commit(Uuid::new_v4(), dot.main)).await.unwrap();
    run(&["zpool", "destroy", &machine.pool]);
}

#[tokio::test]
async fn devices_that_carry_something_are_refused_and_left_as_they_are() {
    let machine = Machine::new().await;
    let mut node = machine.node().await;
    let (filesystem, table, theirs) = (
        Disk::new(&machine, "filesystem"),
        Disk::new(&machine, "table"),
        Disk::new(&machine, "theirs"),
    );
    run(&["mkfs.ext4", "-q", &filesystem.0]);
    let mut sector = vec![0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(machine.folder.join("sector"), sector).unwrap();
    let from = format!("if={}", machine.folder.join("sector").display());
    run(&[
        "dd",
        &from,
        &format!("of={}", table.0),
        "conv=notrunc,fsync",
        "status=none",
    ]);
    let other = format!("{}-theirs", machine.pool);
    run(&[
        "zpool",
        "create",
        "-m",
        "none",
        "-o",
        "cachefile=none",
        &other,
        &theirs.0,
    ]);

    for (disk, wanted) in [
        (&filesystem, Reason::Conflict),
        (&table, Reason::Conflict),
        (&theirs, Reason::Conflict),
    ] {
        let refused = node.ensure_pool(on(&machine, &[disk])).await.unwrap_err();
        assert_eq!(reason(&refused), wanted, "{refused:?}");
    }
    run(&["zpool", "export", &other]);
    let refused = node.ensure_pool(on(&machine, &[&theirs])).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::PoolForeign, "{refused:?}");
    let no_device = EnsurePoolRequest {
        source: Some(Source::Devices(PoolDevices {
            paths: vec!["/dev/null".into()],
        })),
        ..machine.pool_request()
    };
    let refused = node.ensure_pool(no_device).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::Invalid, "{refused:?}");

    run(&["fsck.ext4", "-n", "-f", &filesystem.0]);
    run(&["zpool", "import", "-d", "/dev", &other]);
    run(&["zpool", "destroy", &other]);
    // Nothing of that keeps the node from a pool elsewhere.
    assert!(
        node.ensure_pool(machine.pool_request())
            .await
            .unwrap()
            .into_inner()
            .created
    );
}

#[tokio::test]
async fn in_an_existing_pool_the_root_dataset_alone_is_ours() {
    let mut machine = Machine::new().await;
    let disk = Disk::new(&machine, "disk");
    let request = EnsurePoolRequest {
        source: Some(Source::Existing(PoolExisting {})),
        ..machine.pool_request()
    };
    let mut node = machine.node().await;
    let refused = node.ensure_pool(request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::PoolMissing, "{refused:?}");

    run(&["zpool", "create", "-m", "none", &machine.pool, &disk.0]);
    let theirs = format!("{}/theirs", machine.pool);
    run(&["zfs", "create", &theirs]);
    let root = format!("{}/dotmesh", machine.pool);
    run(&["zfs", "create", &root]);
    let refused = node.ensure_pool(request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::Conflict, "{refused:?}");
    assert_eq!(machine.property(&root, "quota"), "0");
    run(&["zfs", "destroy", &root]);

    let first = node.ensure_pool(request.clone()).await.unwrap().into_inner();
    assert!(!first.created);
    let guid = first.pool.unwrap().guid;
    assert_eq!(machine.names(), [machine.pool.clone(), root, theirs.clone()]);
    for name in [&machine.pool, &theirs] {
        let ours = run(&["zfs", "get", "-H", "-s", "local", "-o", "property", "all", name]);
        let expected = if *name == theirs { "" } else { "mountpoint" };
        assert_eq!(ours, expected, "{name}");
    }
    let dot = Dot::on(&machine);
    node.ensure_dot(dot.ensure()).await.unwrap();
    node.ensure_branch(dot.branch(dot.main)).await.unwrap();
    machine.kill();
    run(&["zpool", "export", &machine.pool]);
    machine.start().await;
    is_back(&machine, guid).await;
    let mut node = machine.node().await;
    node.ensure_pool(request).await.unwrap();
    node.commit(dot.commit(Uuid::new_v4(), dot.main)).await.unwrap();
    run(&["zpool", "destroy", &machine.pool]);
}
