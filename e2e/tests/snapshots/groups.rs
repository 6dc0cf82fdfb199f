//! VolumeGroupSnapshots are Commits of one instant.

use anyhow::{Context, Result, ensure};
use dotmesh_crds::{Commit, names};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{claim, dot, holder, plain_claim};
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use serde_json::{Value, json};

use super::{ask_deletion, content_of, copy, delete, exists, get, text, wait_absent, wait_usable};

/// A VolumeGroupSnapshot of all claims with the label.
fn group(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": "VolumeGroupSnapshot",
        "metadata": {"name": name, "labels": {"nightly": "yes"}, "annotations": {names::ANNOTATION_MESSAGE: format!("why {name}")}},
        "spec": {"volumeGroupSnapshotClassName": class, "source": {"selector": {"matchLabels": {"backup": "nightly"}}}},
    })
}

fn labelled(mut claim: Value) -> Value {
    claim["metadata"]["labels"] = json!({"backup": "nightly"});
    claim
}

/// The VolumeGroupSnapshot, when it can be used.
async fn wait_group(s: &Scenario, name: &str) -> Result<Value> {
    let mut found = Value::Null;
    until(
        &format!("VolumeGroupSnapshot {name} can be used"),
        PATIENCE,
        async || {
            found = get(s, "volumegroupsnapshot", name).await?;
            Ok(Look::when(
                found["status"]["readyToUse"] == true,
                found["status"].to_string(),
            ))
        },
    )
    .await?;
    Ok(found)
}

/// The VolumeSnapshots of a group by the claims that they are of, when there are so many and all can be used.
async fn members(s: &Scenario, group: &str, count: usize) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    until(&format!("{count} members of {group}"), PATIENCE, async || {
        let list = s
            .cluster
            .kubectl(&["get", "volumesnapshots", "-o", "json"])?
            .output()
            .await?;
        let all: Value = serde_json::from_str(&list)?;
        let all = all["items"].as_array().cloned().unwrap_or_default();
        let of_group = all
            .iter()
            .filter(|item| item["status"]["volumeGroupSnapshotName"] == group);
        found = of_group
            .filter(|item| item["status"]["readyToUse"] == true)
            .map(|item| {
                let claim = text(&item["spec"]["source"]["persistentVolumeClaimName"]);
                (claim, text(&item["metadata"]["name"]))
            })
            .collect();
        Ok(Look::when(found.len() == count, format!("{all:?}")))
    })
    .await?;
    found.sort();
    Ok(found)
}

/// The Commits of a VolumeGroupSnapshot.
async fn commits(s: &Scenario, group: &Value) -> Result<Vec<Commit>> {
    let first = names::snapshot_object(&text(&group["metadata"]["uid"]));
    let all: Vec<Commit> = s.cluster.list().await?;
    let is_one = |commit: &Commit| {
        commit
            .metadata
            .name
            .as_ref()
            .is_some_and(|name| name.starts_with(&first))
    };
    Ok(all.into_iter().filter(is_one).collect())
}

async fn wait_no_commits(s: &Scenario, group: &Value) -> Result<()> {
    until("the group's Commits are gone", PATIENCE, async || {
        let left = commits(s, group).await?.len();
        Ok(Look::when(left == 0, format!("{left} Commits")))
    })
    .await
}

/// Claims of two Dots and a plain one, all with the label, and a pod that writes the same number to all of them.
async fn begin(s: &Scenario) -> Result<()> {
    s.cluster
        .apply([
            dot("shop", &[("db", "64Mi"), ("cache", "16Mi")]),
            labelled(claim("db", "64Mi", "Dot", "shop", "db")),
            labelled(claim("cache", "16Mi", "Dot", "shop", "cache")),
            labelled(plain_claim("stock", "64Mi")),
            holder("app", &["db", "cache", "stock"]),
        ])
        .await?;
    s.cluster.wait_pod("app").await?;
    s.cluster
        .bash("app", "for v in db cache stock; do echo one > /$v/file; done; sync")
        .await
        .map(drop)
}

