//! Pools: one per class and node, known by its GUID.

use dotmesh_crds::{Dot, Pool};
use dotmesh_operator::api::{Api, ApiError, Guard, Key};
use dotmesh_operator::nodes::NodeErrorKind;
use serde_json::json;

use crate::world::{World, key, message, reason};

#[tokio::test]
async fn a_node_that_runs_csi_node_gets_a_pool() {
    let world = World::new().await;
    let pool = world.pool();
    assert_eq!(pool.spec.file.clone().unwrap().size, "20Gi");
    let status = pool.status.clone().unwrap();
    assert_eq!(reason!(pool), "Ready");
    assert_eq!(status.size.as_deref(), Some("20Gi"));
    assert_eq!(status.zfs_version.as_deref(), Some("2.3.9"));
    assert_eq!(
        (status.allocated.as_deref(), status.fragmentation),
        (Some("0"), Some(0))
    );
    assert!(status.guid.is_some());
}

#[tokio::test]
async fn a_foreign_pool_is_told_and_its_guid_is_not_taken_over() {
    let world = World::with_shop().await;
    let guid = world.pool().status.unwrap().guid;
    world.nodes.replace_pool("n1", 7);
    world.restart();
    world.settle().await;
    assert_eq!(reason!(world.pool()), "PoolForeign");
    assert_eq!(world.pool().status.unwrap().guid, guid);
    assert_eq!(
        world
            .api
            .events()
            .iter()
            .filter(|event| event.starts_with("PoolForeign"))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_a_condition() {
    let world = World::new().await;
    world.restart();
    world.nodes.fail_call(0, NodeErrorKind::Unreachable, false);
    world.round().await;
    assert_eq!(reason!(world.pool()), "NodeUnreachable");
    world.settle().await;
    assert_eq!(reason!(world.pool()), "Ready");
}

#[tokio::test]
async fn a_pool_with_dots_stays() {
    let world = World::with_shop().await;
    world
        .api
        .delete::<Pool>(&Key::cluster("n1"), &Guard::default())
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(reason!(world.pool()), "InUse");
    assert!(message!(world.pool()).contains("dev/shop"));
    world.unclaim("shop", 1).await;
    world.delete::<Dot>("shop").await;
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("shop")));
    assert_eq!(reason!(world.pool()), "Ready", "and is made again");
    assert_eq!(world.nodes.made().get("pool n1"), Some(&1), "from the same zpool");
}

fn put_named(world: &World, name: &str, spec: &str) {
    world.api.put(&format!(
        "apiVersion: dotmesh.io/v1alpha1\nkind: Pool\nmetadata: {{name: {name}}}\nspec: {{nodeName: n1, {spec}}}"
    ));
}

fn pool_named(world: &World, name: &str) -> Pool {
    world.api.must_get(&Key::cluster(name))
}

#[tokio::test]
async fn what_a_pool_of_the_node_has_already_is_refused_to_another() {
    for (spec, names) in [
        (
            "file: {path: /var/lib/dotmesh/other.img, size: 10Gi}",
            "class \"default\"",
        ),
        ("class: fast, existing: dotmesh", "zpool \"dotmesh\""),
        (
            "class: fast, file: {path: /var/lib/dotmesh/pool.img, size: 20Gi}",
            "same file or device",
        ),
    ] {
        let world = World::new().await;
        put_named(&world, "another", spec);
        world.settle().await;
        let another = pool_named(&world, "another");
        assert_eq!(reason!(another.clone()), "Conflict", "{spec}");
        let message = message!(another.clone());
        assert!(message.contains("\"n1\"") && message.contains(names), "{message}");
        assert_eq!(another.status.unwrap().guid, None, "{spec}");
        assert_eq!(reason!(world.pool()), "Ready");
        world.restart();
        world.settle().await;
        assert_eq!(
            reason!(world.pool()),
            "Ready",
            "the one that was seen stays, whichever is looked at first"
        );
    }
}

const FAST: &str = "class: fast, file: {path: /var/lib/dotmesh/fast.img, size: 10Gi}";

#[tokio::test]
async fn dots_lie_on_the_pool_of_their_class_and_keep_that_there() {
    let world = World::with_shop().await;
    put_named(&world, "fast", FAST);
    world.put(
        "Dot",
        "quick",
        "{volumes: [{name: db, size: 1Gi}], placement: {poolClass: fast}}",
    );
    world.settle().await;
    world.claim("quick", 2, "db", None).await;
    world.settle().await;
    assert_eq!(reason!(world.dot("quick")), "Ready");
    assert_eq!(world.dot("quick").status.unwrap().pool.as_deref(), Some("fast"));
    assert_eq!(world.dot("shop").status.unwrap().pool.as_deref(), Some("n1"));
    let contents = world.nodes.contents();
    let id = |dot: &str| world.dot(dot).status.unwrap().id.unwrap();
    assert!(
        contents.contains(&format!("n1/dotmesh-fast/{}", id("quick"))),
        "{contents:#?}"
    );
    assert!(contents.contains(&format!("n1/{}", id("shop"))), "{contents:#?}");

    // A look at one pool finds nothing missing that lies in the other.
    world.look_for_losses().await.unwrap();
    world.settle().await;
    assert_eq!(reason!(world.dot("quick")), "Ready");

    world
        .api
        .delete::<Pool>(&Key::cluster("fast"), &Guard::default())
        .await
        .unwrap();
    world.settle().await;
    let message = message!(pool_named(&world, "fast"));
    assert!(message.contains("dev/quick") && !message.contains("shop"), "{message}");
    world.unclaim("quick", 2).await;
    world.delete::<Dot>("quick").await;
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("quick")));
    assert!(
        !world.api.exists::<Pool>(&Key::cluster("fast")),
        "nobody makes it again"
    );
    assert!(!world.nodes.contents().iter().any(|line| line.contains("dotmesh-fast")));
    assert_eq!(reason!(world.dot("shop")), "Ready");
}

