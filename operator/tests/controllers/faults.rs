//! Every write and every call fails once, before or after its effect, and the operator starts again: the end is the
//! same, and nothing was made twice (I10).

use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_operator::nodes::NodeErrorKind;

use crate::world::{World, key, reason};

/// Makes a Dot, a commit and a branch, then deletes all of it.
async fn story(world: &World) {
    world.put_shop();
    world.settle_restarting().await;
    world.claim("shop", 1, "db", None).await;
    world.settle_restarting().await;
    world.put_commit("c1");
    world.settle_restarting().await;
    world.put("Branch", "exp", "{dot: shop, name: exp, from: c1}");
    world.settle_restarting().await;
    for name in ["shop-initial", "c1"] {
        assert_eq!(reason!(world.commit(name)), "Ready");
    }
    assert_eq!(reason!(world.branch("exp")), "Ready");
    assert_eq!(reason!(world.dot("shop")), "Ready");
    assert_eq!(
        world.nodes.contents().len(),
        6,
        "dot, two heads, two commits, a claim: {:?}",
        world.nodes.contents()
    );

    world.delete::<Commit>("c1").await;
    world.settle_restarting().await;
    world.delete::<Branch>("exp").await;
    world.settle_restarting().await;
    world.unclaim("shop", 1).await;
    world.settle_restarting().await;
    world.delete::<Dot>("shop").await;
    world.settle_restarting().await;
    assert!(!world.api.exists::<Dot>(&key("shop")));
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
    let made = world.nodes.made();
    assert!(made.values().all(|times| *times == 1), "{made:?}");
}

#[tokio::test]
async fn every_write_may_fail() {
    for after in [false, true] {
        for skip in 0.. {
            let world = World::new().await;
            world.api.fail_write(skip, after);
            story(&world).await;
            if world.api.is_failure_due() {
                assert!(skip > 20, "the story has more than {skip} writes");
                break;
            }
        }
    }
}

#[tokio::test]
async fn every_call_may_fail() {
    for after in [false, true] {
        for kind in [NodeErrorKind::Unreachable, NodeErrorKind::Deadline] {
            for skip in 0.. {
                let world = World::new().await;
                world.nodes.fail_call(skip, kind, after);
                story(&world).await;
                if world.nodes.is_failure_due() {
                    assert!(skip > 8, "the story has more than {skip} calls");
                    break;
                }
            }
        }
    }
}
