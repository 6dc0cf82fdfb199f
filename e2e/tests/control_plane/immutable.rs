//! What cannot be changed once it is there.

use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_e2e::cluster::Cluster;
use dotmesh_e2e::objects::{branch, commit, dot};
use serde_json::{Value, json};

use super::cluster;

/// What the server says to a merge patch, without keeping it.
async fn refusal(cluster: &Cluster, object: &str, patch: &Value) -> Option<String> {
    let args = [
        "patch",
        object,
        "--type=merge",
        "--dry-run=server",
        "-p",
        &patch.to_string(),
    ];
    let ended = cluster.kubectl(&args).unwrap().ended().await.unwrap();
    (!ended.success).then_some(ended.stderr)
}

async fn assert_refused(cluster: &Cluster, object: &str, patch: Value, because: &str) {
    let words = refusal(cluster, object, &patch).await;
    let words = words.unwrap_or_else(|| panic!("{object} took {patch}"));
    assert!(words.contains(because), "{object} {patch}: {words}");
}

#[tokio::test]
async fn commits_and_branches_never_change() {
    let cluster = cluster().await;
    cluster
        .apply([commit("fixed-commit", "d"), branch("fixed-branch", "d", "HEAD")])
        .await
        .unwrap();
    for patch in [
        json!({"spec": {"dot": "other"}}),
        json!({"spec": {"message": "other"}}),
        json!({"spec": {"message": null}}),
        json!({"spec": {"branch": "x"}}),
        json!({"spec": {"author": "somebody else"}}),
        json!({"spec": {"metadata": {"build": "513"}}}),
        json!({"spec": {"group": {"name": "release", "members": 2}}}),
        json!({"spec": {"publish": true, "message": "other"}}),
    ] {
        assert_refused(&cluster, "commit/fixed-commit", patch, "a Commit cannot be changed").await;
    }
    // Whether it is published is another matter, and goes both ways.
    for patch in [json!(true), json!(false), json!(true), json!(null)].map(|is| json!({"spec": {"publish": is}})) {
        assert_eq!(refusal(&cluster, "commit/fixed-commit", &patch).await, None, "{patch}");
    }
    for patch in [
        json!({"spec": {"dot": "other"}}),
        json!({"spec": {"name": "x"}}),
        json!({"spec": {"from": "HEAD~1"}}),
    ] {
        assert_refused(
            &cluster,
            "branch/fixed-branch",
            patch,
            "a Branch's spec cannot be changed",
        )
        .await;
    }
    // Labels are people's, and applying the same again is no change.
    let label = json!({"metadata": {"labels": {"team": "a"}}});
    assert_eq!(refusal(&cluster, "commit/fixed-commit", &label).await, None);
    cluster
        .apply([commit("fixed-commit", "d"), branch("fixed-branch", "d", "HEAD")])
        .await
        .unwrap();
    cluster.delete::<Commit>("fixed-commit").await.unwrap();
    cluster.delete::<Branch>("fixed-branch").await.unwrap();
}

#[tokio::test]
async fn a_branch_starts_at_head_unless_it_says_otherwise() {
    let cluster = cluster().await;
    let mut object = branch("default-from", "d", "");
    object["spec"].as_object_mut().unwrap().remove("from");
    cluster.apply([object]).await.unwrap();
    assert_eq!(cluster.get::<Branch>("default-from").await.unwrap().spec.from, "HEAD");
    cluster.delete::<Branch>("default-from").await.unwrap();
}

