//! What something else than Dotmesh destroyed is told, once, and nothing is made anew because of it.

use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_operator::nodes::NodeErrorKind;
use serde_json::json;

use crate::world::{World, key, message, reason};

/// Dot `shop` with Commit `c1` and, from it, Branch `try`.
async fn with_commit_and_branch() -> World {
    let world = World::with_shop().await;
    world.put_commit("c1");
    world.settle().await;
    world.put("Branch", "try", "{dot: shop, name: try, from: c1}");
    world.settle().await;
    assert_eq!(reason!(world.branch("try")), "Ready");
    world
}

fn commit_id(world: &World, name: &str) -> String {
    world.commit(name).status.unwrap().id.unwrap()
}

fn head_of(world: &World, name: &str) -> String {
    world.branch(name).status.unwrap().head.unwrap()
}

#[tokio::test]
async fn a_look_that_finds_all_concerns_nobody() {
    let world = with_commit_and_branch().await;
    let wake = world.look_for_losses().await.unwrap();
    assert_eq!(wake, Default::default());
    assert_eq!(world.nodes.take_calls(), ["FindMissing"]);
    assert!(world.settle().await.is_empty());
}

#[tokio::test]
async fn a_commit_whose_snapshots_are_gone_says_so_until_they_are_back() {
    let world = with_commit_and_branch().await;
    let before = world.commit("c1").status.unwrap();
    let volume = before.volumes.iter().find(|volume| volume.name == "db").unwrap();
    world.nodes.destroy(&commit_id(&world, "c1"), Some(&volume.id));

    let wake = world.look_for_losses().await.unwrap();
    assert_eq!(
        (wake.commits, wake.branches, wake.dots),
        (vec![key("c1")], vec![], vec![])
    );
    assert_eq!(world.settle().await, ["apply_status Commit"]);
    let commit = world.commit("c1");
    assert_eq!(reason!(commit.clone()), "DataLost");
    let message = message!(commit.clone());
    assert!(
        message.contains("\"db\"") && !message.contains("\"cache\"") && message.contains("delete this Commit"),
        "{message}"
    );
    let events = world.api.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains("DataLost"), "{events:?}");
    let mut kept = commit.status.unwrap();
    kept.conditions.clone_from(&before.conditions);
    assert_eq!(kept, before, "nothing that was recorded is lost");

    // Looking again, and forgetting what was seen, change nothing.
    world.look_for_losses().await.unwrap();
    assert!(world.settle().await.is_empty());
    world.restart();
    assert!(world.settle().await.is_empty());
    world.look_for_losses().await.unwrap();
    assert!(world.settle().await.is_empty());
    assert_eq!(world.api.events().len(), 1);
    assert_eq!(reason!(world.branch("try")), "Ready", "it has its own data");

    world.nodes.bring_back();
    assert_eq!(reason!(world.commit("c1")), "DataLost", "until it is looked for");
    let wake = world.look_for_losses().await.unwrap();
    assert_eq!(wake.commits, [key("c1")]);
    assert_eq!(world.settle().await, ["apply_status Commit"]);
    assert_eq!(reason!(world.commit("c1")), "Ready");
    assert_eq!(world.look_for_losses().await.unwrap(), Default::default());
}

#[tokio::test]
async fn no_branch_begins_at_a_lost_commit_nor_silently_at_the_one_before() {
    let world = with_commit_and_branch().await;
    world.put_commit("c2");
    world.settle().await;
    world.nodes.destroy(&commit_id(&world, "c2"), None);
    world.look_for_losses().await.unwrap();
    world.settle().await;
    for (name, from) in [("by-name", "c2"), ("by-head", "HEAD"), ("by-branch", "main")] {
        world.put("Branch", name, &format!("{{dot: shop, name: {name}, from: '{from}'}}"));
        world.settle().await;
        let branch = world.branch(name);
        assert_eq!(reason!(branch.clone()), "DataLost");
        assert!(
            message!(branch.clone()).contains("Commit \"c2\""),
            "{}",
            message!(branch)
        );
        assert_eq!(world.branch(name).status.unwrap().head, None);
    }
    world.put("Branch", "before", "{dot: shop, name: before, from: HEAD~1}");
    world.settle().await;
    assert_eq!(world.branch("before").status.unwrap().origin.unwrap().commit_name, "c1");
    assert_eq!(reason!(world.branch("before")), "Ready");
    // Without it the branch's HEAD is the commit before.
    world.delete::<Commit>("c2").await;
    world.settle().await;
    assert_eq!(
        world.branch("by-head").status.unwrap().origin.unwrap().commit_name,
        "c1"
    );
}

#[tokio::test]
async fn what_is_lost_can_be_deleted() {
    let world = with_commit_and_branch().await;
    world.nodes.destroy(&commit_id(&world, "c1"), None);
    world.nodes.destroy(&head_of(&world, "try"), None);
    world.look_for_losses().await.unwrap();
    world.settle().await;
    assert_eq!(reason!(world.commit("c1")), "DataLost");
    assert_eq!(reason!(world.branch("try")), "DataLost");
    world.delete::<Commit>("c1").await;
    world.delete::<Branch>("try").await;
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key("c1")));
    assert!(!world.api.exists::<Branch>(&key("try")));
}

