//! Data whose object somebody removed, finalizer and all, is found and kept; what goes or comes as it should is not
//! taken for it.

use dotmesh_crds::remnant::RemnantKind;
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_operator::nodes::NodeErrorKind;

use crate::world::{World, key, message, reason};

/// Dot `shop` with Commit `c1` and, from it, Branch `try` with Commit `c2`. Deleted data does not stay.
async fn full() -> World {
    let world = World::with_shop().await;
    world.put_commit("c1");
    world.settle().await;
    world.put("Branch", "try", "{dot: shop, name: feature/try, from: c1}");
    world.settle().await;
    world.put("Commit", "c2", "{dot: shop, branch: feature/try, author: Ada}");
    world.settle().await;
    world
}

async fn look(world: &World) {
    world.look_for_losses().await.unwrap();
    world.settle().await;
}

#[tokio::test]
async fn a_commit_gets_its_object_again() {
    let world = full().await;
    let (before, contents) = (world.commit("c2"), world.nodes.contents());
    world.api.remove::<Commit>(&key("c2"));
    look(&world).await;
    let after = world.commit("c2");
    assert_eq!(after.spec, before.spec);
    let (is, was) = (after.status.unwrap(), before.status.unwrap());
    assert_eq!(
        (is.id, is.head, is.parent, is.volumes),
        (was.id, was.head, was.parent, was.volumes)
    );
    assert_eq!(world.nodes.contents(), contents);
    let events = world.api.events();
    assert!(
        events
            .iter()
            .any(|event| event.contains("ObjectMissing") && event.contains("\"c2\"")),
        "{events:?}"
    );
    // And that settles it.
    look(&world).await;
    assert_eq!(world.api.events(), events);
    world.delete::<Commit>("c2").await;
    look(&world).await;
    assert!(!world.api.exists::<Commit>(&key("c2")));
}

#[tokio::test]
async fn a_commit_whose_name_somebody_has_now_gets_another() {
    let world = full().await;
    let id = world.commit("c2").status.unwrap().id.unwrap();
    world.api.remove::<Commit>(&key("c2"));
    world.put_commit("c2");
    world.settle().await;
    look(&world).await;
    let name = format!("c2-{}", &id[..8]);
    assert_eq!(world.commit(&name).status.unwrap().id, Some(id));
    assert_eq!(reason!(world.commit("c2")), "Ready");
}

#[tokio::test]
async fn a_branch_stays_as_a_remnant_and_comes_back() {
    let world = full().await;
    let (before, contents) = (world.branch("try").status.unwrap(), world.nodes.contents());
    world.api.remove::<Branch>(&key("try"));
    look(&world).await;
    let [remnant] = world.remnants().try_into().expect("one Remnant");
    let id = before.id.clone().unwrap();
    assert_eq!(remnant.metadata.name, Some(RemnantKind::Branch.remnant(&id)));
    assert_eq!((remnant.spec.name.as_str(), remnant.spec.expires_at), ("try", None));
    world.pass(1_000_000_000);
    look(&world).await;
    let spec = format!("{{dot: shop, name: feature/try, restoreFrom: {id}}}");
    world.put("Branch", "try", &spec);
    world.settle().await;
    let branch = world.branch("try");
    assert_eq!(reason!(branch.clone()), "Ready", "{}", message!(branch.clone()));
    let after = branch.status.unwrap();
    assert_eq!(
        (after.id, after.head, after.origin, after.volumes),
        (before.id, before.head, before.origin, before.volumes)
    );
    assert_eq!(world.nodes.contents(), contents);
    assert!(world.remnants().is_empty());
}

#[tokio::test]
async fn a_dot_stays_as_a_remnant_and_comes_back_with_all_that_was_in_it() {
    let world = full().await;
    world.unclaim("shop", 1).await;
    world.settle().await;
    let (id, contents) = (world.dot("shop").status.unwrap().id.unwrap(), world.nodes.contents());
    world.api.remove::<Dot>(&key("shop"));
    for name in ["shop-main", "try"] {
        world.api.remove::<Branch>(&key(name));
    }
    for name in ["shop-initial", "c1", "c2"] {
        world.api.remove::<Commit>(&key(name));
    }
    look(&world).await;
    let [remnant] = world.remnants().try_into().expect("one Remnant");
    assert_eq!(remnant.metadata.name, Some(RemnantKind::Dot.remnant(&id)));
    assert_eq!((remnant.spec.name.as_str(), remnant.spec.expires_at), ("shop", None));
    let names: Vec<&str> = remnant.spec.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["cache", "db"]);
    assert_eq!(world.nodes.contents(), contents);
    world.put("Dot", "shop", &format!("{{restoreFrom: {id}}}"));
    world.settle().await;
    assert_eq!(reason!(world.dot("shop")), "Ready", "{}", message!(world.dot("shop")));
    for name in ["shop-initial", "c1", "c2"] {
        assert_eq!(reason!(world.commit(name)), "Ready");
    }
    assert_eq!(reason!(world.branch("try")), "Ready");
    assert_eq!(world.nodes.contents(), contents);
}

#[tokio::test]
async fn the_attachment_of_a_claim_that_is_gone_goes() {
    let world = full().await;
    let id = world.dot("shop").status.unwrap().id.unwrap();
    world.nodes.put_claim(&id, "0c5a6f6e-1111-4222-8333-444455556666");
    let before = world.nodes.claims(&id);
    look(&world).await;
    assert_eq!(world.nodes.claims(&id).len(), before.len() - 1);
    assert_eq!(reason!(world.dot("shop")), "Ready");
}

/// Whatever is under way when the look comes: made and not recorded, deleted and not released.
#[tokio::test]
async fn nothing_that_is_under_way_is_taken_for_it() {
    for n in 0..24 {
        let world = full().await;
        world.put_commit("c3");
        world.put("Branch", "more", "{dot: shop, name: more, from: c1}");
        world.delete::<Commit>("c2").await;
        world.delete::<Branch>("try").await;
        // The next calls fail after their effect, or before.
        world.nodes.fail_call(n / 2, NodeErrorKind::Unreachable, n % 2 == 0);
        world.round().await;
        world.look_for_losses().await.ok();
        world.round().await;
        world.look_for_losses().await.ok();
        world.nodes.fail_call(usize::MAX, NodeErrorKind::Unreachable, false);
        world.settle().await;
        look(&world).await;
        assert!(world.remnants().is_empty(), "{n}");
        let events = world.api.events();
        assert!(
            !events.iter().any(|event| event.contains("ObjectMissing")),
            "{n}: {events:?}"
        );
        assert!(!world.api.exists::<Commit>(&key("c2")), "{n}");
        assert_eq!(reason!(world.commit("c3")), "Ready", "{n}");
    }
}
