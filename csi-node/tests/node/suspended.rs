//! A pool whose disk answers nothing but errors: what is asked about it ends in time, and another pool of the same
//! node does not wait for it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_csi_proto::node::{DeleteCommitRequest, EnsurePoolRequest, PoolExisting, WatchRequest};
use uuid::Uuid;

use crate::machine::{Dot, Machine, PATIENCE, run, until};
use crate::pools::place;
use crate::targets::mounts;

/// The longest that an operation takes (`dotmesh_csi_node::ops::DEADLINE`), and a little for the way.
const DEADLINE: Duration = Duration::from_secs(95);

/// A pool that somebody made, on a disk that can break.
struct Second {
    name: String,
    disk: String,
    /// In sectors of 512 bytes.
    size: u64,
}

impl Second {
    fn of(machine: &Machine) -> Self {
        let name = format!("{}-bad", machine.pool);
        let file = machine.folder.join("bad.img").to_string_lossy().into_owned();
        run(&["truncate", "-s", "2G", &file]);
        let disk = run(&["losetup", "--find", "--show", &file]);
        let second = Self {
            name,
            disk,
            size: 4 << 20,
        };
        run(&["dmsetup", "create", &second.name, "--table", &second.table("linear")]);
        let device = format!("/dev/mapper/{}", second.name);
        run(&[
            "zpool",
            "create",
            "-m",
            "none",
            "-o",
            "cachefile=none",
            &second.name,
            &device,
        ]);
        second
    }

    fn request(&self) -> EnsurePoolRequest {
        EnsurePoolRequest {
            name: self.name.clone(),
            known_guid: 0,
            source: Some(Source::Existing(PoolExisting {})),
            newest: None,
        }
    }

    fn table(&self, target: &str) -> String {
        match target {
            "linear" => format!("0 {} linear {} 0", self.size, self.disk),
            _ => format!("0 {} {target}", self.size),
        }
    }

    /// From now on each read and write of the disk fails, or is done again.
    fn become_of(&self, target: &str) {
        run(&["dmsetup", "suspend", "--noflush", "--nolockfs", &self.name]);
        run(&["dmsetup", "load", &self.name, "--table", &self.table(target)]);
        run(&["dmsetup", "resume", &self.name]);
    }

    fn breaks(&self) {
        self.become_of("error");
    }

    fn is_mended(&self) {
        self.become_of("linear");
        run(&["zpool", "clear", &self.name]);
    }

    fn health(&self) -> String {
        run(&["zpool", "list", "-H", "-o", "health", &self.name])
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // What still waits for the pool must go on, or nothing here ends.
        let table = self.table("linear");
        for words in [
            &["dmsetup", "load", &self.name, "--table", &table][..],
            &["dmsetup", "resume", &self.name],
            &["zpool", "clear", &self.name],
            &["zpool", "destroy", "-f", &self.name],
            &["dmsetup", "remove", &self.name],
            &["losetup", "--detach", &self.disk],
        ] {
            let _ = Command::new(words[0]).args(&words[1..]).output();
        }
    }
}

