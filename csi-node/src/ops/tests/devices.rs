//! Volumes of ZFS over the fakes: formatted once, mounted, written out before commits, grown, collected.

use super::killed::Killed;
use super::*;
use dotmesh_mount::{MountCall, MountErrorKind};
use dotmesh_zfs::{ErrorKind, FailWhen, Verb};

const FORMATS: [VolumeFormat; 3] = [VolumeFormat::Ext4, VolumeFormat::Xfs, VolumeFormat::Block];

/// The volume `db` of a format, beside the native `cache`.
fn with_format(request: BranchRequest, format: VolumeFormat) -> BranchRequest {
    let volumes = request.volumes.into_iter().map(|volume| {
        let is_it = volume.id == volume_id("db");
        let format = if is_it { format } else { volume.format };
        VolumeRequest { format, ..volume }
    });
    BranchRequest {
        volumes: volumes.collect(),
        ..request
    }
}

fn grown(request: BranchRequest, size: u64) -> BranchRequest {
    let volumes = request.volumes.into_iter();
    let volumes = volumes.map(|volume| VolumeRequest { size, ..volume }).collect();
    BranchRequest { volumes, ..request }
}

async fn with_dot(format: VolumeFormat) -> (Host, Arc<Ops<FakeZfs, FakeMount>>) {
    let (host, ops) = Host::with_pool().await;
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    ops.ensure_branch(&with_format(main(), format)).await.unwrap();
    let attach = AttachRequest {
        dot: dot(),
        claim: claim(),
        volume: volume_id("db"),
        branch: None,
    };
    ops.attach(&attach).await.unwrap();
    (host, ops)
}

fn publish(format: VolumeFormat, target: &str, readonly: bool) -> PublishRequest {
    PublishRequest {
        volume: Wanted::Claim(handle()),
        namespace: None,
        target: target.into(),
        format,
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

fn dataset(head: u128) -> String {
    format!("dotmesh/dotmesh/{}/{}/{}", dot(), head_id(head), volume_id("db"))
}

fn calls(host: &Host, call: MountCall) -> u64 {
    host.mount.calls().get(&call).copied().unwrap_or(0)
}

fn ran(host: &Host, verb: Verb) -> u64 {
    let counts = host.zfs.counts().snapshot();
    counts.get(&verb).map_or(0, |count| count.count)
}

fn number(host: &Host, property: &str) -> Option<u64> {
    local_value(&host.zfs, &dataset(0), property)?.parse().ok()
}

#[tokio::test]
async fn a_volume_is_made_thick_and_formatted_once() {
    for format in FORMATS {
        let (host, ops) = with_dot(format).await;
        let volume = host.zfs.volume(&dataset(0)).unwrap();
        let wanted = Some(format.as_str()).filter(|_| format != VolumeFormat::Block);
        assert_eq!((volume.filesystem, volume.bytes), (wanted, SIZE));
        assert_eq!(number(&host, "refreservation"), Some(SIZE));
        let again = ops.ensure_branch(&with_format(main(), format)).await.unwrap();
        let made = again.iter().find(|state| state.id == volume_id("db")).unwrap();
        assert_eq!((made.format, made.size), (format, SIZE));
        assert_eq!(ran(&host, Verb::MakeFilesystem), u64::from(wanted.is_some()));
        let described = ops.describe_dot(dot()).await.unwrap();
        let volumes = &described.branches[0].volumes;
        let (name, state) = volumes.iter().find(|(_, state)| state.id == volume_id("db")).unwrap();
        assert_eq!((name.as_str(), state), ("db", made));
        for other in VolumeFormat::ALL.into_iter().filter(|other| *other != format) {
            let refused = ops.ensure_branch(&with_format(main(), other)).await.unwrap_err();
            assert!(matches!(refused, Error::Conflict(_)), "{refused}");
        }
    }
}

#[tokio::test]
async fn what_is_on_a_device_is_never_overwritten() {
    let (host, ops) = Host::with_pool().await;
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    // The volume is there, and before its device could be read, somebody writes to it.
    let kind = MountErrorKind::NoDevice("later".into());
    host.mount.fail_next(MountCall::IsZvolBlank, kind);
    let request = with_format(main(), VolumeFormat::Ext4);
    ops.ensure_branch(&request).await.unwrap_err();
    assert!(host.zfs.write(&dataset(0).parse().unwrap(), 4096));
    for _ in 0..2 {
        let refused = ops.ensure_branch(&request).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Conflict(text) if text.contains("did not write")),
            "{refused}"
        );
    }
    assert_eq!(ran(&host, Verb::MakeFilesystem), 0);
    let taken = ops.commit(&commit(0, 0)).await.unwrap_err();
    assert!(matches!(taken, Error::NotFound(_)), "it is no branch yet: {taken}");
}

