use super::*;
use crate::{CreateKind, GetRequest, Health, Kind, PropValue};

fn pool() -> PoolName {
    "p".parse().unwrap()
}

fn dataset(name: &str) -> DatasetName {
    name.parse().unwrap()
}

fn snapshot(name: &str) -> SnapshotName {
    name.parse().unwrap()
}

async fn fake() -> FakeZfs {
    let fake = FakeZfs::new();
    let spec = PoolSpec {
        name: pool(),
        vdevs: vec!["/pool.img".into()],
        properties: Properties::new(),
        root_properties: Properties::new(),
    };
    fake.pool_create(&spec).await.unwrap();
    create(&fake, "p/a").await.unwrap();
    fake
}

async fn create(fake: &FakeZfs, name: &str) -> Result<(), ZfsError> {
    let request = CreateRequest {
        dataset: dataset(name),
        kind: CreateKind::Filesystem,
        properties: Properties::new(),
        parents: false,
    };
    fake.create(&request).await
}

#[tokio::test]
async fn a_failure_can_come_before_or_after_the_effect() {
    let fake = fake().await;
    fake.fail_next(Verb::Create, FailWhen::Before, ErrorKind::Timeout);
    fake.fail_next(Verb::Create, FailWhen::After, ErrorKind::Timeout);
    assert_eq!(create(&fake, "p/b").await.unwrap_err().kind, ErrorKind::Timeout);
    assert_eq!(create(&fake, "p/c").await.unwrap_err().kind, ErrorKind::Timeout);
    assert_eq!(fake.all_names(), ["p", "p/a", "p/c"]);
    assert_eq!(fake.counts().snapshot()[&Verb::Create].failures, 2);
}

#[tokio::test]
async fn nothing_is_absent_while_the_pool_is_missing_or_suspended() {
    let fake = fake().await;
    let get = GetRequest::local(vec![dataset("p/gone").into()], vec![]);
    assert_eq!(fake.get(&get).await.unwrap_err().kind, ErrorKind::DatasetNotFound);
    fake.set_health(&pool(), Health::Suspended);
    assert_eq!(fake.get(&get).await.unwrap_err().kind, ErrorKind::PoolSuspended);
    assert_eq!(create(&fake, "p/b").await.unwrap_err().kind, ErrorKind::PoolSuspended);
    let present = GetRequest::local(vec![dataset("p/a").into()], vec![]);
    assert_eq!(fake.get(&present).await.unwrap_err().kind, ErrorKind::PoolSuspended);
    assert_eq!(fake.pool_get(&pool()).await.unwrap().health, Health::Suspended);
    fake.set_imported(&pool(), false);
    assert_eq!(fake.get(&get).await.unwrap_err().kind, ErrorKind::PoolMissing);
    assert_eq!(fake.pool_get(&pool()).await.unwrap_err().kind, ErrorKind::PoolMissing);
}

#[tokio::test]
async fn a_full_pool_refuses_what_needs_room_and_nothing_else() {
    let fake = fake().await;
    fake.snapshot(&[snapshot("p/a@x")], &Properties::new()).await.unwrap();
    fake.set_full(&pool(), true);
    assert_eq!(create(&fake, "p/b").await.unwrap_err().kind, ErrorKind::OutOfSpace);
    let taken = fake.snapshot(&[snapshot("p/a@y")], &Properties::new()).await;
    assert_eq!(taken.unwrap_err().kind, ErrorKind::OutOfSpace);
    let note = PropName::from_static("org.example:note");
    fake.set(&dataset("p/a"), &Properties::new().with(note, 1))
        .await
        .unwrap();
    fake.destroy_snapshots_deferred_recursive(&dataset("p/a"), &["x".parse().unwrap()])
        .await
        .unwrap();
    fake.destroy_dataset(&dataset("p/a")).await.unwrap();
}

#[tokio::test]
async fn a_busy_snapshot_fails_the_whole_list() {
    let fake = fake().await;
    fake.snapshot(&[snapshot("p/a@x")], &Properties::new()).await.unwrap();
    fake.snapshot(&[snapshot("p/a@y")], &Properties::new()).await.unwrap();
    fake.set_snapshot_busy(&snapshot("p/a@y"), true);
    let snaps = ["x".parse().unwrap(), "y".parse().unwrap()];
    let destroyed = fake.destroy_snapshots_deferred(&dataset("p/a"), &snaps).await;
    assert_eq!(destroyed.unwrap_err().kind, ErrorKind::Busy);
    assert_eq!(fake.all_names(), ["p", "p/a", "p/a@x", "p/a@y"]);
}

