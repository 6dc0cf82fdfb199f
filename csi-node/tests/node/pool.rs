//! Pools: made once, imported ever after, never confused with another.

use std::os::unix::fs::MetadataExt;

use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_csi_proto::node::{EnsurePoolRequest, NewestCommit, PoolFile, Reason, WatchRequest};
use uuid::Uuid;

use crate::machine::{Dot, Machine, POOL_SIZE, reason, run, until};

#[tokio::test]
async fn a_pool_is_made_once_and_imported_by_itself_after_a_restart() {
    let mut machine = Machine::with_pool().await;
    let mut node = machine.node().await;
    let again = node.ensure_pool(machine.pool_request()).await.unwrap().into_inner();
    assert!(!again.created);
    let state = again.pool.unwrap();
    assert_eq!(
        (state.health.as_str(), state.name.as_str()),
        ("ONLINE", machine.pool.as_str())
    );
    assert!(state.available_bytes > 0 && state.available_bytes < POOL_SIZE - (256 << 20));
    assert_eq!(
        run(&["zpool", "get", "-Hp", "-o", "value", "guid", &machine.pool]),
        state.guid.to_string()
    );
    let root = format!("{}/dotmesh", machine.pool);
    for (property, wanted) in [
        ("mountpoint", "legacy"),
        ("snapdir", "disabled"),
        ("atime", "off"),
        ("acltype", "posix"),
    ] {
        assert_eq!(machine.property(&root, property), wanted);
    }
    assert_eq!(machine.property(&machine.pool, "mountpoint"), "none");

    machine.kill();
    run(&["zpool", "export", &machine.pool]);
    machine.start().await;
    let mut events = machine.node().await.watch(WatchRequest {}).await.unwrap().into_inner();
    loop {
        let event = tokio::time::timeout(crate::machine::PATIENCE, events.message()).await;
        let pools = event.expect("the pool comes back").unwrap().unwrap().pools;
        if pools
            .iter()
            .any(|pool| pool.guid == state.guid && pool.health == "ONLINE")
        {
            break;
        }
    }
    // Nothing is obeyed before the operator has asked for the pool.
    let dot = Dot::on(&machine);
    let mut node = machine.node().await;
    let refused = node.ensure_dot(dot.ensure()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::Busy, "{refused:?}");
    node.ensure_pool(machine.pool_request()).await.unwrap();
    // What is asked of it changes what is watched.
    node.ensure_dot(dot.ensure()).await.unwrap();
    node.ensure_branch(dot.branch(dot.main)).await.unwrap();
    let event = tokio::time::timeout(crate::machine::PATIENCE, events.message()).await;
    assert!(event.is_ok());
}

#[tokio::test]
async fn another_pool_under_our_name_is_left_alone_and_nothing_counts_as_absent() {
    let machine = Machine::with_pool().await;
    let mut node = machine.node().await;
    let dot = Dot::on(&machine);
    let wrong = EnsurePoolRequest {
        known_guid: 4711,
        ..machine.pool_request()
    };
    assert_eq!(reason(&node.ensure_pool(wrong).await.unwrap_err()), Reason::PoolForeign);
    run(&["zpool", "export", &machine.pool]);
    let other = machine.folder.join("other.img");
    run(&["truncate", "-s", "200M", &other.to_string_lossy()]);
    run(&[
        "zpool",
        "create",
        "-m",
        "none",
        "-o",
        "cachefile=none",
        &machine.pool,
        &other.to_string_lossy(),
    ]);
    let refused = node.ensure_pool(machine.pool_request()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::PoolForeign, "{refused:?}");
    assert_eq!(
        machine.names(),
        std::slice::from_ref(&machine.pool),
        "nothing was made in it"
    );
    let delete = dotmesh_csi_proto::node::DeleteDotRequest {
        dot_id: dot.id.to_string(),
        pool_guid: dot.pool,
    };
    let refused = reason(&node.delete_dot(delete).await.unwrap_err());
    assert!(
        matches!(refused, Reason::PoolForeign | Reason::PoolMissing),
        "{refused:?}"
    );
    run(&["zpool", "destroy", &machine.pool]);
    let back = node.ensure_pool(machine.pool_request()).await.unwrap().into_inner();
    assert!(!back.created);
}

