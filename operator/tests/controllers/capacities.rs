//! What the scheduler is told of the Pools.

use dotmesh_crds::Pool;
use dotmesh_operator::api::{Api, Guard, Key};
use dotmesh_operator::nodes::NodeErrorKind;
use dotmesh_operator::wake::{Woken, wakes};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity, StorageClass};
use kube::ResourceExt;
use serde_json::json;

use crate::world::World;

/// The chart is installed, and a person has a StorageClass for Pools of class `fast`.
fn install(world: &World) {
    world
        .api
        .put("{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: csi.dotmesh.io}, spec: {}}");
    for (name, parameters) in [("dotmesh", "{}"), ("fast", "{poolClass: fast}")] {
        world.api.put(&format!(
            "{{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {{name: {name}}}, \
             provisioner: csi.dotmesh.io, parameters: {parameters}}}"
        ));
    }
}

/// With a Pool of class `default`, and what is told of it.
async fn installed() -> World {
    let world = World::empty();
    install(&world);
    world.start_csi_node();
    world.settle().await;
    world
}

fn put_fast(world: &World) {
    world.api.put(
        "{apiVersion: dotmesh.io/v1alpha1, kind: Pool, metadata: {name: n1-fast}, \
         spec: {nodeName: n1, class: fast, devices: [/dev/vdb]}}",
    );
}

fn all(world: &World) -> Vec<CSIStorageCapacity> {
    let all = world.api.cached_where::<CSIStorageCapacity>(|_| true);
    all.iter().map(|object| (**object).clone()).collect()
}

/// StorageClass and largest volume of each.
fn told(world: &World) -> Vec<(String, String)> {
    let told = |object: CSIStorageCapacity| (object.storage_class_name, object.maximum_volume_size.unwrap().0);
    all(world).into_iter().map(told).collect()
}

fn only(class: &str, size: &str) -> Vec<(String, String)> {
    vec![(class.to_owned(), size.to_owned())]
}

fn of_capacities(writes: &[String]) -> Vec<&String> {
    writes
        .iter()
        .filter(|write| write.contains("CSIStorageCapacity"))
        .collect()
}

#[tokio::test]
async fn the_scheduler_is_told_of_each_pool_and_silence_follows() {
    let world = installed().await;
    assert_eq!(told(&world), only("dotmesh", "20Gi"));
    let object = all(&world).remove(0);
    assert_eq!(object.namespace().as_deref(), Some("dotmesh-system"));
    let driver: CSIDriver = world.api.must_get(&Key::cluster("csi.dotmesh.io"));
    assert_eq!(object.owner_references()[0].uid, driver.uid().unwrap());
    world.restart();
    assert_eq!(world.settle().await, Vec::<String>::new());

    put_fast(&world);
    let writes = world.settle().await;
    assert_eq!(of_capacities(&writes).len(), 1, "{writes:?}");
    assert_eq!(told(&world).len(), 2);
}

#[tokio::test]
async fn a_pool_that_grows_or_cannot_be_used_is_told_and_nothing_else_is_written() {
    let world = installed().await;
    let name = all(&world)[0].name_any();
    let patch = json!({"spec": {"file": {"size": "30Gi"}}});
    let pool = Key::cluster("n1");
    world.api.patch::<Pool>(&pool, &Guard::default(), patch).await.unwrap();
    let writes = world.settle().await;
    assert_eq!(of_capacities(&writes).len(), 1, "{writes:?}");
    assert_eq!(told(&world), only("dotmesh", "30Gi"));
    assert_eq!(all(&world)[0].name_any(), name);

    world.restart();
    world.nodes.fail_call(0, NodeErrorKind::Unreachable, false);
    world.round().await;
    assert_eq!(told(&world), []);
    world.settle().await;
    assert_eq!(told(&world), only("dotmesh", "30Gi"));
}

#[tokio::test]
async fn what_goes_takes_along_what_is_told_of_it() {
    let world = installed().await;
    put_fast(&world);
    world.settle().await;
    let fast = Key::cluster("n1-fast");
    world.api.delete::<Pool>(&fast, &Guard::default()).await.unwrap();
    world.settle().await;
    assert_eq!(told(&world), only("dotmesh", "20Gi"));
    let class = Key::cluster("dotmesh");
    let gone = world.api.must_get::<StorageClass>(&class);
    assert!(wakes(&world.api, Woken::Class(&gone)).capacities);
    world
        .api
        .delete::<StorageClass>(&class, &Guard::default())
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(told(&world), []);
}

#[tokio::test]
async fn what_others_delete_or_change_comes_back() {
    let world = installed().await;
    let object = all(&world).remove(0);
    let key = Key::of(&object);
    assert!(wakes(&world.api, Woken::Capacity(&object)).capacities);
    world.api.remove::<CSIStorageCapacity>(&key);
    world.settle().await;
    let patch = json!({"maximumVolumeSize": "1Ti", "metadata": {"ownerReferences": null}});
    world
        .api
        .patch::<CSIStorageCapacity>(&key, &Guard::default(), patch)
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(told(&world), only("dotmesh", "20Gi"));
    assert_eq!(all(&world)[0].owner_references().len(), 1);
}

#[tokio::test]
async fn with_the_driver_all_of_it_goes_and_nothing_is_told_until_it_is_back() {
    let world = installed().await;
    let driver = Key::cluster("csi.dotmesh.io");
    world.api.delete::<CSIDriver>(&driver, &Guard::default()).await.unwrap();
    world.api.take_writes();
    assert_eq!(told(&world), [], "its owner is gone");
    assert_eq!(world.settle().await, Vec::<String>::new());
    install(&world);
    world.settle().await;
    assert_eq!(told(&world), only("dotmesh", "20Gi"));
}
