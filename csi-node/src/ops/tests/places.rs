//! Pools on devices, and pools that somebody else made.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use dotmesh_zfs::{CreateKind, CreateRequest, PoolName, PoolSpec, Properties};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::killed::Killed;
use super::*;

const DISKS: [&str; 2] = ["/dev/disk/by-id/one", "/dev/two"];
const BYTES: u64 = 64 << 30;

/// The host's files, and devices that are not there.
#[derive(Debug)]
struct WithDevices(BTreeMap<PathBuf, Device>);

impl Files for WithDevices {
    fn read<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        HostFiles.read(file)
    }

    fn list<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        HostFiles.list(folder)
    }

    fn replace<'a>(&'a self, file: &'a Path, content: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        HostFiles.replace(file, content)
    }

    fn remove<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        HostFiles.remove(file)
    }

    fn look<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Found, Error>> {
        HostFiles.look(path)
    }

    fn allocate<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<(), Error>> {
        HostFiles.allocate(path, size)
    }

    fn grow<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<u64, Error>> {
        HostFiles.grow(path, size)
    }

    fn look_at_device<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Device, Error>> {
        let found = self.0.get(path).copied();
        let found = found.ok_or_else(|| Error::Invalid(format!("{} is no block device", path.display())));
        std::future::ready(found).boxed()
    }
}

/// A host with two disks, with or without partition tables.
fn with_disks(bytes: u64, is_partitioned: bool) -> (Host, Config) {
    let host = Host::new();
    host.zfs.watch_devices(move |_| Some(bytes));
    let device = Device { bytes, is_partitioned };
    let devices = DISKS.map(|disk| (PathBuf::from(disk), device));
    let config = Config {
        files: Arc::new(WithDevices(devices.into())),
        ..host.config()
    };
    (host, config)
}

fn on_disks(host: &Host) -> PoolRequest {
    PoolRequest {
        place: Place::Devices {
            devices: DISKS.map(PathBuf::from).into(),
        },
        size: 0,
        ..host.pool_request()
    }
}

fn tank() -> PoolName {
    "tank".parse().unwrap()
}

fn existing(host: &Host) -> PoolRequest {
    PoolRequest {
        name: tank(),
        place: Place::Existing {
            existing: "tank".into(),
        },
        size: 0,
        ..host.pool_request()
    }
}

async fn create(zfs: &FakeZfs, dataset: &str) {
    let request = CreateRequest {
        dataset: dataset.parse().unwrap(),
        kind: CreateKind::Filesystem,
        properties: Properties::new(),
        parents: false,
    };
    zfs.create(&request).await.unwrap();
}

/// Somebody makes pool `tank` with a dataset in it.
async fn make_tank(zfs: &FakeZfs, disk: &str) {
    let spec = PoolSpec {
        name: tank(),
        vdevs: vec![disk.into()],
        properties: Properties::new(),
        root_properties: Properties::new(),
    };
    zfs.pool_create(&spec).await.unwrap();
    create(zfs, "tank/theirs").await;
}

fn start(host: &Host, config: &Config) -> Arc<Ops<FakeZfs, FakeMount>> {
    only_pool(host.zfs.clone(), host.mount.clone(), config.clone())
}

#[tokio::test]
async fn a_pool_on_devices_is_made_once_and_imported_by_itself() {
    let (host, config) = with_disks(BYTES, false);
    let ops = start(&host, &config);
    let (made, created) = ops.ensure_pool(&on_disks(&host)).await.unwrap();
    assert!(created);
    assert_eq!((made.size, made.file_bytes), (2 * BYTES, 0));
    let (again, created) = ops.ensure_pool(&on_disks(&host)).await.unwrap();
    assert!(!created);
    assert_eq!(again, made);
    host.zfs.set_imported(&made.name.parse().unwrap(), false);
    let ops = start(&host, &config);
    assert!(ops.import_known().await.unwrap());
    assert_eq!(ops.known_pool().unwrap().guid, made.guid);
    // Neither in a file nor on other devices.
    let other = PoolRequest {
        place: Place::Devices {
            devices: vec!["/dev/two".into()],
        },
        ..on_disks(&host)
    };
    for request in [&other, &host.pool_request()] {
        assert!(matches!(ops.ensure_pool(request).await, Err(Error::Conflict(_))));
    }
}

#[tokio::test]
async fn a_known_pool_whose_devices_are_gone_is_never_made_anew() {
    let (host, config) = with_disks(BYTES, false);
    let request = PoolRequest {
        known: Some(Guid(7)),
        ..on_disks(&host)
    };
    let error = start(&host, &config).ensure_pool(&request).await.unwrap_err();
    assert!(matches!(error, Error::PoolMissing(_)), "{error:?}");
    assert!(host.zfs.all_names().is_empty());
}

