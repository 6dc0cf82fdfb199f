//! Commits that are published: with the real csi-snapshotter and snapshot-controller.

use anyhow::{Result, ensure};
use dotmesh_crds::{Commit, names};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{claim, commit, dot, holder};
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use serde_json::{Value, json};

use super::{content_of, copy, delete, get, text, wait_usable};

async fn publish(s: &Scenario, object: &str, publish: bool) -> Result<()> {
    let patch = json!({"spec": {"publish": publish}}).to_string();
    let args = ["patch", object, "--type=merge", "-p", &patch];
    s.cluster.kubectl(&args)?.output().await.map(drop)
}

/// What is published of a Commit object: of either kind, their names.
async fn published(s: &Scenario, uid: &str) -> Result<Vec<String>> {
    let label = format!("{}={uid}", names::LABEL_COMMIT_UID);
    let args = [
        "get",
        "volumesnapshots,volumesnapshotcontents",
        "-l",
        &label,
        "-o",
        "name",
    ];
    let text = s.cluster.kubectl(&args)?.output().await?;
    Ok(text.lines().map(str::to_owned).collect())
}

async fn wait_nothing_published(s: &Scenario, uid: &str) -> Result<()> {
    until("nothing is published", PATIENCE, async || {
        let left = published(s, uid).await?;
        Ok(Look::when(left.is_empty(), format!("{left:?}")))
    })
    .await
}

/// The VolumeSnapshot, when it can be used and stands for this Commit by a pair that was not there before.
async fn wait_anew(s: &Scenario, name: &str, before: &Value) -> Result<Value> {
    let mut found = Value::Null;
    until(&format!("VolumeSnapshot {name} is whole again"), PATIENCE, async || {
        let snapshot = wait_usable(s, name).await?;
        let content = content_of(&snapshot);
        found = get(s, "volumesnapshotcontent", &content).await.unwrap_or_default();
        let is_new =
            found["metadata"]["uid"] != before["metadata"]["uid"] && found["metadata"]["deletionTimestamp"].is_null();
        let is_bound = found["spec"]["volumeSnapshotRef"]["uid"] == snapshot["metadata"]["uid"];
        Ok(Look::when(
            is_new && is_bound && found["status"]["readyToUse"] == true,
            found.to_string(),
        ))
    })
    .await?;
    Ok(found)
}

async fn uid(s: &Scenario, commit: &str) -> Result<String> {
    Ok(text(&get(s, "commit", commit).await?["metadata"]["uid"]))
}

#[tokio::test]
async fn a_commit_is_published_and_nothing_of_that_outlives_it() {
    scenario("published", async |s| {
        let mut kept = commit("kept", "shop");
        kept["spec"]["publish"] = json!(true);
        s.cluster
            .apply([
                dot("shop", &[("db", "64Mi"), ("cache", "16Mi")]),
                claim("db", "64Mi", "Dot", "shop", "db"),
                claim("cache", "16Mi", "Dot", "shop", "cache"),
                holder("app", &["db", "cache"]),
            ])
            .await?;
        s.cluster.wait_pod("app").await?;
        s.cluster.bash("app", "echo one > /db/file; sync").await?;
        s.cluster.apply([kept]).await?;
        let first = wait_usable(s, "kept.db").await?;
        ensure!(first["status"]["restoreSize"] == "64Mi", "{first}");
        wait_usable(s, "kept.cache").await?;
        let args = ["wait", "--for=condition=Published", "commit/kept", "--timeout=60s"];
        s.cluster.kubectl(&args)?.within(PATIENCE).output().await?;

        // What knows VolumeSnapshots and no Commits can restore it.
        s.cluster.bash("app", "echo two > /db/file; sync").await?;
        s.cluster
            .apply([
                copy("then", "64Mi", "VolumeSnapshot", "kept.db"),
                holder("look", &["then"]),
            ])
            .await?;
        s.cluster.wait_pod("look").await?;
        let seen = s.cluster.bash("look", "cat /then/file").await?;
        ensure!(seen.trim() == "one", "{seen}");

        // Either half of a pair that somebody deletes comes back, and the Commit stays.
        let bound = content_of(&first);
        let content = get(s, "volumesnapshotcontent", &bound).await?;
        delete(s, "volumesnapshot", "kept.db").await?;
        let second = wait_anew(s, "kept.db", &content).await?;
        delete(s, "volumesnapshotcontent", &bound).await?;
        wait_anew(s, "kept.db", &second).await?;
        s.cluster.wait_ready::<Commit>("kept").await?;

        // Taken back, nothing of it is left but the Commit.
        let of_kept = uid(s, "kept").await?;
        publish(s, "commit/kept", false).await?;
        wait_nothing_published(s, &of_kept).await?;
        until("the Commit tells of it no more", PATIENCE, async || {
            let status = get(s, "commit", "kept").await?["status"].take();
            let conditions = status["conditions"].as_array().map(Vec::len);
            Ok(Look::when(conditions == Some(1), status.to_string()))
        })
        .await?;
        s.cluster.wait_ready::<Commit>("kept").await?;

        // A Dot's Commits, and one of them that goes.
        publish(s, "dot/shop", true).await?;
        s.cluster.apply([commit("more", "shop")]).await?;
        for name in ["kept.db", "more.db", "more.cache", "shop-initial.db"] {
            wait_usable(s, name).await?;
        }
        delete(s, "commit", "kept").await?;
        s.cluster.wait_gone::<Commit>("kept").await?;
        wait_nothing_published(s, &of_kept).await?;
        let of_more = uid(s, "more").await?;
        ensure!(
            published(s, &of_more).await?.len() == 4,
            "those of the other Commit stay"
        );
        let seen = s.cluster.bash("look", "cat /then/file").await?;
        ensure!(seen.trim() == "one", "{seen}");

        // And the whole Dot.
        for pod in ["app", "look"] {
            delete(s, "pod", pod).await?;
        }
        for claim in ["db", "cache"] {
            delete(s, "pvc", claim).await?;
        }
        delete(s, "dot", "shop").await?;
        wait_nothing_published(s, &of_more).await
    })
    .await;
}
