//! A node with two pools: which one is meant, and that neither waits for the other.

use super::killed::Killed;
use super::*;
use dotmesh_zfs::{Health, PoolName, Tampering};

const BOTH: [&str; 2] = ["dotmesh", "dotmesh-fast"];

type Fake = Arc<Pools<FakeZfs, FakeMount>>;

fn named(name: &str) -> PoolName {
    name.parse().unwrap()
}

/// The Dot in the pool of that name.
fn dot_in(name: &str) -> DotId {
    DotId::new(uuid(if name == BOTH[0] { 1 } else { 2 }))
}

fn handle_in(name: &str) -> Handle {
    let dot = dot_in(name);
    Handle {
        dot,
        volume: VolumeId::derive(dot, "db"),
        claim: ClaimUid::new(uuid(if name == BOTH[0] { 300 } else { 301 })),
    }
}

fn branch_in(name: &str) -> BranchRequest {
    let (dot, n) = (dot_in(name), if name == BOTH[0] { 0 } else { 10 });
    BranchRequest {
        dot,
        branch: branch_id(n),
        head: head_id(n),
        volumes: vec![VolumeRequest {
            id: VolumeId::derive(dot, "db"),
            ..volume("db")
        }],
        ..main()
    }
}

fn commit_in(name: &str, number: u128) -> CommitRequest {
    let branch = branch_in(name);
    CommitRequest {
        dot: branch.dot,
        branch: branch.branch,
        head: branch.head,
        volumes: branch.volumes.iter().map(|volume| volume.id).collect(),
        ..commit(number, 0)
    }
}

fn publish_in(name: &str) -> PublishRequest {
    PublishRequest {
        format: VolumeFormat::Zfs,
        volume: Wanted::Claim(handle_in(name)),
        namespace: None,
        target: format!("/pods/{name}/mount").into(),
        readonly: false,
        options: Vec::new(),
        context: None,
        exclusive: false,
    }
}

fn unpublish_in(name: &str) -> UnpublishRequest {
    UnpublishRequest {
        volume: VolumeRef::Claim(handle_in(name)),
        target: publish_in(name).target,
    }
}

impl Host {
    fn start_all(&self) -> Fake {
        Pools::new(self.zfs.clone(), self.mount.clone(), self.config())
    }

    fn request(&self, name: &str) -> PoolRequest {
        PoolRequest {
            name: named(name),
            place: Place::File {
                path: self.disk.path().join(format!("{name}.img")),
            },
            ..self.pool_request()
        }
    }
}

/// A pool with a Dot and a claim on it, and a commit.
async fn build<Z: Zfs>(host: &Host, pools: &Pools<Z, FakeMount>, name: &str) -> Result<(), Error> {
    let (made, _) = pools.ensure_pool(&host.request(name)).await?;
    let ops = pools.of_guid(made.guid).await?;
    assert_eq!(ops.name(), &named(name));
    ops.ensure_dot(dot_in(name), &identity()).await?;
    ops.ensure_branch(&branch_in(name)).await?;
    ops.commit(&commit_in(name, if name == BOTH[0] { 0 } else { 10 }))
        .await?;
    let Handle { dot, volume, claim } = handle_in(name);
    let attach = AttachRequest {
        dot,
        claim,
        volume,
        branch: None,
    };
    ops.attach(&attach).await
}

async fn build_both<Z: Zfs>(host: &Host, pools: &Pools<Z, FakeMount>) -> Result<(), Error> {
    for name in BOTH {
        build(host, pools, name).await?;
    }
    for name in BOTH {
        pools.publish(&publish_in(name)).await?;
    }
    Ok(())
}

async fn with_both() -> (Host, Fake) {
    let host = Host::new();
    let pools = host.start_all();
    build_both(&host, &pools).await.unwrap();
    (host, pools)
}

fn sources(host: &Host) -> Vec<String> {
    let table = host.mount.table();
    let all = BOTH.iter();
    all.map(|name| table.at(&publish_in(name).target).unwrap().source.clone())
        .collect()
}