#[tokio::test]
async fn devices_that_carry_something_are_left_alone() {
    let (host, config) = with_disks(BYTES, true);
    let ops = start(&host, &config);
    let error = ops.ensure_pool(&on_disks(&host)).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(_)), "{error:?}");

    let (host, config) = with_disks(BYTES, false);
    make_tank(&host.zfs, DISKS[1]).await;
    let before = host.zfs.all_names();
    let ops = start(&host, &config);
    // What ZFS refuses is not taken for half made afterwards.
    for _ in 0..2 {
        let error = ops.ensure_pool(&on_disks(&host)).await.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        assert_eq!(ops.remembered().await.unwrap(), None);
    }
    host.zfs.set_imported(&tank(), false);
    let error = ops.ensure_pool(&on_disks(&host)).await.unwrap_err();
    assert!(matches!(error, Error::PoolForeign(_)), "{error:?}");
    assert_eq!(host.zfs.all_names(), before);
}

#[tokio::test]
async fn devices_that_are_small_or_missing_are_refused() {
    let (host, config) = with_disks(100 << 20, false);
    let missing = PoolRequest {
        place: Place::Devices {
            devices: vec!["/dev/three".into()],
        },
        ..on_disks(&host)
    };
    for request in [&on_disks(&host), &missing] {
        let error = start(&host, &config).ensure_pool(request).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    }
    assert!(host.zfs.all_names().is_empty());
}

#[tokio::test]
async fn of_an_existing_pool_the_root_dataset_alone_is_ours() {
    let (host, config) = with_disks(BYTES, false);
    let ops = start(&host, &config);
    let error = ops.ensure_pool(&existing(&host)).await.unwrap_err();
    assert!(matches!(error, Error::PoolMissing(_)), "{error:?}");
    assert!(host.zfs.all_names().is_empty(), "it is never made");
    make_tank(&host.zfs, DISKS[0]).await;
    let theirs = || {
        let all = host.zfs.inventory();
        let theirs = all.iter().filter(|object| !object.name.starts_with("tank/dotmesh"));
        theirs.cloned().collect::<Vec<_>>()
    };
    let before = theirs();
    let (state, created) = ops.ensure_pool(&existing(&host)).await.unwrap();
    assert!(!created);
    assert_eq!((state.name.as_str(), state.size), ("tank", BYTES));
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    assert_eq!(theirs(), before);
    // By its GUID it is known ever after, to this program and to a new installation.
    host.zfs.set_imported(&tank(), false);
    let ops = start(&host, &config);
    assert!(ops.import_known().await.unwrap());
    std::fs::remove_dir_all(host.config().state_dir).unwrap();
    let known = PoolRequest {
        known: Some(state.guid),
        ..existing(&host)
    };
    start(&host, &config).ensure_pool(&known).await.unwrap();
    host.zfs.set_pool_guid(&tank(), Guid(4711));
    for request in [&known, &existing(&host)] {
        let error = start(&host, &config).ensure_pool(request).await.unwrap_err();
        assert!(matches!(error, Error::PoolForeign(_)), "{error:?}");
    }
}

#[tokio::test]
async fn somebody_elses_dataset_of_our_roots_name_is_left_alone() {
    let (host, config) = with_disks(BYTES, false);
    make_tank(&host.zfs, DISKS[0]).await;
    create(&host.zfs, "tank/dotmesh").await;
    let before = host.zfs.inventory();
    for _ in 0..2 {
        let error = start(&host, &config).ensure_pool(&existing(&host)).await.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
    }
    assert_eq!(host.zfs.inventory().changes(&before).count(), 0);
}

#[tokio::test]
async fn wherever_it_is_killed_there_is_one_pool_in_the_end() {
    for is_theirs in [false, true] {
        for killed_after in 0.. {
            let (host, config) = with_disks(BYTES, false);
            let request = if is_theirs { existing(&host) } else { on_disks(&host) };
            if is_theirs {
                make_tank(&host.zfs, DISKS[0]).await;
                host.zfs.set_imported(&tank(), killed_after % 2 == 0);
            }
            let killed = Killed::after(&host.zfs, killed_after);
            let commands = host.zfs.counts().total();
            let first = only_pool(killed, host.mount.clone(), config.clone());
            let result = first.ensure_pool(&request).await;
            let done = host.zfs.counts().total() - commands;
            let (state, _) = start(&host, &config).ensure_pool(&request).await.unwrap();
            assert!(state.compared, "killed after {killed_after}: {result:?}");
            let pool = request.name.to_string();
            let mut names = vec![pool.clone(), format!("{pool}/dotmesh")];
            names.extend(is_theirs.then(|| "tank/theirs".to_owned()));
            assert_eq!(host.zfs.all_names(), names, "killed after {killed_after}: {result:?}");
            if i64::try_from(done).unwrap() < killed_after {
                break;
            }
        }
    }
}
