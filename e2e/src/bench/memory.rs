//! Memory of both programs, and how fast many commits go.

use std::time::Instant;

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::metrics::Metrics;
use super::table::Report;
use super::{Options, floor, latency};
use crate::scenario::Scenario;

/// Dots that the many commits are spread over.
const DOTS: usize = 20;

/// Commits under way at once.
const CONCURRENT: usize = 40;

/// Memory before anything was made.
pub(super) async fn idle(scenario: &Scenario, metrics: &Metrics, report: &mut Report) -> Result<()> {
    metrics.settled().await?;
    report.heading("Memory, idle");
    header(report);
    row(scenario, report, "nothing made yet").await
}

/// Memory with many commits, and the rate at which they were made.
pub(super) async fn with_commits(
    scenario: &Scenario,
    metrics: &Metrics,
    options: Options,
    report: &mut Report,
) -> Result<()> {
    for dot in 0..DOTS {
        latency::placed_dot(scenario, &format!("many-{dot}"), 1, "64Mi").await?;
    }
    let before = metrics.settled().await?;
    let start = Instant::now();
    stream::iter(0..options.commits)
        .map(|n| async move {
            let dot = format!("many-{}", n % DOTS);
            latency::commit(scenario, &dot, &format!("{dot}-c{n}")).await
        })
        .buffer_unordered(CONCURRENT)
        .try_collect::<Vec<f64>>()
        .await?;
    let seconds = start.elapsed().as_secs_f64();
    let counted = metrics.settled().await?.since(&before);
    let snapshots = counted.by_label(super::counts::PROCESSES, "verb");
    let snapshots = snapshots
        .iter()
        .find(|(verb, _)| verb == "zfs snapshot")
        .map_or(0.0, |(_, value)| *value);
    #[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
    let commits = options.commits as f64;
    report.heading("Many commits");
    report.line(format_args!(
        "{} commits over {DOTS} Dots, {CONCURRENT} under way at once: {seconds:.1} s, {:.1} commits/s, {snapshots} `zfs \
         snapshot` processes ({:.1} commits each), {:.2} API writes of the operator per commit.\n",
        options.commits,
        commits / seconds,
        commits / snapshots,
        counted.sum(super::counts::API_WRITES) / commits,
    ));
    header(report);
    row(scenario, report, &format!("{} commits", options.commits)).await
}

fn header(report: &mut Report) {
    report.header(&["state", "operator, MiB", "csi-node, MiB"]);
}

async fn row(scenario: &Scenario, report: &mut Report, state: &str) -> Result<()> {
    let operator = resident(scenario, "dotmesh-operator").await?;
    let csi_node = resident(scenario, "dotmesh-csi-node").await?;
    report.row(&[state.to_owned(), format!("{operator:.1}"), format!("{csi_node:.1}")]);
    Ok(())
}

/// Resident memory of a program on the node, in MiB. The kernel cuts a program's name to 15 characters.
async fn resident(scenario: &Scenario, program: &str) -> Result<f64> {
    let name: String = program.chars().take(15).collect();
    let text = floor::shell(scenario, &format!("grep VmRSS /proc/$(pgrep -o -x {name})/status")).await?;
    let kib = text.split_whitespace().nth(1).context("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
