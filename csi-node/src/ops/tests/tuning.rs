//! How ZFS keeps a volume's data: said when it is made, on each branch again, and changed while it is used.

use super::*;
use dotmesh_model::tuning::BlockSize;
use dotmesh_zfs::Verb;

fn said(compression: &str, recordsize: u64) -> Tuning {
    Tuning {
        compression: compression.parse().ok(),
        recordsize: BlockSize::new(recordsize, BlockSize::RECORD),
        ..Tuning::default()
    }
}

/// The volume `db`, beside `cache`, of which nothing is said.
fn with(request: BranchRequest, format: VolumeFormat, tuning: &Tuning) -> BranchRequest {
    let volumes = request
        .volumes
        .into_iter()
        .map(|volume| match volume.id == volume_id("db") {
            true => VolumeRequest {
                format,
                tuning: tuning.clone(),
                ..volume
            },
            false => volume,
        });
    BranchRequest {
        volumes: volumes.collect(),
        ..request
    }
}

fn values(host: &Host, head: u128) -> [Option<String>; 2] {
    let dataset = format!("dotmesh/dotmesh/{}/{}/{}", dot(), head_id(head), volume_id("db"));
    ["compression", "recordsize"].map(|property| local_value(&host.zfs, &dataset, property))
}

fn sets(host: &Host) -> u64 {
    host.zfs
        .counts()
        .snapshot()
        .get(&Verb::Set)
        .map_or(0, |count| count.count)
}

fn tuning_of(states: &[VolumeState]) -> &Tuning {
    &states.iter().find(|state| state.id == volume_id("db")).unwrap().tuning
}

#[tokio::test]
async fn it_is_so_on_every_branch_and_changes_live() {
    let (host, ops) = Host::with_pool().await;
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    let first = said("zstd", 16 << 10);
    let on_main = |tuning| with(main(), VolumeFormat::Zfs, tuning);
    let made = ops.ensure_branch(&on_main(&first)).await.unwrap();
    assert_eq!(tuning_of(&made), &first);
    let wanted = |compression: &str, recordsize: &str| [compression, recordsize].map(|value| Some(value.to_owned()));
    assert_eq!(values(&host, 0), wanted("zstd", "16384"));

    // A clone has nothing of its origin.
    let state = ops.commit(&commit(0, 0)).await.unwrap();
    let forked = with(fork(1, 0, 0, &state), VolumeFormat::Zfs, &first);
    assert_eq!(tuning_of(&ops.ensure_branch(&forked).await.unwrap()), &first);
    assert_eq!(values(&host, 1), wanted("zstd", "16384"));

    let other = said("lz4", 8 << 10);
    let before = sets(&host);
    assert_eq!(tuning_of(&ops.ensure_branch(&on_main(&other)).await.unwrap()), &other);
    assert_eq!(sets(&host), before + 1, "in one command");
    ops.ensure_branch(&on_main(&other)).await.unwrap();
    assert_eq!(sets(&host), before + 1, "nothing is written again");
    assert_eq!(values(&host, 0), wanted("lz4", "8192"));
    assert_eq!(values(&host, 1), wanted("zstd", "16384"), "that of another branch");

    // Nothing said leaves it.
    let kept = ops.ensure_branch(&main()).await.unwrap();
    assert_eq!(tuning_of(&kept), &other);
    let described = ops.describe_dot(dot()).await.unwrap();
    let states: Vec<VolumeState> = described.branches[0]
        .volumes
        .iter()
        .map(|(_, state)| state.clone())
        .collect();
    assert_eq!(tuning_of(&states), &other);
}

#[tokio::test]
async fn a_thin_device_reserves_nothing_until_it_shall() {
    let (host, ops) = Host::with_pool().await;
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    let thin = |thin| Tuning {
        thin,
        volblocksize: BlockSize::new(8 << 10, BlockSize::VOLUME),
        ..Tuning::default()
    };
    let reserved = || {
        let dataset = format!("dotmesh/dotmesh/{}/{}/{}", dot(), head_id(0), volume_id("db"));
        local_value(&host.zfs, &dataset, "refreservation").and_then(|bytes| bytes.parse::<u64>().ok())
    };
    for format in [VolumeFormat::Block, VolumeFormat::Ext4] {
        let (host, ops) = Host::with_pool().await;
        ops.ensure_dot(dot(), &identity()).await.unwrap();
        let made = ops
            .ensure_branch(&with(main(), format, &thin(Some(true))))
            .await
            .unwrap();
        assert_eq!(tuning_of(&made), &thin(Some(true)), "{format}");
        drop(host);
    }
    let request = |word| with(main(), VolumeFormat::Block, &thin(word));
    ops.ensure_branch(&request(Some(true))).await.unwrap();
    assert_eq!(reserved().unwrap_or(0), 0);
    let made = ops.ensure_branch(&request(Some(false))).await.unwrap();
    assert_eq!((reserved(), tuning_of(&made).thin), (Some(SIZE), None));
    ops.ensure_branch(&request(Some(true))).await.unwrap();
    assert_eq!(reserved().unwrap_or(0), 0);
}

#[tokio::test]
async fn what_does_not_concern_a_format_is_refused() {
    let (host, ops) = Host::with_pool().await;
    ops.ensure_dot(dot(), &identity()).await.unwrap();
    let before = host.zfs.all_names();
    let thin = Tuning {
        thin: Some(true),
        ..Tuning::default()
    };
    for (format, tuning) in [
        (VolumeFormat::Zfs, thin),
        (VolumeFormat::Xfs, said("lz4", 8 << 10)),
        (VolumeFormat::Block, said("", 8 << 10)),
    ] {
        let request = with(main(), format, &tuning);
        let request = BranchRequest {
            volumes: request
                .volumes
                .into_iter()
                .map(|volume| VolumeRequest {
                    size: 512 << 20,
                    ..volume
                })
                .collect(),
            ..request
        };
        let refused = ops.ensure_branch(&request).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Invalid(text) if text.contains("volume db")),
            "{refused}"
        );
    }
    assert_eq!(host.zfs.all_names(), before);
}
