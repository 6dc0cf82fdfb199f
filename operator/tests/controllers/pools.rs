//! Pools: one per node, known by its GUID.

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

#[tokio::test]
async fn a_second_pool_of_a_node_is_refused() {
    let world = World::new().await;
    world.api.put(
        "apiVersion: dotmesh.io/v1alpha1
kind: Pool
metadata: {name: another}
spec: {nodeName: n1, file: {path: /var/lib/dotmesh/other.img, size: 10Gi}}",
    );
    world.settle().await;
    let another: Pool = world.api.must_get(&Key::cluster("another"));
    assert_eq!(reason!(another), "Conflict");
    assert_eq!(reason!(world.pool()), "Ready");
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
async fn another_pool_on_a_node_that_has_one_is_not_taken_for_that_one() {
    let world = World::new().await;
    world.delete_pool().await;
    put_pool(&world, "existing: tank");
    world.settle().await;
    let mine: Pool = world.api.must_get(&Key::cluster("mine"));
    assert_eq!(reason!(mine.clone()), "Conflict");
    assert_eq!(mine.status.unwrap().guid, None);
}
