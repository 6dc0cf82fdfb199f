//! The demo: databases are written to, committed, branched, examined and deleted, and each step says how long it took.
//!
//! PostgreSQL and Redis lie on two volumes of one Dot. A writer increments a counter first in PostgreSQL, then in Redis,
//! so at every instant redis ≤ postgres ≤ redis + 1: a commit that did not take both volumes at one instant shows.

mod app;
mod checks;
mod cleanup;
mod databases;
mod story;

use std::time::Instant;

use anyhow::{Result, ensure};
use dotmesh_crds::{Branch, Commit, Dot};
use k8s_openapi::api::core::v1::Pod;

use crate::objects;
use crate::pool;
use crate::scenario::Scenario;
use app::App;
pub use story::Story;

/// The demo's Dot.
const DOT: &str = "shop";
/// Its volumes, which are also the names of the claims on it: name and size.
const VOLUMES: [(&str, &str); 2] = [("db", "2Gi"), ("cache", "256Mi")];
/// How far the counter is before the first commit.
const WARM_UP: u64 = 30;

/// How the demo is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many commits are made, branched and examined.
    pub commits: u32,
    /// Decides the order of the deletions.
    pub seed: u64,
}

/// Tells the whole story in the scenario's namespace.
///
/// # Errors
/// The first thing that is not as it should be.
pub async fn run(scenario: &Scenario, options: Options, story: &mut Story) -> Result<()> {
    let cluster = &scenario.cluster;
    let before = (
        pool::entries(&scenario.nodes).await?,
        pool::used(&scenario.nodes).await?.0,
    );
    story.say(format!(
        "the pool has {} datasets and snapshots of ours",
        before.0.len()
    ));

    story.chapter("A Dot, and databases on it");
    let (dot_name, first) = (DOT, databases::names(None));
    story
        .step("kubectl apply: Dot shop with the volumes db and cache", async {
            cluster.apply([objects::dot(dot_name, &VOLUMES)]).await
        })
        .await?;
    story
        .step(
            "kubectl apply: a claim on each, PostgreSQL 17 and Redis as pods; both ready",
            async {
                cluster.apply(databases::manifests(&first, "Dot", dot_name)).await?;
                databases::wait(cluster, &first).await
            },
        )
        .await?;
    let dot: Dot = story
        .step(
            "the Dot is Ready, its initial commit made",
            cluster.wait_ready(dot_name),
        )
        .await?;
    let node = dot.status.and_then(|status| status.node).unwrap_or_default();
    story.say(format!(
        "its data lies on node {node}, where the first pod was scheduled"
    ));
    let app = story
        .step("pgbench's tables, a writer and pgbench; the counter runs", async {
            let app = App::start(cluster, &first).await?;
            app.wait_for(WARM_UP).await?;
            Ok(app)
        })
        .await?;
    let quiet = app.ticks().await?;

    story.chapter("Commits while both databases are written to, and a branch from each");
    for number in 1..=options.commits {
        commit_and_examine(scenario, &app, number, story).await?;
    }

    story.chapter("The originals went on");
    let ticks = story.step("the writer still writes", app.next()).await?;
    story.say(format!("writer: {}", app::summary(&quiet, &ticks)));
    story.say(format!("pgbench: {}", app.pgbench().await?));
    story.show(&cluster.kubectl(&["get", "dots,branches,commits"])?.output().await?);

    story.chapter("Everything is deleted, in a shuffled order");
    story.step("the pods", cleanup::delete_pods(cluster)).await?;
    let order = cleanup::shuffled(cluster, options.seed).await?;
    story.say(format!("seed {}: {}", options.seed, cleanup::shown(&order)));
    story
        .step(
            &format!("{} deletions asked for", order.len()),
            cleanup::delete(cluster, &order),
        )
        .await?;
    story
        .step("all of them gone", cleanup::wait_gone(cluster, order.len()))
        .await?;
    story
        .step(
            "the pool is as empty as at the start",
            cleanup::wait_empty(&scenario.nodes, &before.0, before.1),
        )
        .await
}

async fn commit_and_examine(scenario: &Scenario, app: &App<'_>, number: u32, story: &mut Story) -> Result<()> {
    let cluster = &scenario.cluster;
    let (commit, branch) = (format!("commit-{number}"), format!("branch-{number}"));
    let earliest = app.last().await?.postgres;
    let start = Instant::now();
    let made: Commit = story
        .step(&format!("kubectl apply: Commit {commit}; Ready"), async {
            cluster.apply([objects::commit(&commit, DOT)]).await?;
            cluster.wait_ready(&commit).await
        })
        .await?;
    let volumes = made.status.map_or(0, |status| status.volumes.len());
    ensure!(volumes == VOLUMES.len(), "{commit} has {volumes} volumes");
    let _: Branch = story
        .step(&format!("kubectl apply: Branch {branch} from it; Ready"), async {
            cluster.apply([objects::branch(&branch, DOT, &commit)]).await?;
            cluster.wait_ready(&branch).await
        })
        .await?;
    let second = databases::names(Some(number));
    story
        .step(
            "a second PostgreSQL and a second Redis on the branch; both ready",
            async {
                cluster.apply(databases::manifests(&second, "Branch", &branch)).await?;
                databases::wait(cluster, &second).await
            },
        )
        .await?;
    let latest = app.next().await?.last().map_or(0, |tick| tick.postgres);
    let findings = story
        .step("the branch is examined: counter, pgbench's sums, amcheck", async {
            let findings = checks::examine(cluster, &second).await?;
            findings.judge(earliest..=latest)?;
            Ok(findings)
        })
        .await?;
    story.say(format!(
        "{findings}; {:.1} s from the commit",
        start.elapsed().as_secs_f64()
    ));
    story
        .step("its pods are deleted, its claims stay", async {
            for pod in [&second.db, &second.cache] {
                cluster.delete::<Pod>(pod).await?;
            }
            for pod in [&second.db, &second.cache] {
                cluster.wait_gone::<Pod>(pod).await?;
            }
            Ok(())
        })
        .await
}
