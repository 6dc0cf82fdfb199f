//! The main job: two volumes, a commit of both, a branch from it, and everything deleted in shuffled orders.

use dotmesh_csi_proto::node::{
    AttachRequest, DeleteBranchRequest, DeleteCommitRequest, DeleteDotRequest, DetachRequest, Reason,
};
use uuid::Uuid;

use crate::machine::{Dot, Machine, SIZE, guids, reason, run};

/// What is deleted in some order.
#[derive(Debug, Clone, Copy)]
enum Part {
    Main,
    Commit,
    Fork,
    ForksCommit,
    Dot,
}

const PARTS: [Part; 5] = [Part::Main, Part::Commit, Part::Fork, Part::ForksCommit, Part::Dot];

/// A small generator, so that a failing order can be named: xorshift64.
fn shuffled(seed: &mut u64) -> Vec<Part> {
    let mut parts = PARTS.to_vec();
    for last in (1..parts.len()).rev() {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        let other = usize::try_from(*seed % (last as u64 + 1)).unwrap();
        parts.swap(last, other);
    }
    parts
}

struct Ids {
    commit: Uuid,
    fork: Uuid,
    forks_commit: Uuid,
    claims: [Uuid; 3],
}

fn attach(dot: &Dot, volume: &str, claim: Uuid, branch: Option<Uuid>) -> AttachRequest {
    AttachRequest {
        dot_id: dot.id.to_string(),
        claim_uid: claim.to_string(),
        volume_id: dot.volume(volume).to_string(),
        branch_id: branch.map_or_else(String::new, |branch| branch.to_string()),
        pool_guid: dot.pool,
    }
}

/// Two pods write, a commit is taken, they go on; a branch of the commit shows what was then.
async fn tell(machine: &Machine, dot: &Dot) -> Ids {
    let mut node = machine.node().await;
    let ids = Ids {
        commit: Uuid::new_v4(),
        fork: Uuid::new_v4(),
        forks_commit: Uuid::new_v4(),
        claims: [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()],
    };
    node.ensure_dot(dot.ensure()).await.unwrap();
    let made = node.ensure_branch(dot.branch(dot.main)).await.unwrap().into_inner();
    let again = node.ensure_branch(dot.branch(dot.main)).await.unwrap().into_inner();
    assert_eq!(made, again);
    for (volume, claim) in ["db", "cache"].into_iter().zip(ids.claims) {
        node.attach(attach(dot, volume, claim, None)).await.unwrap();
        machine
            .publish(dot.handle(volume, claim), &machine.target(volume))
            .await
            .unwrap();
        std::fs::write(machine.target(volume).join("state"), format!("{volume}: then")).unwrap();
    }
    let db = dot.dataset(machine, dot.main, "db");
    assert_eq!(machine.property(&db, "refquota"), SIZE.to_string());
    assert_eq!(
        run(&["findmnt", "-n", "-o", "SOURCE", &machine.target("db").to_string_lossy()]),
        db
    );

    let taken = node
        .commit(dot.commit(ids.commit, dot.main))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(taken.parent_commit_id, "");
    for (volume, guid) in guids(&taken) {
        let snapshot = format!("{}/{volume}@{}", dot.dataset(machine, dot.main, ""), ids.commit);
        assert_eq!(machine.property(&snapshot, "guid"), guid.to_string());
        assert_eq!(
            machine.property(&snapshot, "createtxg"),
            taken.createtxg.to_string(),
            "one transaction"
        );
    }
    assert_eq!(taken.snapshots.len(), 2);
    let again = node
        .commit(dot.commit(ids.commit, dot.main))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(taken, again);
    for volume in ["db", "cache"] {
        std::fs::write(machine.target(volume).join("state"), "later").unwrap();
    }

    let fork = dot.fork(ids.fork, ids.commit, dot.main, &taken);
    let cloned = node.ensure_branch(fork.clone()).await.unwrap().into_inner();
    assert!(cloned.volumes.iter().all(|volume| volume.cloned));
    assert_eq!(node.ensure_branch(fork.clone()).await.unwrap().into_inner(), cloned);
    node.attach(attach(dot, "db", ids.claims[2], Some(ids.fork)))
        .await
        .unwrap();
    let handle = dot.handle("db", ids.claims[2]);
    machine.publish(handle, &machine.target("fork")).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(machine.target("fork/state")).unwrap(),
        "db: then"
    );
    assert_eq!(std::fs::read_to_string(machine.target("db/state")).unwrap(), "later");
    std::fs::write(machine.target("fork/state"), "on the fork").unwrap();
    assert_eq!(std::fs::read_to_string(machine.target("db/state")).unwrap(), "later");
    let on_fork = node
        .commit(dot.commit(ids.forks_commit, ids.fork))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(on_fork.parent_commit_id, ids.commit.to_string());

    let mut wrong = dot.fork(Uuid::new_v4(), ids.commit, dot.main, &taken);
    let origin = wrong.origin.as_mut().unwrap();
    origin.snapshot_guids.insert(dot.volume("db").to_string(), 4711);
    let refused = node.ensure_branch(wrong.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::Conflict);
    let half = DeleteBranchRequest {
        dot_id: dot.id.to_string(),
        branch_id: wrong.branch_id.clone(),
        head_ids: vec![wrong.head_id],
        pool_guid: dot.pool,
    };
    node.delete_branch(half).await.unwrap();
    ids
}

