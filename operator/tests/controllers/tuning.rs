//! How ZFS keeps a volume's data: what the Dot says comes to all branches.

use dotmesh_crds::Dot;
use dotmesh_crds::zfs::ZfsProperties;
use dotmesh_operator::api::{Api, Guard};
use serde_json::json;

use crate::world::{World, key, reason};

/// What a Dot's or a Branch's status says of its volume `db`.
macro_rules! zfs {
    ($object:expr) => {{
        let volumes = $object.status.unwrap().volumes;
        volumes.into_iter().find(|volume| volume.name == "db").unwrap().zfs
    }};
}

fn said(compression: &str, recordsize: Option<&str>) -> Option<ZfsProperties> {
    Some(ZfsProperties {
        compression: Some(compression.to_owned()),
        recordsize: recordsize.map(str::to_owned),
        ..ZfsProperties::default()
    })
}

#[tokio::test]
async fn what_the_spec_says_comes_to_all_branches_and_stays() {
    let world = World::with_shop().await;
    world.put_commit("first");
    world.settle().await;
    world.put("Branch", "try", "{dot: shop, name: try, from: first}");
    world.settle().await;
    assert_eq!(zfs!(world.dot("shop")), None);
    let db =
        |zfs: serde_json::Value| json!([{"name": "db", "size": "10Gi", "zfs": zfs}, {"name": "cache", "size": "1Gi"}]);
    world
        .set_volumes("shop", db(json!({"compression": "zstd", "recordsize": "16Ki"})))
        .await;
    world.settle().await;
    let first = said("zstd", Some("16Ki"));
    assert_eq!(zfs!(world.dot("shop")), first);
    for branch in ["shop-main", "try"] {
        assert_eq!(zfs!(world.branch(branch)), first, "{branch}");
    }

    // What is no longer said stays as it was last said.
    world.set_volumes("shop", db(json!({"compression": "lz4"}))).await;
    world.put("Branch", "late", "{dot: shop, name: late, from: first}");
    world.settle().await;
    for branch in ["shop-main", "try", "late"] {
        assert_eq!(zfs!(world.branch(branch)), said("lz4", Some("16Ki")), "{branch}");
    }
    assert_eq!(reason!(world.dot("shop")), "Ready");
}

#[tokio::test]
async fn a_new_volume_is_as_its_first_claims_class_says() {
    let world = World::new().await;
    world.put("Dot", "open", "{}");
    world.settle().await;
    world.claim("open", 1, "db", None).await;
    world
        .write_claims("open", |claims| {
            claims[0]["zfs"] = json!({"compression": "zstd", "recordsize": "8Ki"});
        })
        .await;
    world.settle().await;
    let first = said("zstd", Some("8Ki"));
    assert_eq!(zfs!(world.branch("open-main")), first);
    // A later claim changes nothing of it.
    world.claim("open", 2, "db", None).await;
    world
        .write_claims("open", |claims| {
            claims.retain(|claim| claim["uid"] != crate::world::claim_uid(1));
            claims[0]["zfs"] = json!({"compression": "off"});
        })
        .await;
    world.settle().await;
    assert_eq!(zfs!(world.dot("open")), first);
    assert_eq!(zfs!(world.branch("open-main")), first);
}

#[tokio::test]
async fn what_zfs_would_not_take_or_never_changes_is_refused() {
    let world = World::with_shop().await;
    for (zfs, message) in [
        (json!({"compression": "best"}), "compression is one of"),
        (json!({"recordsize": "16k"}), "recordsize is a power of two"),
        (json!({"volblocksize": "8Ki"}), "fsType ext4 and xfs"),
        (json!({"thin": true}), "fsType ext4 and xfs"),
    ] {
        let volumes = json!([{"name": "db", "size": "10Gi", "zfs": zfs}, {"name": "cache", "size": "1Gi"}]);
        let patch = json!({"spec": {"volumes": volumes}});
        let refused = world.api.patch::<Dot>(&key("shop"), &Guard::default(), patch).await;
        let why = refused.unwrap_err().message;
        assert!(why.contains(message), "{zfs}: {why}");
    }
    world.put(
        "Dot",
        "raw",
        "{volumes: [{name: db, size: 1Gi, volumeMode: Block, zfs: {volblocksize: 8Ki}}]}",
    );
    let patch = json!({"spec": {"volumes": [{"name": "db", "size": "1Gi", "volumeMode": "Block"}]}});
    let refused = world.api.patch::<Dot>(&key("raw"), &Guard::default(), patch).await;
    let why = refused.unwrap_err().message;
    assert!(why.contains("volblocksize cannot be changed"), "{why}");
}
