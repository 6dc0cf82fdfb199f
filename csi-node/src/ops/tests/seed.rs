//! Volumes that begin as clones of another Dot's commits, over the fakes.

use super::*;

type TestOps = Arc<Ops<FakeZfs, FakeMount>>;

fn other_dot() -> DotId {
    DotId::new(uuid(2))
}

/// The first Dot's `db` at commit `number`.
fn snapshot(number: u128) -> String {
    format!(
        "dotmesh/dotmesh/{}/{}/{}@{}",
        dot(),
        head_id(0),
        volume_id("db"),
        commit_id(number)
    )
}

/// Branch `main` of another Dot, with one volume that is a clone of the first one's `db` at commit `number`.
async fn forking(host: &Host, number: u128) -> BranchRequest {
    let guid = guid_of(&host.zfs, &snapshot(number)).await;
    let of = SeedCommit {
        dot: dot(),
        head: head_id(0),
        volume: volume_id("db"),
        commit: commit_id(number),
        guid,
        convert: false,
    };
    let data = VolumeRequest {
        id: VolumeId::derive(other_dot(), "data"),
        seed: Some(Seed::Commit(of)),
        ..volume("data")
    };
    BranchRequest {
        dot: other_dot(),
        branch: branch_id(9),
        head: head_id(9),
        volumes: vec![data],
        object: "copy-main".to_owned(),
        ..main()
    }
}

async fn ensure_other(ops: &TestOps, namespace: &str) {
    let identity = DotIdentity {
        namespace: namespace.to_owned(),
        name: "copy".to_owned(),
    };
    ops.ensure_dot(other_dot(), &identity).await.unwrap();
}

#[tokio::test]
async fn a_volume_is_a_clone_of_another_dots_commit_and_both_go_in_any_order() {
    for first in [dot(), other_dot()] {
        let (host, ops) = Host::with_dot().await;
        ops.commit(&commit(0, 0)).await.unwrap();
        ensure_other(&ops, "dev").await;
        let request = forking(&host, 0).await;
        let made = ops.ensure_branch(&request).await.unwrap();
        assert!(made[0].cloned);
        assert_eq!(ops.ensure_branch(&request).await.unwrap(), made, "again");
        let mut known = request.clone();
        known.volumes[0].seed = None;
        known.volumes[0].known = Some(made[0].guid);
        assert_eq!(ops.ensure_branch(&known).await.unwrap(), made, "known by its GUID");
        let described = &ops.describe_dot(other_dot()).await.unwrap().branches[0];
        assert_eq!((described.volumes[0].1.cloned, &described.origin), (true, &None));

        // The commit goes when nothing needs it, whatever goes first.
        ops.delete_commit(dot(), commit_id(0), head_id(0)).await.unwrap();
        let second = if first == dot() { other_dot() } else { dot() };
        ops.delete_dot(first).await.unwrap();
        assert!(ops.describe_dot(second).await.is_ok(), "the other one lives");
        ops.delete_dot(second).await.unwrap();
        for dot in [first, second, first] {
            ops.collect_dot(&ops.known_pool().unwrap(), dot).await.unwrap();
        }
        assert_eq!(names(&host.zfs), Vec::<String>::new(), "{first} first");
    }
}

/// A device becomes another one when that is allowed; files never become one.
#[tokio::test]
async fn a_device_is_converted_when_that_is_allowed_and_files_never() {
    for (has, asked, is_made) in [
        (VolumeFormat::Block, VolumeFormat::Ext4, true),
        (VolumeFormat::Xfs, VolumeFormat::Block, true),
        (VolumeFormat::Zfs, VolumeFormat::Block, false),
        (VolumeFormat::Ext4, VolumeFormat::Zfs, false),
    ] {
        for convert in [false, true] {
            let (host, ops) = Host::with_empty_dot().await;
            let mut request = main();
            for volume in &mut request.volumes {
                volume.format = has;
            }
            ops.ensure_branch(&request).await.unwrap();
            ops.commit(&commit(0, 0)).await.unwrap();
            ensure_other(&ops, "dev").await;
            let mut request = forking(&host, 0).await;
            request.volumes[0].format = asked;
            if let Some(Seed::Commit(of)) = &mut request.volumes[0].seed {
                of.convert = convert;
            }
            let made = ops.ensure_branch(&request).await;
            assert_eq!(made.is_ok(), is_made && convert, "{has} to {asked}: {made:?}");
        }
    }
}

#[tokio::test]
async fn a_dead_commit_goes_with_the_last_clone_of_another_dot() {
    let (host, ops) = Host::with_dot().await;
    ops.commit(&commit(0, 0)).await.unwrap();
    ensure_other(&ops, "dev").await;
    let request = forking(&host, 0).await;
    ops.ensure_branch(&request).await.unwrap();
    ops.delete_commit(dot(), commit_id(0), head_id(0)).await.unwrap();
    let pool = ops.known_pool().unwrap();
    ops.collect_dot(&pool, dot()).await.unwrap();
    let is_there = || host.zfs.all_names().contains(&snapshot(0));
    assert!(is_there(), "a clone needs it");
    // Deleted commits begin nothing new.
    let mut another = request.clone();
    (another.head, another.branch) = (head_id(8), branch_id(8));
    another.name = "other".parse().unwrap();
    let refused = ops.ensure_branch(&another).await.unwrap_err();
    assert!(matches!(refused, Error::Deleted(_)), "{refused:?}");
    ops.delete_dot(other_dot()).await.unwrap();
    ops.collect_dot(&pool, other_dot()).await.unwrap();
    ops.collect_dot(&pool, dot()).await.unwrap();
    assert!(!is_there(), "nothing needs it any more");
}

#[tokio::test]
async fn what_is_not_there_or_not_of_this_namespace_begins_nothing() {
    let (host, ops) = Host::with_dot().await;
    ops.commit(&commit(0, 0)).await.unwrap();
    ensure_other(&ops, "prod").await;
    let request = forking(&host, 0).await;
    let before = host.zfs.all_names();
    let refused = ops.ensure_branch(&request).await.unwrap_err().to_string();
    assert!(refused.contains("is of namespace dev, and not of prod"), "{refused}");
    assert_eq!(host.zfs.all_names(), before);

    let (host, ops) = Host::with_dot().await;
    ops.commit(&commit(0, 0)).await.unwrap();
    ensure_other(&ops, "dev").await;
    let good = forking(&host, 0).await;
    let before = host.zfs.all_names();
    let wrong = |change: &dyn Fn(&mut SeedCommit, &mut BranchRequest)| {
        let mut request = good.clone();
        let Some(Seed::Commit(mut of)) = request.volumes[0].seed.clone() else {
            unreachable!()
        };
        change(&mut of, &mut request);
        request.volumes[0].seed = Some(Seed::Commit(of));
        request
    };
    for (request, words) in [
        (
            wrong(&|of, _| of.guid = Guid(1)),
            "is not the snapshot that was recorded",
        ),
        (wrong(&|of, _| of.commit = commit_id(7)), "commit"),
        (wrong(&|of, _| of.dot = DotId::new(uuid(7))), "is not in pool"),
        (
            wrong(&|_, request| request.volumes[0].format = VolumeFormat::Block),
            "is of a volume of format zfs",
        ),
    ] {
        let refused = ops.ensure_branch(&request).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
        assert_eq!(host.zfs.all_names(), before, "{words}");
    }
}