#[tokio::test]
async fn pods_get_their_volumes_from_the_pool_where_they_lie() {
    let (host, pools) = with_both().await;
    let wanted = BOTH.map(|name| {
        let branch = branch_in(name);
        format!("{name}/dotmesh/{}/{}/{}", branch.dot, branch.head, branch.volumes[0].id)
    });
    assert_eq!(sources(&host), wanted);
    for name in BOTH {
        assert_eq!(pools.of_dot(dot_in(name)).await.unwrap().name(), &named(name));
        let unpublish = unpublish_in(name);
        pools.host().unpublish(&unpublish).await.unwrap();
    }
    assert_eq!(host.mount.table().iter().count(), 0);
}

#[tokio::test]
async fn after_a_reboot_each_pool_is_imported_and_serves_by_itself() {
    let (host, _) = with_both().await;
    host.zfs.reboot();
    host.mount.reboot();
    // The second one's file is away for now.
    let file = host.disk.path().join("dotmesh-fast.img");
    let away = file.with_extension("away");
    std::fs::rename(&file, &away).unwrap();
    let pools = host.start_all();
    let [slow, fast] = <[_; 2]>::try_from(pools.all().await.unwrap()).unwrap();
    assert!(slow.import_known().await.unwrap());
    assert!(matches!(fast.import_known().await, Err(Error::PoolMissing(_))));
    pools.publish(&publish_in(BOTH[0])).await.unwrap();
    let refused = pools.publish(&publish_in(BOTH[1])).await.unwrap_err();
    assert!(
        matches!(&refused, Error::PoolMissing(_)),
        "what may lie on a pool that is away is not absent: {refused:?}"
    );
    std::fs::rename(&away, &file).unwrap();
    assert!(fast.import_known().await.unwrap());
    pools.publish(&publish_in(BOTH[1])).await.unwrap();
    let nobody = pools.of_dot(DotId::new(uuid(99))).await.unwrap_err();
    assert!(matches!(nobody, Error::NotFound(_)), "both were looked at: {nobody:?}");
}

#[tokio::test]
async fn a_pool_is_found_without_a_process_once_all_are_listed() {
    let (host, _) = with_both().await;
    let pools = host.start_all();
    for ops in pools.all().await.unwrap() {
        ops.import_known().await.unwrap();
    }
    for name in BOTH {
        pools.of_dot(dot_in(name)).await.unwrap();
    }
    let before = host.zfs.counts().total();
    for name in BOTH {
        pools.of_dot(dot_in(name)).await.unwrap();
    }
    assert_eq!(host.zfs.counts().total(), before);
}

#[tokio::test]
async fn a_suspended_full_or_rewound_pool_disturbs_no_other() {
    let (host, pools) = with_both().await;
    let slow = pools.named(&named(BOTH[0])).await.unwrap();
    let fast = pools.named(&named(BOTH[1])).await.unwrap();

    host.zfs.set_health(&named(BOTH[1]), Health::Suspended);
    assert!(fast.commit(&commit_in(BOTH[1], 11)).await.is_err());
    slow.commit(&commit_in(BOTH[0], 1)).await.unwrap();
    pools.publish(&publish_in(BOTH[0])).await.unwrap();
    let unknown = pools.of_dot(DotId::new(uuid(99))).await.unwrap_err();
    assert!(!matches!(unknown, Error::NotFound(_)), "{unknown:?}");
    host.zfs.set_health(&named(BOTH[1]), Health::Online);

    host.zfs.set_full(&named(BOTH[1]), true);
    let full = fast.commit(&commit_in(BOTH[1], 11)).await.unwrap_err();
    assert!(matches!(full, Error::OutOfSpace(_)), "{full:?}");
    slow.commit(&commit_in(BOTH[0], 2)).await.unwrap();
    host.zfs.set_full(&named(BOTH[1]), false);

    let unpublish = unpublish_in(BOTH[1]);
    pools.host().unpublish(&unpublish).await.unwrap();
    host.zfs.tamper(&Tampering::Checkpoint(named(BOTH[1]))).unwrap();
    let taken = fast.commit(&commit_in(BOTH[1], 12)).await.unwrap();
    host.zfs.tamper(&Tampering::Rewind(named(BOTH[1]))).unwrap();
    let request = PoolRequest {
        newest: Some(NewestCommit {
            dot: dot_in(BOTH[1]),
            head: branch_in(BOTH[1]).head,
            commit: commit_id(12),
            createtxg: taken.createtxg.0,
            object: "dev/twelve".to_owned(),
        }),
        ..host.request(BOTH[1])
    };
    // What is imported is another import of it, as after a rewind: noticed, then imported and compared anew.
    fast.refresh_state().await;
    let rewound = pools.ensure_pool(&request).await.unwrap_err();
    assert!(matches!(rewound, Error::Rewound(_)), "{rewound:?}");
    assert!(matches!(fast.check_compared(), Err(Error::Rewound(_))));
    slow.check_compared().unwrap();
    slow.commit(&commit_in(BOTH[0], 3)).await.unwrap();
}

