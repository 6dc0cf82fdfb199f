//! Deleted data stays for a while, and is destroyed by nothing but its Remnant's end.

use dotmesh_crds::remnant::RemnantKind;
use dotmesh_crds::{Commit, Dot, Pool, Remnant};
use dotmesh_csi_proto::node::PoolState;
use dotmesh_operator::api::{Api, Guard, Key};
use dotmesh_operator::nodes::NodeErrorKind;
use serde_json::json;

use crate::world::{World, key, message, reason};

const HOUR: u64 = 3600;

/// Dot `shop` with Commit `c1`, which no claim uses any more, and deleted data stays for an hour.
async fn with_grace() -> World {
    let world = World::with_shop().await;
    world.set_grace(HOUR);
    world.put_commit("c1");
    world.settle().await;
    world.unclaim("shop", 1).await;
    world.settle().await;
    world
}

fn remnant(world: &World) -> Remnant {
    let [remnant] = world.remnants().try_into().expect("one Remnant");
    remnant
}

async fn patch(world: &World, name: &str, spec: serde_json::Value) {
    let patch = json!({ "spec": spec });
    let (key, any) = (Key::cluster(name), Guard::default());
    world.api.patch::<Remnant>(&key, &any, patch).await.unwrap();
}

async fn delete_remnant(world: &World, name: &str) {
    let (key, any) = (Key::cluster(name), Guard::default());
    world.api.delete::<Remnant>(&key, &any).await.unwrap();
}

#[tokio::test]
async fn a_deleted_dot_leaves_a_remnant_that_tells_what_it_was_and_destroys_nothing() {
    let world = with_grace().await;
    let (dot, before) = (world.dot("shop"), world.nodes.contents());
    let id = dot.status.clone().unwrap().id.unwrap();
    world.delete::<Dot>("shop").await;
    world.settle().await;

    assert!(!world.api.exists::<Dot>(&key("shop")));
    assert!(!world.api.exists::<Commit>(&key("c1")));
    assert_eq!(world.nodes.contents(), before);
    let remnant = remnant(&world);
    assert_eq!(remnant.metadata.name, Some(RemnantKind::Dot.remnant(&id)));
    assert_eq!(reason!(remnant.clone()), "Ready");
    let spec = remnant.spec;
    assert_eq!((spec.name.as_str(), spec.namespace.name.as_str()), ("shop", "dev"));
    assert_eq!(Some(spec.uid), dot.metadata.uid);
    assert!(!spec.namespace.uid.is_empty());
    assert_eq!(
        (spec.id.as_str(), spec.dot.as_str(), spec.node.as_str()),
        (id.as_str(), id.as_str(), "n1")
    );
    assert_eq!(spec.volumes, dot.status.unwrap().volumes);
    assert_eq!(spec.expires_at.as_deref(), Some("2026-01-01T01:00:00Z"));
}

#[tokio::test]
async fn an_expired_remnant_goes_with_its_data_and_not_a_second_before() {
    let world = with_grace().await;
    world.delete::<Dot>("shop").await;
    world.settle().await;
    world.pass(3599);
    assert!(world.settle().await.is_empty());
    assert_eq!(world.remnants().len(), 1);
    world.pass(1);
    world.settle().await;
    assert_eq!(world.remnants(), Vec::<Remnant>::new());
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn people_say_until_when() {
    let world = with_grace().await;
    world.delete::<Dot>("shop").await;
    world.settle().await;
    let name = remnant(&world).metadata.name.unwrap();
    patch(&world, &name, json!({ "expiresAt": null })).await;
    world.pass(1_000_000_000);
    world.settle().await;
    assert_eq!(world.remnants().len(), 1);
    patch(&world, &name, json!({ "expiresAt": "2026-01-01T00:00:01Z" })).await;
    world.settle().await;
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn a_deleted_remnant_goes_with_its_data_when_its_node_is_there() {
    let world = with_grace().await;
    world.delete::<Dot>("shop").await;
    world.settle().await;
    let name = remnant(&world).metadata.name.unwrap();
    let before = world.nodes.contents();
    world.nodes.set_reachable("n1", false);
    delete_remnant(&world, &name).await;
    world.round().await;
    assert_eq!(reason!(remnant(&world)), "NodeUnreachable");
    assert_eq!(world.nodes.contents(), before);
    world.nodes.set_reachable("n1", true);
    world.settle().await;
    assert_eq!(world.remnants(), Vec::<Remnant>::new());
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn a_dot_goes_without_its_node_and_waits_for_its_claims() {
    let world = World::with_shop().await;
    world.set_grace(HOUR);
    world.delete::<Dot>("shop").await;
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "InUse");
    assert!(world.remnants().is_empty());
    world.unclaim("shop", 1).await;
    world.nodes.set_reachable("n1", false);
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("shop")));
    assert_eq!(world.remnants().len(), 1);
}

#[tokio::test]
async fn retained_data_stays_without_a_grace_period_too() {
    let world = World::with_shop().await;
    let policy = json!({ "spec": { "deletionPolicy": "Retain" } });
    let any = Guard::default();
    world.api.patch::<Dot>(&key("shop"), &any, policy).await.unwrap();
    world.unclaim("shop", 1).await;
    world.delete::<Dot>("shop").await;
    world.settle().await;
    assert_eq!(remnant(&world).spec.expires_at, None);
    world.pass(1_000_000_000);
    world.settle().await;
    assert_eq!(world.remnants().len(), 1);
}

