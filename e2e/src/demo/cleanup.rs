//! Everything is deleted, in any order.

use anyhow::Result;
use dotmesh_crds::{Branch, Commit, Dot};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};

use crate::cluster::{Cluster, PATIENCE, patience_for_deletions};
use crate::node::Nodes;
use crate::pool::{self, Entry};
use crate::wait::{Look, until};

/// What the pool may use more than at the start: metadata of the root dataset itself.
const SLACK: u64 = 1 << 20;

/// Something to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Victim {
    Commit(String),
    Branch(String),
    Claim(String),
    Dot(String),
}

/// Deletes all pods and waits until they are gone.
pub(super) async fn delete_pods(cluster: &Cluster) -> Result<()> {
    let pods = cluster.api::<Pod>();
    pods.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    until("the pods gone", PATIENCE, async || {
        let left: Vec<_> = cluster.list::<Pod>().await?.iter().map(ResourceExt::name_any).collect();
        Ok(Look::when(left.is_empty(), left.join(", ")))
    })
    .await
}

/// All commits, branches, claims and Dots of the namespace, in an order that the seed decides.
pub(super) async fn shuffled(cluster: &Cluster, seed: u64) -> Result<Vec<Victim>> {
    let mut all = Vec::new();
    all.extend(
        cluster
            .list::<Commit>()
            .await?
            .iter()
            .map(|c| Victim::Commit(c.name_any())),
    );
    all.extend(
        cluster
            .list::<Branch>()
            .await?
            .iter()
            .map(|b| Victim::Branch(b.name_any())),
    );
    all.extend(
        cluster
            .list::<PersistentVolumeClaim>()
            .await?
            .iter()
            .map(|c| Victim::Claim(c.name_any())),
    );
    all.extend(cluster.list::<Dot>().await?.iter().map(|d| Victim::Dot(d.name_any())));
    fastrand::Rng::with_seed(seed).shuffle(&mut all);
    Ok(all)
}

/// The first of them, for people.
pub(super) fn shown(order: &[Victim]) -> String {
    const SHOWN: usize = 8;
    let words = order.iter().take(SHOWN).map(|victim| match victim {
        Victim::Commit(name) => format!("commit/{name}"),
        Victim::Branch(name) => format!("branch/{name}"),
        Victim::Claim(name) => format!("claim/{name}"),
        Victim::Dot(name) => format!("dot/{name}"),
    });
    let text = words.collect::<Vec<_>>().join(", ");
    if order.len() > SHOWN { text + " …" } else { text }
}

/// Asks for the deletion of each, one after the other, without waiting for any.
pub(super) async fn delete(cluster: &Cluster, order: &[Victim]) -> Result<()> {
    for victim in order {
        match victim {
            Victim::Commit(name) => cluster.delete::<Commit>(name).await?,
            Victim::Branch(name) => cluster.delete::<Branch>(name).await?,
            Victim::Claim(name) => cluster.delete::<PersistentVolumeClaim>(name).await?,
            Victim::Dot(name) => cluster.delete::<Dot>(name).await?,
        }
    }
    Ok(())
}

/// Waits until none of so many is left.
pub(super) async fn wait_gone(cluster: &Cluster, victims: usize) -> Result<()> {
    until("everything gone", patience_for_deletions(victims), async || {
        let left = shuffled(cluster, 0).await?;
        Ok(Look::when(left.is_empty(), shown(&left)))
    })
    .await
}

/// Waits until the pool has the datasets and snapshots of the start, and uses no more than then.
pub(super) async fn wait_empty(nodes: &Nodes, before: &[Entry], used_before: u64) -> Result<()> {
    until("the pool as empty as at the start", PATIENCE, async || {
        let now = pool::entries(nodes).await?;
        let more: Vec<_> = now.iter().filter(|entry| !before.contains(entry)).collect();
        let (used, freeing) = pool::used(nodes).await?;
        let empty = more.is_empty() && now.len() == before.len() && used <= used_before + SLACK && freeing == 0;
        Ok(Look::when(
            empty,
            format!(
                "{} entries more; {used} bytes used, {used_before} at the start, {freeing} being freed",
                more.len()
            ),
        ))
    })
    .await
}
