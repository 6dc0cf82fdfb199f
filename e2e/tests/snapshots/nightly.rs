//! The nightly VolumeSnapshot of `docs/snapshots.md`, as it stands there.

use anyhow::{Context, Result, ensure};
use dotmesh_crds::Commit;
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{claim, dot, holder};
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use serde_json::Value;

use super::{commit_of, copy, wait_usable};

/// The example's manifest: the page's block of YAML with a CronJob.
fn manifest() -> Result<String> {
    let page = std::fs::read_to_string(chart::checkout().join("docs/snapshots.md"))?;
    let mut blocks = page.split("```yaml\n").skip(1);
    let block = blocks.find_map(|rest| rest.split("\n```").next().filter(|text| text.contains("kind: CronJob")));
    block.map(str::to_owned).context("docs/snapshots.md has no CronJob")
}

/// What the CronJob made.
async fn snapshots(s: &Scenario) -> Result<Vec<Value>> {
    let args = ["get", "volumesnapshots", "-l", "schedule=nightly", "-o", "json"];
    let list: Value = serde_json::from_str(&s.cluster.kubectl(&args)?.output().await?)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_cron_job_takes_volume_snapshots_that_stand_in_the_history_and_are_restored() {
    scenario("nightly", async |s| {
        s.cluster
            .apply([
                dot("shop", &[("db", "64Mi")]),
                claim("db", "64Mi", "Dot", "shop", "db"),
                holder("app", &["db"]),
            ])
            .await?;
        s.cluster.wait_pod("app").await?;
        s.cluster
            .kubectl(&["apply", "-f", "-"])?
            .input(manifest()?)
            .output()
            .await?;
        for night in ["first", "second"] {
            s.cluster.bash("app", &format!("echo {night} > /db/file; sync")).await?;
            let job = format!("nightly-{night}");
            let args = ["create", "job", "--from=cronjob/nightly", &job];
            s.cluster.kubectl(&args)?.output().await?;
            let timeout = format!("--timeout={}s", PATIENCE.as_secs());
            let args = ["wait", "--for=condition=Complete", &format!("job/{job}"), &timeout];
            s.cluster.kubectl(&args)?.within(2 * PATIENCE).output().await?;
            until("its VolumeSnapshots are usable", PATIENCE, async || {
                let taken = snapshots(s).await?;
                let wanted = if night == "first" { 1 } else { 2 };
                ensure!(taken.len() == wanted, "{} VolumeSnapshots", taken.len());
                let usable = taken.iter().all(|taken| taken["status"]["readyToUse"] == true);
                Ok(Look::when(usable, "not all of them"))
            })
            .await?;
        }

        // They are in the Dot's history, the second one after the first.
        let mut taken = snapshots(s).await?;
        taken.sort_by_key(|taken| taken["status"]["creationTime"].to_string());
        let [first, second] = [&taken[0], &taken[1]].map(commit_of);
        let log = s.cluster.kubectl(&["get", "commits"])?.output().await?;
        for commit in [&first, &second] {
            let line = log.lines().find(|line| line.starts_with(commit.as_str()));
            ensure!(line.is_some_and(|line| line.contains("nightly")), "{log}");
        }
        let (earlier, later): (Commit, Commit) = (s.cluster.get(&first).await?, s.cluster.get(&second).await?);
        let parent = later.status.and_then(|status| status.parent);
        ensure!(parent == earlier.status.and_then(|status| status.id), "{parent:?}");

        // The first night, restored.
        let name = taken[0]["metadata"]["name"].as_str().context("a name")?;
        wait_usable(s, name).await?;
        s.cluster
            .apply([
                copy("db-then", "64Mi", "VolumeSnapshot", name),
                holder("look", &["db-then"]),
            ])
            .await?;
        s.cluster.wait_pod("look").await?;
        let seen = s.cluster.bash("look", "cat /db-then/file").await?;
        ensure!(seen.trim() == "first", "{seen}");

        // The job's account can take VolumeSnapshots, and nothing else with them.
        for (verb, kind, expected) in [
            ("create", "volumesnapshots.snapshot.storage.k8s.io", "yes"),
            ("delete", "volumesnapshots.snapshot.storage.k8s.io", "no"),
            ("list", "volumesnapshots.snapshot.storage.k8s.io", "no"),
            ("create", "commits.dotmesh.io", "no"),
            ("get", "secrets", "no"),
        ] {
            let account = format!("--as=system:serviceaccount:{}:nightly", s.cluster.namespace);
            let answer = s
                .cluster
                .kubectl(&["auth", "can-i", verb, kind, &account])?
                .ended()
                .await?;
            ensure!(answer.stdout.trim() == expected, "{verb} {kind}: {}", answer.stdout);
        }
        Ok(())
    })
    .await;
}
