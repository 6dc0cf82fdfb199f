//! Commits of one instant: together or not at all.

use dotmesh_crds::Commit;

use crate::world::{World, key, message, reason};

impl World {
    /// A second Dot, which lies where the first one does.
    pub(crate) async fn with_two_dots() -> Self {
        let world = Self::with_shop().await;
        world.put("Dot", "stock", "{volumes: [{name: items, size: 1Gi}]}");
        world.claim("stock", 2, "items", None).await;
        world.settle().await;
        world
    }

    fn put_member(&self, name: &str, dot: &str, members: u32) {
        let spec = format!("{{dot: {dot}, branch: main, group: {{name: release, members: {members}}}}}");
        self.put("Commit", name, &spec);
    }
}

#[tokio::test]
async fn a_group_is_taken_by_one_call_when_all_are_there() {
    let world = World::with_two_dots().await;
    world.put_member("one", "shop", 2);
    world.settle().await;
    assert_eq!(reason!(world.commit("one")), "Progressing");
    assert!(message!(world.commit("one")).contains("1 of its 2 Commits"));

    world.put_member("two", "stock", 2);
    world.nodes.take_calls();
    let writes = world.settle().await;
    let (one, two) = (world.commit("one").status.unwrap(), world.commit("two").status.unwrap());
    assert_eq!((one.createtxg.is_some(), one.createtxg), (true, two.createtxg));
    let group = one.group.unwrap();
    assert_eq!(two.group.as_ref(), Some(&group));
    let members = group.commits.iter().map(|member| (&*member.name, &*member.dot));
    assert_eq!(members.collect::<Vec<_>>(), [("one", "shop"), ("two", "stock")]);
    assert_eq!(group.commits[0].id, one.id.unwrap());
    // Each has its two writes; the one that was told to wait had one more before.
    assert_eq!(writes.len(), 3, "{writes:?}");
    assert!(world.settle().await.is_empty());
}

#[tokio::test]
async fn nothing_is_taken_of_a_group_that_cannot_be() {
    let world = World::with_two_dots().await;
    let before = world.nodes.contents();
    world.put_member("one", "shop", 2);
    world.put_member("two", "shop", 2);
    world.settle().await;
    assert_eq!(reason!(world.commit("one")), "Invalid");
    assert!(message!(world.commit("one")).contains("a branch that the group has already"));
    assert_eq!(reason!(world.commit("two")), "NotReady");
    assert!(message!(world.commit("two")).contains("Commit \"one\" of its group"));

    world.delete::<Commit>("two").await;
    world.put_member("three", "stock", 3);
    world.settle().await;
    assert!(message!(world.commit("one")).contains("another number in Commit \"three\""));
    world.delete::<Commit>("three").await;
    world.put("Commit", "four", "{dot: nowhere, group: {name: release, members: 2}}");
    world.settle().await;
    assert_eq!(reason!(world.commit("four")), "DotNotFound");
    assert_eq!(world.nodes.contents(), before);
}

#[tokio::test]
async fn who_comes_late_is_told() {
    let world = World::with_two_dots().await;
    world.put_member("one", "shop", 2);
    world.put_member("two", "stock", 2);
    world.settle().await;
    assert_eq!(reason!(world.commit("two")), "Ready");
    world.put_member("three", "stock", 2);
    world.settle().await;
    assert!(message!(world.commit("three")).contains("was taken without it"));
    // Each goes by itself.
    for name in ["one", "three", "two"] {
        world.delete::<Commit>(name).await;
        world.settle().await;
        assert!(!world.api.exists::<Commit>(&key(name)), "{name}");
    }
}

#[tokio::test]
async fn whoever_was_deleted_meanwhile_is_not_taken() {
    let world = World::with_two_dots().await;
    world.nodes.set_reachable("n1", false);
    world.put_member("one", "shop", 2);
    world.put_member("two", "stock", 2);
    world.round().await;
    world.round().await;
    world.nodes.set_reachable("n1", true);
    let before = world.nodes.contents();
    // The caches still have it.
    world.api.freeze_caches();
    world.delete::<Commit>("two").await;
    let stale = world.commit("one");
    world.reconcile_commit(stale).await;
    world.api.thaw_caches();
    assert_eq!(world.nodes.contents(), before, "nothing was taken");
    world.settle().await;
    assert!(message!(world.commit("one")).contains("1 of its 2 Commits"));
}
