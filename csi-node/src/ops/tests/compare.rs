//! Pools that were taken back to an earlier state.

use super::*;
use dotmesh_zfs::{PoolName, Tampering};

fn name() -> PoolName {
    "dotmesh".parse().unwrap()
}

fn newest(number: u128, state: &CommitState) -> NewestCommit {
    NewestCommit {
        dot: dot(),
        head: head_id(0),
        commit: commit_id(number),
        createtxg: state.createtxg.0,
        object: format!("dev/commit-{number}"),
    }
}

fn knowing(host: &Host, newest: NewestCommit) -> PoolRequest {
    PoolRequest {
        newest: Some(newest),
        ..host.pool_request()
    }
}

#[tokio::test]
async fn nothing_is_obeyed_after_an_import_until_the_pool_was_compared() {
    let (host, ops) = Host::with_dot().await;
    let state = ops.commit(&commit(1, 0)).await.unwrap();
    ops.check_compared().unwrap();
    host.zfs.reboot();
    let ops = host.start();
    assert!(matches!(ops.check_compared(), Err(Error::PoolMissing(_))));
    ops.import_known().await.unwrap();
    assert!(matches!(ops.check_compared(), Err(Error::Busy(_))));
    assert!(!ops.refresh_state().await.unwrap().compared);
    let (seen, _) = ops.ensure_pool(&knowing(&host, newest(1, &state))).await.unwrap();
    assert!(seen.compared);
    ops.check_compared().unwrap();
}

#[tokio::test]
async fn a_pool_that_was_taken_back_says_so_until_what_is_missing_is_given_up() {
    let (host, ops) = Host::with_dot().await;
    let one = ops.commit(&commit(1, 0)).await.unwrap();
    host.zfs.tamper(&Tampering::Checkpoint(name())).unwrap();
    let two = ops.commit(&commit(2, 0)).await.unwrap();
    host.zfs.tamper(&Tampering::Rewind(name())).unwrap();
    let before = host.zfs.all_names();

    // The program ran all the time, and what it looks for next is not taken for absent.
    let error = ops.ensure_branch(&fork(1, 2, 0, &two)).await.unwrap_err();
    assert!(matches!(error, Error::PoolMissing(_)), "{error:?}");
    for _ in 0..2 {
        let error = ops.ensure_pool(&knowing(&host, newest(2, &two))).await.unwrap_err();
        assert!(
            matches!(&error, Error::Rewound(why) if why.contains("dev/commit-2")),
            "{error:?}"
        );
        assert!(matches!(ops.check_compared(), Err(Error::Rewound(_))));
        assert!(!ops.refresh_state().await.unwrap().compared);
    }
    assert_eq!(host.zfs.all_names(), before);
    ops.ensure_pool(&knowing(&host, newest(1, &one))).await.unwrap();
    ops.check_compared().unwrap();
}

#[tokio::test]
async fn a_single_commit_that_somebody_destroyed_makes_no_rewound_pool() {
    let (host, ops) = Host::with_dot().await;
    let one = ops.commit(&commit(1, 0)).await.unwrap();
    ops.commit(&commit(2, 0)).await.unwrap();
    ops.delete_commit(dot(), commit_id(1), head_id(0)).await.unwrap();
    ops.collect_dot(&ops.known_pool().unwrap(), dot()).await.unwrap();
    host.zfs.reboot();
    let ops = host.start();
    ops.ensure_pool(&knowing(&host, newest(1, &one))).await.unwrap();
    ops.check_compared().unwrap();
}
