//! What remains when something is deleted: the table of `docs/snapshots.md`.

use anyhow::{Context, Result, ensure};
use dotmesh_crds::{Branch, Commit, Dot, names};
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder, plain_claim};
use dotmesh_e2e::scenario::{Scenario, scenario};
use serde_json::json;

use super::{
    ask_deletion, by_hand, class, commit_of, content_by_hand, content_of, copy, delete, exists, get, handle_of,
    snapshot, wait_absent, wait_usable,
};

/// A pod with a Dot's volume and a plain claim's, and a word in each.
async fn begin(s: &Scenario) -> Result<()> {
    s.cluster
        .apply([
            dot("shop", &[("db", "64Mi")]),
            claim("db", "64Mi", "Dot", "shop", "db"),
            plain_claim("plain", "64Mi"),
            holder("app", &["db", "plain"]),
        ])
        .await?;
    s.cluster.wait_pod("app").await?;
    let script = "echo one | tee /db/file > /plain/file; sync";
    s.cluster.bash("app", script).await.map(drop)
}

/// A claim from a VolumeSnapshot has its data; what it came from may go.
async fn restore(s: &Scenario, claims: &[(&str, &str)]) -> Result<()> {
    let copies = claims
        .iter()
        .map(|(claim, from)| copy(claim, "64Mi", "VolumeSnapshot", from));
    s.cluster.apply(copies).await?;
    for (claim, _) in claims {
        s.cluster.wait_bound(claim).await?;
    }
    Ok(())
}

/// Nothing can be made from a VolumeSnapshot, and a claim that asks for it hears why.
async fn ensure_no_restore(s: &Scenario, from: &str, why: &str) -> Result<()> {
    let claim = format!("late-{from}");
    s.cluster.apply([copy(&claim, "64Mi", "VolumeSnapshot", from)]).await?;
    s.cluster.wait_event(&claim, &[from, why]).await?;
    delete(s, "pvc", &claim).await
}

/// The claims' files still say what was there when the VolumeSnapshots were taken.
async fn ensure_copies(s: &Scenario, claims: &[&str]) -> Result<()> {
    s.cluster.apply([holder("look", claims)]).await?;
    s.cluster.wait_pod("look").await?;
    for claim in claims {
        let seen = s.cluster.bash("look", &format!("cat /{claim}/file")).await?;
        ensure!(seen.trim() == "one", "{claim}: {seen}");
    }
    Ok(())
}

#[tokio::test]
async fn a_commit_goes_with_its_volume_snapshot_and_copies_stay() {
    scenario("deleted", async |s| {
        begin(s).await?;
        let taken = ["by-object", "by-content", "by-commit", "by-dot"];
        s.cluster
            .apply(taken.map(|name| snapshot(name, "db", "dotmesh")))
            .await?;
        let [by_object, by_content, by_commit, by_dot] = {
            let mut found = Vec::new();
            for name in taken {
                found.push(wait_usable(s, name).await?);
            }
            <[_; 4]>::try_from(found).ok().context("four VolumeSnapshots")?
        };
        let copies = taken.map(|from| (from, from));
        restore(s, &copies).await?;

        // The VolumeSnapshot: all of it goes.
        delete(s, "volumesnapshot", "by-object").await?;
        wait_absent(s, "volumesnapshotcontent", &content_of(&by_object)).await?;
        s.cluster.wait_gone::<Commit>(&commit_of(&by_object)).await?;

        // The VolumeSnapshotContent waits for its VolumeSnapshot, and nothing new is made from it meanwhile.
        let content = content_of(&by_content);
        ask_deletion(s, "volumesnapshotcontent", &content).await?;
        ensure_no_restore(s, "by-content", "is being deleted").await?;
        s.cluster.wait_ready::<Commit>(&commit_of(&by_content)).await?;
        ensure!(exists(s, "volumesnapshotcontent", &content).await?, "it did not wait");
        delete(s, "volumesnapshot", "by-content").await?;
        wait_absent(s, "volumesnapshotcontent", &content).await?;
        s.cluster.wait_gone::<Commit>(&commit_of(&by_content)).await?;

        // The Commit: the VolumeSnapshot stays and stands for nothing.
        delete(s, "commit", &commit_of(&by_commit)).await?;
        ensure_no_restore(s, "by-commit", "not there any more").await?;
        wait_usable(s, "by-commit").await?;
        delete(s, "volumesnapshot", "by-commit").await?;
        wait_absent(s, "volumesnapshotcontent", &content_of(&by_commit)).await?;

        // The claim that it is of: all stays, and can be restored.
        delete(s, "pod", "app").await?;
        delete(s, "pvc", "db").await?;
        s.cluster.wait_ready::<Commit>(&commit_of(&by_dot)).await?;
        restore(s, &[("after-claim", "by-dot")]).await?;

        // The Dot: its Commits go with it, and the VolumeSnapshot is as without its Commit.
        delete(s, "dot", "shop").await?;
        s.cluster.wait_gone::<Commit>(&commit_of(&by_dot)).await?;
        ensure_no_restore(s, "by-dot", "not there any more").await?;
        delete(s, "volumesnapshot", "by-dot").await?;
        wait_absent(s, "volumesnapshotcontent", &content_of(&by_dot)).await?;

        ensure_copies(s, &["by-object", "by-content", "by-commit", "by-dot", "after-claim"]).await
    })
    .await;
}

