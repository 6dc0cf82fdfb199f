//! Deletion in any order; each order there is, the simulator and the machine's tests try. That the pool is empty afterwards is checked at the end of every scenario.

use anyhow::{Result, ensure};
use dotmesh_crds::{Branch, Commit, Dot, Reason};
use dotmesh_e2e::cluster::readiness;
use dotmesh_e2e::objects::{branch, commit};
use dotmesh_e2e::scenario::{Scenario, scenario};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::{entries, placed_dot};

/// A Dot `shop` with the commits one and two, the branches x (from one) and y (from x), and no pod any more.
async fn family(s: &Scenario) -> Result<()> {
    placed_dot(s, "shop").await?;
    for name in ["one", "two"] {
        s.cluster.apply([commit(name, "shop")]).await?;
        s.cluster.wait_ready::<Commit>(name).await?;
    }
    s.cluster.apply([branch("x", "shop", "one")]).await?;
    s.cluster.wait_ready::<Branch>("x").await?;
    s.cluster.apply([branch("y", "shop", "x")]).await?;
    s.cluster.wait_ready::<Branch>("y").await?;
    s.cluster.delete::<Pod>("shop").await?;
    s.cluster.wait_gone::<Pod>("shop").await
}

async fn let_go(s: &Scenario) -> Result<()> {
    s.cluster.delete::<PersistentVolumeClaim>("shop").await?;
    s.cluster.wait_gone::<PersistentVolumeClaim>("shop").await
}

async fn empty(s: &Scenario) -> Result<()> {
    s.cluster.wait_gone::<Dot>("shop").await?;
    s.settled().await?;
    let left = entries(s).await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test]
async fn the_dot_first_waits_for_its_claims_and_takes_everything_along() {
    scenario("dot first", async |s| {
        family(s).await?;
        s.cluster.delete::<Dot>("shop").await?;
        let waiting: Dot = s.cluster.wait_reason("shop", Reason::InUse).await?;
        ensure!(
            readiness(&waiting).contains("shop"),
            "the claim is named: {}",
            readiness(&waiting)
        );
        ensure!(
            !entries(s).await?.is_empty(),
            "nothing is destroyed while a claim is there"
        );
        let_go(s).await?;
        empty(s).await?;
        for commit in ["one", "two", "shop-initial"] {
            s.cluster.wait_gone::<Commit>(commit).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "takes long: cargo xtask campaign e2e"]
async fn commits_before_the_branches_that_came_from_them() {
    scenario("commits first", async |s| {
        family(s).await?;
        for name in ["one", "shop-initial", "two"] {
            s.cluster.delete::<Commit>(name).await?;
            s.cluster.wait_gone::<Commit>(name).await?;
        }
        s.settled().await?;
        // The branches have their data still.
        for name in ["x", "y", "shop-main"] {
            s.cluster.wait_ready::<Branch>(name).await?;
        }
        for name in ["x", "y"] {
            s.cluster.delete::<Branch>(name).await?;
            s.cluster.wait_gone::<Branch>(name).await?;
        }
        s.settled().await?;
        let_go(s).await?;
        s.cluster.delete::<Dot>("shop").await?;
        empty(s).await
    })
    .await;
}

#[tokio::test]
#[ignore = "takes long: cargo xtask campaign e2e"]
async fn branches_before_their_commits_and_claims_before_all() {
    scenario("branches first", async |s| {
        family(s).await?;
        let_go(s).await?;
        // The Dot is a person's: its claim took nothing with it.
        s.cluster.wait_ready::<Branch>("shop-main").await?;
        for name in ["shop-main", "y", "x"] {
            s.cluster.delete::<Branch>(name).await?;
            s.cluster.wait_gone::<Branch>(name).await?;
        }
        s.settled().await?;
        // Commits outlive the branch that they are of, and can be branched from.
        s.cluster.wait_ready::<Commit>("two").await?;
        s.cluster.apply([branch("again", "shop", "two")]).await?;
        s.cluster.wait_ready::<Branch>("again").await?;
        s.cluster.delete::<Dot>("shop").await?;
        empty(s).await
    })
    .await;
}

#[tokio::test]
async fn all_at_once() {
    scenario("all at once", async |s| {
        family(s).await?;
        let args = [
            "delete",
            "commits,branches,dots,persistentvolumeclaims",
            "--all",
            "--wait=false",
        ];
        s.cluster.kubectl(&args)?.output().await?;
        empty(s).await
    })
    .await;
}
