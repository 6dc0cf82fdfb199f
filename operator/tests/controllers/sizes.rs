//! Volumes grow on all branches, shrink never, and wait where there is no room.

use std::time::Duration;

use dotmesh_crds::{Branch, Dot};
use dotmesh_model::handle::Handle;
use dotmesh_operator::api::{Api, Guard, Key};
use dotmesh_operator::facade::expand::plan::Refusal;
use dotmesh_operator::facade::expand::{ExpandError, ExpandVolume, expand_volume};
use dotmesh_operator::pool::room::NoRoom;
use dotmesh_operator::wake::{Woken, wakes};
use serde_json::json;

use crate::world::{World, claim_uid, key, message, reason};

const GI: u64 = 1 << 30;

/// Sizes of a Branch's volumes, by name: as its status tells, after the node has them.
fn sizes(world: &World, branch: &str) -> Vec<(String, String)> {
    let status = world.branch(branch).status.unwrap();
    let there = world.nodes.sizes_of(status.head.as_deref().unwrap());
    for volume in &status.volumes {
        let told = dotmesh_model::size::parse_quantity(&volume.size).unwrap();
        assert_eq!(there.get(&volume.id), Some(&told), "{branch} {volume:?}");
    }
    let volumes = status.volumes.into_iter();
    volumes.map(|volume| (volume.name, volume.size)).collect()
}

fn pair(volume: &str, size: &str) -> (String, String) {
    (volume.to_owned(), size.to_owned())
}

async fn with_branch() -> World {
    let world = World::with_shop().await;
    world.put_commit("first");
    world.settle().await;
    world.put("Branch", "try", "{dot: shop, name: try, from: first}");
    world.settle().await;
    world
}

fn expand(world: &World, bytes: u64) -> ExpandVolume {
    let status = world.dot("shop").status.unwrap();
    let volume = status.volumes.iter().find(|volume| volume.name == "db").unwrap();
    ExpandVolume {
        handle: Handle {
            dot: status.id.unwrap().parse().unwrap(),
            volume: volume.id.parse().unwrap(),
            claim: claim_uid(1).parse().unwrap(),
        },
        size_bytes: bytes,
        limit_bytes: None,
    }
}

#[tokio::test]
async fn what_a_claim_or_the_spec_asks_for_comes_to_all_branches_and_stays() {
    let world = with_branch().await;
    let before = [pair("cache", "1Gi"), pair("db", "10Gi")];
    assert_eq!(sizes(&world, "shop-main"), before);
    world.resize("shop", 1, "12Gi").await;
    world.settle().await;
    let claimed = [pair("cache", "1Gi"), pair("db", "12Gi")];
    for branch in ["shop-main", "try"] {
        assert_eq!(sizes(&world, branch), claimed, "{branch}");
    }
    let more = json!([{"name": "db", "size": "11Gi"}, {"name": "cache", "size": "2Gi"}]);
    world.set_volumes("shop", more).await;
    world.settle().await;
    world.put("Branch", "late", "{dot: shop, name: late, from: first}");
    world.settle().await;
    world.unclaim("shop", 1).await;
    world.settle().await;
    let after = [pair("cache", "2Gi"), pair("db", "12Gi")];
    for branch in ["shop-main", "try", "late"] {
        assert_eq!(sizes(&world, branch), after, "{branch}");
    }
    assert_eq!(reason!(world.dot("shop")), "Ready");
}