#[tokio::test]
async fn a_dot_that_was_never_placed_leaves_nothing() {
    let world = World::new().await;
    world.set_grace(HOUR);
    world.put_shop();
    world.settle().await;
    world.delete::<Dot>("shop").await;
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("shop")));
    assert!(world.remnants().is_empty());
}

#[tokio::test]
async fn a_pool_with_remnants_stays() {
    let world = with_grace().await;
    world.delete::<Dot>("shop").await;
    world.settle().await;
    world.delete_pool().await;
    world.settle().await;
    let why = message!(world.pool());
    assert!(why.contains("Remnant dot-"), "{why}");
    world.pass(3600);
    world.settle().await;
    // csi-node still runs there: a new one is made.
    assert!(world.remnants().is_empty());
    assert_eq!(reason!(world.api.must_get::<Pool>(&Key::cluster("n1"))), "Ready");
}

#[tokio::test]
async fn when_space_is_short_the_oldest_goes_first_and_those_for_ever_stay() {
    let world = with_grace().await;
    world.put("Dot", "other", "{volumes: [{name: x, size: 1Gi}]}");
    world.put(
        "Dot",
        "kept",
        "{deletionPolicy: Retain, volumes: [{name: x, size: 1Gi}]}",
    );
    world.settle().await;
    for (number, name) in [(7, "other"), (8, "kept")] {
        world.claim(name, number, "x", None).await;
        world.settle().await;
        world.unclaim(name, number).await;
        world.settle().await;
    }
    world.delete::<Dot>("kept").await;
    world.settle().await;
    world.delete::<Dot>("shop").await;
    world.settle().await;
    world.pass(10);
    world.delete::<Dot>("other").await;
    world.settle().await;
    assert_eq!(world.remnants().len(), 3);

    let full = PoolState {
        allocated_bytes: 19 << 30,
        ..world.memory().memory.pool("n1", "dotmesh").unwrap()
    };
    let squeeze = || world.memory().memory.set_pool("n1", full.clone());
    squeeze();
    world.settle().await;
    let left = |world: &World| {
        let mut names: Vec<String> = world.remnants().into_iter().map(|one| one.spec.name).collect();
        names.sort();
        names
    };
    assert_eq!(left(&world), ["kept", "other"]);
    let events = world.api.events().join("\n");
    assert!(
        events.contains("SpaceNeeded") && events.contains("dev/shop"),
        "{events}"
    );
    world.pass(60);
    squeeze();
    world.settle().await;
    world.pass(3600);
    squeeze();
    world.settle().await;
    assert_eq!(left(&world), ["kept"]);
}

#[tokio::test]
async fn a_remnant_made_by_hand_of_a_living_dot_destroys_nothing() {
    let world = with_grace().await;
    let before = world.nodes.contents();
    let id = world.dot("shop").status.unwrap().id.unwrap();
    let name = RemnantKind::Dot.remnant(&id);
    world.api.put(&format!(
        "apiVersion: dotmesh.io/v1alpha1\nkind: Remnant\nmetadata: {{name: {name}}}\nspec: {{kind: Dot, id: {id}, dot: {id}, \
         name: x, uid: u, namespace: {{name: dev, uid: u}}, node: n1, deletedAt: '2026-01-01T00:00:00Z', \
         expiresAt: '2020-01-01T00:00:00Z'}}"
    ));
    world.settle().await;
    assert_eq!(reason!(remnant(&world)), "Conflict");
    delete_remnant(&world, &name).await;
    world.settle().await;
    assert!(world.remnants().is_empty());
    assert_eq!(world.nodes.contents(), before);
}

#[tokio::test]
async fn a_namespace_goes_in_any_order_and_leaves_all_that_its_dots_had() {
    let world = with_grace().await;
    let before = world.nodes.contents();
    world.go_namespace("dev");
    world.delete::<Commit>("c1").await;
    world.delete::<dotmesh_crds::Branch>("shop-main").await;
    world.settle().await;
    assert_eq!(reason!(world.commit("c1")), "Deleting");
    world.delete::<Dot>("shop").await;
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("shop")));
    assert!(!world.api.exists::<Commit>(&key("c1")));
    assert_eq!(world.nodes.contents(), before);
    assert_eq!(world.remnants().len(), 1);
}

/// Every call and every write of leaving and of the end fails once, before or after its effect.
#[tokio::test]
async fn whatever_fails_the_end_is_the_same() {
    for after in [false, true] {
        for skip in 0..12 {
            for call in [false, true] {
                let world = with_grace().await;
                let before = world.nodes.contents();
                match call {
                    true => world.nodes.fail_call(skip, NodeErrorKind::Unreachable, after),
                    false => world.api.fail_write(skip, after),
                }
                world.delete::<Dot>("shop").await;
                world.settle_restarting().await;
                assert!(!world.api.exists::<Dot>(&key("shop")));
                assert_eq!(world.remnants().len(), 1, "{skip} {after} {call}");
                assert_eq!(world.nodes.contents(), before);
                world.pass(3600);
                world.settle_restarting().await;
                assert!(world.remnants().is_empty());
                assert_eq!(world.nodes.contents(), Vec::<String>::new());
            }
        }
    }
}
