use std::collections::BTreeSet;

use super::*;

fn request(source: &str, target: &str) -> ZfsMount {
    ZfsMount {
        source: source.to_owned(),
        target: target.into(),
        readonly: false,
        context: None,
    }
}

async fn with_folders(folders: &[&str]) -> FakeMount {
    let fake = FakeMount::new();
    for folder in folders {
        fake.make_dir(Path::new(folder)).await.unwrap();
    }
    fake
}

fn kind<T: std::fmt::Debug>(result: Result<T, MountError>) -> MountErrorKind {
    result.unwrap_err().kind
}

#[tokio::test]
async fn a_reboot_leaves_folders_and_files_and_no_mount() {
    let fake = with_folders(&["/m", "/pod"]).await;
    fake.mount_zfs(&request("p/a", "/m")).await.unwrap();
    fake.bind(Path::new("/m"), Path::new("/pod"), true, &[]).await.unwrap();
    fake.put_file(Path::new("/m/file"));
    fake.set_busy(Path::new("/pod"), true);
    fake.reboot();
    assert_eq!(fake.table().iter().count(), 0);
    assert_eq!(fake.sources(), BTreeSet::new());
    assert!(fake.is_empty_dir(Path::new("/m")).await.unwrap());
    fake.mount_zfs(&request("p/a", "/m")).await.unwrap();
    assert!(fake.exists(Path::new("/m/file")));
}

#[tokio::test]
async fn what_goes_lazily_is_in_use_until_its_user_ends() {
    let fake = with_folders(&["/m"]).await;
    fake.mount_zfs(&request("p/a", "/m")).await.unwrap();
    fake.set_busy(Path::new("/m"), true);
    assert_eq!(kind(fake.unmount(Path::new("/m"), false).await), MountErrorKind::Busy);
    fake.unmount(Path::new("/m"), true).await.unwrap();
    assert_eq!(fake.sources(), BTreeSet::from(["p/a".to_owned()]));
    fake.mount_zfs(&request("p/b", "/m")).await.unwrap();
    fake.unmount(Path::new("/m"), false).await.unwrap();
    fake.set_busy(Path::new("/m"), false);
    assert_eq!(fake.sources(), BTreeSet::new());
}

#[tokio::test]
async fn a_dataset_made_anew_under_the_same_name_is_empty() {
    let fake = with_folders(&["/m"]).await;
    let identity = Arc::new(Mutex::new(Some(1)));
    let told = Arc::clone(&identity);
    fake.watch_datasets(move |_| *told.lock().unwrap());
    fake.mount_zfs(&request("p/a", "/m")).await.unwrap();
    fake.put_file(Path::new("/m/file"));
    fake.unmount(Path::new("/m"), false).await.unwrap();
    *identity.lock().unwrap() = None;
    assert_eq!(
        kind(fake.mount_zfs(&request("p/a", "/m")).await),
        MountErrorKind::NotFound
    );
    *identity.lock().unwrap() = Some(2);
    fake.mount_zfs(&request("p/a", "/m")).await.unwrap();
    assert!(fake.is_empty_dir(Path::new("/m")).await.unwrap());
}

#[tokio::test]
async fn a_mount_below_a_shared_one_shows_in_its_peers_and_goes_with_them() {
    let fake = with_folders(&["/m", "/peer", "/own"]).await;
    fake.mount_zfs(&request("p/a", "/m")).await.unwrap();
    fake.make_dir(Path::new("/m/sub")).await.unwrap();
    fake.bind(Path::new("/m"), Path::new("/peer"), false, &[])
        .await
        .unwrap();
    fake.bind(Path::new("/m"), Path::new("/own"), false, &[]).await.unwrap();
    fake.set_shared(Path::new("/own"), false);
    fake.mount_zfs(&request("p/b", "/m/sub")).await.unwrap();
    let shows = |path: &str| fake.table().at(Path::new(path)).map(|entry| entry.source.clone());
    assert_eq!(shows("/peer/sub").as_deref(), Some("p/b"));
    assert_eq!(shows("/own/sub"), None);
    fake.unmount(Path::new("/peer/sub"), false).await.unwrap();
    assert_eq!(shows("/m/sub"), None);
}