#[tokio::test]
async fn a_branch_whose_volumes_are_gone_says_so_and_nothing_is_made_anew() {
    let world = with_commit_and_branch().await;
    let head = head_of(&world, "try");
    world.nodes.destroy(&head, None);
    let wake = world.look_for_losses().await.unwrap();
    assert_eq!(
        (wake.branches, wake.commits, wake.dots),
        (vec![key("try")], vec![], vec![])
    );
    assert_eq!(world.settle().await, ["apply_status Branch"]);
    let branch = world.branch("try");
    assert_eq!(reason!(branch.clone()), "DataLost");
    let message = message!(branch);
    assert!(message.contains("\"cache\", \"db\""), "{message}");
    let made = world.nodes.made();
    world
        .set_volumes("shop", json!([{ "name": "db", "size": "10Gi" }, { "name": "cache", "size": "1Gi" }, { "name": "more", "size": "1Gi" }]))
        .await;
    world.restart();
    world.settle().await;
    assert_eq!(world.nodes.made(), made);
    assert_eq!(reason!(world.branch("try")), "DataLost");
    world.nodes.bring_back();
    world.look_for_losses().await.unwrap();
    world.settle().await;
    assert_eq!(reason!(world.branch("try")), "Ready");
}

/// Before anybody looked: what the Dot gets anew is not added beside volumes that are gone, and those are not made
/// again under their names.
#[tokio::test]
async fn a_loss_that_nobody_has_noticed_yet_is_not_hidden_by_empty_volumes() {
    let world = with_commit_and_branch().await;
    let before = world.branch("try").status.unwrap().volumes;
    let db = before.iter().find(|volume| volume.name == "db").unwrap();
    world.nodes.destroy(&head_of(&world, "try"), Some(&db.id));
    world
        .set_volumes("shop", json!([{ "name": "db", "size": "10Gi" }, { "name": "cache", "size": "1Gi" }, { "name": "more", "size": "1Gi" }]))
        .await;
    world.settle().await;
    assert_eq!(reason!(world.branch("try")), "DataMissing");
    assert_eq!(world.branch("try").status.unwrap().volumes, before);
    world.look_for_losses().await.unwrap();
    world.settle().await;
    assert_eq!(reason!(world.branch("try")), "DataLost");
}

#[tokio::test]
async fn a_dot_whose_dataset_is_gone_says_so_with_all_that_was_in_it() {
    let world = with_commit_and_branch().await;
    let made = world.nodes.made();
    world
        .nodes
        .destroy(world.dot("shop").status.unwrap().id.as_deref().unwrap(), None);
    let wake = world.look_for_losses().await.unwrap();
    assert_eq!(wake.dots, [key("shop")]);
    assert_eq!((wake.branches.len(), wake.commits.len()), (2, 2));
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "DataLost");
    assert_eq!(reason!(world.branch("shop-main")), "DataLost");
    assert_eq!(reason!(world.commit("shop-initial")), "DataLost");
    // Neither a claim nor a commit makes anything.
    world.claim("shop", 2, "cache", None).await;
    world.put_commit("late");
    world.settle().await;
    world.restart();
    world.settle().await;
    assert_eq!(world.nodes.made(), made);
    assert_eq!(reason!(world.dot("shop")), "DataLost");
    for claim in [1, 2] {
        world.unclaim("shop", claim).await;
    }
    world.delete::<Dot>("shop").await;
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("shop")));
}

#[tokio::test]
async fn a_look_that_fails_tells_nothing() {
    let world = with_commit_and_branch().await;
    world.nodes.destroy(&commit_id(&world, "c1"), None);
    world.nodes.fail_call(0, NodeErrorKind::PoolMissing, false);
    assert!(world.look_for_losses().await.is_err());
    assert!(world.settle().await.is_empty());
    world.look_for_losses().await.unwrap();
    world.settle().await;
    assert_eq!(reason!(world.commit("c1")), "DataLost");
    // Nor does it take back what was told.
    world.nodes.bring_back();
    world.nodes.fail_call(0, NodeErrorKind::PoolSuspended, false);
    assert!(world.look_for_losses().await.is_err());
    assert!(world.settle().await.is_empty());
}

/// The look finds missing what was deleted, because caches do not know that yet.
#[tokio::test]
async fn what_is_deleted_is_not_lost() {
    let world = with_commit_and_branch().await;
    let (commit, head) = (commit_id(&world, "c1"), head_of(&world, "try"));
    world.api.freeze_caches();
    world.delete::<Commit>("c1").await;
    world.delete::<Branch>("try").await;
    world.nodes.destroy(&commit, None);
    world.nodes.destroy(&head, None);
    let wake = world.look_for_losses().await.unwrap();
    assert_eq!((wake.commits, wake.branches), (vec![key("c1")], vec![key("try")]));
    world.round().await;
    assert!(world.api.events().is_empty(), "{:?}", world.api.events());
    assert!(!world.api.exists::<Commit>(&key("c1")) && !world.api.exists::<Branch>(&key("try")));
}

/// The Dot's tombstone covers what is in it, which is not asked to go itself yet.
#[tokio::test]
async fn what_goes_with_its_dot_is_not_lost() {
    let world = with_commit_and_branch().await;
    world.api.freeze_caches();
    world.delete::<Dot>("shop").await;
    world
        .nodes
        .destroy(world.dot("shop").status.unwrap().id.as_deref().unwrap(), None);
    let wake = world.look_for_losses().await.unwrap();
    assert_eq!((wake.commits.len(), wake.branches.len(), wake.dots.len()), (2, 2, 1));
    world.round().await;
    assert_eq!(reason!(world.commit("c1")), "Ready");
    assert_ne!(reason!(world.branch("try")), "DataLost");
    assert_ne!(reason!(world.dot("shop")), "DataLost");
    assert!(
        !world.api.events().iter().any(|event| event.contains("DataLost")),
        "{:?}",
        world.api.events()
    );
}