#[tokio::test]
async fn what_is_mounted_is_busy_and_the_attempt_is_remembered() {
    let fake = fake().await;
    fake.set_mounted(&dataset("p/a"), true);
    assert_eq!(
        fake.destroy_dataset(&dataset("p/a")).await.unwrap_err().kind,
        ErrorKind::Busy
    );
    assert_eq!(fake.pool_export(&pool()).await.unwrap_err().kind, ErrorKind::Busy);
    assert_eq!(fake.destroyed_while_mounted(), [dataset("p/a")]);
    fake.set_mounted(&dataset("p/a"), false);
    fake.destroy_dataset(&dataset("p/a")).await.unwrap();
}

#[tokio::test]
async fn guids_never_come_again() {
    let fake = fake().await;
    let guid = PropName::from_static("guid");
    let list = ListRequest {
        roots: vec![dataset("p/a").into()],
        depth: Some(0),
        kinds: vec![Kind::Filesystem],
        columns: vec![guid.clone()],
    };
    let first = fake.list(&list).await.unwrap()[0].number(&guid).unwrap();
    fake.destroy_dataset(&dataset("p/a")).await.unwrap();
    create(&fake, "p/a").await.unwrap();
    assert_ne!(fake.list(&list).await.unwrap()[0].number(&guid).unwrap(), first);
}

#[tokio::test]
async fn a_size_that_is_refused_keeps_nothing_else_from_being_set() {
    let fake = fake().await;
    let note = PropName::from_static("org.example:note");
    let properties = Properties::new()
        .with(PropName::from_static("refquota"), 1)
        .with(note.clone(), 1);
    let result = fake.set(&dataset("p/a"), &properties).await;
    assert_eq!(result.unwrap_err().kind, ErrorKind::QuotaBelowUsed);
    let local = fake.get(&GetRequest::local(vec![dataset("p/a").into()], vec![])).await;
    let names: Vec<_> = local.unwrap().into_iter().map(|row| row.property).collect();
    assert_eq!(names, [note]);
}

#[tokio::test]
async fn a_rewound_pool_counts_transaction_groups_again_and_guids_not() {
    let fake = fake().await;
    let column = [PropName::from_static("createtxg"), PropName::from_static("guid")];
    let look = async |name: &str| {
        let list = ListRequest {
            roots: vec![snapshot(name).into()],
            depth: Some(0),
            kinds: vec![Kind::Snapshot],
            columns: column.to_vec(),
        };
        let row = fake.list(&list).await?.remove(0);
        Ok::<_, ZfsError>((row.number(&column[0]).unwrap(), row.number(&column[1]).unwrap()))
    };
    fake.tamper(&Tampering::Checkpoint(pool())).unwrap();
    let before = fake.pool_get(&pool()).await.unwrap();
    fake.snapshot(&[snapshot("p/a@x")], &Properties::new()).await.unwrap();
    let (txg, guid) = look("p/a@x").await.unwrap();
    fake.tamper(&Tampering::Rewind(pool())).unwrap();
    assert_eq!(look("p/a@x").await.unwrap_err().kind, ErrorKind::SnapshotNotFound);
    let after = fake.pool_get(&pool()).await.unwrap();
    assert_eq!(after.guid, before.guid);
    assert_ne!(after.load_guid, before.load_guid);
    fake.snapshot(&[snapshot("p/a@x")], &Properties::new()).await.unwrap();
    let (again, other) = look("p/a@x").await.unwrap();
    assert_eq!(again, txg);
    assert_ne!(other, guid);
}

