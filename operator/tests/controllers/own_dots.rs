//! Dots that were made for a plain claim: they go with it, unless people made something of them.

use dotmesh_crds::{Commit, Dot};

use crate::world::{World, claim_uid, key, reason};

async fn with_own_dot() -> World {
    let world = World::new().await;
    let uid = claim_uid(1);
    world.api.put(&format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: claim-1, namespace: dev, uid: {uid}}}
---
apiVersion: dotmesh.io/v1alpha1
kind: Dot
metadata:
  name: own
  namespace: dev
  labels: {{dotmesh.io/claim-uid: {uid}}}
  annotations: {{dotmesh.io/claim: claim-1}}
spec: {{volumes: [{{name: data, size: 1Gi}}]}}"
    ));
    world.settle().await;
    world.claim("own", 1, "data", None).await;
    world.settle().await;
    assert_eq!(reason!(world.dot("own")), "Ready");
    world
}

fn remove_claim(world: &World) {
    world
        .api
        .remove::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(&key("claim-1"));
}

#[tokio::test]
async fn it_goes_with_its_claim() {
    let world = with_own_dot().await;
    world.unclaim("own", 1).await;
    world.settle().await;
    assert!(world.api.exists::<Dot>(&key("own")), "the claim is still there");
    remove_claim(&world);
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("own")));
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn while_it_has_an_entry_it_stays() {
    let world = with_own_dot().await;
    remove_claim(&world);
    world.settle().await;
    assert!(world.api.exists::<Dot>(&key("own")));
}

#[tokio::test]
async fn what_people_made_of_it_survives_and_it_goes_with_the_last_of_that() {
    let world = with_own_dot().await;
    world.put("Commit", "keep", "{dot: own}");
    world.settle().await;
    world.unclaim("own", 1).await;
    remove_claim(&world);
    world.settle().await;
    assert_eq!(reason!(world.commit("keep")), "Ready");
    assert_eq!(reason!(world.dot("own")), "Ready");
    assert!(
        !world.api.exists::<dotmesh_crds::Branch>(&key("own-main")),
        "the live data goes"
    );
    world.put("Branch", "again", "{dot: own, name: again, from: keep}");
    world.settle().await;
    assert_eq!(reason!(world.branch("again")), "Ready");
    world.delete::<Commit>("keep").await;
    world.settle().await;
    assert!(world.api.exists::<Dot>(&key("own")));
    world.delete::<dotmesh_crds::Branch>("again").await;
    world.settle().await;
    assert!(!world.api.exists::<Dot>(&key("own")));
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn without_its_label_it_is_a_persons() {
    let world = with_own_dot().await;
    let mut dot = world.dot("own");
    dot.metadata.labels = None;
    world.api.put(&serde_yaml::to_string(&dot).unwrap());
    world.unclaim("own", 1).await;
    remove_claim(&world);
    world.settle().await;
    assert!(world.api.exists::<Dot>(&key("own")));
    assert!(
        world.nodes.contents().iter().any(|line| line.contains('@')),
        "with its data"
    );
}
