//! What somebody destroyed with other tools is found by one look, and nothing else is taken for it.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_zfs::{DatasetName, ErrorKind, FailWhen, Health, SnapshotName, Tampering, Verb};

use super::*;

fn recorded_commit(n: u128, state: &CommitState) -> Recorded {
    let guids = state.snapshots.iter().map(|snapshot| (snapshot.volume, snapshot.guid));
    Recorded::Commit {
        dot: dot(),
        head: head_id(0),
        commit: commit_id(n),
        volumes: guids.collect(),
    }
}

fn recorded_head(n: u128, volumes: &[VolumeState]) -> Recorded {
    Recorded::Head {
        dot: dot(),
        head: head_id(n),
        volumes: volumes.iter().map(|volume| (volume.id, volume.guid)).collect(),
    }
}

/// Two commits of `main`, a fork of the first, and all that was recorded of it: Dot, heads, commits.
async fn with_records() -> (Host, Arc<Ops<FakeZfs, FakeMount>>, Vec<Recorded>) {
    let (host, ops) = Host::with_dot().await;
    let main = ops.ensure_branch(&main()).await.unwrap();
    let one = ops.commit(&commit(1, 0)).await.unwrap();
    let two = ops.commit(&commit(2, 0)).await.unwrap();
    let fork = ops.ensure_branch(&fork(1, 1, 0, &one)).await.unwrap();
    let recorded = vec![
        Recorded::Dot(dot()),
        recorded_head(0, &main),
        recorded_head(1, &fork),
        recorded_commit(1, &one),
        recorded_commit(2, &two),
    ];
    ops.audit_holds(&ops.known_pool().unwrap()).await.unwrap();
    (host, ops, recorded)
}

fn on_volume(commit: u128, name: &str) -> SnapshotName {
    let layout = Layout::new("dotmesh".parse().unwrap()).unwrap();
    layout.volume_snapshot(dot(), head_id(0), volume_id(name), commit_id(commit))
}

fn on_head(commit: u128) -> SnapshotName {
    let layout = Layout::new("dotmesh".parse().unwrap()).unwrap();
    layout.head_snapshot(dot(), head_id(0), commit_id(commit))
}

/// Somebody releases our hold and destroys it.
fn destroy(host: &Host, snapshot: &SnapshotName) {
    host.zfs
        .tamper(&Tampering::Release(crate::layout::HOLD, snapshot.clone()))
        .unwrap();
    host.zfs.tamper(&Tampering::DestroySnapshot(snapshot.clone())).unwrap();
}

fn below_root(name: &str) -> DatasetName {
    format!("dotmesh/dotmesh/{name}").parse().unwrap()
}

#[tokio::test]
async fn what_is_there_is_not_missing_and_one_list_tells_it_of_all() {
    let (host, ops, recorded) = with_records().await;
    let before = host.zfs.counts().total();
    assert_eq!(ops.find_missing(&recorded).await.unwrap().missing, []);
    // What the Dots say, the list, and the pool's identity after it.
    assert_eq!(host.zfs.counts().total() - before, 3);
    assert_eq!(ops.find_missing(&[]).await.unwrap().missing, []);
}

#[tokio::test]
async fn a_commit_misses_the_volumes_whose_snapshots_were_destroyed() {
    let (host, ops, recorded) = with_records().await;
    destroy(&host, &on_volume(2, "db"));
    let missing = ops.find_missing(&recorded).await.unwrap().missing;
    assert_eq!(missing, [(4, [volume_id("db")].into())]);
    destroy(&host, &on_volume(2, "cache"));
    assert_eq!(ops.find_missing(&recorded).await.unwrap().missing, [(4, both())]);
}

#[tokio::test]
async fn a_commit_misses_itself_when_only_the_heads_own_snapshot_was_destroyed() {
    let (host, ops, recorded) = with_records().await;
    destroy(&host, &on_head(2));
    assert_eq!(
        ops.find_missing(&recorded).await.unwrap().missing,
        [(4, BTreeSet::new())]
    );
}

#[tokio::test]
async fn what_has_another_guid_is_missing() {
    let (host, ops, recorded) = with_records().await;
    let snapshot = on_volume(2, "db");
    destroy(&host, &snapshot);
    host.zfs
        .snapshot(&[snapshot], &dotmesh_zfs::Properties::new())
        .await
        .unwrap();
    assert_eq!(
        ops.find_missing(&recorded).await.unwrap().missing,
        [(4, [volume_id("db")].into())]
    );
}

#[tokio::test]
async fn a_head_that_was_destroyed_is_missing_with_all_its_volumes() {
    let (host, ops, recorded) = with_records().await;
    let head = below_root(&format!("{}/{}", dot(), head_id(1)));
    host.zfs.tamper(&Tampering::DestroyAll(head)).unwrap();
    assert_eq!(ops.find_missing(&recorded).await.unwrap().missing, [(2, both())]);
}

