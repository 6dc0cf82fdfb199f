//! Dots: placement, default branch, initial commit, claims.

use dotmesh_crds::dot::DotVolumeStatus;
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_model::format::VolumeFormat;
use dotmesh_operator::nodes::NodeErrorKind;

use crate::world::{World, claim_uid, key, message, reason};

#[tokio::test]
async fn a_dot_without_a_pod_has_a_branch_and_no_data() {
    let world = World::new().await;
    world.put_shop();
    let writes = world.settle().await;
    let of_dot: Vec<&String> = writes.iter().filter(|write| write.ends_with("Dot")).collect();
    assert_eq!(of_dot, ["patch Dot", "apply_status Dot"]);
    let status = world.dot("shop").status.unwrap();
    assert_eq!(status.checkout.as_deref(), Some("main"));
    assert_eq!(status.volumes.len(), 2);
    assert_eq!(reason!(world.dot("shop")), "WaitingForFirstPod");
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
    assert!(world.api.events().is_empty());
}

#[tokio::test]
async fn the_first_pod_places_it_and_everything_follows() {
    let world = World::with_shop().await;
    let dot = world.dot("shop");
    let status = dot.status.clone().unwrap();
    assert_eq!(reason!(dot), "Ready");
    assert_eq!(status.node.as_deref(), Some("n1"));
    assert_eq!(status.pool.as_deref(), Some("n1"));
    assert_eq!(status.initial_commit.as_deref(), Some("shop-initial"));
    assert_eq!(status.attachments, [claim_uid(1)]);
    assert_eq!(
        world.commit("shop-initial").spec.message.as_deref(),
        Some("Initial commit")
    );
    let made = world.nodes.made();
    assert_eq!(made.len(), 5, "pool, dot, head, commit, claim: {made:?}");
    assert!(made.values().all(|times| *times == 1), "{made:?}");
}

#[tokio::test]
async fn attachments_wait_for_the_initial_commit() {
    let world = World::new().await;
    world.put_shop();
    world.settle().await;
    world.claim("shop", 1, "db", None).await;
    while !world.api.exists::<Commit>(&key("shop-initial")) {
        world.round().await;
        assert_eq!(world.dot("shop").status.unwrap().attachments, Vec::<String>::new());
    }
    world.settle().await;
    assert_eq!(world.dot("shop").status.unwrap().attachments, [claim_uid(1)]);
}

#[tokio::test]
async fn what_was_made_once_and_deleted_is_not_made_again() {
    let world = World::with_shop().await;
    world.delete::<Commit>("shop-initial").await;
    world.settle().await;
    assert!(!world.api.exists::<Commit>(&key("shop-initial")));
    world.unclaim("shop", 1).await;
    world.delete::<Branch>("shop-main").await;
    world.settle().await;
    assert!(!world.api.exists::<Branch>(&key("shop-main")));
    assert_eq!(reason!(world.dot("shop")), "BranchNotFound");
}

#[tokio::test]
async fn an_open_dot_takes_its_volumes_from_claims() {
    let world = World::new().await;
    world.put("Dot", "open", "{}");
    world.settle().await;
    world.claim("open", 1, "a", None).await;
    world.settle().await;
    world.claim("open", 2, "b", None).await;
    world.settle().await;
    let status = world.dot("open").status.unwrap();
    assert_eq!(
        status
            .volumes
            .iter()
            .map(|volume| volume.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(status.attachments.len(), 2);
    world.unclaim("open", 1).await;
    world.settle().await;
    let status = world.dot("open").status.unwrap();
    assert_eq!(status.volumes.len(), 2, "a volume outlives its claim");
    assert_eq!(status.attachments, [claim_uid(2)]);
    assert_eq!(reason!(world.dot("open")), "Ready");
}

#[tokio::test]
async fn a_volume_larger_than_the_pool_is_refused_before_anything_is_made() {
    let world = World::new().await;
    world.put("Dot", "huge", "{volumes: [{name: db, size: 1Ti}]}");
    world.settle().await;
    world.claim("huge", 1, "db", None).await;
    world.settle().await;
    assert_eq!(reason!(world.dot("huge")), "OutOfSpace");
    assert!(message!(world.dot("huge")).contains("1Ti"));
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn a_volume_is_made_of_its_format_and_stays_that() {
    let world = World::new().await;
    world.put("Dot", "small", "{volumes: [{name: db, size: 16Mi, fsType: xfs}]}");
    world.put(
        "Dot",
        "mixed",
        "{volumes: [{name: db, size: 1Gi, fsType: xfs}, {name: raw, size: 1Gi, volumeMode: Block}]}",
    );
    world.settle().await;
    assert_eq!(reason!(world.dot("small")), "Invalid");
    assert!(message!(world.dot("small")).contains("at least 300Mi"));
    world.claim("mixed", 1, "db", None).await;
    world.settle().await;
    assert_eq!(reason!(world.dot("mixed")), "Ready");
    let words: Vec<VolumeFormat> = world
        .dot("mixed")
        .status
        .unwrap()
        .volumes
        .iter()
        .map(DotVolumeStatus::format)
        .collect();
    assert_eq!(words, [VolumeFormat::Xfs, VolumeFormat::Block]);
    // The server cannot know it: taken off the list, and put on it again as something else.
    let raw = serde_json::json!({"name": "raw", "size": "1Gi", "volumeMode": "Block"});
    world.set_volumes("mixed", serde_json::json!([raw])).await;
    world.settle().await;
    assert_eq!(reason!(world.dot("mixed")), "Ready");
    let other = serde_json::json!([raw, {"name": "db", "size": "1Gi"}]);
    world.set_volumes("mixed", other).await;
    world.settle().await;
    assert_eq!(reason!(world.dot("mixed")), "Invalid");
    assert!(message!(world.dot("mixed")).contains("an xfs filesystem"));
}

#[tokio::test]
async fn a_stranger_with_the_default_branchs_name_is_not_taken_for_it() {
    let world = World::new().await;
    world.put("Branch", "shop-main", "{dot: shop, name: other, from: \"\"}");
    world.put_shop();
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Conflict");
    world.delete::<Branch>("shop-main").await;
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "WaitingForFirstPod");
}

#[tokio::test]
async fn an_unplaced_dot_waits_for_its_pool() {
    let world = World::new().await;
    world.put_shop();
    world.settle().await;
    world.nodes.fail_call(0, NodeErrorKind::PoolSuspended, false);
    world.claim("shop", 1, "db", None).await;
    world.round().await;
    assert_eq!(reason!(world.dot("shop")), "PoolUnavailable");
    assert_eq!(
        world.dot("shop").status.unwrap().node.as_deref(),
        Some("n1"),
        "recorded before the first call"
    );
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
}

#[tokio::test]
async fn a_dot_in_use_stays_and_takes_nothing_new() {
    let world = World::with_shop().await;
    let before = world.nodes.contents();
    world.delete::<Dot>("shop").await;
    world.put_commit("late");
    world.put("Branch", "late", "{dot: shop, name: late, from: HEAD}");
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "InUse");
    assert!(message!(world.dot("shop")).contains("dev/claim-1"));
    assert_eq!(reason!(world.commit("late")), "Deleting");
    assert_eq!(reason!(world.branch("late")), "Deleting");
    assert_eq!(world.nodes.contents(), before);
    world.unclaim("shop", 1).await;
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("shop")));
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}
