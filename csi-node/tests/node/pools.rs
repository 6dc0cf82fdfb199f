//! Two pools on one node: each by itself, whatever becomes of the other.

use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_csi_proto::node::{AttachRequest, DeleteDotRequest, EnsurePoolRequest, PoolFile, Reason, WatchRequest};
use uuid::Uuid;

use crate::machine::{Dot, Machine, PATIENCE, POOL_SIZE, reason, run, until};

/// A second pool, which goes with the test.
struct Second {
    name: String,
    request: EnsurePoolRequest,
}

impl Second {
    fn of(machine: &Machine) -> Self {
        let name = format!("{}-fast", machine.pool);
        let path = machine.folder.join("fast.img").to_string_lossy().into_owned();
        let request = EnsurePoolRequest {
            name: name.clone(),
            known_guid: 0,
            source: Some(Source::File(PoolFile {
                path,
                size_bytes: POOL_SIZE,
            })),
            newest: None,
        };
        Self { name, request }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let words = ["destroy", "-f", &self.name];
        let _ = std::process::Command::new("zpool").args(words).output();
    }
}

/// A Dot with a pod's claim on its volume `db`.
pub(crate) async fn place(machine: &Machine, dot: &Dot, claim: Uuid) {
    let mut node = machine.node().await;
    node.ensure_dot(dot.ensure()).await.unwrap();
    node.ensure_branch(dot.branch(dot.main)).await.unwrap();
    let attach = AttachRequest {
        dot_id: dot.id.to_string(),
        claim_uid: claim.to_string(),
        volume_id: dot.volume("db").to_string(),
        branch_id: String::new(),
        pool_guid: dot.pool,
    };
    node.attach(attach).await.unwrap();
}

#[tokio::test]
async fn two_pools_serve_and_one_of_them_goes_and_comes_back() {
    let mut machine = Machine::with_pool().await;
    let second = Second::of(&machine);
    let mut node = machine.node().await;
    assert!(
        node.ensure_pool(second.request.clone())
            .await
            .unwrap()
            .into_inner()
            .created
    );
    let claims = [Uuid::new_v4(), Uuid::new_v4()];
    let dots = [Dot::on(&machine), Dot::in_pool(&second.name)];
    for ((dot, claim), name) in dots.iter().zip(claims).zip(["slow", "fast"]) {
        place(&machine, dot, claim).await;
        machine
            .publish(dot.handle("db", claim), &machine.target(name))
            .await
            .unwrap();
        std::fs::write(machine.target(name).join("word"), name).unwrap();
        let mounted = run(&["findmnt", "-n", "-o", "SOURCE", &machine.target(name).to_string_lossy()]);
        let pool = if name == "fast" { &second.name } else { &machine.pool };
        assert!(mounted.starts_with(&format!("{pool}/dotmesh/{}", dot.id)), "{mounted}");
        node.commit(dot.commit(Uuid::new_v4(), dot.main)).await.unwrap();
    }
    // The same file, or the other pool's GUID, is not for this one.
    let same = EnsurePoolRequest {
        name: format!("{}-other", machine.pool),
        ..second.request.clone()
    };
    assert_eq!(reason(&node.ensure_pool(same).await.unwrap_err()), Reason::Conflict);
    let elsewhere = DeleteDotRequest {
        dot_id: dots[0].id.to_string(),
        pool_guid: dots[1].pool,
    };
    assert!(node.delete_dot(elsewhere).await.unwrap().into_inner().collected);
    node.commit(dots[0].commit(Uuid::new_v4(), dots[0].main)).await.unwrap();

    // The second pool is away after a restart: the first one serves, of the other nothing is concluded.
    for ((dot, claim), name) in dots.iter().zip(claims).zip(["slow", "fast"]) {
        machine
            .unpublish(dot.handle("db", claim), &machine.target(name))
            .await
            .unwrap();
    }
    machine.kill();
    run(&["zpool", "export", &second.name]);
    let file = machine.folder.join("fast.img");
    std::fs::rename(&file, machine.folder.join("away")).unwrap();
    machine.start().await;
    let mut node = machine.node().await;
    node.ensure_pool(machine.pool_request()).await.unwrap();
    let [slow, fast] = ["slow", "fast"].map(|name| machine.target(name));
    machine.publish(dots[0].handle("db", claims[0]), &slow).await.unwrap();
    assert_eq!(std::fs::read_to_string(slow.join("word")).unwrap(), "slow");
    let refused = machine
        .publish(dots[1].handle("db", claims[1]), &fast)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
    let delete = DeleteDotRequest {
        dot_id: dots[1].id.to_string(),
        pool_guid: dots[1].pool,
    };
    assert_eq!(reason(&node.delete_dot(delete).await.unwrap_err()), Reason::PoolMissing);
    node.commit(dots[0].commit(Uuid::new_v4(), dots[0].main)).await.unwrap();

    // It comes back, is imported without being asked for, and has what it had.
    std::fs::rename(machine.folder.join("away"), &file).unwrap();
    let mut events = node.watch(WatchRequest {}).await.unwrap().into_inner();
    until("both pools are there", async || {
        let event = tokio::time::timeout(PATIENCE, events.message()).await;
        let pools = event.expect("the pools are told of").unwrap().unwrap().pools;
        pools.len() == 2 && pools.iter().all(|pool| pool.health == "ONLINE")
    })
    .await;
    machine.publish(dots[1].handle("db", claims[1]), &fast).await.unwrap();
    assert_eq!(std::fs::read_to_string(fast.join("word")).unwrap(), "fast");
    node.ensure_pool(second.request.clone()).await.unwrap();
    node.commit(dots[1].commit(Uuid::new_v4(), dots[1].main)).await.unwrap();
    for ((dot, claim), name) in dots.iter().zip(claims).zip(["slow", "fast"]) {
        machine
            .unpublish(dot.handle("db", claim), &machine.target(name))
            .await
            .unwrap();
    }
}
