//! Volumes that begin as clones of somebody else's snapshots, over the fakes.

use super::*;
use crate::layout::ADOPT;
use dotmesh_zfs::{CreateKind, CreateRequest, PropValue, Properties, SnapshotName, Tampering};

const THEIRS: &str = "dotmesh/theirs@move";

/// What says that a volume may begin with it.
fn said(volume: &str) -> Properties {
    Properties::new().with(ADOPT, volume.parse::<PropValue>().unwrap())
}

/// Somebody's dataset with a snapshot that is for this volume; no volume: it says nothing.
async fn give(host: &Host, kind: CreateKind, volume: Option<&str>) {
    let snapshot: SnapshotName = THEIRS.parse().unwrap();
    let create = CreateRequest {
        dataset: snapshot.dataset().clone(),
        kind,
        properties: Properties::new(),
        parents: false,
    };
    host.zfs.create(&create).await.unwrap();
    host.zfs.write(snapshot.dataset(), 4096);
    let said = volume.map(said).unwrap_or_default();
    host.zfs.snapshot(&[snapshot], &said).await.unwrap();
}

/// Branch `main` with `cache`, and `db` that begins with a snapshot.
fn adopting(snapshot: &str) -> BranchRequest {
    let mut request = main();
    request.volumes[1].seed = Some(Seed::Adopted(snapshot.parse().unwrap()));
    request
}

#[tokio::test]
async fn a_volume_is_a_clone_of_what_was_given_and_that_stays() {
    let (host, ops) = Host::with_empty_dot().await;
    let refused = ops.ensure_branch(&adopting(THEIRS)).await.unwrap_err().to_string();
    assert!(
        refused.contains("zfs snapshot -o io.dotmesh:adopt=dev/shop/db dotmesh/theirs@move"),
        "{refused}"
    );
    assert_eq!(
        names(&host.zfs),
        [dot().to_string()],
        "nothing is left of what is refused"
    );
    give(&host, CreateKind::Filesystem, Some("dev/shop/db")).await;
    let theirs = guid_of(&host.zfs, THEIRS).await;
    let made = ops.ensure_branch(&adopting(THEIRS)).await.unwrap();
    let told: Vec<bool> = made.iter().map(|volume| volume.cloned).collect();
    assert_eq!(told, [false, true]);
    let volume = format!("dotmesh/dotmesh/{}/{}/{}", dot(), head_id(0), volume_id("db"));
    assert_eq!(
        host.zfs.inventory().get(&volume).unwrap().origin.as_deref(),
        Some(THEIRS)
    );

    // By its GUID it is known from now on, whatever it is a clone of.
    assert_eq!(ops.ensure_branch(&adopting(THEIRS)).await.unwrap(), made);
    let mut known = main();
    known.volumes[1].known = Some(made[1].guid);
    assert_eq!(ops.ensure_branch(&known).await.unwrap(), made);
    let described = &ops.describe_dot(dot()).await.unwrap().branches[0];
    assert_eq!((described.volumes[1].1.cloned, &described.origin), (true, &None));

    // It is committed and goes as any other, and what it came from stays.
    ops.commit(&commit(0, 0)).await.unwrap();
    assert!(ops.delete_dot(dot()).await.unwrap());
    assert_eq!(names(&host.zfs), Vec::<String>::new());
    assert_eq!(guid_of(&host.zfs, THEIRS).await, theirs);
    host.zfs
        .tamper(&Tampering::DestroySnapshot(THEIRS.parse().unwrap()))
        .unwrap();
}

#[tokio::test]
async fn a_device_is_adopted_with_what_is_on_it() {
    let device = CreateKind::Volume {
        size: SIZE,
        sparse: false,
        block_size: None,
    };
    let (host, ops) = Host::with_empty_dot().await;
    give(&host, device, Some("dev/shop/db")).await;
    let mut request = adopting(THEIRS);
    request.volumes[1].format = VolumeFormat::Ext4;
    request.volumes[1].size = 2 * SIZE;
    let made = ops.ensure_branch(&request).await.unwrap();
    assert_eq!((made[1].cloned, made[1].size), (true, 2 * SIZE));
    let counts = host.zfs.counts().snapshot();
    let formatted = counts
        .get(&dotmesh_zfs::Verb::MakeFilesystem)
        .map_or(0, |count| count.count);
    assert_eq!(formatted, 0, "nothing is written over what is on it");
    assert_eq!(ops.ensure_branch(&request).await.unwrap(), made);
}

#[tokio::test]
async fn what_was_not_given_to_it_is_refused() {
    let device = CreateKind::Volume {
        size: SIZE,
        sparse: false,
        block_size: None,
    };
    for (kind, said, words) in [
        (
            CreateKind::Filesystem,
            None,
            "zfs set io.dotmesh:adopt=dev/shop/db dotmesh/theirs@move",
        ),
        (
            CreateKind::Filesystem,
            Some("dev/shop/cache"),
            "is for dev/shop/cache, and not for dev/shop/db",
        ),
        (
            device,
            Some("dev/shop/db"),
            "is of a block device, and the volume has format zfs",
        ),
    ] {
        let (host, ops) = Host::with_empty_dot().await;
        give(&host, kind, said).await;
        let before = host.zfs.all_names();
        let refused = ops.ensure_branch(&adopting(THEIRS)).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Invalid(why) if why.contains(words)),
            "{refused:?}"
        );
        assert_eq!(host.zfs.all_names(), before);
    }
}

#[tokio::test]
async fn what_its_dataset_says_is_not_said_of_a_snapshot() {
    let (host, ops) = Host::with_empty_dot().await;
    give(&host, CreateKind::Filesystem, None).await;
    let dataset = "dotmesh/theirs".parse().unwrap();
    host.zfs.set(&dataset, &said("dev/shop/db")).await.unwrap();
    let refused = ops.ensure_branch(&adopting(THEIRS)).await.unwrap_err().to_string();
    assert!(refused.contains("is not given to it"), "{refused}");
}

#[tokio::test]
async fn only_what_is_in_the_pool_and_not_ours_can_be_given() {
    let (_host, ops) = Host::with_empty_dot().await;
    let ours = format!("dotmesh/dotmesh/{}@move", dot());
    for (name, words) in [
        ("tank/theirs@move", "is not in pool dotmesh"),
        (&ours, "is of Dotmesh already"),
    ] {
        let refused = ops.ensure_branch(&adopting(name)).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[tokio::test]
async fn a_volume_that_is_too_small_for_it_is_refused() {
    let (host, ops) = Host::with_empty_dot().await;
    give(&host, CreateKind::Filesystem, Some("dev/shop/db")).await;
    let theirs: SnapshotName = THEIRS.parse().unwrap();
    assert!(host.zfs.write(theirs.dataset(), SIZE));
    let later: SnapshotName = "dotmesh/theirs@later".parse().unwrap();
    host.zfs.snapshot(&[later], &said("dev/shop/db")).await.unwrap();
    let refused = ops.ensure_branch(&adopting("dotmesh/theirs@later")).await.unwrap_err();
    assert!(refused.to_string().contains("are too few for it"), "{refused}");
}