#[tokio::test]
async fn without_the_dot_or_the_root_everything_is_missing() {
    for gone in [below_root(&dot().to_string()), "dotmesh/dotmesh".parse().unwrap()] {
        let (host, ops, recorded) = with_records().await;
        for n in [1, 2] {
            for snapshot in [on_head(n), on_volume(n, "db"), on_volume(n, "cache")] {
                let release = Tampering::Release(crate::layout::HOLD, snapshot);
                host.zfs.tamper(&release).unwrap();
            }
        }
        host.zfs.tamper(&Tampering::DestroyAll(gone)).unwrap();
        let all = [BTreeSet::new(), both(), both(), both(), both()]
            .into_iter()
            .enumerate();
        assert_eq!(
            ops.find_missing(&recorded).await.unwrap().missing,
            all.collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_pool_that_is_away_suspended_or_not_compared_misses_nothing() {
    let (host, ops, recorded) = with_records().await;
    destroy(&host, &on_volume(2, "db"));
    let name = "dotmesh".parse().unwrap();
    host.zfs.set_health(&name, Health::Suspended);
    let error = ops.find_missing(&recorded).await.unwrap_err();
    assert!(matches!(error, Error::PoolSuspended(_)), "{error:?}");
    host.zfs.set_health(&name, Health::Online);

    // A list that fails, for whatever reason.
    host.zfs.fail_next(Verb::List, FailWhen::Before, ErrorKind::Other);
    assert!(ops.find_missing(&recorded).await.is_err());

    // Imported by somebody else meanwhile, perhaps taken back.
    host.zfs.tamper(&Tampering::Checkpoint(name.clone())).unwrap();
    host.zfs.tamper(&Tampering::Rewind(name.clone())).unwrap();
    let error = ops.find_missing(&recorded).await.unwrap_err();
    assert!(matches!(error, Error::PoolMissing(_)), "{error:?}");

    host.zfs.reboot();
    let ops = host.start();
    let error = ops.find_missing(&recorded).await.unwrap_err();
    assert!(matches!(error, Error::PoolMissing(_)), "{error:?}");
    ops.import_known().await.unwrap();
    let error = ops.find_missing(&recorded).await.unwrap_err();
    assert!(matches!(error, Error::Busy(_)), "{error:?}");
    ops.ensure_pool(&host.pool_request()).await.unwrap();
    assert_eq!(
        ops.find_missing(&recorded).await.unwrap().missing,
        [(4, [volume_id("db")].into())]
    );
}

#[tokio::test]
async fn a_commit_of_which_something_is_missing_can_be_deleted() {
    for gone in [
        vec![on_head(2)],
        vec![on_volume(2, "db")],
        vec![on_head(2), on_volume(2, "db"), on_volume(2, "cache")],
    ] {
        let (host, ops, _) = with_records().await;
        gone.iter().for_each(|snapshot| destroy(&host, snapshot));
        ops.delete_commit(dot(), commit_id(2), head_id(0)).await.unwrap();
        ops.collect_dot(&ops.known_pool().unwrap(), dot()).await.unwrap();
        let left: Vec<String> = names(&host.zfs)
            .into_iter()
            .filter(|name| name.contains(&commit_id(2).to_string()))
            .collect();
        assert_eq!(left, Vec::<String>::new());
        assert!(
            !ops.read_dot(&ops.known_pool().unwrap(), dot())
                .await
                .unwrap()
                .unwrap()
                .has_tombstones()
        );
    }
}

#[tokio::test]
async fn after_a_loss_was_found_the_next_commit_does_not_name_it_as_its_parent() {
    let (host, ops, recorded) = with_records().await;
    for snapshot in [on_head(2), on_volume(2, "db"), on_volume(2, "cache")] {
        destroy(&host, &snapshot);
    }
    ops.find_missing(&recorded).await.unwrap();
    let three = ops.commit(&commit(3, 0)).await.unwrap();
    assert_eq!(three.parent, Some(commit_id(1)));
}

#[tokio::test]
async fn a_volume_that_was_made_once_is_never_made_anew() {
    let (host, ops) = Host::with_dot().await;
    let made = ops.ensure_branch(&main()).await.unwrap();
    let guid = |id| made.iter().find(|volume| volume.id == id).map(|volume| volume.guid);
    let mut again = main();
    again
        .volumes
        .iter_mut()
        .for_each(|volume| volume.known = guid(volume.id));
    assert_eq!(ops.ensure_branch(&again).await.unwrap(), made);
    let head = format!("{}/{}", dot(), head_id(0));
    for gone in [format!("{head}/{}", volume_id("db")), head] {
        host.zfs.tamper(&Tampering::DestroyAll(below_root(&gone))).unwrap();
        let error = ops.ensure_branch(&again).await.unwrap_err();
        assert!(
            matches!(&error, Error::NotFound(why) if why.contains("was made")),
            "{error:?}"
        );
        assert!(!names(&host.zfs).iter().any(|name| name.starts_with(&gone)));
    }
}

#[tokio::test]
async fn volumes_are_told_by_their_ids() {
    let (_host, ops, mut recorded) = with_records().await;
    let other: BTreeMap<VolumeId, Guid> = [(volume_id("db"), Guid(1)), (volume_id("never"), Guid(2))].into();
    recorded.truncate(1);
    recorded.push(Recorded::Head {
        dot: dot(),
        head: head_id(0),
        volumes: other,
    });
    let missing = ops.find_missing(&recorded).await.unwrap().missing;
    assert_eq!(missing, [(1, [volume_id("db"), volume_id("never")].into())]);
}

#[tokio::test]
async fn the_look_tells_how_much_there_is_of_each_dot() {
    let (_host, ops, recorded) = with_records().await;
    let told = DotInPool {
        dot: dot(),
        branches: vec![branch_id(0), branch_id(1)],
        claims: Vec::new(),
        commits: 2,
    };
    assert_eq!(
        ops.find_missing(&recorded).await.unwrap().dots,
        std::slice::from_ref(&told)
    );
    ops.delete_commit(dot(), commit_id(2), head_id(0)).await.unwrap();
    ops.delete_branch(dot(), branch_id(1), &[head_id(1)]).await.unwrap();
    let told = DotInPool {
        branches: vec![branch_id(0)],
        commits: 1,
        ..told
    };
    assert_eq!(ops.find_missing(&[]).await.unwrap().dots, [told]);
    ops.delete_dot(dot()).await.unwrap();
    assert_eq!(ops.find_missing(&[]).await.unwrap().dots, []);
}