#[tokio::test]
async fn a_volume_stays_what_it_is() {
    let cluster = cluster().await;
    let made = |mode: &str, fs_type: &str| {
        let mut made = dot("formats", &[("a", "1Gi"), ("b", "1Gi")]);
        made["spec"]["volumes"][0]["volumeMode"] = json!(mode);
        made["spec"]["volumes"][1]["fsType"] = json!(fs_type);
        made
    };
    let mut both = made("Block", "ext4");
    both["spec"]["volumes"][0]["fsType"] = json!("xfs");
    let refused = cluster.apply([both]).await.unwrap_err().to_string();
    assert!(refused.contains("fsType is for volumeMode Filesystem"), "{refused}");
    cluster.apply([made("Block", "ext4")]).await.unwrap();
    let volumes = |a: Value, b: Value| json!({"spec": {"volumes": [a, b]}});
    let (a, b) = (
        json!({"name": "a", "size": "1Gi", "volumeMode": "Block"}),
        json!({"name": "b", "size": "1Gi", "fsType": "ext4"}),
    );
    let plain = |name: &str| json!({"name": name, "size": "1Gi"});
    for patch in [volumes(plain("a"), b.clone()), volumes(a.clone(), plain("b"))] {
        assert_refused(
            &cluster,
            "dot/formats",
            patch,
            "volumeMode and fsType cannot be changed",
        )
        .await;
    }
    // What nothing says can be said.
    let said = json!({"name": "b", "size": "1Gi", "fsType": "ext4", "volumeMode": "Filesystem"});
    assert_eq!(refusal(&cluster, "dot/formats", &volumes(a, said)).await, None);
}

#[tokio::test]
async fn an_import_is_decided_when_the_dot_is_made() {
    let cluster = cluster().await;
    let volume = |name: &str, import: Option<&str>| {
        let mut volume = json!({"name": name, "size": "1Gi"});
        if let Some(claim) = import {
            volume["importFrom"] = json!({"persistentVolumeClaim": claim});
        }
        volume
    };
    let made = |name: &str, volumes: &[Value]| {
        let mut made = dot(name, &[("a", "1Gi")]);
        made["spec"]["volumes"] = json!(volumes);
        made
    };
    let mut block = volume("a", Some("old"));
    block["volumeMode"] = json!("Block");
    let snapshot = json!({"pool": "n1", "name": "tank/old@move"});
    let (mut both, mut neither) = (volume("a", Some("old")), volume("a", Some("old")));
    both["importFrom"]["zfsSnapshot"] = snapshot.clone();
    neither["importFrom"] = json!({});
    let mut adopted = volume("a", None);
    adopted["importFrom"] = json!({"zfsSnapshot": snapshot});
    let mut another = adopted.clone();
    another["importFrom"]["zfsSnapshot"]["name"] = json!("tank/old@later");
    let mut forked = both.clone();
    forked["importFrom"] = json!({"commit": {"name": "c1"}, "zfsSnapshot": both["importFrom"]["zfsSnapshot"]});
    let mut restored = made("imports", &[volume("a", Some("old"))]);
    restored["spec"]["restoreFrom"] = json!("0c5a6f6e-1111-4222-8333-444455556666");
    for (wrong, because) in [
        (made("imports", &[block]), "it is for volumeMode Filesystem"),
        (
            made("imports", &[both]),
            "one of persistentVolumeClaim, zfsSnapshot and commit",
        ),
        (
            made("imports", &[neither]),
            "one of persistentVolumeClaim, zfsSnapshot and commit",
        ),
        (
            made("imports", &[forked]),
            "one of persistentVolumeClaim, zfsSnapshot and commit",
        ),
        (restored, "a Dot with restoreFrom has data already"),
    ] {
        let refused = cluster.apply([wrong]).await.unwrap_err().to_string();
        assert!(refused.contains(because), "{refused}");
    }
    let (a, b) = (volume("a", Some("old")), volume("b", None));
    cluster.apply([made("imports", &[a.clone(), b.clone()])]).await.unwrap();
    let volumes = |volumes: &[Value]| json!({"spec": {"volumes": volumes}});
    for (patch, because) in [
        (
            volumes(&[volume("a", Some("other")), b.clone()]),
            "importFrom cannot be changed",
        ),
        (volumes(&[volume("a", None), b.clone()]), "importFrom cannot be changed"),
        (
            volumes(&[a.clone(), volume("b", Some("old"))]),
            "importFrom cannot be changed",
        ),
        (
            volumes(&[a.clone(), b.clone(), volume("c", Some("old"))]),
            "decided when the Dot is made",
        ),
    ] {
        assert_refused(&cluster, "dot/imports", patch, because).await;
    }
    // Everything else of the volume can be, and it can go from the list.
    let mut larger = a.clone();
    larger["size"] = json!("2Gi");
    assert_eq!(
        refusal(&cluster, "dot/imports", &volumes(&[larger, b.clone()])).await,
        None
    );
    assert_eq!(refusal(&cluster, "dot/imports", &volumes(&[b])).await, None);
    cluster.delete::<Dot>("imports").await.unwrap();
    cluster.apply([made("adopts", &[adopted])]).await.unwrap();
    let patch = volumes(&[another]);
    assert_refused(&cluster, "dot/adopts", patch, "importFrom cannot be changed").await;
    cluster.delete::<Dot>("adopts").await.unwrap();
}