async fn delete(machine: &Machine, dot: &Dot, ids: &Ids, part: Part) {
    let mut node = machine.node().await;
    let (dot_id, pool_guid) = (dot.id.to_string(), dot.pool);
    let branch = |branch: Uuid| DeleteBranchRequest {
        dot_id: dot.id.to_string(),
        branch_id: branch.to_string(),
        head_ids: vec![branch.to_string()],
        pool_guid: dot.pool,
    };
    let commit = |commit: Uuid, head: Uuid| DeleteCommitRequest {
        dot_id: dot.id.to_string(),
        commit_id: commit.to_string(),
        head_id: head.to_string(),
        pool_guid: dot.pool,
    };
    let deleted = match part {
        Part::Main => node.delete_branch(branch(dot.main)).await,
        Part::Commit => node.delete_commit(commit(ids.commit, dot.main)).await,
        Part::Fork => node.delete_branch(branch(ids.fork)).await,
        Part::ForksCommit => node.delete_commit(commit(ids.forks_commit, ids.fork)).await,
        Part::Dot => node.delete_dot(DeleteDotRequest { dot_id, pool_guid }).await,
    };
    deleted.unwrap();
}

#[tokio::test]
async fn the_main_job_and_deletions_in_shuffled_orders() {
    let machine = Machine::with_pool().await;
    let seed = Uuid::new_v4().as_u64_pair().0 | 1;
    let mut state = seed;
    for round in 0..2 {
        let order = shuffled(&mut state);
        println!("seed {seed}, round {round}: {order:?}");
        let dot = Dot::on(&machine);
        let ids = tell(&machine, &dot).await;
        let handles = [("db", "db", 0), ("cache", "cache", 1), ("db", "fork", 2)];
        let mut node = machine.node().await;
        for (n, part) in order.into_iter().enumerate() {
            // The pods go between the deletions: what they use stays until then.
            if let Some((volume, target, claim)) = handles.get(n) {
                let handle = dot.handle(volume, ids.claims[*claim]);
                let before = std::fs::read_to_string(machine.target(target).join("state")).unwrap();
                delete(&machine, &dot, &ids, part).await;
                let after = std::fs::read_to_string(machine.target(target).join("state")).unwrap();
                assert_eq!(before, after, "a pod keeps its data");
                machine.unpublish(handle, &machine.target(target)).await.unwrap();
                machine.unpublish(handle, &machine.target(target)).await.unwrap();
                assert!(!machine.target(target).exists());
                let detach = DetachRequest {
                    dot_id: dot.id.to_string(),
                    claim_uid: ids.claims[*claim].to_string(),
                    pool_guid: dot.pool,
                };
                node.detach(detach).await.unwrap();
            } else {
                delete(&machine, &dot, &ids, part).await;
            }
        }
        for part in PARTS {
            delete(&machine, &dot, &ids, part).await;
        }
        machine.wait_empty().await;
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&dot.id.to_string()), "no mount is left");
    }
}

#[tokio::test]
async fn a_full_volume_is_its_own_pods_matter_and_bad_requests_touch_nothing() {
    let machine = Machine::with_pool().await;
    let mut node = machine.node().await;
    let dot = Dot::on(&machine);
    let nowhere = node.ensure_branch(dot.branch(dot.main)).await.unwrap_err();
    assert_eq!(reason(&nowhere), Reason::NotFound);
    node.ensure_dot(dot.ensure()).await.unwrap();
    for (size, wanted) in [(0, Reason::Invalid), (1 << 50, Reason::OutOfSpace)] {
        let mut request = dot.branch(dot.main);
        request.volumes[0].size_bytes = size;
        let refused = node.ensure_branch(request).await.unwrap_err();
        assert_eq!(reason(&refused), wanted);
    }
    for name in ["", "..", "-x", "a@b", "ü", "a..b"] {
        let mut request = dot.branch(dot.main);
        request.branch_name = name.into();
        let refused = node.ensure_branch(request).await.unwrap_err();
        assert_eq!(reason(&refused), Reason::Invalid, "{name:?}");
    }
    assert_eq!(machine.names().len(), 3, "the Dot alone: {:?}", machine.names());
    node.ensure_branch(dot.branch(dot.main)).await.unwrap();
    let no_volumes = dotmesh_csi_proto::node::CommitRequest {
        volume_ids: Vec::new(),
        ..dot.commit(Uuid::new_v4(), dot.main)
    };
    assert_eq!(reason(&node.commit(no_volumes).await.unwrap_err()), Reason::Invalid);

    let claims = [Uuid::new_v4(), Uuid::new_v4()];
    for (volume, claim) in ["db", "cache"].into_iter().zip(claims) {
        node.attach(attach(&dot, volume, claim, None)).await.unwrap();
        machine
            .publish(dot.handle(volume, claim), &machine.target(volume))
            .await
            .unwrap();
    }
    // Incompressible, or there would be room for it.
    let mut random = vec![0u8; 1 << 20];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut random).unwrap();
    let mut file = std::fs::File::create(machine.target("db/big")).unwrap();
    let filled = (0..(2 * SIZE) >> 20).try_for_each(|_| {
        std::io::Write::write_all(&mut file, &random)?;
        file.sync_all()
    });
    let error = filled.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::QuotaExceeded);
    std::fs::write(machine.target("cache/state"), "fine").unwrap();
    let busy = std::fs::write(machine.target("cache/big"), &random);
    assert!(busy.is_ok(), "the other volume is not concerned");
    node.commit(dot.commit(Uuid::new_v4(), dot.main)).await.unwrap();

    let target = machine.target("link");
    std::os::unix::fs::symlink("/etc", &target).unwrap();
    machine.publish(dot.handle("db", claims[0]), &target).await.unwrap_err();
    let full = machine.target("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("precious"), "data").unwrap();
    machine.publish(dot.handle("db", claims[0]), &full).await.unwrap_err();
    assert_eq!(std::fs::read_to_string(full.join("precious")).unwrap(), "data");
}
