//! Commits over the fakes: atomic, batched, repeated.

use super::killed::Killed;
use super::*;
use dotmesh_zfs::{ErrorKind, FailWhen, PropValue, Properties, Verb};

fn count(zfs: &FakeZfs, verb: Verb) -> u64 {
    zfs.counts().snapshot().get(&verb).map_or(0, |count| count.count)
}

#[tokio::test]
async fn a_commit_covers_all_volumes_and_repeating_gives_the_same_answer() {
    let (host, ops) = Host::with_dot().await;
    let first = ops.commit(&commit(0, 0)).await.unwrap();
    assert_eq!(first.parent, None);
    assert_eq!(first.snapshots.len(), 2);
    let head = format!("{}/{}", dot(), head_id(0));
    for volume in both() {
        let snapshot = format!("dotmesh/dotmesh/{head}/{volume}@{}", commit_id(0));
        let told = first.snapshots.iter().find(|state| state.volume == volume).unwrap();
        assert_eq!(guid_of(&host.zfs, &snapshot).await, told.guid);
    }
    let second = ops.commit(&commit(1, 0)).await.unwrap();
    assert_eq!(second.parent, Some(commit_id(0)));
    assert!(second.createtxg > first.createtxg);
    for ops in [ops, host.start()] {
        ops.import_known().await.unwrap();
        assert_eq!(ops.commit(&commit(0, 0)).await.unwrap(), first);
        assert_eq!(ops.commit(&commit(1, 0)).await.unwrap(), second);
    }
    assert_eq!(names(&host.zfs).iter().filter(|name| name.contains('@')).count(), 6);
}

#[tokio::test]
async fn a_commit_is_repeated_after_the_head_got_another_volume() {
    let (_host, ops) = Host::with_dot().await;
    let first = ops.commit(&commit(0, 0)).await.unwrap();
    let mut larger = main();
    larger.volumes.push(volume("more"));
    ops.ensure_branch(&larger).await.unwrap();
    let mut again = commit(0, 0);
    again.volumes.insert(volume("more").id);
    assert_eq!(
        ops.commit(&again).await.unwrap(),
        first,
        "what it had when it was taken"
    );
    again.commit = commit_id(1);
    assert_eq!(ops.commit(&again).await.unwrap().snapshots.len(), 3);
}

#[tokio::test]
async fn a_commit_on_a_warm_head_is_one_snapshot_and_one_list() {
    let (host, ops) = Host::with_dot().await;
    ops.commit(&commit(0, 0)).await.unwrap();
    let holds = async |wanted| {
        // The hold comes in the background.
        while count(&host.zfs, Verb::Hold) < wanted {
            tokio::task::yield_now().await;
        }
    };
    holds(1).await;
    let before = host.zfs.counts().total();
    ops.commit(&commit(1, 0)).await.unwrap();
    holds(2).await;
    assert_eq!(host.zfs.counts().total() - before, 3, "snapshot, list, and the hold");
}