#[tokio::test]
async fn volumes_grow_and_never_shrink() {
    let cluster = cluster().await;
    cluster
        .apply([dot("growing", &[("a", "2Gi"), ("b", "1Gi")])])
        .await
        .unwrap();
    let volumes = |a: &str, b: &str| json!({"spec": {"volumes": [{"name": "a", "size": a}, {"name": "b", "size": b}]}});
    assert_refused(&cluster, "dot/growing", volumes("1Gi", "1Gi"), "a volume cannot shrink").await;
    assert_refused(
        &cluster,
        "dot/growing",
        volumes("2Gi", "1023Mi"),
        "a volume cannot shrink",
    )
    .await;
    assert_eq!(refusal(&cluster, "dot/growing", &volumes("2048Mi", "3Gi")).await, None);
    cluster.delete::<Dot>("growing").await.unwrap();
}

#[tokio::test]
async fn a_dots_pool_class_is_for_ever() {
    let cluster = cluster().await;
    let class = |class: &str| json!({"spec": {"placement": {"poolClass": class}}});
    let none = json!({"spec": {"placement": null}});
    let mut placed = dot("placed", &[("a", "1Gi")]);
    placed["spec"]["placement"] = json!({"poolClass": "fast"});
    cluster.apply([dot("anywhere", &[("a", "1Gi")]), placed]).await.unwrap();
    let because = "a Dot's pool class cannot be changed";
    assert_refused(&cluster, "dot/anywhere", class("fast"), because).await;
    assert_eq!(refusal(&cluster, "dot/anywhere", &class("default")).await, None);
    for patch in [class("default"), class("faster"), none] {
        assert_refused(&cluster, "dot/placed", patch, because).await;
    }
    assert_eq!(refusal(&cluster, "dot/placed", &class("fast")).await, None);
    for name in ["anywhere", "placed"] {
        cluster.delete::<Dot>(name).await.unwrap();
    }
}

#[tokio::test]
async fn a_pools_place_is_for_ever_and_its_file_only_grows() {
    let cluster = cluster().await;
    let pool = json!({
        "apiVersion": "dotmesh.io/v1alpha1", "kind": "Pool", "metadata": {"name": "fixed"},
        "spec": {"nodeName": "nowhere", "file": {"path": "/var/lib/dotmesh/pool.img", "size": "2Gi"}},
    });
    cluster.apply([pool]).await.unwrap();
    for patch in [
        json!({"spec": {"nodeName": "n2"}}),
        json!({"spec": {"class": "fast"}}),
        json!({"spec": {"file": {"path": "/var/lib/dotmesh/other.img"}}}),
        json!({"spec": {"file": null, "devices": ["/dev/vdb"]}}),
        json!({"spec": {"file": null, "existing": "tank"}}),
    ] {
        assert_refused(&cluster, "pool/fixed", patch, "a Pool's spec cannot be changed").await;
    }
    let size = |size: &str| json!({"spec": {"file": {"size": size}}});
    for smaller in ["1Gi", "2047Mi"] {
        assert_refused(&cluster, "pool/fixed", size(smaller), "a pool's file cannot shrink").await;
    }
    for larger in ["2048Mi", "3Gi"] {
        assert_eq!(refusal(&cluster, "pool/fixed", &size(larger)).await, None);
    }
    cluster
        .kubectl(&["delete", "pool", "fixed"])
        .unwrap()
        .output()
        .await
        .unwrap();
}