#[tokio::test]
async fn an_interrupted_mkfs_is_done_again_and_only_then_is_there_a_volume() {
    for when in [FailWhen::Before, FailWhen::After] {
        let (host, ops) = Host::with_pool().await;
        ops.ensure_dot(dot(), &identity()).await.unwrap();
        let request = with_format(main(), VolumeFormat::Xfs);
        host.zfs.fail_next(Verb::MakeFilesystem, when, ErrorKind::Timeout);
        let failed = ops.ensure_branch(&request).await.unwrap_err();
        assert!(matches!(failed, Error::Deadline(_)), "{failed}");
        let described = ops.describe_dot(dot()).await.unwrap();
        assert!(described.branches.is_empty());
        host.start().ensure_pool(&host.pool_request()).await.unwrap();
        ops.ensure_branch(&request).await.unwrap();
        assert_eq!(ran(&host, Verb::MakeFilesystem), 2);
        ops.ensure_branch(&request).await.unwrap();
        assert_eq!(ran(&host, Verb::MakeFilesystem), 2);
    }
}

#[tokio::test]
async fn building_ends_the_same_wherever_it_was_killed() {
    async fn build<Z: Zfs>(host: &Host, ops: &Arc<Ops<Z, FakeMount>>, format: VolumeFormat) -> Result<(), Error> {
        ops.ensure_pool(&host.pool_request()).await?;
        ops.ensure_dot(dot(), &identity()).await?;
        ops.ensure_branch(&with_format(main(), format)).await?;
        let state = ops.commit(&commit(0, 0)).await?;
        let fork = with_format(fork(1, 0, 0, &state), format);
        ops.ensure_branch(&grown(fork, 2 * SIZE)).await?;
        let attach = AttachRequest {
            dot: dot(),
            claim: claim(),
            volume: volume_id("db"),
            branch: Some(branch_id(1)),
        };
        ops.attach(&attach).await?;
        ops.publish(&publish(format, "/pods/a/mount", false)).await
    }
    for format in FORMATS {
        let undisturbed = Host::new();
        build(&undisturbed, &undisturbed.start(), format).await.unwrap();
        let wanted = undisturbed.zfs.all_names();
        let commands = i64::try_from(undisturbed.zfs.counts().total()).unwrap();
        for killed_after in 0..commands {
            let host = Host::new();
            let killed = only_pool(
                Killed::after(&host.zfs, killed_after),
                host.mount.clone(),
                host.config(),
            );
            let first = build(&host, &killed, format).await;
            let again = build(&host, &host.start(), format).await;
            assert!(
                again.is_ok(),
                "{format}, killed after {killed_after}: {first:?}, then {again:?}"
            );
            assert_eq!(host.zfs.all_names(), wanted, "{format}, killed after {killed_after}");
            let (one, clone) = (host.zfs.volume(&dataset(0)), host.zfs.volume(&dataset(1)));
            let filesystem = Some(format.as_str()).filter(|_| format != VolumeFormat::Block);
            assert_eq!(
                one.map(|volume| (volume.filesystem, volume.bytes)),
                Some((filesystem, SIZE))
            );
            assert_eq!(
                clone.map(|volume| (volume.filesystem, volume.bytes)),
                Some((filesystem, 2 * SIZE))
            );
            let reserved = local_value(&host.zfs, &dataset(1), "refreservation");
            assert_eq!(
                reserved,
                Some((2 * SIZE).to_string()),
                "{format}, killed after {killed_after}"
            );
        }
    }
}

