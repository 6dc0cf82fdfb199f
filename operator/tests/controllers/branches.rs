//! Branches: names, references, heads.

use dotmesh_crds::{Branch, Commit};

use crate::world::{World, claim_uid, key, message, reason};

async fn with_commits() -> World {
    let world = World::with_shop().await;
    for name in ["c1", "c2"] {
        world.put_commit(name);
        world.settle().await;
    }
    world
}

fn origin(world: &World, branch: &str) -> Option<String> {
    Some(world.branch(branch).status?.origin?.commit_name)
}

#[tokio::test]
async fn a_branch_starts_at_what_its_reference_means_then() {
    let world = with_commits().await;
    for (n, (from, commit)) in [
        ("HEAD", "c2"),
        ("HEAD~1", "c1"),
        ("main^^", "shop-initial"),
        ("c1", "c1"),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("b{n}");
        world.put(
            "Branch",
            &name,
            &format!("{{dot: shop, name: b/{n}, from: \"{from}\"}}"),
        );
        let writes = world.settle().await;
        assert_eq!(origin(&world, &name).as_deref(), Some(*commit), "{from}");
        assert_eq!(reason!(world.branch(&name)), "Ready");
        assert_eq!(
            writes.iter().filter(|write| write.ends_with("Branch")).count(),
            3,
            "{writes:?}"
        );
    }
    world.delete::<Commit>("c2").await;
    world.settle().await;
    assert_eq!(origin(&world, "b0").as_deref(), Some("c2"), "resolved once");
    assert!(world.api.events().is_empty(), "{:?}", world.api.events());
}

#[tokio::test]
async fn a_branch_of_a_branch_has_its_history() {
    let world = with_commits().await;
    world.put("Branch", "side", "{dot: shop, name: side, from: HEAD~1}");
    world.settle().await;
    world.put("Commit", "s1", "{dot: shop, branch: side}");
    world.settle().await;
    world.put("Branch", "deeper", "{dot: shop, name: deeper, from: side~1}");
    world.settle().await;
    assert_eq!(origin(&world, "deeper").as_deref(), Some("c1"));
}

#[tokio::test]
async fn bad_branches_touch_nothing() {
    let world = with_commits().await;
    let before = world.nodes.contents();
    for (name, spec, expected) in [
        ("no-dot", "{dot: nope, name: x, from: HEAD}", "DotNotFound"),
        ("unknown", "{dot: shop, name: x1, from: nope}", "ReferenceNotFound"),
        ("too-far", "{dot: shop, name: x2, from: HEAD~9}", "ReferenceNotFound"),
        ("suffix", "{dot: shop, name: x3, from: \"HEAD^{}\"}", "Invalid"),
        ("bad-name", "{dot: shop, name: \"a..b\", from: HEAD}", "Invalid"),
        ("at", "{dot: shop, name: \"a@b\", from: HEAD}", "Invalid"),
        ("taken", "{dot: shop, name: main, from: HEAD}", "NameTaken"),
    ] {
        world.put("Branch", name, spec);
        world.settle().await;
        assert_eq!(reason!(world.branch(name)), expected, "{name}");
        world.delete::<Branch>(name).await;
        assert!(!world.api.exists::<Branch>(&key(name)), "nothing holds {name}");
    }
    assert_eq!(world.nodes.contents(), before);
}

#[tokio::test]
async fn the_older_of_two_gets_the_name_and_the_other_when_it_is_free() {
    let world = with_commits().await;
    world.put("Branch", "z-first", "{dot: shop, name: x, from: HEAD}");
    world.put("Branch", "a-second", "{dot: shop, name: x, from: HEAD}");
    world.settle().await;
    assert_eq!(reason!(world.branch("z-first")), "Ready");
    assert_eq!(reason!(world.branch("a-second")), "NameTaken");
    assert!(message!(world.branch("a-second")).contains("\"z-first\""));
    world.delete::<Branch>("z-first").await;
    world.settle().await;
    assert_eq!(reason!(world.branch("a-second")), "Ready");
}

#[tokio::test]
async fn a_branch_waits_for_a_commit_that_is_not_ready() {
    let world = with_commits().await;
    world.put("Commit", "later", "{dot: shop, branch: nope}");
    world.put("Branch", "exp", "{dot: shop, name: exp, from: later}");
    world.settle().await;
    assert_eq!(reason!(world.branch("exp")), "NotReady");
    world.put("Branch", "nope", "{dot: shop, name: nope, from: HEAD}");
    world.settle().await;
    assert_eq!(reason!(world.branch("exp")), "Ready");
}

#[tokio::test]
async fn a_volume_younger_than_the_commit_starts_empty_with_an_event() {
    let world = with_commits().await;
    let volumes = serde_json::json!([
        {"name": "db", "size": "10Gi"}, {"name": "cache", "size": "1Gi"}, {"name": "new", "size": "1Gi"}
    ]);
    world.set_volumes("shop", volumes).await;
    world.put("Branch", "exp", "{dot: shop, name: exp, from: HEAD}");
    world.settle().await;
    let volumes = world.branch("exp").status.unwrap().volumes;
    assert_eq!(
        volumes.iter().map(|v| (v.name.as_str(), v.cloned)).collect::<Vec<_>>(),
        [("cache", true), ("db", true), ("new", false)]
    );
    assert_eq!(
        world.branch("shop-main").status.unwrap().volumes.len(),
        3,
        "and is on the branches there were"
    );
    let events = world.api.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(
        events[0].contains("VolumeEmpty") && events[0].contains("new"),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_branch_in_use_stays() {
    let world = with_commits().await;
    world.put("Branch", "exp", "{dot: shop, name: exp, from: HEAD}");
    world.settle().await;
    world.claim("shop", 2, "db", Some("exp")).await;
    world.settle().await;
    world.delete::<Branch>("exp").await;
    world.settle().await;
    assert_eq!(reason!(world.branch("exp")), "InUse");
    world.unclaim("shop", 2).await;
    world.settle().await;
    assert!(!world.api.exists::<Branch>(&key("exp")));
}

fn branch_of_claim(world: &World) {
    let uid = claim_uid(9);
    world.api.put(&format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: claim-9, namespace: dev, uid: {uid}}}
---
apiVersion: dotmesh.io/v1alpha1
kind: Branch
metadata:
  name: own
  namespace: dev
  labels: {{dotmesh.io/claim-uid: {uid}}}
  annotations: {{dotmesh.io/claim: claim-9}}
spec: {{dot: shop, name: own, from: c1}}"
    ));
}

#[tokio::test]
async fn a_branch_that_was_made_for_a_claim_goes_with_it_and_not_before() {
    let world = with_commits().await;
    branch_of_claim(&world);
    world.settle().await;
    world.claim("shop", 9, "db", Some("own")).await;
    world.settle().await;
    assert_eq!(reason!(world.branch("own")), "Ready");
    world
        .api
        .remove::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(&key("claim-9"));
    world.settle().await;
    assert_eq!(reason!(world.branch("own")), "Ready", "its volume may be there still");
    world.unclaim("shop", 9).await;
    world.settle().await;
    assert!(!world.api.exists::<Branch>(&key("own")));
    assert_eq!(reason!(world.commit("c1")), "Ready");
}
