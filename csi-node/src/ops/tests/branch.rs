//! Branches and their heads, over the fakes: made, completed, refused.

use super::*;
use dotmesh_zfs::{ErrorKind, FailWhen, GetRequest, Verb};

fn writes(zfs: &FakeZfs) -> u64 {
    let counts = zfs.counts().snapshot();
    let of = |verb: Verb| counts.get(&verb).map_or(0, |count| count.count);
    of(Verb::Create) + of(Verb::Clone) + of(Verb::Set) + of(Verb::Inherit)
}

#[tokio::test]
async fn a_branch_is_there_with_its_volumes_and_repeating_writes_nothing() {
    let (host, ops) = Host::with_dot().await;
    let before = (host.zfs.all_names(), writes(&host.zfs));
    for ops in [ops, host.start()] {
        ops.import_known().await.unwrap();
        ops.ensure_dot(dot(), &identity()).await.unwrap();
        let volumes = ops.ensure_branch(&main()).await.unwrap();
        assert_eq!(volumes.len(), 2);
        assert!(volumes.iter().all(|volume| volume.size == SIZE && !volume.cloned));
    }
    assert_eq!((host.zfs.all_names(), writes(&host.zfs)), before);
    let mut wanted = vec![format!("{}", dot()), format!("{}/{}", dot(), head_id(0))];
    wanted.extend(both().iter().map(|volume| format!("{}/{}/{volume}", dot(), head_id(0))));
    wanted.sort();
    assert_eq!(names(&host.zfs), wanted);
}

#[tokio::test]
async fn volumes_are_added_and_only_grow() {
    let (host, ops) = Host::with_dot().await;
    let mut request = main();
    request.volumes = vec![volume("db"), volume("more")];
    request.volumes[0].size = SIZE * 2;
    let volumes = ops.ensure_branch(&request).await.unwrap();
    assert_eq!((volumes[0].size, volumes[1].size), (SIZE * 2, SIZE));
    let volumes = ops.ensure_branch(&main()).await.unwrap();
    assert_eq!(volumes[1].size, SIZE * 2, "a smaller size changes nothing");
    assert_eq!(names(&host.zfs).len(), 5);
}

#[tokio::test]
async fn a_branch_that_comes_back_may_have_another_name() {
    let (host, ops) = Host::with_dot().await;
    let renamed = BranchRequest {
        name: "other".parse().unwrap(),
        object: "shop-other".to_owned(),
        ..main()
    };
    let volumes = ops.ensure_branch(&main()).await.unwrap();
    assert_eq!(ops.ensure_branch(&renamed).await.unwrap(), volumes);
    let before = writes(&host.zfs);
    assert_eq!(ops.ensure_branch(&renamed).await.unwrap(), volumes);
    assert_eq!(writes(&host.zfs), before);
    let told = &ops.describe_dot(dot()).await.unwrap().branches;
    assert_eq!(
        (told[0].name.as_str(), told[0].object.as_str()),
        ("other", "shop-other")
    );
    assert_eq!(told.len(), 1);
}

#[tokio::test]
async fn what_is_something_else_already_is_a_conflict() {
    let (_host, ops) = Host::with_dot().await;
    let state = ops.commit(&commit(0, 0)).await.unwrap();
    let other_head = BranchRequest {
        head: head_id(9),
        ..main()
    };
    let other_origin = BranchRequest {
        origin: fork(1, 0, 0, &state).origin,
        ..main()
    };
    let others_head = BranchRequest {
        branch: branch_id(5),
        ..main()
    };
    for request in [other_head, other_origin, others_head] {
        let error = ops.ensure_branch(&request).await.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    }
    let other = DotIdentity {
        name: "other".into(),
        ..identity()
    };
    assert!(matches!(ops.ensure_dot(dot(), &other).await, Err(Error::Conflict(_))));
}

