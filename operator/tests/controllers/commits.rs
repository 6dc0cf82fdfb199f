//! Commits: once, in two writes, whatever happens.

use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_operator::nodes::NodeErrorKind;

use crate::world::{World, key, message, reason};

#[tokio::test]
async fn a_commit_takes_two_writes_and_one_call() {
    let world = World::with_shop().await;
    world.put_commit("c1");
    world.nodes.take_calls();
    world.round().await;
    assert_eq!(world.nodes.take_calls(), ["Commit"]);
    assert_eq!(world.api.take_writes(), ["patch Commit", "apply_status Commit"]);
    let status = world.commit("c1").status.unwrap();
    assert_eq!(status.branch.as_deref(), Some("main"));
    assert_eq!(status.parent, world.commit("shop-initial").status.unwrap().id);
    assert_eq!(status.node.as_deref(), Some("n1"));
    assert_eq!(
        status
            .volumes
            .iter()
            .map(|volume| volume.name.as_str())
            .collect::<Vec<_>>(),
        ["cache", "db"]
    );
    assert_eq!(status.time.as_deref(), Some("2026-01-01T00:00:00Z"));
    assert!(world.settle().await.is_empty());
    assert!(world.api.events().is_empty(), "{:?}", world.api.events());
}

#[tokio::test]
async fn a_ready_commit_survives_stale_caches() {
    let world = World::with_shop().await;
    world.put_commit("c1");
    world.api.freeze_caches();
    world.round().await;
    let ready = world.commit("c1");
    assert_eq!(reason!(ready.clone()), "Ready");
    world.api.take_writes();
    world.nodes.take_calls();
    world.round().await;
    world.restart();
    world.round().await;
    assert_eq!(world.commit("c1").metadata, ready.metadata, "not written to");
    assert!(!world.nodes.take_calls().contains(&"Commit".to_owned()));
    world.api.thaw_caches();
    world.api.take_writes();
    assert_eq!(world.settle().await, Vec::<String>::new());
}

/// The Dot goes away while the cache does not know yet that the commit is Ready: its record is not taken back.
#[tokio::test]
async fn a_stale_commit_never_overwrites_a_ready_one() {
    let world = World::with_shop().await;
    world.put_commit("c1");
    world.api.freeze_caches();
    world.round().await;
    let ready = world.commit("c1").status;
    world.api.thaw_caches();
    let stale = {
        let mut commit = world.commit("c1");
        commit.status = None;
        commit
    };
    world.delete::<Dot>("shop").await;
    world.reconcile_commit(stale).await;
    assert_eq!(world.commit("c1").status, ready);
}

#[tokio::test]
async fn what_is_missing_is_named_once_and_waited_for() {
    let world = World::new().await;
    world.put_commit("c1");
    world.settle().await;
    assert_eq!(reason!(world.commit("c1")), "DotNotFound");
    assert!(message!(world.commit("c1")).contains("\"shop\""));
    world.settle().await;
    assert_eq!(world.api.events().len(), 1, "{:?}", world.api.events());

    world.put("Dot", "shop", "{}");
    world.settle().await;
    assert_eq!(reason!(world.commit("c1")), "NoVolumes");

    world
        .set_volumes("shop", serde_json::json!([{"name": "db", "size": "1Gi"}]))
        .await;
    world.settle().await;
    assert_eq!(reason!(world.commit("c1")), "WaitingForFirstPod");

    world.claim("shop", 1, "db", None).await;
    world.settle().await;
    assert_eq!(reason!(world.commit("c1")), "Ready");
}

#[tokio::test]
async fn bad_commits_touch_nothing() {
    let world = World::with_shop().await;
    let before = world.nodes.contents();
    world.put("Commit", "no-branch", "{dot: shop, branch: nope}");
    world.put("Commit", "bad-branch", "{dot: shop, branch: \"a..b\"}");
    world.settle().await;
    assert_eq!(reason!(world.commit("no-branch")), "BranchNotFound");
    assert_eq!(reason!(world.commit("bad-branch")), "Invalid");
    assert_eq!(world.nodes.contents(), before);
    world.delete::<Commit>("no-branch").await;
    assert!(
        !world.api.exists::<Commit>(&key("no-branch")),
        "nothing holds a commit that never was"
    );
}

#[tokio::test]
async fn a_commit_of_a_deleted_branch_is_refused() {
    let world = World::with_shop().await;
    world.delete::<Branch>("shop-main").await;
    world.put_commit("c1");
    world.settle().await;
    assert_eq!(reason!(world.commit("c1")), "Deleting");
    assert_eq!(reason!(world.branch("shop-main")), "InUse");
    assert!(message!(world.branch("shop-main")).contains("dev/claim-1"));
}

#[tokio::test]
async fn failures_of_the_node_are_conditions_and_are_tried_again() {
    let world = World::with_shop().await;
    for (kind, expected) in [
        (NodeErrorKind::OutOfSpace, "OutOfSpace"),
        (NodeErrorKind::PoolMissing, "PoolUnavailable"),
        (NodeErrorKind::PoolSuspended, "PoolUnavailable"),
        (NodeErrorKind::Unreachable, "NodeUnreachable"),
        (NodeErrorKind::Internal, "Error"),
    ] {
        let name = format!("c-{}", expected.to_lowercase());
        world.put_commit(&name);
        world.nodes.fail_call(0, kind, true);
        world.round().await;
        assert_eq!(reason!(world.commit(&name)), expected);
        world.settle().await;
        assert_eq!(reason!(world.commit(&name)), "Ready");
        world.delete::<Commit>(&name).await;
        world.settle().await;
    }
    assert!(
        world.nodes.made().values().all(|times| *times == 1),
        "{:?}",
        world.nodes.made()
    );
}

#[tokio::test]
async fn deletion_of_a_commit_waits_for_its_node() {
    let world = World::with_shop().await;
    world.put_commit("c1");
    world.settle().await;
    world.delete::<Commit>("c1").await;
    world.nodes.set_reachable("n1", false);
    world.settle().await;
    let status = world.commit("c1").status.unwrap();
    assert_eq!(crate::world::why(&status.conditions).0, "NodeUnreachable");
    assert_eq!(status.volumes.len(), 2, "the record stays as long as the data");
    world.nodes.set_reachable("n1", true);
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key("c1")));
}