#[tokio::test]
async fn pods_share_what_is_mounted_and_the_last_takes_it_along() {
    for format in FORMATS {
        let (host, ops) = with_dot(format).await;
        let (first, second) = ("/pods/a/mount", "/pods/b/mount");
        for (target, readonly) in [(first, false), (first, false), (second, false), (second, true)] {
            ops.publish(&publish(format, target, readonly)).await.unwrap();
        }
        let table = host.mount.table();
        let mounts = if format == VolumeFormat::Block { 2 } else { 3 };
        assert_eq!(table.iter().count(), mounts);
        assert!(!table.at(first.as_ref()).unwrap().readonly);
        assert!(table.at(second.as_ref()).unwrap().readonly);
        assert_eq!(ops.host.users_of(dot(), head_id(0)).await.unwrap().len(), 2);
        let usage = ops
            .host
            .volume_usage(VolumeRef::Claim(handle()), first.as_ref())
            .await
            .unwrap();
        match usage {
            Usage::Device(bytes) => assert_eq!((format, bytes), (VolumeFormat::Block, SIZE)),
            Usage::Files(usage) => assert_eq!(usage.total_bytes, SIZE),
        }
        for other in VolumeFormat::ALL.into_iter().filter(|other| *other != format) {
            let refused = ops.publish(&publish(other, "/pods/c/mount", false)).await.unwrap_err();
            assert!(
                matches!(&refused, Error::Conflict(text) if text.contains(format.as_str())),
                "{refused}"
            );
        }
        for target in [first, second, second] {
            ops.host.unpublish(&unpublish(target)).await.unwrap();
            assert!(!host.mount.exists(target.as_ref()));
        }
        assert_eq!(host.mount.table().iter().count(), 0);
        let node = crate::layout::device_node(dot(), head_id(0), volume_id("db"));
        assert!(!host.mount.exists(&node), "the node goes with the last mount");
    }
}

