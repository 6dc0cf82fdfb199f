//! What a VolumeSnapshot is.

use anyhow::ensure;
use dotmesh_crds::Commit;
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{claim, commit, dot, holder, plain_claim};
use dotmesh_e2e::scenario::scenario;
use dotmesh_e2e::wait::{Look, until};

use super::{commit_of, delete, snapshot, wait_usable};

#[tokio::test]
async fn a_volume_snapshot_is_a_commit_of_all_volumes() {
    scenario("snapshots", async |s| {
        let objects = [
            dot("shop", &[("db", "64Mi"), ("cache", "16Mi")]),
            claim("db", "64Mi", "Dot", "shop", "db"),
            claim("cache", "16Mi", "Dot", "shop", "cache"),
            holder("app", &["db", "cache"]),
        ];
        s.cluster.apply(objects).await?;
        s.cluster.wait_pod("app").await?;
        s.cluster
            .bash("app", "echo one > /db/file; echo two > /cache/file; sync")
            .await?;
        s.cluster.apply([snapshot("nightly", "db", "dotmesh")]).await?;
        let nightly = wait_usable(s, "nightly").await?;
        ensure!(nightly["status"]["restoreSize"] == "64Mi", "{nightly}");
        let name = commit_of(&nightly);
        let made: Commit = s.cluster.wait_ready(&name).await?;
        ensure!(made.spec.message.as_deref() == Some("why nightly"), "{:?}", made.spec);
        ensure!(made.spec.metadata["nightly"].0 == "yes", "{:?}", made.spec);
        let volumes = made.status.map(|status| status.volumes.len());
        ensure!(volumes == Some(2), "{volumes:?}");

        // It shows what was there, as any Commit does.
        s.cluster.bash("app", "echo three > /db/file; sync").await?;
        let objects = [claim("then", "64Mi", "Commit", &name, "db"), holder("look", &["then"])];
        s.cluster.apply(objects).await?;
        s.cluster.wait_pod("look").await?;
        let seen = s.cluster.bash("look", "cat /then/file").await?;
        ensure!(seen.trim() == "one", "{seen}");

        // It goes with its VolumeSnapshot, and what people committed stays.
        s.cluster.apply([commit("mine", "shop")]).await?;
        s.cluster.wait_ready::<Commit>("mine").await?;
        delete(s, "volumesnapshot", "nightly").await?;
        s.cluster.wait_gone::<Commit>(&name).await?;
        let seen = s.cluster.bash("look", "cat /then/file").await?;
        ensure!(seen.trim() == "one", "{seen}");
        s.cluster.wait_ready::<Commit>("mine").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn many_at_once_are_a_commit_each() {
    const COUNT: usize = 20;
    scenario("many", async |s| {
        s.cluster
            .apply([plain_claim("data", "64Mi"), holder("app", &["data"])])
            .await?;
        s.cluster.wait_pod("app").await?;
        let names: Vec<String> = (0..COUNT).map(|n| format!("n{n}")).collect();
        s.cluster
            .apply(names.iter().map(|name| snapshot(name, "data", "dotmesh")))
            .await?;
        for name in &names {
            let usable = wait_usable(s, name).await?;
            s.cluster.wait_ready::<Commit>(&commit_of(&usable)).await?;
        }
        let commits: Vec<Commit> = s.cluster.list().await?;
        ensure!(
            commits.len() == COUNT + 1,
            "{} Commits, with the initial one",
            commits.len()
        );
        let all = ["delete", "volumesnapshots", "--all"];
        s.cluster.kubectl(&all)?.within(PATIENCE).output().await?;
        until("their Commits are gone", PATIENCE, async || {
            let left: Vec<Commit> = s.cluster.list().await?;
            Ok(Look::when(left.len() == 1, format!("{} Commits", left.len())))
        })
        .await
    })
    .await;
}