#[tokio::test]
async fn a_volume_snapshot_outlives_its_claim_and_branch() {
    scenario("outlives", async |s| {
        begin(s).await?;
        s.cluster.apply([commit("base", "shop")]).await?;
        s.cluster.wait_ready::<Commit>("base").await?;
        s.cluster
            .apply([
                branch("try", "shop", "base"),
                claim("tried", "64Mi", "Branch", "try", "db"),
                holder("trial", &["tried"]),
            ])
            .await?;
        s.cluster.wait_pod("trial").await?;
        s.cluster
            .apply([
                snapshot("of-branch", "tried", "dotmesh"),
                snapshot("of-plain", "plain", "dotmesh"),
            ])
            .await?;
        let of_branch = wait_usable(s, "of-branch").await?;
        let of_plain = wait_usable(s, "of-plain").await?;

        // Claims and pods go first, or the Branch waits for them.
        delete(s, "pod", "trial").await?;
        delete(s, "pvc", "tried").await?;
        delete(s, "branch", "try").await?;
        s.cluster.wait_gone::<Branch>("try").await?;
        s.cluster.wait_ready::<Commit>(&commit_of(&of_branch)).await?;

        // A plain claim's own Dot stays for its Commit, and goes with the last of them.
        let own = names::volume_object(
            &s.cluster
                .uid::<k8s_openapi::api::core::v1::PersistentVolumeClaim>("plain")
                .await?,
        );
        delete(s, "pod", "app").await?;
        delete(s, "pvc", "plain").await?;
        s.cluster.wait_ready::<Commit>(&commit_of(&of_plain)).await?;
        restore(s, &[("from-branch", "of-branch"), ("from-plain", "of-plain")]).await?;
        delete(s, "volumesnapshot", "of-plain").await?;
        s.cluster.wait_gone::<Dot>(&own).await?;
        delete(s, "volumesnapshot", "of-branch").await?;
        s.cluster.wait_gone::<Commit>(&commit_of(&of_branch)).await?;
        ensure_copies(s, &["from-branch", "from-plain"]).await
    })
    .await;
}