#[tokio::test]
async fn a_native_volume_is_not_published_as_another() {
    let (_host, ops) = with_dot(VolumeFormat::Zfs).await;
    for format in FORMATS {
        let refused = ops.publish(&publish(format, "/pods/a/mount", false)).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Conflict(text) if text.contains("zfs")),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn ext4_is_checked_before_it_is_mounted_and_a_damaged_one_is_not_mounted() {
    let (host, ops) = with_dot(VolumeFormat::Ext4).await;
    let request = publish(VolumeFormat::Ext4, "/pods/a/mount", false);
    let kind = ErrorKind::FilesystemDamaged;
    host.zfs.fail_next(Verb::CheckFilesystem, FailWhen::Before, kind);
    let refused = ops.publish(&request).await.unwrap_err();
    assert!(refused.to_string().contains("damaged"), "{refused}");
    assert_eq!(host.mount.table().iter().count(), 0);
    let kind = ErrorKind::ProgramMissing;
    host.zfs.fail_next(Verb::CheckFilesystem, FailWhen::Before, kind);
    ops.publish(&request).await.unwrap();
    assert_eq!(ran(&host, Verb::CheckFilesystem), 2);
    ops.publish(&publish(VolumeFormat::Ext4, "/pods/b/mount", false))
        .await
        .unwrap();
    assert_eq!(ran(&host, Verb::CheckFilesystem), 2, "not while it is mounted");
}

#[tokio::test]
async fn a_commit_has_what_was_written_before_or_is_not_taken() {
    for (format, call) in [
        (VolumeFormat::Ext4, MountCall::Syncfs),
        (VolumeFormat::Xfs, MountCall::Syncfs),
        (VolumeFormat::Block, MountCall::FlushZvol),
    ] {
        let (host, ops) = with_dot(format).await;
        ops.publish(&publish(format, "/pods/a/mount", false)).await.unwrap();
        host.mount.fail_next(call, MountErrorKind::Timeout);
        let failed = ops.commit(&commit(0, 0)).await.unwrap_err();
        assert!(matches!(failed, Error::Deadline(_)), "{failed}");
        assert!(!names(&host.zfs).iter().any(|name| name.contains('@')));
        ops.commit(&commit(0, 0)).await.unwrap();
        assert_eq!(calls(&host, call), 2);
        ops.commit(&commit(0, 0)).await.unwrap();
        assert_eq!(calls(&host, call), 2, "it is taken already");
    }
}

#[tokio::test]
async fn a_commit_of_native_volumes_looks_at_no_mount() {
    let (host, ops) = with_dot(VolumeFormat::Zfs).await;
    ops.commit(&commit(0, 0)).await.unwrap();
    let before = calls(&host, MountCall::List);
    ops.commit(&commit(1, 0)).await.unwrap();
    assert_eq!(calls(&host, MountCall::List), before);
    assert_eq!(calls(&host, MountCall::Syncfs) + calls(&host, MountCall::FlushZvol), 0);
}

#[tokio::test]
async fn a_volume_grows_where_it_is_mounted_and_else_when_it_is() {
    let (host, ops) = with_dot(VolumeFormat::Ext4).await;
    let target = "/pods/a/mount";
    let total = async || match ops
        .host
        .volume_usage(VolumeRef::Claim(handle()), target.as_ref())
        .await
        .unwrap()
    {
        Usage::Files(usage) => usage.total_bytes,
        Usage::Device(bytes) => panic!("{bytes} bytes of a device"),
    };
    let request = |size| grown(with_format(main(), VolumeFormat::Ext4), size);
    ops.publish(&publish(VolumeFormat::Ext4, target, false)).await.unwrap();
    // What is no multiple of a block becomes one.
    let states = ops.ensure_branch(&request(2 * SIZE - 5)).await.unwrap();
    assert_eq!((states[1].size, total().await), (2 * SIZE, 2 * SIZE));
    assert_eq!(number(&host, "refreservation"), Some(2 * SIZE));
    // The device grew, and the filesystem did not any more: the repeated call does that.
    host.mount.fail_next(MountCall::GrowFilesystem, MountErrorKind::Busy);
    ops.ensure_branch(&request(3 * SIZE)).await.unwrap_err();
    assert_eq!(total().await, 2 * SIZE);
    ops.ensure_branch(&request(3 * SIZE)).await.unwrap();
    assert_eq!(total().await, 3 * SIZE);
    ops.host.unpublish(&unpublish(target)).await.unwrap();
    ops.ensure_branch(&request(4 * SIZE)).await.unwrap();
    ops.publish(&publish(VolumeFormat::Ext4, target, false)).await.unwrap();
    assert_eq!(total().await, 4 * SIZE);
    let smaller = ops.ensure_branch(&request(SIZE)).await.unwrap();
    assert_eq!(smaller[1].size, 4 * SIZE);
}

#[tokio::test]
async fn what_does_not_fit_is_not_reserved() {
    let (host, ops) = with_dot(VolumeFormat::Block).await;
    let state = ops.commit(&commit(0, 0)).await.unwrap();
    host.zfs.set_size(&"dotmesh".parse().unwrap(), 3 * SIZE);
    let fork = with_format(fork(1, 0, 0, &state), VolumeFormat::Block);
    let mut refused = None;
    for n in 1..4 {
        let request = BranchRequest {
            branch: branch_id(n),
            head: head_id(n),
            name: format!("fork-{n}").parse().unwrap(),
            ..fork.clone()
        };
        refused = ops.ensure_branch(&request).await.err().or(refused);
    }
    assert!(matches!(refused, Some(Error::OutOfSpace(_))), "{refused:?}");
}

#[tokio::test]
async fn deletion_waits_for_users_and_leaves_nothing() {
    for format in FORMATS {
        let (host, ops) = with_dot(format).await;
        let pool = ops.known_pool().unwrap();
        let state = ops.commit(&commit(0, 0)).await.unwrap();
        ops.ensure_branch(&with_format(fork(1, 0, 0, &state), format))
            .await
            .unwrap();
        ops.publish(&publish(format, "/pods/a/mount", false)).await.unwrap();
        ops.delete_dot(dot()).await.unwrap();
        assert!(!ops.collect_dot(&pool, dot()).await.unwrap());
        assert!(host.zfs.volume(&dataset(0)).is_some(), "a pod has it");
        ops.host.unpublish(&unpublish("/pods/a/mount")).await.unwrap();
        // udev looks at the new device of the clone.
        host.zfs.fail_next(Verb::Destroy, FailWhen::Before, ErrorKind::Busy);
        ops.collect_dot(&pool, dot()).await.unwrap();
        ops.collect_dot(&pool, dot()).await.unwrap();
        assert_eq!(names(&host.zfs), Vec::<String>::new());
        assert!(host.zfs.destroyed_while_mounted().is_empty());
    }
}
