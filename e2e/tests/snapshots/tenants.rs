//! Two tenants of one cluster. VolumeSnapshotContents and PersistentVolumes are the cluster's, and may name anybody's data.

use anyhow::{Context, Result, ensure};
use dotmesh_crds::{Commit, Dot, names};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{holder, plain_claim};
use dotmesh_e2e::program::Program;
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use serde_json::{Value, json};

use super::{
    by_hand, class, commit_of, content_by_hand, content_of, copy, delete, get, handle_of, snapshot, wait_absent,
    wait_usable,
};

/// A claim with a secret, in use by a pod.
async fn with_secret(s: &Scenario) -> Result<()> {
    s.cluster
        .apply([plain_claim("data", "64Mi"), holder("app", &["data"])])
        .await?;
    s.cluster.wait_pod("app").await?;
    s.cluster.bash("app", "echo secret > /data/file; sync").await.map(drop)
}

/// That there are so many Dots: nothing was made for what was refused.
async fn ensure_dots(s: &Scenario, count: usize) -> Result<()> {
    let dots = s.cluster.list::<Dot>().await?;
    ensure!(dots.len() == count, "{} Dots in {}", dots.len(), s.cluster.namespace);
    Ok(())
}

/// A PersistentVolume that an administrator writes with somebody's handle, and the claim that is bound to it.
fn volume_by_hand(s: &Scenario, name: &str, handle: &str) -> [Value; 2] {
    let volume = format!("{}-{name}", s.cluster.namespace);
    let mut claim = plain_claim(name, "64Mi");
    claim["spec"]["volumeName"] = json!(volume);
    [
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {
                "storageClassName": claim["spec"]["storageClassName"], "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "64Mi"}, "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": s.cluster.namespace, "name": name},
                "csi": {"driver": names::DRIVER, "volumeHandle": handle},
            },
        }),
        claim,
    ]
}

#[tokio::test]
async fn nothing_of_one_namespace_comes_into_another() {
    scenario("tenant a", async |a| {
        let b = Scenario::new("tenant b").await?;
        with_secret(a).await?;
        with_secret(&b).await?;
        a.cluster.apply([snapshot("nightly", "data", "dotmesh")]).await?;
        let nightly = wait_usable(a, "nightly").await?;
        let handle = handle_of(a, &nightly).await?;

        // The snapshot under B's name.
        b.cluster.apply(by_hand(&b, "theirs", &handle, "Delete")).await?;
        wait_usable(&b, "theirs").await?;
        b.cluster
            .apply([copy("stolen", "64Mi", "VolumeSnapshot", "theirs")])
            .await?;
        b.cluster
            .wait_event("stolen", &["theirs", "data of another namespace"])
            .await?;
        ensure_dots(&b, 1).await?;
        delete(&b, "pvc", "stolen").await?;
        // It goes, and what it named stays, as long as that has a VolumeSnapshotContent of its own.
        delete(&b, "volumesnapshot", "theirs").await?;
        wait_absent(&b, "volumesnapshotcontent", &content_by_hand(&b, "theirs")).await?;
        a.cluster.wait_ready::<Commit>(&commit_of(&nightly)).await?;

        // The volume under B's name.
        let claim = get(a, "pvc", "data").await?;
        let volume = claim["spec"]["volumeName"].as_str().context("a volume")?;
        let volume = get(a, "pv", volume).await?;
        let handle = volume["spec"]["csi"]["volumeHandle"].as_str().context("a handle")?;
        b.cluster.apply(volume_by_hand(&b, "other", handle)).await?;
        b.cluster.wait_bound("other").await?;
        b.cluster
            .apply([
                copy("cloned", "64Mi", "PersistentVolumeClaim", "other"),
                snapshot("taken", "other", "dotmesh"),
                holder("thief", &["other"]),
            ])
            .await?;
        b.cluster.wait_event("cloned", &["other", "not made for it"]).await?;
        b.cluster.wait_event("thief", &["another namespace"]).await?;
        until("VolumeSnapshot taken is refused", PATIENCE, async || {
            let taken = get(&b, "volumesnapshot", "taken").await?;
            let why = taken["status"]["error"]["message"].as_str().unwrap_or_default();
            Ok(Look::when(
                why.contains(&a.cluster.namespace),
                taken["status"].to_string(),
            ))
        })
        .await?;
        ensure_dots(&b, 1).await?;
        for (kind, name) in [
            ("pod", "thief"),
            ("volumesnapshot", "taken"),
            ("pvc", "cloned"),
            ("pvc", "other"),
        ] {
            delete(&b, kind, name).await?;
        }
        delete(&b, "pv", &format!("{}-other", b.cluster.namespace)).await?;

        // A notices nothing.
        ensure_dots(a, 1).await?;
        let commits = a.cluster.list::<Commit>().await?.len();
        ensure!(
            commits == 2,
            "{commits} Commits: the initial one and the VolumeSnapshot's"
        );
        a.cluster
            .apply([
                copy("mine", "64Mi", "VolumeSnapshot", "nightly"),
                holder("look", &["mine"]),
            ])
            .await?;
        a.cluster.wait_pod("look").await?;
        for (pod, file) in [("app", "/data/file"), ("look", "/mine/file")] {
            let seen = a.cluster.bash(pod, &format!("cat {file}")).await?;
            ensure!(seen.trim() == "secret", "{seen}");
        }
        b.end().await
    })
    .await;
}

#[tokio::test]
async fn a_namespace_of_a_former_name_gets_nothing_of_the_former_one() {
    scenario("after", async |s| {
        let former = Scenario::new("former").await?;
        with_secret(&former).await?;
        let retain = class(&former, "Retain");
        let retain_name = retain["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        s.cluster.apply([retain]).await?;
        former
            .cluster
            .apply([snapshot("nightly", "data", &retain_name)])
            .await?;
        let nightly = wait_usable(&former, "nightly").await?;
        let handle = handle_of(&former, &nightly).await?;
        former.end().await?;

        let again = Scenario {
            cluster: former.cluster.clone(),
            nodes: former.nodes.clone(),
        };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": again.cluster.namespace}});
        let create = Program::kubectl(["create", "-f", "-"])?;
        create.input(namespace.to_string()).output().await?;
        // What stayed of the cluster is for another VolumeSnapshot of that name; a new one is of data that is gone.
        let old = content_of(&nightly);
        let bound = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": "nightly"},
            "spec": {"source": {"volumeSnapshotContentName": old}},
        });
        again.cluster.apply([bound]).await?;
        again.cluster.apply(by_hand(&again, "anew", &handle, "Retain")).await?;
        again
            .cluster
            .apply([
                copy("from-nightly", "64Mi", "VolumeSnapshot", "nightly"),
                copy("from-anew", "64Mi", "VolumeSnapshot", "anew"),
            ])
            .await?;
        for claim in ["from-nightly", "from-anew"] {
            again.cluster.wait_event(claim, &["is not ready"]).await?;
        }
        ensure_dots(&again, 0).await?;
        again.end().await?;
        delete(s, "volumesnapshotcontent", &old).await?;
        delete(s, "volumesnapshotcontent", &content_by_hand(&again, "anew")).await?;
        delete(s, "volumesnapshotclass", &retain_name).await
    })
    .await;
}