#[tokio::test]
async fn of_two_pools_with_one_name_the_imported_one_is_meant() {
    let fake = fake().await;
    fake.set_imported(&pool(), false);
    let spec = PoolSpec {
        name: pool(),
        vdevs: vec!["/other.img".into()],
        properties: Properties::new(),
        root_properties: Properties::new(),
    };
    fake.pool_create(&spec).await.unwrap();
    create(&fake, "p/b").await.unwrap();
    let gone = GetRequest::local(vec![dataset("p/a").into()], vec![]);
    assert_eq!(fake.get(&gone).await.unwrap_err().kind, ErrorKind::DatasetNotFound);
    fake.pool_export(&pool()).await.unwrap();
    let by_name = ImportRequest {
        pool: crate::PoolSelector::Name(pool()),
        search: vec![],
    };
    assert_eq!(fake.pool_import(&by_name).await.unwrap_err().kind, ErrorKind::Other);
    fake.set_foreign(&pool(), true);
    let first = fake.pools_importable(&["/pool.img".into()]).await.unwrap().remove(0);
    let by_guid = ImportRequest {
        pool: crate::PoolSelector::Guid(first.guid),
        search: vec![],
    };
    assert_eq!(
        fake.pool_import(&by_guid).await.unwrap_err().kind,
        ErrorKind::PoolOfOtherHost
    );
    fake.set_foreign(&pool(), false);
    fake.pool_import(&by_guid).await.unwrap();
    fake.get(&gone).await.unwrap();
}

#[tokio::test]
async fn there_is_room_until_a_quota_above_is_reached() {
    let fake = fake().await;
    let quota = Properties::new().with(PropName::from_static("quota"), PropValue::from_static("10M"));
    create(&fake, "p/a/b").await.unwrap();
    create(&fake, "p/a/c").await.unwrap();
    fake.set(&dataset("p/a"), &quota).await.unwrap();
    assert!(fake.write(&dataset("p/a/b"), 6 << 20));
    assert!(!fake.write(&dataset("p/a/c"), 6 << 20));
    // A commit of what is full works all the same.
    fake.snapshot(&[snapshot("p/a/b@x")], &Properties::new()).await.unwrap();
    let used = fake.pool_get(&pool()).await.unwrap().allocated;
    assert!((6 << 20..7 << 20).contains(&used), "{used}");
    fake.set_size(&pool(), 256 << 20);
    let thick = CreateRequest {
        dataset: dataset("p/v"),
        kind: CreateKind::Volume {
            size: 200 << 20,
            sparse: false,
            block_size: None,
        },
        properties: Properties::new(),
        parents: false,
    };
    assert_eq!(fake.create(&thick).await.unwrap_err().kind, ErrorKind::OutOfSpace);
    assert_eq!(fake.all_names(), ["p", "p/a", "p/a/b", "p/a/b@x", "p/a/c"]);
}

#[tokio::test]
async fn another_tool_destroys_nothing_that_is_held_cloned_or_mounted() {
    let fake = fake().await;
    create(&fake, "p/a/b").await.unwrap();
    fake.snapshot(&[snapshot("p/a/b@x")], &Properties::new()).await.unwrap();
    let (all, one) = (
        Tampering::DestroyAll(dataset("p/a")),
        Tampering::DestroySnapshot(snapshot("p/a/b@x")),
    );
    let tag: HoldTag = "t".parse().unwrap();
    fake.tamper(&Tampering::Hold(tag.clone(), snapshot("p/a/b@x"))).unwrap();
    assert_eq!(fake.tamper(&all), Err(ErrorKind::Busy));
    assert_eq!(fake.tamper(&one), Err(ErrorKind::Busy));
    fake.tamper(&Tampering::Release(tag, snapshot("p/a/b@x"))).unwrap();
    let clone = CloneRequest {
        snapshot: snapshot("p/a/b@x"),
        dataset: dataset("p/c"),
        properties: Properties::new(),
    };
    fake.other_program().clone_snapshot(&clone).await.unwrap();
    let clones = ErrorKind::HasClones(vec!["p/c".into()]);
    assert_eq!(fake.tamper(&all), Err(clones.clone()));
    assert_eq!(fake.tamper(&one), Err(clones));
    fake.destroy_dataset(&dataset("p/c")).await.unwrap();
    fake.watch_mounts(|| BTreeSet::from(["p/a/b".to_owned()]));
    assert_eq!(fake.tamper(&all), Err(ErrorKind::Busy));
    fake.watch_mounts(BTreeSet::new);
    fake.tamper(&all).unwrap();
    assert_eq!(fake.all_names(), ["p"]);
    assert_eq!(fake.counts().snapshot().get(&Verb::Clone), None);
}
