//! Everything together: the chart installed, real pods on real ZFS. Each scenario in a namespace of its own, and when
//! it is over the pool has nothing of it.

use anyhow::{Context, Result};
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{claim, dot, holder};
use dotmesh_e2e::pool::{self, Entry};
use dotmesh_e2e::scenario::Scenario;
use dotmesh_e2e::wait::{Look, until};

mod bad_input;
mod capacities;
mod claims;
mod classes;
mod conformance;
mod crashes;
mod deletion;
mod formats;
mod history;
mod imports;
mod inline;
mod installation;
mod pools;
mod reboot;
mod sizes;
mod story;

/// A Dot that a pod has placed: its only volume is called like the Dot, its claim and its pod as well.
async fn placed_dot(s: &Scenario, name: &str) -> Result<Dot> {
    let objects = [
        dot(name, &[(name, "64Mi")]),
        claim(name, "64Mi", "Dot", name, name),
        holder(name, &[name]),
    ];
    s.cluster.apply(objects).await?;
    s.cluster.wait_pod(name).await?;
    s.cluster.wait_ready(name).await
}

/// The namespace's datasets and snapshots.
async fn entries(s: &Scenario) -> Result<Vec<Entry>> {
    pool::of_namespace(&s.nodes, &s.cluster.namespace).await
}

/// How many volumes (datasets of the third level) and snapshots there are of these.
fn count(entries: &[Entry]) -> (usize, usize) {
    let snapshots = entries.iter().filter(|found| found.entry.name.contains('@')).count();
    let volumes = entries
        .iter()
        .filter(|e| !e.entry.name.contains('@') && e.entry.name.matches('/').count() == 2)
        .count();
    (volumes, snapshots)
}

/// Waits until a Branch tells this of who uses its volumes, as `volume by pod name`.
async fn used(s: &Scenario, branch: &str, wanted: &str) -> Result<()> {
    until("the Branch tells who uses it", PATIENCE, async || {
        let branch: Branch = s.cluster.get(branch).await?;
        let users = branch.status.map(|status| status.users).unwrap_or_default();
        let told: Vec<String> = users.iter().map(|user| format!("{} by {user}", user.volume)).collect();
        Ok(Look::when(told == [wanted], format!("{told:?}")))
    })
    .await
}

/// Name of the commit that a branch came from.
fn origin_of(branch: &Branch) -> Option<&str> {
    Some(branch.status.as_ref()?.origin.as_ref()?.commit_name.as_str())
}

/// Id of a Ready commit.
fn id_of(commit: &Commit) -> Result<String> {
    let id = commit.status.as_ref().and_then(|status| status.id.clone());
    id.context("a Ready commit has an id")
}
