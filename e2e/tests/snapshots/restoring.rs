//! Claims that begin with what a VolumeSnapshot or another claim has.

use anyhow::ensure;
use dotmesh_crds::{Commit, names};
use dotmesh_e2e::objects::{holder, plain_claim};
use dotmesh_e2e::scenario::scenario;

use super::{copy, delete, get, snapshot, wait_usable};

#[tokio::test]
async fn volumes_are_restored_and_cloned_and_outlive_what_they_come_from() {
    scenario("restored", async |s| {
        s.cluster
            .apply([plain_claim("data", "64Mi"), holder("app", &["data"])])
            .await?;
        s.cluster.wait_pod("app").await?;
        s.cluster.bash("app", "echo one > /data/file; sync").await?;
        s.cluster.apply([snapshot("nightly", "data", "dotmesh")]).await?;
        wait_usable(s, "nightly").await?;
        s.cluster.bash("app", "echo two > /data/file; sync").await?;
        s.cluster
            .apply([
                copy("then", "64Mi", "VolumeSnapshot", "nightly"),
                copy("more", "128Mi", "VolumeSnapshot", "nightly"),
                copy("now", "64Mi", "PersistentVolumeClaim", "data"),
                copy("small", "32Mi", "VolumeSnapshot", "nightly"),
                holder("look", &["then", "more", "now"]),
            ])
            .await?;
        s.cluster.wait_pod("look").await?;
        let seen = s.cluster.bash("look", "cat /then/file /more/file /now/file").await?;
        ensure!(seen.split_whitespace().eq(["one", "one", "two"]), "{seen}");
        let size = s
            .cluster
            .bash("look", "df --output=size -B1048576 /more | tail -1")
            .await?;
        ensure!(size.trim() == "128", "{size}");
        s.cluster.wait_event("small", &["needs 64Mi"]).await?;

        // Where it comes from stands in its Dot; the Commit of the clone has gone.
        let claim = get(s, "pvc", "now").await?;
        let own = names::volume_object(claim["metadata"]["uid"].as_str().unwrap_or_default());
        let dot = get(s, "dot", &own).await?;
        ensure!(dot["status"]["volumes"][0]["origin"]["volume"] == "data", "{dot}");
        let cloned = names::snapshot_object(claim["metadata"]["uid"].as_str().unwrap_or_default());
        s.cluster.wait_gone::<Commit>(&cloned).await?;

        // A claim that still waits for a VolumeSnapshot keeps it; then what they come from goes, in whatever order, and they
        // stay.
        delete(s, "pvc", "small").await?;
        delete(s, "pod", "app").await?;
        delete(s, "pvc", "data").await?;
        delete(s, "volumesnapshot", "nightly").await?;
        s.cluster.bash("look", "echo more >> /then/file; sync").await?;
        let seen = s.cluster.bash("look", "cat /then/file").await?;
        ensure!(seen.split_whitespace().eq(["one", "more"]), "{seen}");
        delete(s, "pod", "look").await?;
        s.cluster.apply([holder("again", &["then", "now"])]).await?;
        s.cluster.wait_pod("again").await?;
        let seen = s.cluster.bash("again", "cat /then/file /now/file").await?;
        ensure!(seen.split_whitespace().eq(["one", "more", "two"]), "{seen}");
        Ok(())
    })
    .await;
}