#[tokio::test]
async fn a_commit_stays_when_its_class_says_so() {
    scenario("retained", async |s| {
        begin(s).await?;
        let retain = class(s, "Retain");
        let retain_name = retain["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        s.cluster.apply([retain]).await?;
        let taken = ["kept", "dropped", "bound", "waits"];
        s.cluster
            .apply(taken.map(|name| snapshot(name, "plain", &retain_name)))
            .await?;
        let [kept, dropped, bound, waits] = {
            let mut found = Vec::new();
            for name in taken {
                found.push(wait_usable(s, name).await?);
            }
            <[_; 4]>::try_from(found).ok().context("four VolumeSnapshots")?
        };
        restore(s, &[("copy", "kept")]).await?;

        // The VolumeSnapshot: its VolumeSnapshotContent stays, and the Commit.
        for name in ["kept", "dropped", "bound"] {
            delete(s, "volumesnapshot", name).await?;
        }
        s.cluster.wait_ready::<Commit>(&commit_of(&kept)).await?;
        // Whoever says Delete later gets that.
        let patch = r#"{"spec": {"deletionPolicy": "Delete"}}"#;
        let args = [
            "patch",
            "volumesnapshotcontent",
            &content_of(&kept),
            "--type=merge",
            "-p",
            patch,
        ];
        s.cluster.kubectl(&args)?.output().await?;
        delete(s, "volumesnapshotcontent", &content_of(&kept)).await?;
        s.cluster.wait_gone::<Commit>(&commit_of(&kept)).await?;

        // Without that the Commit stays when the VolumeSnapshotContent goes, and is like one that people made.
        delete(s, "volumesnapshotcontent", &content_of(&dropped)).await?;
        s.cluster.wait_ready::<Commit>(&commit_of(&dropped)).await?;

        // Bound anew it can be restored. It goes neither with that VolumeSnapshot, while its own VolumeSnapshotContent is
        // there, nor with the latter.
        let handle = handle_of(s, &bound).await?;
        s.cluster.apply(by_hand(s, "anew", &handle, "Delete")).await?;
        wait_usable(s, "anew").await?;
        restore(s, &[("copy-anew", "anew")]).await?;
        delete(s, "volumesnapshot", "anew").await?;
        wait_absent(s, "volumesnapshotcontent", &content_by_hand(s, "anew")).await?;
        s.cluster.wait_ready::<Commit>(&commit_of(&bound)).await?;
        delete(s, "volumesnapshotcontent", &content_of(&bound)).await?;
        s.cluster.wait_ready::<Commit>(&commit_of(&bound)).await?;
        // Then it goes with whoever stands for it.
        s.cluster.apply(by_hand(s, "last", &handle, "Delete")).await?;
        wait_usable(s, "last").await?;
        delete(s, "volumesnapshot", "last").await?;
        s.cluster.wait_gone::<Commit>(&commit_of(&bound)).await?;

        // The VolumeSnapshotContent first: it waits for its VolumeSnapshot, and the Commit stays.
        ask_deletion(s, "volumesnapshotcontent", &content_of(&waits)).await?;
        delete(s, "volumesnapshot", "waits").await?;
        wait_absent(s, "volumesnapshotcontent", &content_of(&waits)).await?;
        s.cluster.wait_ready::<Commit>(&commit_of(&waits)).await?;

        delete(s, "volumesnapshotclass", &retain_name).await?;
        ensure_copies(s, &["copy", "copy-anew"]).await
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_people_made_stays_whatever_a_volume_snapshot_content_says() {
    scenario("by hand", async |s| {
        begin(s).await?;
        s.cluster.apply([commit("mine", "shop")]).await?;
        s.cluster.wait_ready::<Commit>("mine").await?;
        let (dot, made) = (get(s, "dot", "shop").await?, get(s, "commit", "mine").await?);
        let part = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let handle = format!(
            "s1.{}.{}.{}",
            part(&dot["status"]["id"]),
            part(&dot["status"]["volumes"][0]["id"]),
            part(&made["status"]["id"])
        );
        let unbound = by_hand(s, "unbound", &handle, "Delete")[0].clone();
        s.cluster.apply(by_hand(s, "delete", &handle, "Delete")).await?;
        s.cluster.apply(by_hand(s, "retain", &handle, "Retain")).await?;
        s.cluster.apply([unbound]).await?;
        for name in ["delete", "retain"] {
            let usable = wait_usable(s, name).await?;
            ensure!(usable["status"]["restoreSize"] == "64Mi", "{usable}");
        }
        restore(s, &[("copy", "delete")]).await?;
        delete(s, "volumesnapshot", "delete").await?;
        wait_absent(s, "volumesnapshotcontent", &content_by_hand(s, "delete")).await?;
        delete(s, "volumesnapshotcontent", &content_by_hand(s, "unbound")).await?;
        s.cluster.wait_ready::<Commit>("mine").await?;
        delete(s, "commit", "mine").await?;
        ensure_no_restore(s, "retain", "not there any more").await?;
        delete(s, "volumesnapshot", "retain").await?;
        delete(s, "volumesnapshotcontent", &content_by_hand(s, "retain")).await?;
        ensure_copies(s, &["copy"]).await
    })
    .await;
}

#[tokio::test]
async fn a_namespace_ends_with_its_volume_snapshots() {
    scenario("around", async |s| {
        let going = Scenario::new("goes").await?;
        begin(&going).await?;
        let retain = class(&going, "Retain");
        let retain_name = retain["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        s.cluster.apply([retain]).await?;
        going
            .cluster
            .apply([
                snapshot("goes", "db", "dotmesh"),
                snapshot("stays", "plain", &retain_name),
            ])
            .await?;
        let goes = wait_usable(&going, "goes").await?;
        let stays = wait_usable(&going, "stays").await?;
        // It waits until the pool has nothing of the namespace.
        going.end().await?;
        wait_absent(s, "volumesnapshotcontent", &content_of(&goes)).await?;
        // What was to stay of the cluster stays, stands for nothing, and can be deleted.
        let content = get(s, "volumesnapshotcontent", &content_of(&stays)).await?;
        ensure!(content["spec"]["deletionPolicy"] == "Retain", "{content}");
        let patch = json!({"spec": {"deletionPolicy": "Delete"}}).to_string();
        let args = [
            "patch",
            "volumesnapshotcontent",
            &content_of(&stays),
            "--type=merge",
            "-p",
            &patch,
        ];
        s.cluster.kubectl(&args)?.output().await?;
        delete(s, "volumesnapshotcontent", &content_of(&stays)).await?;
        delete(s, "volumesnapshotclass", &retain_name).await
    })
    .await;
}
