//! What cannot work says so, and leaves everything else untouched.

use anyhow::ensure;
use dotmesh_crds::{Branch, Commit, Dot, Reason};
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder, plain_claim};
use dotmesh_e2e::scenario::scenario;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{count, entries, placed_dot};

#[tokio::test]
async fn a_claim_that_names_something_missing_stays_pending_and_says_what() {
    scenario("misspelled claims", async |s| {
        s.cluster
            .apply([
                dot("shop", &[("db", "32Mi"), ("cache", "32Mi")]),
                claim("no-dot", "32Mi", "Dot", "shpo", "db"),
                claim("no-branch", "32Mi", "Branch", "shop-feature", "db"),
                claim("no-volume", "32Mi", "Dot", "shop", "bd"),
            ])
            .await?;
        s.cluster.wait_refused("no-dot", Reason::DotNotFound, &["shpo"]).await?;
        s.cluster
            .wait_refused("no-branch", Reason::BranchNotFound, &["shop-feature"])
            .await?;
        s.cluster
            .wait_refused("no-volume", Reason::VolumeNotFound, &["bd", "shop"])
            .await?;
        let dots = s.cluster.list::<Dot>().await?;
        ensure!(dots.len() == 1, "nothing is made by a misspelling");
        ensure!(entries(s).await?.is_empty());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_second_claim_for_a_volume_that_is_held_is_refused() {
    scenario("held volume", async |s| {
        placed_dot(s, "shop").await?;
        s.cluster
            .apply([
                claim("second", "64Mi", "Dot", "shop", "shop"),
                holder("second", &["second"]),
            ])
            .await?;
        s.cluster.wait_refused("second", Reason::VolumeHeld, &["shop"]).await?;
        s.cluster.wait_pod("shop").await?;

        // When the first lets go, the second gets it.
        s.cluster.delete::<Pod>("shop").await?;
        s.cluster.delete::<PersistentVolumeClaim>("shop").await?;
        s.cluster.wait_pod("second").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn more_than_the_pool_has_is_refused() {
    scenario("too large", async |s| {
        s.cluster
            .apply([plain_claim("huge", "500Ti"), holder("huge", &["huge"])])
            .await?;
        let refused = async |claim: &str| {
            dotmesh_e2e::wait::until(
                "a refusal for want of space",
                dotmesh_e2e::cluster::PATIENCE,
                async || {
                    let events = s.cluster.kubectl(&["get", "events", "-o", "json"])?.output().await?;
                    let events: serde_json::Value = serde_json::from_str(&events)?;
                    let said: Vec<String> = events["items"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter(|event| event["involvedObject"]["name"] == claim && event["type"] == "Warning")
                        .map(|event| format!("{}: {}", event["reason"], event["message"]))
                        .collect();
                    let text = said.join("; ");
                    // By the scheduler, which knows how large the Pools are.
                    let space = ["FailedScheduling", "did not have enough free storage"]
                        .iter()
                        .all(|word| text.contains(word));
                    Ok(dotmesh_e2e::wait::Look::when(space, text))
                },
            )
            .await
        };
        refused("huge").await?;
        s.cluster.delete::<Pod>("huge").await?;
        s.cluster.delete::<PersistentVolumeClaim>("huge").await?;
        s.cluster.wait_gone::<PersistentVolumeClaim>("huge").await?;
        s.settled().await
    })
    .await;
}

#[tokio::test]
async fn commits_and_branches_without_anything_to_stand_on_wait_and_can_be_deleted() {
    scenario("nothing there", async |s| {
        s.cluster
            .apply([
                dot("empty", &[]),
                commit("no-dot", "nowhere"),
                branch("no-dot", "nowhere", "HEAD"),
                commit("no-volumes", "empty"),
            ])
            .await?;
        s.cluster.wait_reason::<Commit>("no-dot", Reason::DotNotFound).await?;
        s.cluster.wait_reason::<Branch>("no-dot", Reason::DotNotFound).await?;
        s.cluster.wait_reason::<Commit>("no-volumes", Reason::NoVolumes).await?;
        ensure!(entries(s).await?.is_empty());
        s.cluster.delete::<Commit>("no-dot").await?;
        s.cluster.delete::<Branch>("no-dot").await?;
        s.cluster.delete::<Commit>("no-volumes").await?;
        s.cluster.wait_gone::<Commit>("no-dot").await?;
        s.cluster.wait_gone::<Branch>("no-dot").await?;
        s.cluster.wait_gone::<Commit>("no-volumes").await?;
        s.cluster.delete::<Dot>("empty").await?;
        s.cluster.wait_gone::<Dot>("empty").await
    })
    .await;
}

#[tokio::test]
async fn branches_from_nowhere_and_of_a_taken_name_make_nothing() {
    scenario("bad branches", async |s| {
        placed_dot(s, "shop").await?;
        s.settled().await?;
        let before = count(&entries(s).await?);
        let mut taken = branch("taken", "shop", "HEAD");
        taken["spec"]["name"] = "main".into();
        s.cluster
            .apply([
                branch("nowhere", "shop", "no-such-commit"),
                branch("too-far", "shop", "HEAD~7"),
                taken,
            ])
            .await?;
        s.cluster
            .wait_reason::<Branch>("nowhere", Reason::ReferenceNotFound)
            .await?;
        s.cluster
            .wait_reason::<Branch>("too-far", Reason::ReferenceNotFound)
            .await?;
        s.cluster.wait_reason::<Branch>("taken", Reason::NameTaken).await?;
        ensure!(count(&entries(s).await?) == before);

        // The branch waits for what it names.
        s.cluster.apply([commit("no-such-commit", "shop")]).await?;
        s.cluster.wait_ready::<Branch>("nowhere").await.map(drop)
    })
    .await;
}
