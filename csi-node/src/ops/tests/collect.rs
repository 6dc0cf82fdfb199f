//! The collector over the fakes: any order of deletion ends with an empty pool.

use super::*;
use dotmesh_zfs::Verb;

/// What can be deleted in the story of [`story`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Main,
    Commit,
    Fork,
    ForksCommit,
    Dot,
}

const PARTS: [Part; 5] = [Part::Main, Part::Commit, Part::Fork, Part::ForksCommit, Part::Dot];

/// Main with a commit, a fork of that commit with a commit of its own.
async fn story() -> (Host, Arc<Ops<FakeZfs, FakeMount>>) {
    let (host, ops) = Host::with_dot().await;
    let state = ops.commit(&commit(0, 0)).await.unwrap();
    ops.ensure_branch(&fork(1, 0, 0, &state)).await.unwrap();
    ops.commit(&commit(1, 1)).await.unwrap();
    (host, ops)
}

async fn delete(ops: &Arc<Ops<FakeZfs, FakeMount>>, part: Part) -> bool {
    match part {
        Part::Main => ops.delete_branch(dot(), branch_id(0), &[head_id(0)]).await,
        Part::Commit => ops.delete_commit(dot(), commit_id(0), head_id(0)).await,
        Part::Fork => ops.delete_branch(dot(), branch_id(1), &[head_id(1)]).await,
        Part::ForksCommit => ops.delete_commit(dot(), commit_id(1), head_id(1)).await,
        Part::Dot => ops.delete_dot(dot()).await,
    }
    .unwrap()
}

