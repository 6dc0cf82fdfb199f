//! Deletion in any order; each order there is, the simulator and the machine's tests try. That the pool is empty afterwards is checked at the end of every scenario.

use anyhow::{Result, ensure};
use dotmesh_crds::remnant::RemnantKind;
use dotmesh_crds::{Branch, Commit, CommitSpec, Dot, Reason, Remnant};
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::{PATIENCE, readiness};
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder};
use dotmesh_e2e::program::Program;
use dotmesh_e2e::scenario::{Scenario, scenario, scenario_alone};
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;

use super::crashes::{OPERATOR, operators};
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

/// What this prints in a pod with that claim, which goes afterwards.
async fn in_a_pod(s: &Scenario, name: &str, script: &str) -> Result<String> {
    s.cluster.apply([holder(name, &[name])]).await?;
    s.cluster.wait_pod(name).await?;
    let printed = s.cluster.bash(name, script).await?;
    s.cluster.delete::<Pod>(name).await?;
    s.cluster.wait_gone::<Pod>(name).await?;
    Ok(printed.trim().to_owned())
}

/// The only Remnant there is.
async fn the_remnant(s: &Scenario) -> Result<Remnant> {
    let mut all = s.cluster.remnants().await?;
    ensure!(all.len() == 1, "not one Remnant: {all:?}");
    Ok(all.remove(0))
}

async fn no_remnants(s: &Scenario) -> Result<()> {
    until("the Remnant gone", PATIENCE, async || {
        let left = s.cluster.remnants().await?;
        Ok(Look::when(left.is_empty(), format!("{left:?}")))
    })
    .await
    .map(drop)
}

#[tokio::test]
async fn a_deleted_branch_comes_back_with_what_was_never_committed() {
    scenario("branch restored", async |s| {
        let mut kept = dot("shop", &[("db", "64Mi")]);
        kept["spec"]["deletionPolicy"] = json!("Retain");
        s.cluster
            .apply([kept.clone(), claim("db", "64Mi", "Dot", "shop", "db")])
            .await?;
        in_a_pod(s, "db", "echo main >/db/state; sync").await?;
        s.cluster.apply([commit("one", "shop")]).await?;
        s.cluster.wait_ready::<Commit>("one").await?;
        s.cluster
            .apply([
                branch("try", "shop", "one"),
                claim("tried", "64Mi", "Branch", "try", "db"),
            ])
            .await?;
        in_a_pod(s, "tried", "echo never committed >/tried/state; sync").await?;
        s.cluster.delete::<PersistentVolumeClaim>("tried").await?;
        s.cluster.delete::<Branch>("try").await?;
        s.cluster.wait_gone::<Branch>("try").await?;
        let remnant = the_remnant(s).await?;
        ensure!(remnant.spec.kind == RemnantKind::Branch, "{:?}", remnant.spec);
        s.settled().await?;

        let mut back = branch("again", "shop", "HEAD");
        back["spec"]["restoreFrom"] = json!(remnant.spec.id);
        s.cluster
            .apply([back, claim("back", "64Mi", "Branch", "again", "db")])
            .await?;
        s.cluster.wait_ready::<Branch>("again").await?;
        ensure!(in_a_pod(s, "back", "cat /back/state").await? == "never committed");
        ensure!(in_a_pod(s, "db", "cat /db/state").await? == "main");
        no_remnants(s).await?;
        // Nothing of it is to stay.
        kept["spec"]["deletionPolicy"] = json!("Delete");
        s.cluster.apply([kept]).await?;
        s.settled().await
    })
    .await;
}

