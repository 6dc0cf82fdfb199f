//! Publishing over the fakes: mounts verified, targets respected.

use super::*;
use dotmesh_mount::{Mount, MountCall, MountErrorKind, MountOption};

const TARGET: &str = "/var/lib/kubelet/pods/a/volumes/v/mount";

async fn attached() -> (Host, Arc<Ops<FakeZfs, FakeMount>>) {
    let (host, ops) = Host::with_dot().await;
    let attach = AttachRequest {
        dot: dot(),
        claim: claim(),
        volume: volume_id("db"),
        branch: None,
    };
    ops.attach(&attach).await.unwrap();
    (host, ops)
}

fn publish(target: &str, readonly: bool) -> PublishRequest {
    PublishRequest {
        format: VolumeFormat::Zfs,
        volume: Wanted::Claim(handle()),
        namespace: None,
        target: target.into(),
        readonly,
        options: Vec::new(),
        context: None,
        exclusive: false,
    }
}

fn unpublish(target: &str) -> UnpublishRequest {
    UnpublishRequest {
        volume: VolumeRef::Claim(handle()),
        target: target.into(),
    }
}

fn dataset(ops: &Ops<FakeZfs, FakeMount>, head: u128) -> String {
    let pool = ops.known_pool().unwrap();
    pool.layout.volume(dot(), head_id(head), volume_id("db")).to_string()
}

#[tokio::test]
async fn pods_share_one_private_mount_and_the_last_takes_it_along() {
    let (host, ops) = attached().await;
    let private = host.private(head_id(0), volume_id("db"));
    ops.publish(&publish(TARGET, false)).await.unwrap();
    ops.publish(&publish("/pods/b/mount", true)).await.unwrap();
    let table = host.mount.table();
    let source = dataset(&ops, 0);
    assert_eq!(table.of_zfs(&source).count(), 3);
    assert!(!table.at(TARGET.as_ref()).unwrap().readonly);
    assert!(table.at("/pods/b/mount".as_ref()).unwrap().readonly);
    ops.host.unpublish(&unpublish(TARGET)).await.unwrap();
    assert!(host.mount.table().at(&private).is_some());
    assert!(!host.mount.exists(TARGET.as_ref()), "the target's folder is removed");
    assert!(
        host.mount.exists("/var/lib/kubelet/pods/a/volumes/v".as_ref()),
        "and nothing above it"
    );
    ops.host.unpublish(&unpublish("/pods/b/mount")).await.unwrap();
    assert_eq!(host.mount.table().iter().count(), 0);
    assert!(!host.mount.exists(private.parent().unwrap()));
}

#[tokio::test]
async fn who_uses_a_volume_is_told() {
    let (_host, ops) = attached().await;
    let watch = ops.host.states.subscribe();
    let users = async || {
        ops.refresh_state().await;
        let state = watch.borrow().clone().unwrap();
        state
            .users
            .unwrap()
            .into_iter()
            .map(|user| user.user)
            .collect::<Vec<_>>()
    };
    assert_eq!(users().await, []);
    ops.publish(&publish(TARGET, false)).await.unwrap();
    ops.publish(&publish("/srv/b", true)).await.unwrap();
    assert_eq!(users().await, [User::Pod("a".to_owned()), User::Path("/srv/b".into())]);
    ops.host.unpublish(&unpublish("/srv/b")).await.unwrap();
    assert_eq!(users().await, [User::Pod("a".to_owned())]);
    ops.host.unpublish(&unpublish(TARGET)).await.unwrap();
    assert_eq!(users().await, []);
}

#[tokio::test]
async fn repeating_mounts_nothing_and_unmounts_nothing_else() {
    let (host, ops) = attached().await;
    for _ in 0..3 {
        ops.publish(&publish(TARGET, false)).await.unwrap();
        assert_eq!(host.mount.table().iter().count(), 2);
    }
    ops.publish(&publish(TARGET, true)).await.unwrap();
    assert!(host.mount.table().at(TARGET.as_ref()).unwrap().readonly);
    for _ in 0..3 {
        ops.host.unpublish(&unpublish(TARGET)).await.unwrap();
        assert_eq!(host.mount.table().iter().count(), 0);
    }
}