#[tokio::test]
async fn a_suspended_pool_ends_every_call_in_time_and_holds_up_no_other() {
    let machine = Machine::with_pool().await;
    let second = Second::of(&machine);
    let mut node = machine.node().await;
    node.ensure_pool(second.request()).await.unwrap();
    let (good, bad) = (Dot::on(&machine), Dot::in_pool(&second.name));
    let (of_good, of_bad) = (Uuid::new_v4(), Uuid::new_v4());
    place(&machine, &good, of_good).await;
    place(&machine, &bad, of_bad).await;
    let before = mounts(&machine.folder);
    let (good_handle, bad_handle) = (good.handle("db", of_good), bad.handle("db", of_bad));
    let [target, other, bad_target, bad_other] = ["good", "other", "bad", "bad-other"].map(|name| machine.target(name));
    machine.publish(good_handle, &target).await.unwrap();
    machine.publish(bad_handle, &bad_target).await.unwrap();
    machine.publish(bad_handle, &bad_other).await.unwrap();
    fs::write(target.join("word"), "good").unwrap();
    fs::write(bad_target.join("word"), "bad").unwrap();
    run(&["zpool", "sync", &second.name]);

    second.breaks();
    fs::write(bad_target.join("later"), "written before it was known").unwrap();
    until("the pool is suspended", async || second.health() == "SUSPENDED").await;

    // Everything about the bad pool at once, and meanwhile the work of the good one.
    let began = Instant::now();
    let commit = Uuid::new_v4();
    let mut of_pool = machine.node().await;
    let bad_calls = async {
        let take = async { of_pool.commit(bad.commit(commit, bad.main)).await.map(drop) };
        let unpublish = async {
            let first = machine.unpublish(bad_handle, &bad_target).await;
            (first, machine.unpublish(bad_handle, &bad_other).await)
        };
        let (taken, unpublished) = futures::join!(take, unpublish);
        (taken, unpublished, began.elapsed())
    };
    let good_calls = async {
        let mut longest = Duration::ZERO;
        for _ in 0..10 {
            let began = Instant::now();
            machine.publish(good_handle, &other).await.unwrap();
            node.commit(good.commit(Uuid::new_v4(), good.main)).await.unwrap();
            machine.unpublish(good_handle, &other).await.unwrap();
            longest = longest.max(began.elapsed());
        }
        longest
    };
    let ((taken, unpublished, took), longest) = futures::join!(bad_calls, good_calls);
    println!("commit: {taken:?}, unpublish: {unpublished:?}, in {took:?}; the other pool's longest round: {longest:?}");
    assert!(took < DEADLINE * 2, "{took:?}");
    assert!(longest < Duration::from_secs(30), "{longest:?}");
    assert!(taken.is_err(), "nothing is acknowledged that is not durable");
    unpublished.0.unwrap();
    unpublished.1.unwrap();
    assert!(!bad_target.exists() && !bad_other.exists());
    let mut events = node.watch(WatchRequest {}).await.unwrap().into_inner();
    until("both pools are told of", async || {
        let event = tokio::time::timeout(PATIENCE, events.message()).await;
        let pools = event.expect("the pools are told of").unwrap().unwrap().pools;
        let health = |name: &str| {
            pools
                .iter()
                .find(|pool| pool.name == name)
                .map(|pool| pool.health.as_str())
        };
        health(&machine.pool) == Some("ONLINE") && health(&second.name) == Some("SUSPENDED")
    })
    .await;
    assert_eq!(second.health(), "SUSPENDED", "all the time");

    // Its disk answers again: what was asked for can be asked for again, and nothing is lost.
    second.is_mended();
    until("the pool is well", async || second.health() == "ONLINE").await;
    until("the commit is taken", async || {
        node.commit(bad.commit(commit, bad.main)).await.is_ok()
    })
    .await;
    let suffix = format!("@{commit}");
    let names = run(&["zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", &second.name]);
    assert_eq!(
        names.lines().filter(|name| name.ends_with(&suffix)).count(),
        3,
        "{names}"
    );
    machine.publish(bad_handle, &bad_target).await.unwrap();
    assert_eq!(fs::read_to_string(bad_target.join("word")).unwrap(), "bad");
    assert_eq!(
        fs::read_to_string(bad_target.join("later")).unwrap(),
        "written before it was known"
    );
    machine.unpublish(bad_handle, &bad_target).await.unwrap();
    let delete = DeleteCommitRequest {
        dot_id: bad.id.to_string(),
        commit_id: commit.to_string(),
        head_id: bad.main.to_string(),
        pool_guid: bad.pool,
    };
    node.delete_commit(delete).await.unwrap();
    assert_eq!(fs::read_to_string(target.join("word")).unwrap(), "good");
    machine.unpublish(good_handle, &target).await.unwrap();
    assert_eq!(mounts(&machine.folder), before);
}
