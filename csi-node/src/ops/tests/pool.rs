//! Pools over the fakes: made once, known for ever, never taken for another.

use super::killed::Killed;
use super::*;
use dotmesh_zfs::{ErrorKind, FailWhen, Health, PoolName, Verb};

fn name() -> PoolName {
    "dotmesh".parse().unwrap()
}

#[tokio::test]
async fn a_pool_is_made_once_and_found_ever_after() {
    let (host, ops) = Host::with_pool().await;
    let made = ops.ensure_pool(&host.pool_request()).await.unwrap();
    assert!(!made.1, "it was there");
    let file = std::fs::metadata(host.file()).unwrap();
    assert_eq!(file.len(), POOL_SIZE);
    let changes = |verbs: &[Verb]| -> u64 {
        let counts = host.zfs.counts().snapshot();
        verbs
            .iter()
            .filter_map(|verb| counts.get(verb))
            .map(|count| count.count)
            .sum()
    };
    let writes = [
        Verb::Create,
        Verb::Set,
        Verb::PoolCreate,
        Verb::PoolImport,
        Verb::Inherit,
    ];
    let before = changes(&writes);
    for ops in [ops, host.start()] {
        let (state, created) = ops.ensure_pool(&host.pool_request()).await.unwrap();
        assert!(!created);
        assert_eq!((state.health, state.guid), (Health::Online, made.0.guid));
        assert!(state.available > 0);
    }
    assert_eq!(changes(&writes), before, "a settled pool is not written to");
}

#[tokio::test]
async fn after_a_reboot_the_known_pool_is_imported_without_being_asked() {
    let (host, ops) = Host::with_pool().await;
    let guid = ops.known_pool().unwrap().guid;
    host.zfs.set_imported(&name(), false);
    let ops = host.start();
    assert!(ops.import_known().await.unwrap());
    assert_eq!(ops.known_pool().unwrap().guid, guid);
    assert!(
        !Host::new().start().import_known().await.unwrap(),
        "nothing is known on a new node"
    );
}

#[tokio::test]
async fn a_known_pool_whose_file_is_gone_is_never_made_anew() {
    let (host, _) = Host::with_pool().await;
    host.zfs.set_imported(&name(), false);
    std::fs::remove_file(host.file()).unwrap();
    let error = host.start().ensure_pool(&host.pool_request()).await.unwrap_err();
    assert!(matches!(error, Error::PoolMissing(_)), "{error:?}");
    assert!(!host.file().exists());
    // Also when only the caller knows it.
    let other = Host::new();
    let request = PoolRequest {
        known: Some(Guid(7)),
        ..other.pool_request()
    };
    let error = other.start().ensure_pool(&request).await.unwrap_err();
    assert!(matches!(error, Error::PoolMissing(_)), "{error:?}");
    assert!(!other.file().exists());
}

#[tokio::test]
async fn a_pool_of_the_right_name_with_another_guid_is_left_alone() {
    let (host, _) = Host::with_pool().await;
    let before = host.zfs.all_names();
    let ops = host.start();
    let request = PoolRequest {
        known: Some(Guid(4711)),
        ..host.pool_request()
    };
    assert!(matches!(ops.ensure_pool(&request).await, Err(Error::PoolForeign(_))));
    host.zfs.set_pool_guid(&name(), Guid(4711));
    assert!(matches!(
        ops.ensure_pool(&host.pool_request()).await,
        Err(Error::PoolForeign(_))
    ));
    assert!(matches!(ops.import_known().await, Err(Error::PoolForeign(_))));
    host.zfs.set_imported(&name(), false);
    assert!(matches!(
        ops.ensure_pool(&host.pool_request()).await,
        Err(Error::PoolForeign(_))
    ));
    assert_eq!(host.zfs.all_names(), before);
    // One that this node has never seen.
    host.zfs.set_imported(&name(), true);
    std::fs::remove_dir_all(host.config().state_dir).unwrap();
    assert!(matches!(
        ops.ensure_pool(&host.pool_request()).await,
        Err(Error::PoolForeign(_))
    ));
}

#[tokio::test]
async fn nothing_is_absent_while_another_pool_stands_in_for_ours() {
    let (host, ops) = Host::with_pool().await;
    host.zfs.set_pool_guid(&name(), Guid(4711));
    assert!(matches!(ops.detach(dot(), claim()).await, Err(Error::PoolForeign(_))));
    assert!(matches!(ops.delete_dot(dot()).await, Err(Error::PoolForeign(_))));
    assert!(matches!(ops.attach(&attach()).await, Err(Error::PoolForeign(_))));
    host.zfs.set_imported(&name(), false);
    assert!(matches!(ops.delete_dot(dot()).await, Err(Error::PoolMissing(_))));
}