#[tokio::test]
async fn the_record_is_beside_the_snapshots() {
    let (_host, ops) = Host::with_dot().await;
    ops.commit(&commit(0, 0)).await.unwrap();
    ops.commit(&commit(1, 0)).await.unwrap();
    let pool = ops.known_pool().unwrap();
    let snapshot = pool.layout.head_snapshot(dot(), head_id(0), commit_id(1));
    let stored = ops.read_record(&pool, &snapshot).await.unwrap().unwrap();
    let told = commit(1, 0).record;
    assert_eq!(stored.message, told.message);
    assert_eq!((stored.author, stored.committer), (told.author, told.committer));
    assert_eq!(stored.parent, Some(commit_id(0).to_string()));
    assert_eq!(stored.volumes.len(), 2);
    let mut long = commit(2, 0);
    long.record.message = "x".repeat(crate::layout::MAX_RECORD_LEN);
    assert!(matches!(ops.commit(&long).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn the_parent_passes_over_deleted_commits_and_begins_with_the_origin() {
    let (host, ops) = Host::with_dot().await;
    let first = ops.commit(&commit(0, 0)).await.unwrap();
    ops.commit(&commit(1, 0)).await.unwrap();
    ops.delete_commit(dot(), commit_id(1), head_id(0)).await.unwrap();
    assert_eq!(ops.commit(&commit(2, 0)).await.unwrap().parent, Some(commit_id(0)));
    ops.ensure_branch(&fork(1, 0, 0, &first)).await.unwrap();
    let on_fork = ops.commit(&commit(3, 1)).await.unwrap();
    assert_eq!(on_fork.parent, Some(commit_id(0)));
    // The same from disk.
    let ops = host.start();
    ops.import_known().await.unwrap();
    assert_eq!(ops.commit(&commit(4, 1)).await.unwrap().parent, Some(commit_id(3)));
    assert_eq!(ops.commit(&commit(5, 0)).await.unwrap().parent, Some(commit_id(2)));
}

#[tokio::test]
async fn a_snapshot_of_somebody_else_is_no_parent_and_no_commit() {
    let (host, ops) = Host::with_dot().await;
    let layout = ops.known_pool().unwrap().layout;
    let foreign = layout.head_snapshot(dot(), head_id(0), commit_id(7));
    let marked = dotmesh_zfs::Properties::new().with("a:b".parse().unwrap(), PropValue::from_static("c"));
    host.zfs
        .snapshot(std::slice::from_ref(&foreign), &marked)
        .await
        .unwrap();
    assert_eq!(ops.commit(&commit(0, 0)).await.unwrap().parent, None);
    let error = ops.commit(&commit(7, 0)).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
}

#[tokio::test]
async fn a_commit_that_is_there_on_some_volumes_only_is_a_conflict() {
    let (host, ops) = Host::with_dot().await;
    ops.commit(&commit(0, 0)).await.unwrap();
    let pool = ops.known_pool().unwrap();
    let volume = pool.layout.volume(dot(), head_id(0), volume_id("db"));
    let on_head = pool.layout.head_snapshot(dot(), head_id(0), commit_id(0));
    while host
        .zfs
        .release_recursive(&crate::layout::HOLD, on_head.dataset(), &[on_head.snap().clone()])
        .await
        .is_err()
    {
        tokio::task::yield_now().await;
    }
    let snap = commit_id(0).to_string().parse().unwrap();
    host.zfs.destroy_snapshots_deferred(&volume, &[snap]).await.unwrap();
    let error = ops.commit(&commit(0, 0)).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
}

#[tokio::test]
async fn what_cannot_be_committed_is_told() {
    let (_host, ops) = Host::with_dot().await;
    let empty = CommitRequest {
        volumes: BTreeSet::new(),
        ..commit(0, 0)
    };
    assert!(matches!(ops.commit(&empty).await, Err(Error::Invalid(_))));
    let part = CommitRequest {
        volumes: [volume_id("db")].into(),
        ..commit(0, 0)
    };
    assert!(matches!(ops.commit(&part).await, Err(Error::Conflict(_))));
    let elsewhere = CommitRequest {
        head: head_id(3),
        ..commit(0, 0)
    };
    assert!(matches!(ops.commit(&elsewhere).await, Err(Error::Conflict(_))));
    assert!(matches!(ops.commit(&commit(0, 3)).await, Err(Error::NotFound(_))));
    ops.commit(&commit(0, 0)).await.unwrap();
    ops.delete_commit(dot(), commit_id(0), head_id(0)).await.unwrap();
    ops.delete_branch(dot(), branch_id(0), &[]).await.unwrap();
    assert!(matches!(
        ops.commit(&commit(1, 0)).await,
        Err(Error::Deleted(_) | Error::NotFound(_))
    ));
    ops.delete_dot(dot()).await.unwrap();
    assert!(matches!(
        ops.commit(&commit(1, 0)).await,
        Err(Error::Deleted(_) | Error::NotFound(_))
    ));
}

/// Several Dots with one branch each, by number.
async fn dots<Z: Zfs>(ops: &Arc<Ops<Z, FakeMount>>, count: u128) -> Vec<CommitRequest> {
    let mut commits = Vec::new();
    for n in 0..count {
        let id = DotId::new(uuid(1000 + n));
        ops.ensure_dot(id, &identity()).await.unwrap();
        let branch = BranchRequest {
            dot: id,
            branch: branch_id(n),
            head: head_id(n),
            ..main()
        };
        ops.ensure_branch(&branch).await.unwrap();
        commits.push(CommitRequest {
            dot: id,
            ..commit(n, n)
        });
    }
    commits
}

#[tokio::test]
async fn commits_that_come_together_go_together() {
    let host = Host::new();
    let zfs = Killed::after(&host.zfs, i64::MAX);
    let ops = only_pool(zfs, host.mount.clone(), host.config());
    ops.ensure_pool(&host.pool_request()).await.unwrap();
    let commits = dots(&ops, 20).await;
    let before = count(&host.zfs, Verb::Snapshot);
    let all = futures::future::join_all(commits.iter().map(|commit| ops.commit(commit))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let commands = count(&host.zfs, Verb::Snapshot) - before;
    assert!(commands <= 3, "{commands} commands for 20 commits");
    let pool = ops.known_pool().unwrap();
    for commit in &commits {
        let snapshot = pool.layout.head_snapshot(commit.dot, commit.head, commit.commit);
        let stored = ops.read_record(&pool, &snapshot).await.unwrap().unwrap();
        assert_eq!(stored.name, commit.record.name, "each has its own record");
    }
}

#[tokio::test]
async fn nobody_fails_for_anothers_sake() {
    let host = Host::new();
    let zfs = Killed::after(&host.zfs, i64::MAX);
    let ops = only_pool(zfs, host.mount.clone(), host.config());
    ops.ensure_pool(&host.pool_request()).await.unwrap();
    let commits = dots(&ops, 10).await;
    let pool = ops.known_pool().unwrap();
    let CommitRequest { dot, head, commit, .. } = commits[4];
    let foreign = pool.layout.head_snapshot(dot, head, commit);
    host.zfs
        .snapshot(&[foreign], &dotmesh_zfs::Properties::new())
        .await
        .unwrap();
    let all = futures::future::join_all(commits.iter().map(|commit| ops.commit(commit))).await;
    for (n, result) in all.iter().enumerate() {
        match n {
            4 => assert!(matches!(result, Err(Error::Conflict(_))), "{result:?}"),
            _ => assert!(result.is_ok(), "{n}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn an_unknown_effect_of_a_snapshot_is_found_by_repeating() {
    for (verb, when) in [
        (Verb::Snapshot, FailWhen::Before),
        (Verb::Snapshot, FailWhen::After),
        (Verb::List, FailWhen::Before),
    ] {
        let (host, ops) = Host::with_dot().await;
        ops.commit(&commit(0, 0)).await.unwrap();
        host.zfs.fail_next(verb, when, ErrorKind::Timeout);
        let error = ops.commit(&commit(1, 0)).await.unwrap_err();
        assert!(matches!(error, Error::Deadline(_)), "{error:?}");
        let state = ops.commit(&commit(1, 0)).await.unwrap();
        assert_eq!(state.parent, Some(commit_id(0)));
        assert_eq!(ops.commit(&commit(1, 0)).await.unwrap(), state);
        assert_eq!(ops.commit(&commit(2, 0)).await.unwrap().parent, Some(commit_id(1)));
    }
}

/// Until the background has done its part; yields are all it needs.
async fn holds_of(host: &Host, commit: u128) -> usize {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    let suffix = format!("@{}", commit_id(commit));
    let all = host.zfs.inventory();
    all.iter()
        .filter(|object| object.name.ends_with(&suffix))
        .map(|object| object.holds.len())
        .sum()
}

#[tokio::test]
async fn a_commit_without_its_hold_is_found_by_the_audit() {
    let (host, ops) = Host::with_dot().await;
    host.zfs.fail_next(
        dotmesh_zfs::Verb::Hold,
        dotmesh_zfs::FailWhen::Before,
        dotmesh_zfs::ErrorKind::Timeout,
    );
    ops.commit(&commit(0, 0)).await.unwrap();
    assert_eq!(holds_of(&host, 0).await, 0);
    let again = host.start();
    again.ensure_pool(&host.pool_request()).await.unwrap();
    let pool = again.known_pool().unwrap();
    again.audit_holds(&pool).await.unwrap();
    assert_eq!(holds_of(&host, 0).await, 3);
    // What is deleted is not held again.
    again.delete_commit(dot(), commit_id(0), head_id(0)).await.unwrap();
    again.audit_holds(&pool).await.unwrap();
    assert_eq!(holds_of(&host, 0).await, 0);
}

/// Whoever was not answered in time asks again, perhaps after many others: that is no new attempt.
#[tokio::test]
async fn a_repeated_call_of_an_earlier_commit_only_looks() {
    let (host, ops) = Host::with_dot().await;
    let first = ops.commit(&commit(0, 0)).await.unwrap();
    for number in 1..20 {
        ops.commit(&commit(number, 0)).await.unwrap();
    }
    let counts = || [Verb::Snapshot, Verb::Get, Verb::List].map(|verb| count(&host.zfs, verb));
    let [snapshots, gets, lists] = counts();
    assert_eq!(ops.commit(&commit(0, 0)).await.unwrap(), first);
    let next = ops.commit(&commit(20, 0)).await.unwrap();
    assert_eq!(next.parent, Some(commit_id(19)));
    let expected = [snapshots + 1, gets + 1, lists + 2];
    assert_eq!(counts(), expected, "one look at the first, one attempt of the next");
    // One that has gone is not answered for.
    ops.delete_commit(dot(), commit_id(5), head_id(0)).await.unwrap();
    let again = ops.commit(&commit(5, 0)).await.unwrap();
    assert!(again.createtxg > next.createtxg, "{again:?}");
}

#[tokio::test]
async fn commits_of_several_heads_are_taken_together_or_not_at_all() {
    let (host, ops) = Host::with_dot().await;
    let first = ops.commit(&commit(0, 0)).await.unwrap();
    ops.ensure_branch(&fork(1, 0, 0, &first)).await.unwrap();
    let before = count(&host.zfs, Verb::Snapshot);
    let both = [commit(1, 0), commit(2, 1)];
    let taken = ops.commit_together(&both).await.unwrap();
    assert_eq!(count(&host.zfs, Verb::Snapshot), before + 1);
    assert_eq!(taken[0].createtxg, taken[1].createtxg);
    assert_eq!(taken[1].parent, Some(commit_id(0)));
    // Also when one of the heads has gone on.
    ops.commit(&commit(3, 0)).await.unwrap();
    for ops in [Arc::clone(&ops), host.start()] {
        ops.import_known().await.unwrap();
        assert_eq!(ops.commit_together(&both).await.unwrap(), taken);
    }
    // Others have a snapshot of the name of one of them.
    let theirs = format!("dotmesh/dotmesh/{}/{}@{}", dot(), head_id(1), commit_id(5));
    let theirs = [theirs.parse().unwrap()];
    host.zfs.snapshot(&theirs, &Properties::new()).await.unwrap();
    let before = names(&host.zfs);
    let refused = ops.commit_together(&[commit(4, 0), commit(5, 1)]).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict(_)), "{refused:?}");
    assert_eq!(names(&host.zfs), before);
    let twice = ops.commit_together(&[commit(6, 0), commit(7, 0)]).await.unwrap_err();
    assert!(matches!(twice, Error::Invalid(_)), "{twice:?}");
    assert_eq!(ops.commit_together(&[]).await.unwrap(), []);
}
