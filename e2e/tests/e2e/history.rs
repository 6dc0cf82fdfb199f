//! Commits make a history, and references name its parts.

use anyhow::{Context, ensure};
use dotmesh_crds::{Branch, Commit};
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{branch, commit};
use dotmesh_e2e::program::Program;
use dotmesh_e2e::scenario::scenario;

use super::{count, entries, id_of, origin_of, placed_dot};

#[tokio::test]
async fn branches_start_where_their_reference_says() {
    scenario("references", async |s| {
        placed_dot(s, "shop").await?;
        for name in ["one", "two"] {
            s.cluster.apply([commit(name, "shop")]).await?;
            s.cluster.wait_ready::<Commit>(name).await?;
        }
        let (one, two): (Commit, Commit) = (s.cluster.get("one").await?, s.cluster.get("two").await?);
        // Who asked for it, as the server says.
        let me = Program::kubectl(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])?;
        let operator = format!("system:serviceaccount:{}:dotmesh-operator", chart::NAMESPACE);
        let initial: Commit = s.cluster.get("shop-initial").await?;
        for (commit, who) in [(&one, me.output().await?), (&initial, operator)] {
            ensure!(commit.spec.committer.as_ref() == Some(&who), "{who}: {:?}", commit.spec);
        }
        let status = two.status.as_ref().context("two is Ready")?;
        ensure!(status.parent == Some(id_of(&one)?), "{:?}", status.parent);
        ensure!(
            status.branch.as_deref() == Some("main")
                && status.createtxg > one.status.as_ref().and_then(|s| s.createtxg)
        );
        ensure!(status.volumes.iter().all(|volume| volume.guid.parse::<u64>().is_ok()));

        let prefix: String = id_of(&one)?.chars().take(13).collect();
        let cases = [
            ("at-head", "HEAD", "two"),
            ("at-parent", "HEAD~1", "one"),
            ("at-caret", "HEAD^", "one"),
            ("at-root", "HEAD~2", "shop-initial"),
            ("at-commit", "one", "one"),
            ("at-branch", "main", "two"),
            ("at-branch-parent", "main~1", "one"),
            ("at-id", prefix.as_str(), "one"),
        ];
        s.cluster
            .apply(cases.map(|(name, from, _)| branch(name, "shop", from)))
            .await?;
        for (name, from, expected) in cases {
            let made: Branch = s.cluster.wait_ready(name).await?;
            ensure!(origin_of(&made) == Some(expected), "{from}: {:?}", origin_of(&made));
        }
        s.settled().await?;
        // A volume per branch, and per commit a snapshot of the head and one of the volume.
        ensure!(
            count(&entries(s).await?) == (1 + cases.len(), 2 * 3),
            "{:?}",
            entries(s).await?
        );

        // A branch of a branch, and a commit on one.
        let mut aside = commit("aside", "shop");
        aside["spec"]["branch"] = "at-parent".into();
        s.cluster.apply([aside]).await?;
        let aside: Commit = s.cluster.wait_ready("aside").await?;
        ensure!(aside.status.as_ref().and_then(|s| s.parent.clone()) == Some(id_of(&one)?));
        s.cluster
            .apply([
                branch("grandchild", "shop", "at-parent"),
                branch("back", "shop", "at-parent~1"),
            ])
            .await?;
        let grandchild: Branch = s.cluster.wait_ready("grandchild").await?;
        ensure!(origin_of(&grandchild) == Some("aside"));
        let back: Branch = s.cluster.wait_ready("back").await?;
        ensure!(origin_of(&back) == Some("one"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_commit_says_what_it_is() {
    scenario("commit fields", async |s| {
        placed_dot(s, "shop").await?;
        let mut object = commit("told", "shop");
        let message = "zwölf Zeilen\n\tund ein Tabulator; 'Anführung' \"\\\" €";
        object["spec"]["message"] = message.into();
        object["spec"]["metadata"] = serde_json::json!({"build": "512", "long": "x".repeat(4096)});
        s.cluster.apply([object]).await?;
        // As kstatus and kubectl understand it.
        let wait = ["wait", "--for=condition=Ready", "commit/told", "--timeout=120s"];
        s.cluster.kubectl(&wait)?.within(PATIENCE).output().await?;
        let told: Commit = s.cluster.wait_ready("told").await?;
        ensure!(told.spec.message.as_deref() == Some(message));
        let status = told.status.context("a Ready Commit has a status")?;
        ensure!(
            status.time.is_some() && status.node.is_some() && status.observed_generation == Some(1),
            "{status:?}"
        );
        let table = s.cluster.kubectl(&["get", "commit", "told"])?.output().await?;
        ensure!(table.contains("shop") && table.contains("True"), "{table}");
        Ok(())
    })
    .await;
}
