//! The benchmarks: counts first, then times beside the floor, which is the same work done by the bare command in the
//! same run, alternating. Prints Markdown.
//!
//! Counts come from the programs' own metrics; times of operations are those a user sees (object created → Ready).

mod claims;
mod counts;
mod floor;
mod latency;
mod memory;
mod metrics;
mod requests;
mod snapshots;
mod table;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::scenario::Scenario;

pub use table::Report;

/// A part of the benchmarks; they run in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Memory, idle.
    Idle,
    /// Counts per operation.
    Counts,
    /// Commits of 1, 10 and 100 volumes.
    Commits,
    /// Branches of a small and a large volume.
    Branches,
    /// Publishing a volume.
    Publish,
    /// Many claims at once.
    Claims,
    /// Many commits: their rate, and memory afterwards.
    Many,
    /// VolumeSnapshots. Only when it is named: the cluster must have csi-snapshotter.
    Snapshots,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Samples of each time.
    pub samples: usize,
    /// Commits that exist when memory is read the second time.
    pub commits: usize,
    /// Claims that are made at once.
    pub claims: usize,
    /// Size of the large volume; the pool must have room for it (its file may be sparse).
    pub large: &'static str,
}

/// Volumes of the Dots that commits are compared of.
const VOLUMES: [usize; 3] = [1, 10, 100];

/// How long anything may take that makes 100 datasets on an emulated node.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures the parts (none: all but VolumeSnapshots) in the scenario's namespace and returns the report.
///
/// # Errors
/// When something cannot be measured.
pub async fn run(scenario: &Scenario, parts: &[Part], options: Options) -> Result<Report> {
    let mut report = Report::new();
    let metrics = metrics::Metrics::connect(&scenario.cluster).await?;
    report.environment(scenario).await?;
    let is_wanted = |part: &&Part| parts.contains(part) || parts.is_empty() && **part != Part::Snapshots;
    for part in Part::value_variants().iter().filter(is_wanted) {
        match part {
            Part::Idle => memory::idle(scenario, &metrics, &mut report).await?,
            Part::Counts => counts::run(scenario, &metrics, &mut report).await?,
            Part::Commits => latency::commits(scenario, options, &mut report).await?,
            Part::Branches => latency::branches(scenario, options, &mut report).await?,
            Part::Publish => latency::publish(scenario, &metrics, options, &mut report).await?,
            Part::Claims => claims::run(scenario, &metrics, options.claims, &mut report).await?,
            Part::Many => memory::with_commits(scenario, &metrics, options, &mut report).await?,
            Part::Snapshots => snapshots::run(scenario, options, &mut report).await?,
        }
    }
    Ok(report)
}