#[tokio::test]
async fn a_dot_in_two_pools_is_given_to_nobody() {
    let (_host, pools) = with_both().await;
    let fast = pools.named(&named(BOTH[1])).await.unwrap();
    fast.ensure_dot(dot_in(BOTH[0]), &identity()).await.unwrap();
    let refused = pools.publish(&publish_in(BOTH[0])).await.unwrap_err();
    assert!(matches!(&refused, Error::Conflict(why) if why.contains("dotmesh-fast")));
    pools.publish(&publish_in(BOTH[1])).await.unwrap();
}

#[tokio::test]
async fn two_pools_never_lie_on_the_same_file() {
    let (host, pools) = with_both().await;
    let before = host.zfs.all_names();
    let request = PoolRequest {
        name: named("dotmesh-other"),
        ..host.request(BOTH[1])
    };
    for pools in [pools, host.start_all()] {
        let refused = pools.ensure_pool(&request).await.unwrap_err();
        assert!(matches!(&refused, Error::Conflict(why) if why.contains("dotmesh-fast")));
        assert_eq!(host.zfs.all_names(), before);
    }
}

#[tokio::test]
async fn who_watches_is_told_of_each_pool_by_name() {
    let (host, pools) = with_both().await;
    let watch = pools.watch();
    host.zfs.set_health(&named(BOTH[1]), Health::Degraded);
    for ops in pools.all().await.unwrap() {
        ops.refresh_state().await;
    }
    let state = watch.borrow().clone().unwrap();
    let told: Vec<_> = state
        .pools
        .iter()
        .map(|pool| (pool.name.as_str(), pool.health))
        .collect();
    assert_eq!(told, [(BOTH[0], Health::Online), (BOTH[1], Health::Degraded)]);
    assert_eq!(state.users.unwrap().len(), 2);
}

#[tokio::test]
async fn two_pools_are_built_the_same_wherever_it_was_killed() {
    let undisturbed = Host::new();
    build_both(&undisturbed, &undisturbed.start_all()).await.unwrap();
    let wanted = undisturbed.zfs.all_names();
    let commands = i64::try_from(undisturbed.zfs.counts().total()).unwrap();
    for killed_after in 0..commands {
        let host = Host::new();
        let killed = Killed::after(&host.zfs, killed_after);
        let first = build_both(&host, &Pools::new(killed, host.mount.clone(), host.config())).await;
        let again = build_both(&host, &host.start_all()).await;
        assert!(again.is_ok(), "killed after {killed_after}: {first:?}, then {again:?}");
        assert_eq!(host.zfs.all_names(), wanted, "killed after {killed_after}: {first:?}");
        assert_eq!(host.mount.table().iter().count(), 4);
    }
}
