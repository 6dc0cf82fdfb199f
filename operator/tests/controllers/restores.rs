//! Deleted data comes back: the same snapshots, heads and ids, for one Dot and for no other.

use dotmesh_crds::dot::DotVolumeStatus;
use dotmesh_crds::remnant::RemnantKind;
use dotmesh_crds::{Branch, Commit, Dot, Remnant};
use dotmesh_operator::api::{Api, Guard, Key};
use dotmesh_operator::nodes::NodeErrorKind;
use serde_json::json;

use crate::world::{World, key, message, reason};

/// Dot `shop` with Commits `c1` of main and `c2` of branch `exp`, which nobody uses.
async fn full() -> World {
    let world = World::with_shop().await;
    world.set_grace(3600);
    world.put_commit("c1");
    world.settle().await;
    world.put("Branch", "exp", "{dot: shop, name: feature/exp, from: c1}");
    world.settle().await;
    world.put(
        "Commit",
        "c2",
        "{dot: shop, branch: feature/exp, metadata: {build: '512'}, author: Ada}",
    );
    world.settle().await;
    world.unclaim("shop", 1).await;
    world.settle().await;
    world
}

/// And it is deleted; the id of what it left.
async fn left() -> (World, String) {
    let world = full().await;
    let id = world.dot("shop").status.unwrap().id.unwrap();
    world.delete::<Dot>("shop").await;
    world.settle().await;
    assert_eq!(world.remnants().len(), 1);
    (world, id)
}

fn want(world: &World, name: &str, id: &str) {
    world.put("Dot", name, &format!("{{restoreFrom: {id}}}"));
}

/// What identifies commits and branches, by their objects' names.
fn commits(world: &World, names: &[&str]) -> Vec<serde_json::Value> {
    let one = |name: &&str| {
        let commit = world.commit(name);
        let status = commit.status.unwrap();
        json!([
            name,
            commit.spec,
            status.id,
            status.head,
            status.parent,
            status.createtxg,
            status.time,
            status.volumes
        ])
    };
    names.iter().map(one).collect()
}

fn branches(world: &World, names: &[&str]) -> Vec<serde_json::Value> {
    let one = |name: &&str| {
        let branch = world.branch(name);
        let status = branch.status.unwrap();
        json!([
            name,
            branch.spec.name,
            status.id,
            status.head,
            status.origin,
            status.volumes
        ])
    };
    names.iter().map(one).collect()
}

const COMMITS: [&str; 3] = ["shop-initial", "c1", "c2"];
const BRANCHES: [&str; 2] = ["shop-main", "exp"];

#[tokio::test]
async fn a_dot_comes_back_with_all_its_branches_and_commits() {
    let world = full().await;
    let id = world.dot("shop").status.unwrap().id.unwrap();
    let before = (
        commits(&world, &COMMITS),
        branches(&world, &BRANCHES),
        world.nodes.contents(),
    );
    let made = world.nodes.made();
    world.delete::<Dot>("shop").await;
    world.settle().await;
    want(&world, "shop", &id);
    world.settle().await;

    let dot = world.dot("shop");
    assert_eq!(reason!(dot.clone()), "Ready", "{}", message!(dot.clone()));
    let status = dot.status.unwrap();
    assert_eq!(status.id.as_deref(), Some(id.as_str()));
    assert_ne!(dot.metadata.uid.as_deref(), Some(id.as_str()));
    assert_eq!(
        (status.node.as_deref(), status.pool.as_deref()),
        (Some("n1"), Some("n1"))
    );
    assert_eq!(status.initial_commit.as_deref(), Some("shop-initial"));
    assert_eq!(world.nodes.contents(), before.2);
    assert_eq!(world.nodes.made(), made, "nothing is made again");
    assert_eq!(
        (commits(&world, &COMMITS), branches(&world, &BRANCHES)),
        (before.0, before.1)
    );
    assert!(world.remnants().is_empty());
    for name in COMMITS {
        assert_eq!(reason!(world.commit(name)), "Ready");
    }
    for name in BRANCHES {
        assert_eq!(reason!(world.branch(name)), "Ready");
    }
}

