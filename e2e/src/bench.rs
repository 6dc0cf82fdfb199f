//! The benchmarks: counts first, then times beside the floor, which is the same work done by the bare command in the
//! same run, alternating. Prints Markdown.
//!
//! Counts come from the programs' own metrics; times of operations are those a user sees (object created → Ready).

mod counts;
mod floor;
mod latency;
mod memory;
mod metrics;
mod table;

use std::time::Duration;

use anyhow::Result;

use crate::scenario::Scenario;

pub use table::Report;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Samples of each time.
    pub samples: usize,
    /// Commits that exist when memory is read the second time.
    pub commits: usize,
    /// Size of the large volume; the pool must have room for it (its file may be sparse).
    pub large: &'static str,
}

/// Volumes of the Dots that commits are compared of.
const VOLUMES: [usize; 3] = [1, 10, 100];

/// How long anything may take that makes 100 datasets on an emulated node.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures everything in the scenario's namespace and returns the report.
///
/// # Errors
/// When something cannot be measured.
pub async fn run(scenario: &Scenario, options: Options) -> Result<Report> {
    let mut report = Report::new();
    let metrics = metrics::Metrics::connect(&scenario.cluster).await?;
    report.environment(scenario).await?;
    memory::idle(scenario, &metrics, &mut report).await?;
    counts::run(scenario, &metrics, &mut report).await?;
    latency::commits(scenario, options, &mut report).await?;
    latency::branches(scenario, options, &mut report).await?;
    latency::publish(scenario, &metrics, options, &mut report).await?;
    memory::with_commits(scenario, &metrics, options, &mut report).await?;
    Ok(report)
}