fn orders(parts: &[Part]) -> Vec<Vec<Part>> {
    if parts.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (n, first) in parts.iter().enumerate() {
        let rest = [&parts[..n], &parts[n + 1..]].concat();
        for mut order in orders(&rest) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}

#[tokio::test]
async fn everything_can_be_deleted_in_any_order() {
    for order in orders(&PARTS) {
        let (host, ops) = story().await;
        let fork_volume = format!("dotmesh/dotmesh/{}/{}/{}", dot(), head_id(1), volume_id("db"));
        let guid = guid_of(&host.zfs, &fork_volume).await;
        for (n, part) in order.iter().enumerate() {
            delete(&ops, *part).await;
            let deleted = &order[..=n];
            if !deleted.contains(&Part::Fork) && !deleted.contains(&Part::Dot) {
                assert_eq!(
                    guid_of(&host.zfs, &fork_volume).await,
                    guid,
                    "{order:?}: the live fork stays"
                );
            }
        }
        let pool = ops.known_pool().unwrap();
        assert!(ops.collect_dot(&pool, dot()).await.unwrap(), "{order:?}");
        assert_eq!(host.zfs.all_names(), ["dotmesh", "dotmesh/dotmesh"], "{order:?}");
        for part in order {
            assert!(delete(&ops, part).await, "deleting again is done already");
        }
    }
}

#[tokio::test]
async fn a_dot_that_lives_on_is_left_with_nothing_of_what_was_deleted() {
    for order in orders(&PARTS[..4]) {
        let (host, ops) = story().await;
        for part in &order {
            delete(&ops, *part).await;
        }
        let pool = ops.known_pool().unwrap();
        ops.collect_dot(&pool, dot()).await.unwrap();
        assert_eq!(names(&host.zfs), [dot().to_string()], "{order:?}");
        let state = ops.living_dot(&pool, dot()).await.unwrap();
        assert!(
            !state.has_tombstones() && state.branches.is_empty(),
            "{order:?}: {state:?}"
        );
    }
}

#[tokio::test]
async fn a_dead_head_that_others_need_gives_back_what_nobody_can_reach() {
    let (host, ops) = story().await;
    let volume = ops
        .known_pool()
        .unwrap()
        .layout
        .volume(dot(), head_id(0), volume_id("db"));
    host.zfs.write(&volume, 5 << 20);
    assert!(!delete(&ops, Part::Main).await);
    assert_eq!(host.zfs.written(&volume, None).await.unwrap(), 0);
    let before = host.zfs.counts().snapshot();
    let pool = ops.known_pool().unwrap();
    ops.collect_dot(&pool, dot()).await.unwrap();
    let after = host.zfs.counts().snapshot();
    let of =
        |counts: &std::collections::BTreeMap<_, dotmesh_zfs::CommandCount>, verb| counts.get(&verb).map(|c| c.count);
    for verb in [
        dotmesh_zfs::Verb::Rollback,
        dotmesh_zfs::Verb::Destroy,
        dotmesh_zfs::Verb::Set,
    ] {
        assert_eq!(
            of(&before, verb),
            of(&after, verb),
            "a settled dead head is not touched: {verb}"
        );
    }
    // The commit is still there to branch from.
    let again = ops.commit(&commit(0, 0)).await;
    assert!(matches!(again, Err(Error::Deleted(_))), "{again:?}");
    assert!(
        names(&host.zfs)
            .iter()
            .any(|name| name.ends_with(&format!("@{}", commit_id(0))))
    );
}

#[tokio::test]
async fn what_pods_use_is_waited_for() {
    let (host, ops) = story().await;
    let attach = AttachRequest {
        dot: dot(),
        claim: claim(),
        volume: volume_id("db"),
        branch: None,
    };
    ops.attach(&attach).await.unwrap();
    let target = PathBuf::from("/pods/a/mount");
    let publish = PublishRequest {
        format: VolumeFormat::Zfs,
        volume: Wanted::Claim(handle()),
        namespace: None,
        target: target.clone(),
        readonly: false,
        options: Vec::new(),
        context: None,
        exclusive: false,
    };
    ops.publish(&publish).await.unwrap();
    let volume = ops
        .known_pool()
        .unwrap()
        .layout
        .volume(dot(), head_id(0), volume_id("db"));
    assert!(host.zfs.is_mounted(&volume));
    for part in PARTS {
        delete(&ops, part).await;
    }
    let pool = ops.known_pool().unwrap();
    assert!(!ops.collect_dot(&pool, dot()).await.unwrap());
    assert!(names(&host.zfs).contains(&volume.as_str().replace("dotmesh/dotmesh/", "")));
    assert!(host.mount.table().at(&target).is_some());
    let unpublish = UnpublishRequest {
        volume: VolumeRef::Claim(handle()),
        target: target.clone(),
    };
    ops.host.unpublish(&unpublish).await.unwrap();
    assert!(ops.collect_dot(&pool, dot()).await.unwrap());
    assert!(host.zfs.destroyed_while_mounted().is_empty());
    assert_eq!(host.mount.table().iter().count(), 0);
}

#[tokio::test]
async fn a_private_mount_that_no_pod_uses_goes_with_its_head() {
    let (host, ops) = Host::with_dot().await;
    let volume = ops
        .known_pool()
        .unwrap()
        .layout
        .volume(dot(), head_id(0), volume_id("db"));
    // As left by a kill between private mount and bind.
    let private = host.private(head_id(0), volume_id("db"));
    dotmesh_mount::Mount::make_dir(&host.mount, &private).await.unwrap();
    let mount = dotmesh_mount::ZfsMount {
        source: volume.to_string(),
        target: private.clone(),
        readonly: false,
        context: None,
    };
    dotmesh_mount::Mount::mount_zfs(&host.mount, &mount).await.unwrap();
    assert!(ops.delete_dot(dot()).await.unwrap());
    assert_eq!(host.mount.table().iter().count(), 0);
    assert!(!host.mount.exists(&private));
}

#[tokio::test]
async fn snapshots_and_datasets_of_others_are_never_destroyed() {
    let (host, ops) = story().await;
    let layout = ops.known_pool().unwrap().layout;
    let volume = layout.volume(dot(), head_id(0), volume_id("db"));
    let named = volume.at(&"zrepl_2026".parse().unwrap()).unwrap();
    let like_ours = layout.volume_snapshot(dot(), head_id(0), volume_id("cache"), commit_id(77));
    let none = dotmesh_zfs::Properties::new();
    host.zfs.snapshot(std::slice::from_ref(&named), &none).await.unwrap();
    host.zfs
        .snapshot(std::slice::from_ref(&like_ours), &none)
        .await
        .unwrap();
    for part in PARTS {
        delete(&ops, part).await;
    }
    let pool = ops.known_pool().unwrap();
    assert!(!ops.collect_dot(&pool, dot()).await.unwrap());
    let left = host.zfs.all_names();
    assert!(
        left.contains(&named.to_string()) && left.contains(&like_ours.to_string()),
        "{left:?}"
    );
    assert_eq!(
        left.iter().filter(|name| name.contains('@')).count(),
        2,
        "all of ours went: {left:?}"
    );
    for snapshot in [named, like_ours] {
        host.zfs
            .destroy_snapshots_deferred(snapshot.dataset(), &[snapshot.snap().clone()])
            .await
            .unwrap();
    }
    assert!(ops.collect_dot(&pool, dot()).await.unwrap());
    assert!(names(&host.zfs).is_empty());
}

#[tokio::test]
async fn busy_snapshots_are_tried_again() {
    let (host, ops) = Host::with_dot().await;
    ops.commit(&commit(0, 0)).await.unwrap();
    let layout = ops.known_pool().unwrap().layout;
    let snapshot = layout.volume_snapshot(dot(), head_id(0), volume_id("db"), commit_id(0));
    host.zfs.set_snapshot_busy(&snapshot, true);
    assert!(!ops.delete_commit(dot(), commit_id(0), head_id(0)).await.unwrap());
    host.zfs.set_snapshot_busy(&snapshot, false);
    let pool = ops.known_pool().unwrap();
    assert!(!ops.collect_dot(&pool, dot()).await.unwrap(), "the Dot lives on");
    assert!(!ops.living_dot(&pool, dot()).await.unwrap().has_tombstones());
    assert!(ops.delete_commit(dot(), commit_id(0), head_id(0)).await.unwrap());
}

/// Deletes these commits of main at the same time; which are gone.
async fn delete_together(ops: &Arc<Ops<FakeZfs, FakeMount>>, commits: impl Iterator<Item = u128>) -> Vec<bool> {
    let all = commits.map(|n| ops.delete_commit(dot(), commit_id(n), head_id(0)));
    let all = futures::future::join_all(all).await;
    all.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_hundred_commits_that_are_deleted_together_cost_as_much_as_two() {
    let (host, ops) = Host::with_dot().await;
    for n in 0..102 {
        ops.commit(&commit(n, 0)).await.unwrap();
    }
    // Holds are put on in the background.
    let holds = || {
        host.zfs
            .counts()
            .snapshot()
            .get(&Verb::Hold)
            .map_or(0, |count| count.count)
    };
    while holds() < 102 {
        tokio::task::yield_now().await;
    }
    let count = || host.zfs.counts().total();
    let before = count();
    // The first goes by itself, while the others gather.
    assert!(delete_together(&ops, 0..2).await.into_iter().all(|gone| gone));
    let of_two = count() - before;
    assert!(delete_together(&ops, 2..102).await.into_iter().all(|gone| gone));
    assert_eq!((of_two, count() - before - of_two), (14, 14));
    assert_eq!(names(&host.zfs).iter().filter(|name| name.contains('@')).count(), 0);
}

#[tokio::test]
async fn of_commits_that_are_deleted_together_those_that_are_needed_stay_with_their_tombstone() {
    let (host, ops) = Host::with_dot().await;
    let mut states = Vec::new();
    for n in 0..6 {
        states.push(ops.commit(&commit(n, 0)).await.unwrap());
    }
    ops.ensure_branch(&fork(1, 3, 0, &states[3])).await.unwrap();
    let layout = ops.known_pool().unwrap().layout;
    let busy = layout.volume_snapshot(dot(), head_id(0), volume_id("db"), commit_id(4));
    host.zfs.set_snapshot_busy(&busy, true);
    assert_eq!(delete_together(&ops, 0..5).await, [true, true, true, false, false]);
    let pool = ops.known_pool().unwrap();
    let dead = async || {
        let state = ops.living_dot(&pool, dot()).await.unwrap();
        let dead = [0, 1, 2, 3, 4, 5].into_iter().filter(|n| state.is_dead(commit_id(*n)));
        (dead.collect::<Vec<_>>(), state.dead_commits.len())
    };
    assert_eq!(dead().await, (vec![3, 4], 1));
    // One that went may be asked for again, although the tombstone is named after it.
    assert_eq!(delete_together(&ops, 1..3).await, [true, true]);
    assert_eq!(dead().await, (vec![3, 4], 1));
    host.zfs.set_snapshot_busy(&busy, false);
    ops.collect_dot(&pool, dot()).await.unwrap();
    assert_eq!(dead().await, (vec![3], 1));
    assert!(ops.delete_branch(dot(), branch_id(1), &[head_id(1)]).await.unwrap());
    ops.collect_dot(&pool, dot()).await.unwrap();
    assert_eq!(dead().await, (vec![], 0));
    let left: Vec<_> = names(&host.zfs).into_iter().filter(|name| name.contains('@')).collect();
    assert_eq!(left.len(), 3, "the last commit: {left:?}");
}

#[tokio::test]
async fn the_collector_finds_tombstones_of_before_its_start() {
    let (host, ops) = story().await;
    let (name, value) = crate::layout::encode_deleted();
    let dataset = ops.known_pool().unwrap().layout.dot(dot());
    let deleted = dotmesh_zfs::Properties::new().with(name, value);
    host.zfs.set(&dataset, &deleted).await.unwrap();
    let ops = host.start();
    ops.import_known().await.unwrap();
    let collector = tokio::spawn(Arc::clone(&ops).collect());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !names(&host.zfs).is_empty() {
        assert!(std::time::Instant::now() < until, "{:?}", names(&host.zfs));
        tokio::task::yield_now().await;
    }
    collector.abort();
}

#[tokio::test]
async fn a_branch_of_another_head_is_protected() {
    let (host, ops) = story().await;
    let error = ops
        .delete_branch(dot(), branch_id(0), &[head_id(0), head_id(1)])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    let pool = ops.known_pool().unwrap();
    let state = ops.living_dot(&pool, dot()).await.unwrap();
    assert!(!state.has_tombstones());
    assert_eq!(names(&host.zfs).len(), 13);
}

#[tokio::test]
async fn what_is_deleted_takes_nothing_new() {
    let (_host, ops) = story().await;
    let state = ops.commit(&commit(0, 0)).await.unwrap();
    assert!(!delete(&ops, Part::Commit).await, "the fork needs it");
    let error = ops.ensure_branch(&fork(2, 0, 0, &state)).await.unwrap_err();
    assert!(matches!(error, Error::Deleted(_)), "{error:?}");
    assert!(matches!(ops.commit(&commit(0, 0)).await, Err(Error::Deleted(_))));
    ops.ensure_branch(&fork(1, 0, 0, &state)).await.unwrap();
    delete(&ops, Part::Main).await;
    let pinned = AttachRequest {
        dot: dot(),
        claim: claim(),
        volume: volume_id("db"),
        branch: Some(branch_id(0)),
    };
    assert!(matches!(ops.attach(&pinned).await, Err(Error::Deleted(_))));
    assert!(matches!(ops.ensure_branch(&main()).await, Err(Error::Deleted(_))));
}