#[tokio::test]
async fn a_spec_that_would_shrink_a_volume_is_refused() {
    let world = World::with_shop().await;
    let less = json!({"spec": {"volumes": [{"name": "db", "size": "9Gi"}, {"name": "cache", "size": "1Gi"}]}});
    let shop: Dot = world.dot("shop");
    let refused = world
        .api
        .patch::<Dot>(&key("shop"), &Guard::unchanged(&shop), less)
        .await;
    assert!(
        refused.as_ref().unwrap_err().message.contains("cannot shrink"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn below_the_watermark_nothing_grows_and_all_else_goes_on() {
    let world = with_branch().await;
    world.nodes.fill_pool("n1", 18 * GI + GI / 2);
    world.restart();
    world.settle().await;
    let more = json!([{"name": "db", "size": "15Gi"}, {"name": "cache", "size": "1Gi"}]);
    world.set_volumes("shop", more).await;
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "OutOfSpace");
    let why = message!(world.dot("shop"));
    assert!(
        why.contains("volume \"db\" of 10Gi cannot grow to 15Gi: less than a twentieth of Pool \"n1\""),
        "{why}"
    );
    world.claim("shop", 2, "cache", None).await;
    world.put("Branch", "other", "{dot: shop, name: other, from: first}");
    world.settle().await;
    assert!(world.dot("shop").status.unwrap().attachments.contains(&claim_uid(2)));
    assert_eq!(reason!(world.branch("other")), "Ready");
    assert_eq!(sizes(&world, "other"), [pair("cache", "1Gi"), pair("db", "10Gi")]);

    world.nodes.fill_pool("n1", 0);
    world.restart();
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    for branch in ["shop-main", "try", "other"] {
        assert_eq!(sizes(&world, branch)[1], pair("db", "15Gi"), "{branch}");
    }
}

#[tokio::test]
async fn a_dot_that_waits_for_room_is_looked_at_when_its_pool_changes() {
    let world = World::with_shop().await;
    world.resize("shop", 1, "100Gi").await;
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "OutOfSpace");
    assert_eq!(sizes(&world, "shop-main")[1], pair("db", "10Gi"));
    let wake = wakes(&world.api, Woken::Pool(&world.pool()));
    assert_eq!(wake.dots, [key("shop")]);
    // What was asked for in vain is taken back.
    world.resize("shop", 1, "11Gi").await;
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    assert_eq!(sizes(&world, "shop-main")[1], pair("db", "11Gi"));
}

/// A caller that asks, and the controllers beside it.
async fn asked(world: &World, request: &ExpandVolume) -> Result<u64, ExpandError> {
    let budget = Duration::from_secs(20);
    let call = expand_volume(&world.api, &world.api, request, budget);
    world.beside(call).await
}

#[tokio::test]
async fn a_caller_is_answered_when_the_claims_branch_has_the_size() {
    let world = with_branch().await;
    world.claim("shop", 1, "db", Some("try")).await;
    world.settle().await;
    assert_eq!(asked(&world, &expand(&world, 12 * GI)).await.unwrap(), 12 * GI);
    assert_eq!(sizes(&world, "try")[1], pair("db", "12Gi"));
    world.settle().await;
    assert_eq!(sizes(&world, "shop-main")[1], pair("db", "12Gi"));
    world.api.take_writes();
    for smaller in [GI, 12 * GI] {
        assert_eq!(asked(&world, &expand(&world, smaller)).await.unwrap(), 12 * GI);
    }
    assert_eq!(world.settle().await, [""; 0], "nothing was written for what is there");
}

#[tokio::test]
async fn a_caller_that_gives_up_has_left_its_wish_and_the_next_one_finds_it() {
    let world = with_branch().await;
    let short = Duration::from_millis(50);
    let late = expand_volume(&world.api, &world.api, &expand(&world, 12 * GI), short).await;
    assert!(matches!(late, Err(ExpandError::Deadline(_))), "{late:?}");
    world.settle().await;
    world.api.take_writes();
    let found = expand_volume(&world.api, &world.api, &expand(&world, 12 * GI), short).await;
    assert_eq!(found.unwrap(), 12 * GI);
    assert_eq!(world.api.take_writes(), [""; 0]);
}

#[tokio::test]
async fn a_node_that_is_away_and_a_pool_that_is_too_small_are_told_to_the_caller() {
    let world = with_branch().await;
    let request = expand(&world, 12 * GI);
    let too_much = expand_volume(&world.api, &world.api, &expand(&world, 21 * GI), Duration::from_secs(1)).await;
    let Err(ExpandError::Refused(Refusal::NoRoom { why, .. })) = too_much else {
        panic!("{too_much:?}");
    };
    assert!(matches!(why, NoRoom::LargerThanPool { .. }), "{why}");
    assert_eq!(
        world.dot("shop").status.unwrap().claims[0].size,
        "1Gi",
        "no wish is left"
    );

    world.nodes.set_reachable("n1", false);
    world.restart();
    world.round().await;
    let away = expand_volume(&world.api, &world.api, &request, Duration::from_secs(1)).await;
    assert!(
        matches!(
            &away,
            Err(ExpandError::Refused(Refusal::NoRoom {
                why: NoRoom::Unknown(_),
                ..
            }))
        ),
        "{away:?}"
    );
    world.nodes.set_reachable("n1", true);
    world.settle().await;
    assert_eq!(asked(&world, &request).await.unwrap(), 12 * GI);

    world
        .api
        .delete::<Branch>(&Key::namespaced("dev", "shop-main"), &Guard::default())
        .await
        .unwrap();
    let gone = expand_volume(&world.api, &world.api, &expand(&world, 13 * GI), Duration::from_secs(1)).await;
    assert!(
        matches!(gone, Err(ExpandError::Refused(Refusal::NoBranch(_)))),
        "{gone:?}"
    );
}