#[tokio::test]
async fn a_pool_that_was_rewound_is_told_and_left_as_it_is() {
    let machine = Machine::with_pool().await;
    let mut node = machine.node().await;
    let dot = Dot::on(&machine);
    node.ensure_dot(dot.ensure()).await.unwrap();
    node.ensure_branch(dot.branch(dot.main)).await.unwrap();
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let kept = node.commit(dot.commit(one, dot.main)).await.unwrap().into_inner();
    run(&["zpool", "checkpoint", &machine.pool]);
    let lost = node.commit(dot.commit(two, dot.main)).await.unwrap().into_inner();
    run(&["zpool", "export", &machine.pool]);
    run(&[
        "zpool",
        "import",
        "-d",
        &machine.folder.to_string_lossy(),
        "--rewind-to-checkpoint",
        &machine.pool,
    ]);
    let before = machine.names();
    let newest = |commit: Uuid, createtxg| EnsurePoolRequest {
        newest: Some(NewestCommit {
            dot_id: dot.id.to_string(),
            head_id: dot.commit(commit, dot.main).head_id,
            commit_id: commit.to_string(),
            createtxg,
            object: "dev/commit".to_owned(),
        }),
        ..machine.pool_request()
    };
    let refused = node.ensure_pool(newest(two, lost.createtxg)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::Rewound, "{refused:?}");
    let refused = node.commit(dot.commit(two, dot.main)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::Rewound, "{refused:?}");
    assert_eq!(machine.names(), before);
    // Its operator gives up what is missing.
    node.ensure_pool(newest(one, kept.createtxg)).await.unwrap();
    node.commit(dot.commit(two, dot.main)).await.unwrap();
}

#[tokio::test]
async fn a_pool_whose_file_is_gone_is_missing_and_never_made_anew() {
    let machine = Machine::with_pool().await;
    run(&["zpool", "export", &machine.pool]);
    let away = machine.folder.join("away.img");
    std::fs::rename(machine.pool_file(), &away).unwrap();
    let mut node = machine.node().await;
    for _ in 0..2 {
        let refused = node.ensure_pool(machine.pool_request()).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::PoolMissing, "{refused:?}");
        assert!(!machine.pool_file().exists());
    }
    // A file in its place that is no pool.
    std::fs::write(machine.pool_file(), vec![0; 1 << 20]).unwrap();
    let refused = node.ensure_pool(machine.pool_request()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::PoolMissing, "{refused:?}");
    std::fs::rename(&away, machine.pool_file()).unwrap();
    assert!(
        !node
            .ensure_pool(machine.pool_request())
            .await
            .unwrap()
            .into_inner()
            .created
    );
}

#[tokio::test]
async fn a_disk_without_room_is_told_and_left_as_it_was() {
    let machine = Machine::new().await;
    // A small file system of its own.
    let disk = machine.folder.join("disk");
    std::fs::create_dir(&disk).unwrap();
    run(&[
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=64m",
        "tmpfs",
        &disk.to_string_lossy(),
    ]);
    let path = disk.join("pool.img");
    let request = EnsurePoolRequest {
        source: Some(Source::File(PoolFile {
            path: path.to_string_lossy().into_owned(),
            size_bytes: POOL_SIZE,
        })),
        ..machine.pool_request()
    };
    let mut node = machine.node().await;
    let refused = node.ensure_pool(request).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::OutOfSpace, "{refused:?}");
    assert!(!path.exists());
    // The same node then takes a pool where there is room.
    assert!(
        node.ensure_pool(machine.pool_request())
            .await
            .unwrap()
            .into_inner()
            .created
    );
}

