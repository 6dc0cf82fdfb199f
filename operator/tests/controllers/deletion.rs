//! Everything can be deleted, in every order.

use dotmesh_crds::{Branch, Commit, Dot};

use crate::world::{World, key};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    FirstCommit,
    SecondCommit,
    Branch,
    Claims,
    Dot,
}

const ALL: [Victim; 5] = [
    Victim::FirstCommit,
    Victim::SecondCommit,
    Victim::Branch,
    Victim::Claims,
    Victim::Dot,
];

async fn full() -> World {
    let world = World::with_shop().await;
    world.put_commit("c1");
    world.settle().await;
    world.put("Branch", "exp", "{dot: shop, name: exp, from: c1}");
    world.settle().await;
    world.put("Commit", "c2", "{dot: shop, branch: exp}");
    world.claim("shop", 2, "db", Some("exp")).await;
    world.settle().await;
    world
}

async fn delete(world: &World, victim: Victim) {
    match victim {
        Victim::FirstCommit => world.delete::<Commit>("c1").await,
        Victim::SecondCommit => world.delete::<Commit>("c2").await,
        Victim::Branch => world.delete::<Branch>("exp").await,
        Victim::Claims if world.api.exists::<Dot>(&key("shop")) => {
            world.unclaim("shop", 1).await;
            world.unclaim("shop", 2).await;
        }
        Victim::Claims => {}
        Victim::Dot => world.delete::<Dot>("shop").await,
    }
}

fn permutations(of: &[Victim]) -> Vec<Vec<Victim>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    of.iter()
        .flat_map(|first| {
            let rest: Vec<Victim> = of.iter().copied().filter(|other| other != first).collect();
            permutations(&rest).into_iter().map(move |mut order| {
                order.insert(0, *first);
                order
            })
        })
        .collect()
}

#[tokio::test]
async fn every_order_ends_with_nothing_left() {
    for order in permutations(&ALL) {
        for settle_between in [true, false] {
            let world = full().await;
            for victim in &order {
                delete(&world, *victim).await;
                if settle_between {
                    world.settle().await;
                }
            }
            world.settle().await;
            assert_eq!(world.nodes.contents(), Vec::<String>::new(), "{order:?}");
            for name in ["shop-main", "exp"] {
                assert!(!world.api.exists::<Branch>(&key(name)), "{name} after {order:?}");
            }
            for name in ["shop-initial", "c1", "c2"] {
                assert!(!world.api.exists::<Commit>(&key(name)), "{name} after {order:?}");
            }
            assert!(!world.api.exists::<Dot>(&key("shop")), "{order:?}");
        }
    }
}