fn attach() -> AttachRequest {
    AttachRequest {
        dot: dot(),
        claim: claim(),
        volume: volume_id("db"),
        branch: None,
    }
}

#[tokio::test]
async fn data_in_the_named_file_is_taken_over_by_a_new_installation() {
    let (host, ops) = Host::with_pool().await;
    let guid = ops.known_pool().unwrap().guid;
    host.zfs.set_imported(&name(), false);
    std::fs::remove_dir_all(host.config().state_dir).unwrap();
    let (state, created) = host.start().ensure_pool(&host.pool_request()).await.unwrap();
    assert!(!created);
    assert_eq!(state.guid, guid);
}

#[tokio::test]
async fn a_file_that_is_no_pool_is_not_overwritten() {
    let host = Host::new();
    let path = host.file();
    std::fs::write(&path, "precious").unwrap();
    let error = host.start().ensure_pool(&host.pool_request()).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_behind() {
    let host = Host::new();
    let request = PoolRequest {
        size: 1 << 60,
        ..host.pool_request()
    };
    let ops = host.start();
    let error = ops.ensure_pool(&request).await.unwrap_err();
    assert!(matches!(error, Error::OutOfSpace(_)), "{error:?}");
    assert!(!host.file().exists());
    assert!(host.zfs.all_names().is_empty());
    ops.ensure_pool(&host.pool_request()).await.unwrap();
}

#[tokio::test]
async fn old_or_missing_zfs_is_told_before_anything_is_touched() {
    let host = Host::new();
    host.zfs.set_version("2.3.2-1".parse().unwrap());
    let error = host.start().ensure_pool(&host.pool_request()).await.unwrap_err();
    assert!(matches!(error, Error::ZfsUnsupported(_)), "{error:?}");
    host.zfs
        .fail_next(Verb::Version, FailWhen::Before, ErrorKind::ModuleMissing);
    let error = host.start().ensure_pool(&host.pool_request()).await.unwrap_err();
    assert!(matches!(error, Error::ZfsUnsupported(_)), "{error:?}");
    assert!(!host.file().exists());
}

#[tokio::test]
async fn a_second_or_tiny_or_crooked_pool_is_refused() {
    let (host, ops) = Host::with_pool().await;
    let elsewhere = PoolRequest {
        place: Place::File {
            path: host.disk.path().join("other.img"),
        },
        ..host.pool_request()
    };
    assert!(matches!(ops.ensure_pool(&elsewhere).await, Err(Error::Conflict(_))));
    for (size, path) in [(1 << 20, "/tmp/x"), (POOL_SIZE, "relative"), (POOL_SIZE, "/a/../b")] {
        let request = PoolRequest {
            size,
            place: Place::File { path: path.into() },
            ..host.pool_request()
        };
        assert!(
            matches!(ops.ensure_pool(&request).await, Err(Error::Invalid(_))),
            "{path}"
        );
    }
}

#[tokio::test]
async fn who_watches_is_told_at_once_and_of_changes_only() {
    let (host, ops) = Host::with_pool().await;
    let mut watch = ops.host.states.subscribe();
    let state = watch.borrow_and_update().clone().unwrap();
    assert_eq!((state.pools.len(), state.users.map(|users| users.len())), (1, Some(0)));
    ops.refresh_state().await;
    assert!(!watch.has_changed().unwrap());
    host.zfs.set_health(&name(), Health::Suspended);
    ops.refresh_state().await;
    let health = |watch: &mut tokio::sync::watch::Receiver<Option<NodeState>>| {
        watch.borrow_and_update().clone().unwrap().pools[0].health
    };
    assert_eq!(health(&mut watch), Health::Suspended);
    host.zfs.set_imported(&name(), false);
    ops.refresh_state().await;
    assert_eq!(health(&mut watch), Health::Unavailable);
}

/// Half as large again.
fn larger(host: &Host) -> PoolRequest {
    PoolRequest {
        size: POOL_SIZE / 2 * 3,
        ..host.pool_request()
    }
}

fn quota(host: &Host) -> u64 {
    let text = local_value(&host.zfs, "dotmesh/dotmesh", "quota").unwrap();
    text.parse().unwrap()
}

fn file_length(host: &Host) -> u64 {
    std::fs::metadata(host.file()).unwrap().len()
}

#[tokio::test]
async fn a_pool_grows_with_its_file_and_never_shrinks() {
    let (host, ops) = Host::with_pool().await;
    let (before, _) = ops.ensure_pool(&host.pool_request()).await.unwrap();
    let (small, request) = (quota(&host), larger(&host));
    assert_eq!((before.file_bytes, before.size), (POOL_SIZE, POOL_SIZE * SCALE));
    let (after, created) = ops.ensure_pool(&request).await.unwrap();
    assert!(!created);
    assert_eq!((after.guid, after.size), (before.guid, request.size * SCALE));
    assert_eq!((after.file_bytes, file_length(&host)), (request.size, request.size));
    assert!(after.available > before.available);
    assert!(quota(&host) > small && quota(&host) < after.size, "the reserve is kept");
    let expansions = || host.zfs.counts().snapshot()[&Verb::PoolOnline].count;
    let once = expansions();
    for ops in [ops, host.start()] {
        for request in [&request, &host.pool_request()] {
            let (state, _) = ops.ensure_pool(request).await.unwrap();
            assert_eq!(state, after);
        }
    }
    assert_eq!(expansions(), once, "what has grown is left alone");
    assert_eq!(file_length(&host), request.size);
}

#[tokio::test]
async fn a_disk_without_room_leaves_the_pool_as_it_was() {
    let (host, ops) = Host::with_pool().await;
    let (before, _) = ops.ensure_pool(&host.pool_request()).await.unwrap();
    let endless = PoolRequest {
        size: 1 << 60,
        ..host.pool_request()
    };
    let error = ops.ensure_pool(&endless).await.unwrap_err();
    assert!(matches!(error, Error::OutOfSpace(_)), "{error:?}");
    assert_eq!(file_length(&host), POOL_SIZE);
    assert_eq!(ops.ensure_pool(&host.pool_request()).await.unwrap().0, before);
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    let (after, _) = ops.ensure_pool(&larger(&host)).await.unwrap();
    assert_eq!(after.file_bytes, larger(&host).size);
}

#[tokio::test]
async fn a_pool_that_was_killed_while_it_grew_grows_when_it_is_asked_for_again() {
    let undisturbed = Host::with_pool().await.0;
    let before = undisturbed.zfs.counts().total();
    let (wanted, _) = undisturbed.start().ensure_pool(&larger(&undisturbed)).await.unwrap();
    let commands = i64::try_from(undisturbed.zfs.counts().total() - before).unwrap();
    for killed_after in 0..commands {
        let host = Host::with_pool().await.0;
        let killed = Killed::after(&host.zfs, killed_after);
        let first = only_pool(killed, host.mount.clone(), host.config());
        let result = first.ensure_pool(&larger(&host)).await;
        let (state, _) = host.start().ensure_pool(&larger(&host)).await.unwrap();
        assert_eq!(
            (state.size, state.available, state.file_bytes),
            (wanted.size, wanted.available, wanted.file_bytes),
            "killed after {killed_after}: {result:?}"
        );
        assert_eq!(quota(&host), quota(&undisturbed), "killed after {killed_after}");
    }
}

#[tokio::test]
async fn the_quota_follows_the_pools_size_and_otherwise_is_peoples() {
    let (host, ops) = Host::with_pool().await;
    let set = dotmesh_zfs::Properties::new().with("quota".parse().unwrap(), 5_u64 << 30);
    host.zfs.set(&"dotmesh/dotmesh".parse().unwrap(), &set).await.unwrap();
    host.start().ensure_pool(&host.pool_request()).await.unwrap();
    assert_eq!(quota(&host), 5 << 30);
    // Somebody else makes the pool larger.
    host.zfs.set_size(&name(), 200 << 30);
    let state = ops.refresh_state().await.unwrap();
    assert_eq!(state.size, 200 << 30);
    assert!(quota(&host) > 150 << 30, "{}", quota(&host));
}

#[tokio::test]
async fn a_file_of_unknown_use_is_used_to_its_end() {
    let (host, ops) = Host::with_pool().await;
    ops.ensure_pool(&larger(&host)).await.unwrap();
    host.zfs.set_imported(&name(), false);
    std::fs::remove_dir_all(host.config().state_dir).unwrap();
    let (state, created) = host.start().ensure_pool(&host.pool_request()).await.unwrap();
    assert!(!created);
    assert_eq!(state.file_bytes, larger(&host).size);
}