#[tokio::test]
async fn a_volume_group_snapshot_is_one_instant_of_several_dots() {
    scenario("groups", async |s| {
        begin(s).await?;
        s.cluster.apply([group("tonight", "dotmesh")]).await?;
        let tonight = wait_group(s, "tonight").await?;
        let taken = commits(s, &tonight).await?;
        ensure!(taken.len() == 2, "one of each Dot: {taken:?}");
        let instants: Vec<_> = taken
            .iter()
            .map(|commit| commit.status.as_ref().and_then(|status| status.createtxg))
            .collect();
        ensure!(instants[0].is_some() && instants[0] == instants[1], "{instants:?}");
        for commit in &taken {
            ensure!(
                commit.spec.message.as_deref() == Some("why tonight"),
                "{:?}",
                commit.spec
            );
            ensure!(commit.spec.metadata["nightly"].0 == "yes", "{:?}", commit.spec);
            let group = commit.status.as_ref().and_then(|status| status.group.as_ref());
            ensure!(
                group.is_some_and(|group| group.commits.len() == 2),
                "{:?}",
                commit.status
            );
        }

        // Each claim has its VolumeSnapshot, which is restored as any other.
        let all = members(s, "tonight", 3).await?;
        let claims: Vec<&str> = all.iter().map(|(claim, _)| claim.as_str()).collect();
        ensure!(claims == ["cache", "db", "stock"], "{all:?}");
        s.cluster
            .bash("app", "for v in db cache stock; do echo two > /$v/file; done; sync")
            .await?;
        let (_, db) = &all[1];
        let (_, stock) = &all[2];
        s.cluster
            .apply([
                copy("then-db", "64Mi", "VolumeSnapshot", db),
                copy("then-stock", "64Mi", "VolumeSnapshot", stock),
                holder("look", &["then-db", "then-stock"]),
            ])
            .await?;
        s.cluster.wait_pod("look").await?;
        let seen = s.cluster.bash("look", "cat /then-db/file /then-stock/file").await?;
        ensure!(seen.split_whitespace().eq(["one", "one"]), "{seen}");

        // None of them goes alone.
        ask_deletion(s, "volumesnapshot", db).await?;
        s.cluster.wait_event(db, &["not allowed", "group"]).await?;
        ensure!(exists(s, "volumesnapshot", db).await?, "{db} went alone");
        ensure!(commits(s, &tonight).await?.len() == 2, "the Commits stay");

        // With the group all of them do, and no Commit is left.
        let content = text(&tonight["status"]["boundVolumeGroupSnapshotContentName"]);
        delete(s, "volumegroupsnapshot", "tonight").await?;
        wait_absent(s, "volumegroupsnapshotcontent", &content).await?;
        for (_, member) in &all {
            wait_absent(s, "volumesnapshot", member).await?;
        }
        wait_no_commits(s, &tonight).await?;
        let seen = s.cluster.bash("look", "cat /then-db/file /then-stock/file").await?;
        ensure!(seen.split_whitespace().eq(["one", "one"]), "{seen}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_commits_of_a_group_stay_when_its_class_says_so() {
    scenario("retained groups", async |s| {
        begin(s).await?;
        let class = format!("retain-groups-{}", s.cluster.namespace);
        let retain = json!({
            "apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": "VolumeGroupSnapshotClass", "metadata": {"name": class},
            "driver": names::DRIVER, "deletionPolicy": "Retain",
        });
        s.cluster.apply([retain, group("kept", &class)]).await?;
        let kept = wait_group(s, "kept").await?;
        let all = members(s, "kept", 3).await?;
        let mut contents = Vec::new();
        for (_, member) in &all {
            let member = wait_usable(s, member).await?;
            contents.push(content_of(&member));
        }
        delete(s, "volumegroupsnapshot", "kept").await?;
        let content = text(&kept["status"]["boundVolumeGroupSnapshotContentName"]);
        ensure!(exists(s, "volumegroupsnapshotcontent", &content).await?, "it stays");
        ensure!(commits(s, &kept).await?.len() == 2, "the Commits stay");

        // One of its Commits that somebody deletes is missing; what is left goes with the content that says Delete.
        let commit = commits(s, &kept).await?.pop().context("a Commit")?;
        let name = commit.metadata.name.unwrap_or_default();
        delete(s, "commit", &name).await?;
        s.cluster.wait_gone::<Commit>(&name).await?;
        let patch = r#"{"spec": {"deletionPolicy": "Delete"}}"#;
        let args = ["patch", "volumegroupsnapshotcontent", &content, "--type=merge", "-p", patch];
        s.cluster.kubectl(&args)?.output().await?;
        delete(s, "volumegroupsnapshotcontent", &content).await?;
        wait_no_commits(s, &kept).await?;
        for content in &contents {
            if exists(s, "volumesnapshotcontent", content).await? {
                delete(s, "volumesnapshotcontent", content).await?;
            }
        }
        delete(s, "volumegroupsnapshotclass", &class).await
    })
    .await;
}
