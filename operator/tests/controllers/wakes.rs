//! Nothing waits in vain: with each object looked at only when a change concerns it, everything still happens.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_crds::{Branch, Commit, Dot, Pool};
use dotmesh_operator::api::{Api, Cached, Key};
use dotmesh_operator::wake::{self, Wake};
use k8s_openapi::api::core::v1::Pod;

use crate::world::{World, key, reason};

/// One kind's objects as the watch last showed them.
struct Seen<K>(BTreeMap<Key, K>);

impl<K: Cached> Seen<K> {
    /// What came, changed or went since the last time.
    fn changes(&mut self, world: &World) -> Vec<K> {
        let now = world.api.cached_where::<K>(|_| true);
        let now: BTreeMap<Key, K> = now
            .iter()
            .map(|object| (Key::of(&**object), (**object).clone()))
            .collect();
        let version = |object: &K| object.meta().resource_version.clone();
        let is_new = |(key, object): &(&Key, &K)| self.0.get(*key).map(version) != Some(version(object));
        let mut changed: Vec<K> = now.iter().filter(is_new).map(|(_, object)| object.clone()).collect();
        changed.extend(
            self.0
                .iter()
                .filter(|(key, _)| !now.contains_key(*key))
                .map(|(_, gone)| gone.clone()),
        );
        self.0 = now;
        changed
    }
}

struct Watches {
    dots: Seen<Dot>,
    branches: Seen<Branch>,
    commits: Seen<Commit>,
    pools: Seen<Pool>,
    pods: Seen<Pod>,
}

impl Watches {
    fn new() -> Self {
        Self {
            dots: Seen(BTreeMap::new()),
            branches: Seen(BTreeMap::new()),
            commits: Seen(BTreeMap::new()),
            pools: Seen(BTreeMap::new()),
            pods: Seen(BTreeMap::new()),
        }
    }

    fn wakes(&mut self, world: &World) -> Vec<Wake> {
        let api = &world.api;
        let mut wakes = Vec::new();
        wakes.extend(self.pods.changes(world).iter().map(|pod| wake::pod_changed(api, pod)));
        wakes.extend(
            self.pools
                .changes(world)
                .iter()
                .map(|pool| wake::pool_changed(api, pool)),
        );
        wakes.extend(self.dots.changes(world).iter().map(|dot| wake::dot_changed(api, dot)));
        wakes.extend(
            self.branches
                .changes(world)
                .iter()
                .map(|branch| wake::branch_changed(api, branch)),
        );
        wakes.extend(
            self.commits
                .changes(world)
                .iter()
                .map(|commit| wake::commit_changed(api, commit)),
        );
        wakes
    }

    /// Until nothing wakes anybody any more.
    async fn run(&mut self, world: &World) {
        for _ in 0..200 {
            let mut due = BTreeSet::new();
            for wake in self.wakes(world) {
                due.extend(wake.pods.into_iter().map(|key| (0, key)));
                due.extend(wake.pools.into_iter().map(|key| (1, key)));
                due.extend(wake.dots.into_iter().map(|key| (2, key)));
                due.extend(wake.branches.into_iter().map(|key| (3, key)));
                due.extend(wake.commits.into_iter().map(|key| (4, key)));
            }
            if due.is_empty() {
                return;
            }
            for (kind, key) in due {
                world.look(kind, &key).await;
            }
        }
        panic!("never settles");
    }
}

#[tokio::test]
async fn the_whole_story_happens_by_wakes_alone() {
    let world = World::empty();
    let mut watches = Watches::new();
    world.put_commit("c1");
    world.put("Branch", "exp", "{dot: shop, name: exp, from: c1}");
    world.put("Branch", "twin", "{dot: shop, name: exp, from: c1}");
    watches.run(&world).await;
    assert_eq!(reason!(world.commit("c1")), "DotNotFound");
    world.put_shop();
    watches.run(&world).await;
    world.claim("shop", 1, "db", None).await;
    watches.run(&world).await;
    assert_eq!(reason!(world.dot("shop")), "PoolUnavailable");
    world.start_csi_node();
    watches.run(&world).await;
    assert_eq!(reason!(world.dot("shop")), "Ready");
    assert_eq!(reason!(world.commit("c1")), "Ready");
    assert_eq!(reason!(world.branch("exp")), "Ready");
    assert_eq!(reason!(world.branch("twin")), "NameTaken");
    world.claim("shop", 2, "db", Some("exp")).await;
    watches.run(&world).await;
    assert_eq!(world.dot("shop").status.unwrap().attachments.len(), 2);

    world.delete::<Branch>("exp").await;
    watches.run(&world).await;
    world.unclaim("shop", 2).await;
    watches.run(&world).await;
    assert!(!world.api.exists::<Branch>(&key("exp")));
    assert_eq!(reason!(world.branch("twin")), "Ready");

    world.delete_pool().await;
    world.delete::<Dot>("shop").await;
    watches.run(&world).await;
    world.unclaim("shop", 1).await;
    watches.run(&world).await;
    assert!(!world.api.exists::<Dot>(&key("shop")));
    assert!(!world.api.exists::<Commit>(&key("c1")));
    assert_eq!(world.nodes.contents(), Vec::<String>::new());
    assert_eq!(reason!(world.pool()), "Ready", "made again");
    world.api.take_writes();
    assert_eq!(world.settle().await, Vec::<String>::new(), "nobody was forgotten");
}
