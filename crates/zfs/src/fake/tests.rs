use super::*;
use crate::{CreateKind, GetRequest, Kind};

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
    fake.destroy_snapshot_deferred_recursive(&snapshot("p/a@x"))
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