#[tokio::test]
async fn objects_that_somebody_removed_leave_their_data_behind_and_come_back() {
    scenario_alone("strays", async |s| {
        family(s).await?;
        let before: Commit = s.cluster.wait_ready("two").await?;
        // One that runs would put its finalizer on again.
        operators(0).await?;
        let selector = format!("app.kubernetes.io/component={}", OPERATOR.0);
        let gone = [
            "wait",
            "--for=delete",
            "pods",
            "-n",
            chart::NAMESPACE,
            "-l",
            &selector,
            "--timeout=120s",
        ];
        Program::kubectl(gone)?.output().await?;
        let unprotected = r#"{"metadata":{"finalizers":null}}"#;
        for object in ["commit/two", "branch/y"] {
            let args = ["patch", object, "--type=merge", "--patch", unprotected];
            s.cluster.kubectl(&args)?.output().await?;
            s.cluster.kubectl(&["delete", object])?.output().await?;
        }
        // Whoever leads next looks at once.
        operators(1).await?;
        let after: Commit = s.cluster.wait_ready("two").await?;
        let snapshots = |commit: &Commit| {
            let status = commit.status.clone().unwrap_or_default();
            let volumes = status.volumes.into_iter();
            (status.id, volumes.map(|volume| volume.guid).collect::<Vec<_>>())
        };
        ensure!(snapshots(&before) == snapshots(&after), "{before:?} became {after:?}");
        until("a Remnant of y", PATIENCE, async || {
            let left = s.cluster.remnants().await?;
            Ok(Look::when(!left.is_empty(), format!("{left:?}")))
        })
        .await?;
        let remnant = the_remnant(s).await?;
        ensure!(
            remnant.spec.name == "y" && remnant.spec.expires_at.is_none(),
            "{:?}",
            remnant.spec
        );
        let mut back = branch("y", "shop", "HEAD");
        back["spec"]["restoreFrom"] = json!(remnant.spec.id);
        s.cluster.apply([back]).await?;
        s.cluster.wait_ready::<Branch>("y").await?;
        no_remnants(s).await?;
        s.settled().await
    })
    .await;
}

#[tokio::test]
async fn a_deleted_dot_comes_back_with_its_data_and_its_commits() {
    scenario("restored", async |s| {
        let mut kept = dot("shop", &[("db", "64Mi")]);
        kept["spec"]["deletionPolicy"] = json!("Retain");
        s.cluster
            .apply([kept, claim("db", "64Mi", "Dot", "shop", "db")])
            .await?;
        in_a_pod(s, "db", "echo committed >/db/state; sync").await?;
        s.cluster.apply([commit("one", "shop")]).await?;
        let before: Commit = s.cluster.wait_ready("one").await?;
        in_a_pod(s, "db", "echo later >/db/state; sync").await?;
        s.cluster.delete::<PersistentVolumeClaim>("db").await?;
        s.cluster.delete::<Dot>("shop").await?;
        for name in ["one", "shop-initial"] {
            s.cluster.wait_gone::<Commit>(name).await?;
        }
        s.cluster.wait_gone::<Dot>("shop").await?;
        let remnant = the_remnant(s).await?;
        ensure!(remnant.spec.expires_at.is_none(), "{:?}", remnant.spec);
        s.settled().await?;

        let mut back = dot("shop", &[]);
        back["spec"] = json!({ "restoreFrom": remnant.spec.id });
        s.cluster.apply([back]).await?;
        s.cluster.wait_ready::<Dot>("shop").await?;
        let after: Commit = s.cluster.wait_ready("one").await?;
        // The branch is named where it was not, and space is told as it is now.
        let facts = |commit: &Commit| {
            let status = commit.status.clone().unwrap_or_default();
            let volumes = status.volumes.into_iter();
            let volumes: Vec<_> = volumes.map(|volume| (volume.name, volume.id, volume.guid)).collect();
            let spec = CommitSpec {
                branch: status.branch,
                ..commit.spec.clone()
            };
            (status.id, status.head, status.parent, status.time, volumes, spec)
        };
        ensure!(facts(&before) == facts(&after), "{before:?} became {after:?}");
        s.cluster
            .apply([
                claim("db", "64Mi", "Dot", "shop", "db"),
                claim("old", "64Mi", "Commit", "one", "db"),
            ])
            .await?;
        ensure!(in_a_pod(s, "db", "cat /db/state").await? == "later");
        ensure!(in_a_pod(s, "old", "cat /old/state").await? == "committed");
        no_remnants(s).await?;
        s.settled().await
    })
    .await;
}