#[tokio::test]
async fn what_came_back_is_as_good_as_new_and_can_go_and_come_again() {
    let (world, id) = left().await;
    want(&world, "shop", &id);
    world.settle().await;
    world.claim("shop", 2, "db", None).await;
    world.settle().await;
    assert_eq!(world.dot("shop").status.unwrap().attachments.len(), 1);
    world.put_commit("c3");
    world.put("Branch", "old", "{dot: shop, name: old, from: c1}");
    world.settle().await;
    assert_eq!(reason!(world.commit("c3")), "Ready");
    let parent = world.commit("c3").status.unwrap().parent;
    assert_eq!(parent, world.commit("c1").status.unwrap().id);
    assert_eq!(reason!(world.branch("old")), "Ready");
    // One of the commits that came back goes for good.
    let c2 = world.commit("c2").status.unwrap().id.unwrap();
    world.delete::<Commit>("c2").await;
    world.delete::<Branch>("exp").await;
    world.settle().await;
    assert!(!world.nodes.contents().iter().any(|line| line.contains(&c2)));

    world.unclaim("shop", 2).await;
    let (all, heads) = (["shop-initial", "c1", "c3"], ["shop-main", "old"]);
    let before = (commits(&world, &all), branches(&world, &heads), world.nodes.contents());
    world.delete::<Dot>("shop").await;
    world.settle().await;
    want(&world, "shop", &id);
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    assert!(!world.api.exists::<Commit>(&key("c2")));
    assert_eq!((commits(&world, &all), branches(&world, &heads)), (before.0, before.1));
    let without_claims = |lines: Vec<String>| {
        lines
            .into_iter()
            .filter(|line| !line.contains("claim"))
            .collect::<Vec<_>>()
    };
    assert_eq!(without_claims(world.nodes.contents()), without_claims(before.2));
    world.delete::<Dot>("shop").await;
    world.settle().await;
    world.pass(3600);
    world.settle().await;
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn under_another_name_objects_keep_theirs_where_these_are_free() {
    let (world, id) = left().await;
    // A new Dot has the old name, and somebody else the name of a commit.
    world.put_shop();
    world.settle().await;
    world.put("Commit", "c1", "{dot: shop, branch: main}");
    world.settle().await;
    want(&world, "back", &id);
    world.settle().await;
    assert_eq!(reason!(world.dot("back")), "Ready", "{}", message!(world.dot("back")));
    assert_eq!(reason!(world.branch("back-main")), "Ready");
    assert_eq!(world.branch("exp").spec.dot, "back");
    assert_eq!(world.commit("c2").spec.dot, "back");
    let commits = world.api.cached_where::<Commit>(|commit| commit.spec.dot == "back");
    let mut names: Vec<String> = commits
        .iter()
        .map(|commit| commit.metadata.name.clone().unwrap())
        .collect();
    names.sort();
    assert!(names.iter().any(|name| name.starts_with("c1-")), "{names:?}");
    assert_eq!(names.len(), 3);
    assert_eq!(world.commit("c1").spec.dot, "shop");
}

#[tokio::test]
async fn of_two_dots_that_want_the_same_one_gets_it() {
    let (world, id) = left().await;
    want(&world, "one", &id);
    want(&world, "two", &id);
    world.settle().await;
    let reasons = [reason!(world.dot("one")), reason!(world.dot("two"))];
    assert!(reasons.contains(&"Ready".to_owned()), "{reasons:?}");
    assert!(reasons.contains(&"RemnantNotFound".to_owned()), "{reasons:?}");
    let ids = [world.dot("one").status.unwrap().id, world.dot("two").status.unwrap().id];
    assert_eq!(ids.iter().flatten().count(), 1);
    assert!(world.remnants().is_empty());
    // The other one gets it when the first is gone.
    let (first, second) = if reasons[0] == "Ready" {
        ("one", "two")
    } else {
        ("two", "one")
    };
    world.delete::<Dot>(first).await;
    world.settle().await;
    assert_eq!(reason!(world.dot(second)), "Ready");
}

#[tokio::test]
async fn another_namespace_gets_it_only_when_it_is_handed_over() {
    let (world, id) = left().await;
    world.api.put(&format!(
        "apiVersion: dotmesh.io/v1alpha1\nkind: Dot\nmetadata: {{name: theirs, namespace: prod}}\nspec: {{restoreFrom: {id}}}"
    ));
    world.settle().await;
    let theirs = || world.api.must_get::<Dot>(&Key::namespaced("prod", "theirs"));
    assert_eq!(reason!(theirs()), "RemnantNotFound");
    let before = world.nodes.contents();
    let name = Key::cluster(RemnantKind::Dot.remnant(&id));
    let prod = world
        .api
        .must_get::<k8s_openapi::api::core::v1::Namespace>(&Key::cluster("prod"));
    // Only the name, as of another namespace that has it now, is not enough.
    for (uid, expected) in [
        ("another", "RemnantNotFound"),
        (prod.metadata.uid.as_deref().unwrap(), "Ready"),
    ] {
        let patch = json!({ "spec": { "namespace": { "name": "prod", "uid": uid } } });
        world
            .api
            .patch::<Remnant>(&name, &Guard::default(), patch)
            .await
            .unwrap();
        world.settle().await;
        assert_eq!(reason!(theirs()), expected);
    }
    assert_eq!(world.nodes.contents(), before);
    assert!(world.api.exists::<Commit>(&Key::namespaced("prod", "c1")));
}

#[tokio::test]
async fn what_cannot_be_restored_says_why_and_makes_nothing() {
    let (world, id) = left().await;
    let before = world.nodes.contents();
    want(&world, "unknown", "0c5a6f6e-1111-4222-8333-444455556666");
    world.put(
        "Dot",
        "typo",
        &format!("{{restoreFrom: {id}, volumes: [{{name: dbb, size: 10Gi}}]}}"),
    );
    world.put(
        "Dot",
        "small",
        &format!("{{restoreFrom: {id}, volumes: [{{name: db, size: 1Gi}}]}}"),
    );
    world.settle().await;
    for (name, reason, part) in [
        ("unknown", "RemnantNotFound", "kubectl get remnants"),
        ("typo", "Invalid", "\"dbb\""),
        ("small", "Invalid", "larger"),
    ] {
        assert_eq!(reason!(world.dot(name)), reason);
        let why = message!(world.dot(name));
        assert!(why.contains(part), "{why}");
        let status = world.dot(name).status.unwrap();
        assert_eq!((status.id, status.node, status.checkout), (None, None, None));
        assert!(!world.api.exists::<Branch>(&key(&format!("{name}-main"))));
    }
    assert_eq!(world.nodes.contents(), before);
    assert_eq!(world.remnants()[0].status.clone().unwrap().taken_by, None);
}

#[tokio::test]
async fn a_list_of_volumes_may_say_what_is_there_and_more_space() {
    let (world, id) = left().await;
    world.put(
        "Dot",
        "shop",
        &format!("{{restoreFrom: {id}, volumes: [{{name: db, size: 20Gi}}]}}"),
    );
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    let volumes = world.dot("shop").status.unwrap().volumes;
    let sizes: Vec<(&str, &str)> = volumes
        .iter()
        .map(|DotVolumeStatus { name, size, .. }| (&**name, &**size))
        .collect();
    assert_eq!(sizes, [("cache", "1Gi"), ("db", "20Gi")]);
    let grown = world.branch("shop-main").status.unwrap().volumes;
    assert_eq!(grown.iter().find(|volume| volume.name == "db").unwrap().size, "20Gi");
}

#[tokio::test]
async fn a_remnant_that_is_being_destroyed_is_not_restored() {
    let (world, id) = left().await;
    world.nodes.set_reachable("n1", false);
    let name = Key::cluster(RemnantKind::Dot.remnant(&id));
    world.api.delete::<Remnant>(&name, &Guard::default()).await.unwrap();
    want(&world, "late", &id);
    world.round().await;
    assert_eq!(reason!(world.dot("late")), "RemnantTaken");
    world.nodes.set_reachable("n1", true);
    world.settle().await;
    assert_eq!(reason!(world.dot("late")), "RemnantNotFound");
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}

#[tokio::test]
async fn deleting_a_remnant_that_is_taken_destroys_nothing() {
    let (world, id) = left().await;
    let before = world.nodes.contents();
    let name = Key::cluster(RemnantKind::Dot.remnant(&id));
    want(&world, "shop", &id);
    // The Dot takes it and dies before it records the id; meanwhile somebody deletes the Remnant.
    world.api.fail_write(2, false);
    world.settle_restarting().await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    assert_eq!(world.nodes.contents(), before);

    world.delete::<Dot>("shop").await;
    world.settle().await;
    want(&world, "shop", &id);
    let remnant: Remnant = world.api.must_get(&name);
    let dot = world.dot("shop");
    let taken = json!({ "takenBy": { "namespace": "dev", "name": "shop", "uid": dot.metadata.uid } });
    let guard = Guard::unchanged(&remnant);
    world
        .api
        .apply_status::<Remnant>(&name, &guard, "dotmesh-operator", taken)
        .await
        .unwrap();
    world.api.delete::<Remnant>(&name, &Guard::default()).await.unwrap();
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    assert_eq!(world.nodes.contents(), before);
    assert!(world.remnants().is_empty());
}

#[tokio::test]
async fn a_taker_that_goes_before_it_has_anything_gives_it_back() {
    let (world, id) = left().await;
    let before = world.nodes.contents();
    want(&world, "shop", &id);
    let (name, dot) = (Key::cluster(RemnantKind::Dot.remnant(&id)), world.dot("shop"));
    let remnant: Remnant = world.api.must_get(&name);
    let taken = json!({ "takenBy": { "namespace": "dev", "name": "shop", "uid": dot.metadata.uid } });
    let guard = Guard::unchanged(&remnant);
    world
        .api
        .apply_status::<Remnant>(&name, &guard, "dotmesh-operator", taken)
        .await
        .unwrap();
    world.api.delete::<Dot>(&key("shop"), &Guard::default()).await.unwrap();
    world.settle().await;
    assert_eq!(world.remnants()[0].status.clone().unwrap().taken_by, None);
    assert_eq!(reason!(world.remnants()[0].clone()), "Ready");
    assert_eq!(world.nodes.contents(), before);
    want(&world, "again", &id);
    world.settle().await;
    assert_eq!(reason!(world.dot("again")), "Ready");
}

/// Every call and every write of coming back fails once, before or after its effect.
#[tokio::test]
async fn whatever_fails_all_comes_back() {
    let (mut skip, mut due) = (0, false);
    while !due {
        due = true;
        for (after, call) in [(false, false), (true, false), (false, true), (true, true)] {
            let world = full().await;
            let id = world.dot("shop").status.unwrap().id.unwrap();
            let before = (
                commits(&world, &COMMITS),
                branches(&world, &BRANCHES),
                world.nodes.contents(),
            );
            world.delete::<Dot>("shop").await;
            world.settle().await;
            want(&world, "shop", &id);
            match call {
                true => world.nodes.fail_call(skip, NodeErrorKind::Unreachable, after),
                false => world.api.fail_write(skip, after),
            }
            world.settle_restarting().await;
            due &= world.api.is_failure_due() || world.nodes.is_failure_due();
            assert_eq!(reason!(world.dot("shop")), "Ready", "{skip} {after} {call}");
            assert_eq!(
                (commits(&world, &COMMITS), branches(&world, &BRANCHES)),
                (before.0, before.1),
                "{skip} {after} {call}"
            );
            assert_eq!(world.nodes.contents(), before.2);
            assert!(world.remnants().is_empty());
        }
        skip += 1;
    }
    assert!(skip > 10, "only {skip} effects");
}

/// Branch `exp` of Dot `shop` is deleted; its id.
async fn branch_left(world: &World) -> String {
    let id = world.branch("exp").status.unwrap().id.unwrap();
    world.delete::<Branch>("exp").await;
    world.settle().await;
    assert!(!world.api.exists::<Branch>(&key("exp")));
    id
}

fn want_branch(world: &World, object: &str, name: &str, id: &str) {
    let spec = format!("{{dot: shop, name: {name}, restoreFrom: {id}}}");
    world.put("Branch", object, &spec);
}

#[tokio::test]
async fn a_branch_comes_back_with_what_was_never_committed() {
    let world = full().await;
    let (before, contents, made) = (world.branch("exp"), world.nodes.contents(), world.nodes.made());
    let id = branch_left(&world).await;
    assert_eq!(world.nodes.contents(), contents);
    assert_eq!(reason!(world.commit("c2")), "Ready", "its commits are the Dot's");
    let [remnant] = world.remnants().try_into().expect("one Remnant");
    assert_eq!(remnant.metadata.name, Some(RemnantKind::Branch.remnant(&id)));
    assert_eq!(reason!(remnant.clone()), "Ready");
    assert_eq!(remnant.spec.dot, world.dot("shop").status.unwrap().id.unwrap());
    assert_eq!(remnant.spec.expires_at.as_deref(), Some("2026-01-01T01:00:00Z"));

    want_branch(&world, "again", "feature/again", &id);
    world.settle().await;
    let branch = world.branch("again");
    assert_eq!(reason!(branch.clone()), "Ready", "{}", message!(branch.clone()));
    let (is, was) = (branch.status.unwrap(), before.status.unwrap());
    assert_eq!(
        (is.id, is.head, is.origin, is.volumes),
        (was.id, was.head, was.origin, was.volumes)
    );
    assert_eq!((world.nodes.contents(), world.nodes.made()), (contents, made));
    assert!(world.remnants().is_empty());
    world.put("Commit", "c3", "{dot: shop, branch: feature/again}");
    world.settle().await;
    let parent = world.commit("c2").status.unwrap().id;
    assert_eq!(world.commit("c3").status.unwrap().parent, parent);
}

#[tokio::test]
async fn a_branch_comes_back_to_its_dot_only_and_once() {
    let world = full().await;
    let id = branch_left(&world).await;
    world.put("Dot", "other", "{volumes: [{name: db, size: 1Gi}]}");
    world.settle().await;
    world.put(
        "Branch",
        "stray",
        &format!("{{dot: other, name: stray, restoreFrom: {id}}}"),
    );
    want_branch(&world, "nobody", "nobody", "0c5a6f6e-1111-4222-8333-444455556666");
    want_branch(&world, "taken", "main", &id);
    world.settle().await;
    for (object, wanted) in [
        ("stray", "Invalid"),
        ("nobody", "RemnantNotFound"),
        ("taken", "NameTaken"),
    ] {
        assert_eq!(
            reason!(world.branch(object)),
            wanted,
            "{}",
            message!(world.branch(object))
        );
    }
    assert!(world.remnants()[0].status.clone().unwrap().taken_by.is_none());
    want_branch(&world, "left", "left", &id);
    world.settle().await;
    want_branch(&world, "right", "right", &id);
    world.settle().await;
    assert_eq!(reason!(world.branch("left")), "Ready");
    assert_eq!(reason!(world.branch("right")), "RemnantNotFound");
}

#[tokio::test]
async fn what_was_lost_of_a_branch_is_not_made_anew() {
    let world = full().await;
    let head = world.branch("exp").status.unwrap().head.unwrap();
    let id = branch_left(&world).await;
    let volumes = world.remnants().remove(0).spec.volumes;
    world.nodes.destroy(&head, Some(&volumes[0].id));
    let contents = world.nodes.contents();
    want_branch(&world, "exp", "feature/exp", &id);
    world.round().await;
    assert_ne!(reason!(world.branch("exp")), "Ready");
    assert_eq!(world.nodes.contents(), contents);
}

#[tokio::test]
async fn an_expired_branch_goes_and_nothing_else_does() {
    let world = full().await;
    let head = world.branch("exp").status.unwrap().head.unwrap();
    branch_left(&world).await;
    world.pass(3600);
    world.settle().await;
    assert!(world.remnants().is_empty());
    let is_live = |name: &String| name.contains(&head) && !name.contains('@');
    assert!(
        !world.nodes.contents().iter().any(is_live),
        "{:?}",
        world.nodes.contents()
    );
    assert_eq!(reason!(world.commit("c1")), "Ready");
}

#[tokio::test]
async fn a_branch_that_stays_behind_is_neither_restored_nor_forgotten_with_its_dot() {
    let world = full().await;
    let dot = world.dot("shop").status.unwrap().id.unwrap();
    let id = branch_left(&world).await;
    world.delete::<Dot>("shop").await;
    world.settle().await;
    assert_eq!(world.remnants().len(), 2);
    want(&world, "shop", &dot);
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    assert!(!world.api.exists::<Branch>(&key("exp")));
    want_branch(&world, "exp", "feature/exp", &id);
    world.settle().await;
    assert_eq!(
        reason!(world.branch("exp")),
        "Ready",
        "{}",
        message!(world.branch("exp"))
    );
    assert!(world.remnants().is_empty());

    branch_left(&world).await;
    world.set_grace(0);
    world.delete::<Dot>("shop").await;
    world.settle().await;
    assert!(world.remnants().is_empty(), "{:?}", world.remnants());
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
}