#[tokio::test]
async fn a_dot_of_a_class_that_is_nowhere_waits_and_can_be_deleted() {
    let world = World::new().await;
    for name in ["quick", "other"] {
        let spec = "{volumes: [{name: db, size: 1Gi}], placement: {poolClass: fast}}";
        world.put("Dot", name, spec);
    }
    world.settle().await;
    world.claim("quick", 1, "db", None).await;
    world.claim("other", 2, "db", None).await;
    world.settle().await;
    let told = message!(world.dot("quick"));
    assert_eq!(reason!(world.dot("quick")), "PoolUnavailable");
    assert!(told.contains("\"n1\"") && told.contains("\"fast\""), "{told}");
    world.unclaim("other", 2).await;
    world.delete::<Dot>("other").await;
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("other")), "nothing of it is on disk");
    put_named(&world, "fast", FAST);
    world.settle().await;
    assert_eq!(reason!(world.dot("quick")), "Ready");
}

#[tokio::test]
async fn a_dot_that_was_made_and_not_recorded_is_found_on_its_pool_when_it_is_deleted() {
    let world = World::new().await;
    put_named(&world, "fast", FAST);
    let spec = "{volumes: [{name: db, size: 1Gi}], placement: {poolClass: fast}}";
    world.put("Dot", "quick", spec);
    world.settle().await;
    world.claim("quick", 1, "db", None).await;
    // The answer is lost, and before it is asked for again everything is to go.
    for skip in 0..8 {
        world.nodes.fail_call(skip, NodeErrorKind::Unreachable, true);
        world.round().await;
        if world.nodes.made().keys().any(|made| made.starts_with("dot ")) {
            break;
        }
    }
    assert_eq!(world.dot("quick").status.unwrap().pool, None);
    world.unclaim("quick", 1).await;
    world.delete::<Dot>("quick").await;
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("quick")));
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}

async fn ask_for(world: &World, size: &str) -> Result<Pool, ApiError> {
    let patch = json!({ "spec": { "file": { "size": size } } });
    world
        .api
        .patch::<Pool>(&Key::cluster("n1"), &Guard::default(), patch)
        .await
}

#[tokio::test]
async fn a_pool_grows_when_more_is_asked_for_and_never_shrinks() {
    let world = World::with_shop().await;
    ask_for(&world, "30Gi").await.unwrap();
    assert!(world.round().await);
    assert_eq!(world.nodes.take_calls(), ["EnsurePool"]);
    world.settle().await;
    let status = world.pool().status.unwrap();
    assert_eq!(reason!(world.pool()), "Ready");
    assert_eq!(
        (status.file_size.as_deref(), status.size.as_deref()),
        (Some("30Gi"), Some("30Gi"))
    );
    let refused = ask_for(&world, "25Gi").await.unwrap_err();
    assert!(refused.message.contains("a pool's file cannot shrink"), "{refused}");
}

#[tokio::test]
async fn what_a_node_has_no_room_for_can_be_taken_back() {
    let world = World::with_shop().await;
    world.nodes.fail_call(0, NodeErrorKind::OutOfSpace, false);
    ask_for(&world, "30Ti").await.unwrap();
    world.round().await;
    assert_eq!(reason!(world.pool()), "OutOfSpace");
    assert_eq!(world.pool().status.unwrap().file_size.as_deref(), Some("20Gi"));
    assert!(ask_for(&world, "19Gi").await.is_err());
    ask_for(&world, "20480Mi").await.unwrap();
    world.nodes.take_calls();
    assert!(world.round().await);
    assert_eq!(world.nodes.take_calls(), Vec::<String>::new());
    assert_eq!(reason!(world.pool()), "Ready");
}

fn put_pool(world: &World, spec: &str) {
    world.api.put(&format!(
        "apiVersion: dotmesh.io/v1alpha1\nkind: Pool\nmetadata: {{name: mine}}\nspec: {{nodeName: n1, {spec}}}"
    ));
}

#[tokio::test]
async fn a_pool_of_devices_or_of_somebody_elses_making_takes_the_place_of_a_file() {
    for spec in ["devices: [/dev/disk/by-id/a, /dev/vdb]", "existing: tank"] {
        let world = World::empty();
        put_pool(&world, spec);
        world.start_csi_node();
        world.settle().await;
        let mine: Pool = world.api.must_get(&Key::cluster("mine"));
        assert_eq!(reason!(mine.clone()), "Ready", "{spec}");
        let status = mine.status.unwrap();
        assert!(status.guid.is_some() && status.file_size.is_none(), "{spec}");
        assert!(!world.api.exists::<Pool>(&Key::cluster("n1")), "{spec}");
    }
}

#[tokio::test]
async fn another_pool_in_the_place_of_one_that_was_given_up_is_another_zpool() {
    let world = World::new().await;
    let before = world.pool().status.unwrap().guid;
    world.delete_pool().await;
    put_pool(&world, "existing: tank");
    world.settle().await;
    let mine: Pool = world.api.must_get(&Key::cluster("mine"));
    assert_eq!(reason!(mine.clone()), "Ready");
    assert_ne!(mine.status.unwrap().guid, before);
    assert!(
        !world.api.exists::<Pool>(&Key::cluster("n1")),
        "the node has one of that class"
    );
}
