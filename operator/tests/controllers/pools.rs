//! Pools: one per node, known by its GUID.

use dotmesh_crds::{Dot, Pool};
use dotmesh_operator::api::{Api, Guard, Key};
use dotmesh_operator::nodes::NodeErrorKind;

use crate::world::{World, key, message, reason};

#[tokio::test]
async fn a_node_that_runs_csi_node_gets_a_pool() {
    let world = World::new().await;
    let pool = world.pool();
    assert_eq!(pool.spec.file.size, "20Gi");
    let status = pool.status.clone().unwrap();
    assert_eq!(reason!(pool), "Ready");
    assert_eq!(status.size.as_deref(), Some("20Gi"));
    assert_eq!(status.zfs_version.as_deref(), Some("2.3.9"));
    assert_eq!((status.allocated.as_deref(), status.fragmentation), (Some("0"), Some(0)));
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