/// As [`Machine::pool_request`], with a larger file.
fn larger(machine: &Machine, size_bytes: u64) -> EnsurePoolRequest {
    EnsurePoolRequest {
        source: Some(Source::File(PoolFile {
            path: machine.pool_file().to_string_lossy().into_owned(),
            size_bytes,
        })),
        ..machine.pool_request()
    }
}

fn pool_size(machine: &Machine) -> u64 {
    let text = run(&["zpool", "get", "-Hp", "-o", "value", "size", &machine.pool]);
    text.parse().unwrap()
}

fn quota(machine: &Machine) -> u64 {
    let text = machine.property(&format!("{}/dotmesh", machine.pool), "quota");
    text.parse().unwrap()
}

#[tokio::test]
async fn a_pool_grows_with_its_file_also_when_killed_meanwhile() {
    let mut machine = Machine::with_pool().await;
    let mut node = machine.node().await;
    let dot = Dot::on(&machine);
    node.ensure_dot(dot.ensure()).await.unwrap();
    node.ensure_branch(dot.branch(dot.main)).await.unwrap();
    let (size, limit, names) = (pool_size(&machine), quota(&machine), machine.names());

    let refused = node.ensure_pool(larger(&machine, 1 << 60)).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::OutOfSpace, "{refused:?}");
    assert_eq!(std::fs::metadata(machine.pool_file()).unwrap().len(), POOL_SIZE);

    let wanted = POOL_SIZE + (512 << 20);
    for delay in [20, 120, 400] {
        let mut node = machine.node().await;
        let request = larger(&machine, wanted);
        let asked = tokio::spawn(async move { node.ensure_pool(request).await.map(drop) });
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        machine.kill();
        let _ = asked.await;
        machine.start().await;
    }
    let mut node = machine.node().await;
    let state = node.ensure_pool(larger(&machine, wanted)).await.unwrap().into_inner();
    assert!(!state.created);
    assert_eq!(state.pool.unwrap().file_bytes, wanted);
    let file = std::fs::metadata(machine.pool_file()).unwrap();
    assert_eq!(file.len(), wanted);
    assert!(file.blocks() * 512 >= wanted, "all of it is allocated");
    until("the pool is larger", async || pool_size(&machine) > size + (400 << 20)).await;
    until("its quota follows", async || quota(&machine) > limit + (300 << 20)).await;
    assert!(quota(&machine) < pool_size(&machine) - (256 << 20));
    assert_eq!(machine.names(), names);
    // The same over another import, also for who asks for less.
    let before = quota(&machine);
    run(&["zpool", "export", &machine.pool]);
    let again = node.ensure_pool(machine.pool_request()).await.unwrap().into_inner();
    assert_eq!(again.pool.unwrap().file_bytes, wanted);
    assert_eq!(quota(&machine), before);
    node.commit(dot.commit(Uuid::new_v4(), dot.main)).await.unwrap();
}

#[tokio::test]
async fn killed_while_making_the_pool_there_is_one_pool_in_the_end() {
    let mut machine = Machine::new().await;
    for delay in [20, 120, 400] {
        let mut node = machine.node().await;
        let request = machine.pool_request();
        let asked = tokio::spawn(async move { node.ensure_pool(request).await.map(drop) });
        tokio::time::sleep(std::time::Duration::from_millis(delay)).await;
        machine.kill();
        let _ = asked.await;
        machine.start().await;
    }
    let state = machine
        .node()
        .await
        .ensure_pool(machine.pool_request())
        .await
        .unwrap()
        .into_inner();
    let guid = run(&["zpool", "get", "-Hp", "-o", "value", "guid", &machine.pool]);
    assert_eq!(state.pool.unwrap().guid.to_string(), guid);
    until("the root dataset is there", async || machine.names().len() == 2).await;
}