#[tokio::test]
async fn sizes_that_cannot_be_are_refused_and_nothing_is_made() {
    let (host, ops) = Host::with_pool().await;
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    let sized = |size: u64| {
        let mut request = main();
        request.volumes[1].size = size;
        request
    };
    for size in [0, 1000] {
        let error = ops.ensure_branch(&sized(size)).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
    for size in [1 << 50, u64::MAX] {
        let error = ops.ensure_branch(&sized(size)).await.unwrap_err();
        assert!(matches!(error, Error::OutOfSpace(_)), "{error:?}");
        assert!(error.to_string().contains("larger than pool"), "{error}");
    }
    let mut twice = main();
    twice.volumes[1].id = twice.volumes[0].id;
    assert!(matches!(ops.ensure_branch(&twice).await, Err(Error::Invalid(_))));
    assert_eq!(names(&host.zfs), [dot().to_string()]);
}

#[tokio::test]
async fn a_clone_is_of_exactly_the_recorded_snapshots() {
    let (host, ops) = Host::with_dot().await;
    let state = ops.commit(&commit(0, 0)).await.unwrap();
    let mut wrong = fork(1, 0, 0, &state);
    wrong.origin.as_mut().unwrap().guids.insert(volume_id("db"), Guid(4711));
    assert!(matches!(ops.ensure_branch(&wrong).await, Err(Error::Conflict(_))));
    let mut missing = fork(2, 0, 0, &state);
    missing.origin.as_mut().unwrap().commit = commit_id(9);
    assert!(matches!(ops.ensure_branch(&missing).await, Err(Error::NotFound(_))));
    // Neither can be reached.
    let pool = ops.known_pool().unwrap();
    let dot_state = ops.living_dot(&pool, dot()).await.unwrap();
    assert_eq!(dot_state.branches.len(), 1);

    let mut right = fork(3, 0, 0, &state);
    right.volumes.push(volume("younger"));
    let volumes = ops.ensure_branch(&right).await.unwrap();
    let cloned: Vec<bool> = volumes.iter().map(|volume| volume.cloned).collect();
    assert_eq!(
        cloned,
        [true, true, false],
        "a volume younger than the commit starts empty"
    );
    assert_eq!(ops.ensure_branch(&right).await.unwrap(), volumes);
    assert!(host.zfs.destroyed_while_mounted().is_empty());
}

#[tokio::test]
async fn a_clone_needs_the_room_its_content_takes() {
    let (host, ops) = Host::with_dot().await;
    let dataset = ops
        .known_pool()
        .unwrap()
        .layout
        .volume(dot(), head_id(0), volume_id("db"));
    host.zfs.write(&dataset, 500 << 20);
    let state = ops.commit(&commit(0, 0)).await.unwrap();
    let mut request = fork(1, 0, 0, &state);
    request.volumes[1].size = 100 << 20;
    let error = ops.ensure_branch(&request).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    assert!(error.to_string().contains("too few"), "{error}");
}

#[tokio::test]
async fn nothing_is_made_in_a_full_pool_and_the_same_request_works_later() {
    let (host, ops) = Host::with_pool().await;
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    let pool = "dotmesh".parse().unwrap();
    host.zfs.set_full(&pool, true);
    let error = ops.ensure_branch(&main()).await.unwrap_err();
    assert!(matches!(error, Error::OutOfSpace(_)), "{error:?}");
    host.zfs.set_full(&pool, false);
    ops.ensure_branch(&main()).await.unwrap();
    host.zfs.set_full(&pool, true);
    let error = ops.commit(&commit(0, 0)).await.unwrap_err();
    assert!(matches!(error, Error::OutOfSpace(_)), "{error:?}");
    ops.delete_branch(dot(), branch_id(0), &[]).await.unwrap();
    ops.delete_dot(dot()).await.unwrap();
    assert!(names(&host.zfs).is_empty(), "deletions work in a full pool");
}

#[tokio::test]
async fn half_made_datasets_are_completed() {
    // Creating with properties is not one transaction: the dataset may be there without them.
    let (host, ops) = Host::with_pool().await;
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    let layout = ops.known_pool().unwrap().layout;
    for dataset in [
        layout.head(dot(), head_id(0)),
        layout.volume(dot(), head_id(0), volume_id("db")),
    ] {
        let bare = dotmesh_zfs::CreateRequest {
            dataset,
            kind: dotmesh_zfs::CreateKind::Filesystem,
            properties: dotmesh_zfs::Properties::new(),
            parents: false,
        };
        host.zfs.create(&bare).await.unwrap();
    }
    let volumes = ops.ensure_branch(&main()).await.unwrap();
    assert!(volumes.iter().all(|volume| volume.size == SIZE));
    ops.commit(&commit(0, 0)).await.unwrap();
    let request = GetRequest::local(
        vec![layout.volume(dot(), head_id(0), volume_id("db")).into()],
        vec![crate::layout::VOLUME],
    );
    assert_eq!(host.zfs.get(&request).await.unwrap().len(), 1);
}

#[tokio::test]
async fn attachments_are_written_once_and_never_change_their_volume() {
    let (host, ops) = Host::with_dot().await;
    let attach = AttachRequest {
        dot: dot(),
        claim: claim(),
        volume: volume_id("db"),
        branch: None,
    };
    ops.attach(&attach).await.unwrap();
    let before = writes(&host.zfs);
    ops.attach(&attach).await.unwrap();
    assert_eq!(writes(&host.zfs), before);
    let other = AttachRequest {
        volume: volume_id("cache"),
        ..attach
    };
    assert!(matches!(ops.attach(&other).await, Err(Error::Conflict(_))));
    let missing = AttachRequest {
        branch: Some(branch_id(7)),
        ..attach
    };
    assert!(matches!(ops.attach(&missing).await, Err(Error::NotFound(_))));
    ops.detach(dot(), claim()).await.unwrap();
    let before = writes(&host.zfs);
    ops.detach(dot(), claim()).await.unwrap();
    ops.detach(DotId::new(uuid(99)), claim()).await.unwrap();
    assert_eq!(writes(&host.zfs), before);
    let elsewhere = AttachRequest {
        dot: DotId::new(uuid(99)),
        ..attach
    };
    assert!(matches!(ops.attach(&elsewhere).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn an_unknown_effect_is_not_taken_for_a_success() {
    for verb in [Verb::Create, Verb::Set, Verb::Get] {
        for when in [FailWhen::Before, FailWhen::After] {
            let (host, ops) = Host::with_pool().await;
            ops.ensure_dot(dot(), &identity()).await.unwrap();
            host.zfs.fail_next(verb, when, ErrorKind::Timeout);
            let error = ops.ensure_branch(&main()).await.unwrap_err();
            assert!(matches!(error, Error::Deadline(_)), "{verb} {when:?}: {error:?}");
            ops.ensure_branch(&main()).await.unwrap();
            assert_eq!(names(&host.zfs).len(), 4);
        }
    }
}