#[tokio::test]
async fn publish_is_one_zfs_process_or_none() {
    let (host, ops) = attached().await;
    let before = host.zfs.counts().total();
    ops.publish(&publish(TARGET, false)).await.unwrap();
    assert_eq!(host.zfs.counts().total() - before, 1);
    let before = host.zfs.counts().total();
    ops.publish(&publish("/pods/b/mount", false)).await.unwrap();
    assert_eq!(host.zfs.counts().total(), before, "the Dot is known by now");
    ops.host.unpublish(&unpublish("/pods/b/mount")).await.unwrap();
    let before = host.zfs.counts().total();
    ops.host.unpublish(&unpublish(TARGET)).await.unwrap();
    assert_eq!(host.zfs.counts().total(), before, "unpublish needs no pool");
}

#[tokio::test]
async fn a_handle_that_resolves_to_nothing_is_not_found() {
    let (_host, ops) = attached().await;
    let of = |change: fn(&mut Handle)| {
        let mut request = publish(TARGET, false);
        let mut handle = handle();
        change(&mut handle);
        request.volume = Wanted::Claim(handle);
        request
    };
    for request in [
        of(|handle| handle.dot = DotId::new(uuid(77))),
        of(|handle| handle.claim = ClaimUid::new(uuid(77))),
        of(|handle| handle.volume = volume_id("cache")),
    ] {
        let error = ops.publish(&request).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    }
    ops.detach(dot(), claim()).await.unwrap();
    assert!(matches!(
        ops.publish(&publish(TARGET, false)).await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn a_deleted_branch_takes_no_new_mounts() {
    let (_host, ops) = attached().await;
    ops.delete_branch(dot(), branch_id(0), &[]).await.unwrap();
    assert!(matches!(
        ops.publish(&publish(TARGET, false)).await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn a_pinned_claim_gets_its_branch_and_not_the_checkout() {
    let (host, ops) = attached().await;
    let state = ops.commit(&commit(0, 0)).await.unwrap();
    ops.ensure_branch(&fork(1, 0, 0, &state)).await.unwrap();
    let pinned = AttachRequest {
        dot: dot(),
        claim: ClaimUid::new(uuid(301)),
        volume: volume_id("db"),
        branch: Some(branch_id(1)),
    };
    ops.attach(&pinned).await.unwrap();
    let mut request = publish("/pods/b/mount", false);
    request.volume = Wanted::Claim(Handle {
        claim: pinned.claim,
        ..handle()
    });
    ops.publish(&request).await.unwrap();
    ops.publish(&publish(TARGET, false)).await.unwrap();
    let table = host.mount.table();
    assert_eq!(table.at("/pods/b/mount".as_ref()).unwrap().source, dataset(&ops, 1));
    assert_eq!(table.at(TARGET.as_ref()).unwrap().source, dataset(&ops, 0));
}

/// The kubelet's id of an inline volume does not say of what it is: only the mount does.
#[tokio::test]
async fn a_branch_is_lent_without_an_attachment_and_taken_away_by_what_is_mounted() {
    let (host, ops) = attached().await;
    let state = ops.commit(&commit(0, 0)).await.unwrap();
    ops.ensure_branch(&fork(1, 0, 0, &state)).await.unwrap();
    let lent = PublishRequest {
        volume: Wanted::Lent {
            dot: dot(),
            branch: branch_id(1),
            volume: volume_id("db"),
        },
        ..publish(TARGET, false)
    };
    ops.publish(&lent).await.unwrap();
    ops.publish(&lent).await.unwrap();
    let source = |host: &Host| host.mount.table().at(TARGET.as_ref()).map(|entry| entry.source.clone());
    assert_eq!(source(&host), Some(dataset(&ops, 1)));
    let taken = ops.delete_branch(dot(), branch_id(1), &[]).await;
    assert!(matches!(taken, Err(Error::InUse(_)) | Ok(_)), "{taken:?}");
    assert_eq!(
        source(&host),
        Some(dataset(&ops, 1)),
        "nothing is taken from under a pod"
    );
    let back = UnpublishRequest {
        volume: VolumeRef::Inline,
        ..unpublish(TARGET)
    };
    ops.host.unpublish(&back).await.unwrap();
    ops.host.unpublish(&back).await.unwrap();
    assert_eq!(host.mount.table().iter().count(), 0, "the private mount too");
    let unknown = PublishRequest {
        volume: Wanted::Lent {
            dot: dot(),
            branch: branch_id(7),
            volume: volume_id("db"),
        },
        ..lent
    };
    assert!(matches!(ops.publish(&unknown).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_pod_sees_nothing_of_another_namespace() {
    let (host, ops) = attached().await;
    let of = |namespace: &str| PublishRequest {
        namespace: Some(namespace.to_owned()),
        ..publish(TARGET, false)
    };
    let refused = ops.publish(&of("prod")).await.unwrap_err();
    let Error::Invalid(words) = &refused else {
        panic!("{refused:?}")
    };
    assert!(
        words.contains("of namespace dev, and the pod of another namespace, prod"),
        "{words}"
    );
    assert_eq!(host.mount.table().iter().count(), 0, "nothing is mounted");
    ops.publish(&of("dev")).await.unwrap();

    // It became that namespace's.
    let identity = DotIdentity {
        namespace: "prod".to_owned(),
        name: "shop".to_owned(),
    };
    ops.take_over_dot(dot(), &identity).await.unwrap();
    ops.publish(&of("prod")).await.unwrap();
    assert!(matches!(ops.publish(&of("dev")).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn targets_that_are_links_full_or_taken_are_refused() {
    let (host, ops) = attached().await;
    host.mount.put_link("/pods/link".as_ref());
    assert!(matches!(
        ops.publish(&publish("/pods/link", false)).await,
        Err(Error::Invalid(_))
    ));
    host.mount.put_file("/pods/full/file".as_ref());
    assert!(matches!(
        ops.publish(&publish("/pods/full", false)).await,
        Err(Error::Invalid(_))
    ));
    assert!(host.mount.exists("/pods/full/file".as_ref()));

    host.mount.make_dir("/pods/taken".as_ref()).await.unwrap();
    let other = dotmesh_zfs::CreateRequest {
        dataset: "dotmesh/other".parse().unwrap(),
        kind: dotmesh_zfs::CreateKind::Filesystem,
        properties: dotmesh_zfs::Properties::new(),
        parents: false,
    };
    host.zfs.create(&other).await.unwrap();
    let other = dotmesh_mount::ZfsMount {
        source: "dotmesh/other".into(),
        target: "/pods/taken".into(),
        readonly: false,
        context: None,
    };
    host.mount.mount_zfs(&other).await.unwrap();
    assert!(matches!(
        ops.publish(&publish("/pods/taken", false)).await,
        Err(Error::Conflict(_))
    ));
    assert!(matches!(
        ops.host.unpublish(&unpublish("/pods/taken")).await,
        Err(Error::Conflict(_))
    ));
    assert!(host.mount.table().at("/pods/taken".as_ref()).is_some());
}

#[tokio::test]
async fn a_mount_that_shows_another_dataset_is_not_given_to_a_pod() {
    let (host, ops) = attached().await;
    host.mount.set_shown(&dataset(&ops, 0), Some("dotmesh/dotmesh/other"));
    ops.publish(&publish(TARGET, false)).await.unwrap_err();
    assert!(host.mount.table().at(TARGET.as_ref()).is_none());
    host.mount.set_shown(&dataset(&ops, 0), None);
    ops.publish(&publish(TARGET, false)).await.unwrap();
}

#[tokio::test]
async fn failures_and_kills_at_every_call_are_made_good_by_repeating() {
    let calls = [
        MountCall::MountZfs,
        MountCall::Bind,
        MountCall::MakeDir,
        MountCall::List,
        MountCall::Unmount,
        MountCall::RemoveDir,
    ];
    for call in calls {
        for after in [false, true] {
            let (host, ops) = attached().await;
            let fail = || {
                let kind = MountErrorKind::Other("killed".into());
                if after {
                    host.mount.fail_next_after_effect(call, kind);
                } else {
                    host.mount.fail_next(call, kind);
                }
            };
            fail();
            let _ = ops.publish(&publish(TARGET, false)).await;
            ops.publish(&publish(TARGET, false)).await.unwrap_or(());
            ops.publish(&publish(TARGET, false)).await.unwrap();
            assert_eq!(host.mount.table().iter().count(), 2, "{call:?} {after}");
            fail();
            let _ = ops.host.unpublish(&unpublish(TARGET)).await;
            let _ = ops.host.unpublish(&unpublish(TARGET)).await;
            ops.host.unpublish(&unpublish(TARGET)).await.unwrap();
            assert_eq!(host.mount.table().iter().count(), 0, "{call:?} {after}");
        }
    }
}

#[tokio::test]
async fn a_hung_target_is_unmounted_lazily_and_never_looked_into() {
    let (host, ops) = attached().await;
    ops.publish(&publish(TARGET, false)).await.unwrap();
    let before = host.mount.calls();
    host.mount.fail_next(MountCall::Unmount, MountErrorKind::Timeout);
    ops.host.unpublish(&unpublish(TARGET)).await.unwrap();
    let after = host.mount.calls();
    for call in [MountCall::Statfs, MountCall::IsEmptyDir, MountCall::Syncfs] {
        assert_eq!(before.get(&call), after.get(&call), "{call:?}");
    }
    assert_eq!(host.mount.table().iter().count(), 0);
}

#[tokio::test]
async fn usage_is_told_of_the_volume_that_is_mounted_there_only() {
    let (host, ops) = attached().await;
    ops.publish(&publish(TARGET, false)).await.unwrap();
    let usage = dotmesh_mount::FsUsage {
        total_bytes: 10,
        available_bytes: 4,
        used_bytes: 6,
        total_inodes: 3,
        free_inodes: 2,
    };
    host.mount.set_usage(&dataset(&ops, 0), usage);
    assert_eq!(
        ops.host
            .volume_usage(VolumeRef::Claim(handle()), TARGET.as_ref())
            .await
            .unwrap(),
        Usage::Files(usage)
    );
    assert!(matches!(
        ops.host.volume_usage(VolumeRef::Claim(handle()), "/".as_ref()).await,
        Err(Error::NotFound(_))
    ));
}

#[tokio::test]
async fn one_pod_at_a_time_where_that_is_asked_for() {
    let (host, ops) = attached().await;
    let alone = |target: &str| PublishRequest {
        exclusive: true,
        ..publish(target, false)
    };
    ops.publish(&alone(TARGET)).await.unwrap();
    ops.publish(&alone(TARGET)).await.unwrap();
    let before = host.mount.table();
    let refused = ops.publish(&alone("/pods/b/mount")).await.unwrap_err();
    assert!(
        matches!(&refused, Error::InUse(text) if text.contains(TARGET)),
        "{refused}"
    );
    assert_eq!(host.mount.table(), before);
    assert!(!host.mount.exists("/pods/b/mount".as_ref()));
    ops.host.unpublish(&unpublish(TARGET)).await.unwrap();
    ops.publish(&alone("/pods/b/mount")).await.unwrap();
}

#[tokio::test]
async fn options_restrict_the_pods_mount_alone() {
    let (host, ops) = attached().await;
    let private = host.private(head_id(0), volume_id("db"));
    let restricted = |options: &[MountOption]| PublishRequest {
        options: options.to_vec(),
        ..publish(TARGET, true)
    };
    let has = |target: &std::path::Path| {
        let table = host.mount.table();
        let entry = table.at(target).unwrap();
        (entry.readonly, MountOption::ALL.map(|option| entry.has(option)))
    };
    let request = restricted(&[MountOption::NoSuid, MountOption::NoAtime]);
    for _ in 0..2 {
        ops.publish(&request).await.unwrap();
        assert_eq!(has(TARGET.as_ref()), (true, [true, false, false, true, false]));
    }
    let refused = ops.publish(&restricted(&[MountOption::NoExec])).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Conflict(text) if text.contains("noexec")),
        "{refused}"
    );
    assert_eq!(has(&private), (false, [false; 5]));
}

/// A filesystem has one context, whoever sees it.
#[tokio::test]
async fn pods_that_share_a_volume_share_its_selinux_context() {
    let (host, ops) = attached().await;
    let of = |target: &str, context: Option<&str>| PublishRequest {
        context: context.map(|context| context.parse().unwrap()),
        ..publish(target, false)
    };
    let (one, other) = (Some("u:r:t:s0:c1,c2"), Some("u:r:t:s0:c3,c4"));
    let shown = |target: &str| {
        let table = host.mount.table();
        let entry = table.at(target.as_ref()).unwrap();
        entry.context.as_ref().map(ToString::to_string)
    };
    ops.publish(&of(TARGET, one)).await.unwrap();
    ops.publish(&of(TARGET, one)).await.unwrap();
    assert_eq!(shown(TARGET).as_deref(), one);
    for target in [TARGET, "/pods/b/mount"] {
        let refused = ops.publish(&of(target, other)).await.unwrap_err();
        assert!(matches!(refused, Error::InUse(_)), "{refused}");
    }
    ops.publish(&of("/pods/b/mount", one)).await.unwrap();
    ops.publish(&of("/pods/c/mount", None)).await.unwrap();
    for target in [TARGET, "/pods/b/mount", "/pods/c/mount"] {
        ops.host.unpublish(&unpublish(target)).await.unwrap();
    }
    ops.publish(&of(TARGET, other)).await.unwrap();
    assert_eq!(
        shown(TARGET).as_deref(),
        other,
        "the last one took the first context along"
    );
    ops.host.unpublish(&unpublish(TARGET)).await.unwrap();
    ops.publish(&of(TARGET, None)).await.unwrap();
    let refused = ops.publish(&of("/pods/b/mount", one)).await.unwrap_err();
    assert!(refused.to_string().contains("without"), "{refused}");
}
