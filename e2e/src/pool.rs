//! The pool as `zfs list` shows it, and whether it and the objects account for each other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dotmesh_crds::{Branch, Commit, Dot};
use serde_json::Value;

use crate::cluster::{Cluster, is_ready};
use crate::node::Nodes;

/// The dataset that everything of ours is below.
pub const ROOT: &str = "dotmesh/dotmesh";

/// The property of a Dot's dataset that says whose it is; what is below inherits it.
const DOT_PROPERTY: &str = "io.dotmesh:dot";

/// A dataset or snapshot below the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Name below the root: `DOT/HEAD/VOLUME` or `DOT/HEAD@COMMIT`.
    pub name: String,
    /// Its GUID, decimal.
    pub guid: String,
    /// The snapshot it is a clone of, named as above.
    pub origin: Option<String>,
    /// Namespace of the Dot.
    pub namespace: Option<String>,
}

/// Everything below the root, on all nodes. The root itself is not in it.
///
/// # Errors
/// When a node does not answer.
pub async fn entries(nodes: &Nodes) -> Result<Vec<Entry>> {
    let columns = format!("name,guid,origin,{DOT_PROPERTY}");
    let mut all = Vec::new();
    for node in nodes.names() {
        let command = [
            "zfs",
            "list",
            "-Hp",
            "-r",
            "-t",
            "filesystem,volume,snapshot",
            "-o",
            &columns,
            ROOT,
        ];
        let text = nodes.run(node, &command).await?;
        all.extend(text.lines().filter_map(parse_entry));
    }
    all.sort();
    Ok(all)
}

/// Everything of one namespace's Dots.
///
/// # Errors
/// As [`entries`].
pub async fn of_namespace(nodes: &Nodes, namespace: &str) -> Result<Vec<Entry>> {
    let mut all = entries(nodes).await?;
    all.retain(|entry| entry.namespace.as_deref() == Some(namespace));
    Ok(all)
}

/// Bytes that the root dataset uses, over all nodes, and bytes that the pools are still freeing.
///
/// # Errors
/// When a node does not answer.
pub async fn used(nodes: &Nodes) -> Result<(u64, u64)> {
    let (mut used, mut freeing) = (0, 0);
    for node in nodes.names() {
        let text = nodes
            .run(node, &["zfs", "get", "-Hp", "-o", "value", "used", ROOT])
            .await?;
        used += text.trim().parse::<u64>().context("used is a number")?;
        let pool = ROOT.split('/').next().unwrap_or_default();
        let text = nodes
            .run(node, &["zpool", "get", "-Hp", "-o", "value", "freeing", pool])
            .await?;
        freeing += text.trim().parse::<u64>().unwrap_or(0);
    }
    Ok((used, freeing))
}

fn parse_entry(line: &str) -> Option<Entry> {
    let mut fields = line.split('\t');
    let name = fields.next()?.strip_prefix(ROOT)?.strip_prefix('/')?;
    let guid = fields.next()?;
    let origin = fields
        .next()?
        .strip_prefix(ROOT)
        .and_then(|rest| rest.strip_prefix('/'));
    Some(Entry {
        name: name.to_owned(),
        guid: guid.to_owned(),
        origin: origin.map(str::to_owned),
        namespace: fields.next().and_then(parse_namespace),
    })
}

/// `1:` and base64url of `{"namespace": …}`.
fn parse_namespace(property: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(property.strip_prefix("1:")?).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    Some(value.get("namespace")?.as_str()?.to_owned())
}

/// What the namespace's objects and the pool do not agree on; empty when each accounts for the other.
///
/// # Errors
/// When one of both cannot be read.
pub async fn differences(cluster: &Cluster, nodes: &Nodes) -> Result<Vec<String>> {
    let dots: Vec<Dot> = cluster.list().await?;
    let branches: Vec<Branch> = cluster.list().await?;
    let commits: Vec<Commit> = cluster.list().await?;
    let found = of_namespace(nodes, &cluster.namespace).await?;
    Ok(compare(&expected(&dots, &branches, &commits), &found))
}

/// Names that must be in the pool, snapshots with their GUID; `heads` may be there because commits are of them.
#[derive(Debug, Default)]
struct Expected {
    datasets: BTreeSet<String>,
    snapshots: BTreeMap<String, Option<String>>,
    heads: BTreeSet<String>,
}

fn expected(dots: &[Dot], branches: &[Branch], commits: &[Commit]) -> Expected {
    let mut expected = Expected::default();
    let ids: BTreeMap<&str, &str> = dots
        .iter()
        .filter_map(|dot| {
            let status = dot.status.as_ref()?;
            let placed = status.node.is_some() && !status.volumes.is_empty();
            Some((dot.metadata.name.as_deref()?, status.id.as_deref().filter(|_| placed)?))
        })
        .collect();
    expected.datasets.extend(ids.values().map(|id| (*id).to_owned()));
    for branch in branches.iter().filter(|branch| is_ready(*branch)) {
        let (Some(status), Some(dot)) = (&branch.status, ids.get(branch.spec.dot.as_str())) else {
            continue;
        };
        let Some(head) = &status.head else { continue };
        expected.datasets.insert(format!("{dot}/{head}"));
        for volume in &status.volumes {
            expected.datasets.insert(format!("{dot}/{head}/{}", volume.id));
        }
    }
    for commit in commits.iter().filter(|commit| is_ready(*commit)) {
        let (Some(status), Some(dot)) = (&commit.status, ids.get(commit.spec.dot.as_str())) else {
            continue;
        };
        let (Some(head), Some(id)) = (&status.head, &status.id) else {
            continue;
        };
        expected.heads.insert(format!("{dot}/{head}"));
        expected.snapshots.insert(format!("{dot}/{head}@{id}"), None);
        for volume in &status.volumes {
            expected.heads.insert(format!("{dot}/{head}/{}", volume.id));
            let snapshot = format!("{dot}/{head}/{}@{id}", volume.id);
            expected.snapshots.insert(snapshot, Some(volume.guid.clone()));
        }
    }
    expected
}

fn compare(expected: &Expected, found: &[Entry]) -> Vec<String> {
    let by_name: BTreeMap<&str, &Entry> = found.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let origins: BTreeSet<&str> = found.iter().filter_map(|entry| entry.origin.as_deref()).collect();
    // A clone keeps the datasets alive that its origin is a snapshot of.
    let pinned = |name: &str| {
        origins.iter().any(|origin| {
            let dataset = origin.split('@').next().unwrap_or_default();
            dataset == name || dataset.rsplit_once('/').is_some_and(|(head, _)| head == name)
        })
    };
    let missing = expected.datasets.iter().chain(expected.snapshots.keys());
    let missing = missing.filter(|name| !by_name.contains_key(name.as_str()));
    let mut differences: Vec<String> = missing.map(|name| format!("{name} is missing in the pool")).collect();
    for entry in found {
        let name = entry.name.as_str();
        let accounted = match expected.snapshots.get(name) {
            Some(Some(guid)) if *guid != entry.guid => {
                differences.push(format!("{name} has GUID {} where its Commit says {guid}", entry.guid));
                true
            }
            Some(_) => true,
            None if name.contains('@') => origins.contains(name),
            None => expected.datasets.contains(name) || expected.heads.contains(name) || pinned(name),
        };
        if !accounted {
            differences.push(format!("{name} has no object"));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, origin: Option<&str>) -> Entry {
        Entry {
            name: name.to_owned(),
            guid: "1".to_owned(),
            origin: origin.map(str::to_owned),
            namespace: None,
        }
    }

    #[test]
    fn a_line_of_zfs_list_says_whose_it_is() {
        let whose = URL_SAFE_NO_PAD.encode(r#"{"namespace":"dev","name":"shop"}"#);
        let line = format!("{ROOT}/d/h/v\t7\t{ROOT}/d/g/v@c\t1:{whose}");
        let expected = Entry {
            name: "d/h/v".to_owned(),
            guid: "7".to_owned(),
            origin: Some("d/g/v@c".to_owned()),
            namespace: Some("dev".to_owned()),
        };
        assert_eq!(parse_entry(&line), Some(expected));
        assert_eq!(parse_entry(&format!("{ROOT}\t1\t-\t-")), None);
    }

    #[test]
    fn what_lacks_an_object_and_what_lacks_a_dataset_is_named() {
        let expected = Expected {
            datasets: ["d", "d/h", "d/h/v", "d/h/w"].map(str::to_owned).into(),
            snapshots: BTreeMap::from([("d/h/v@c".to_owned(), Some("2".to_owned()))]),
            heads: ["d/h", "d/h/v"].map(str::to_owned).into(),
        };
        let found = [
            entry("d", None),
            entry("d/h", None),
            entry("d/h/v", None),
            entry("d/h/v@c", None),
            entry("d/x", None),
        ];
        assert_eq!(
            compare(&expected, &found),
            [
                "d/h/w is missing in the pool",
                "d/h/v@c has GUID 1 where its Commit says 2",
                "d/x has no object",
            ]
        );
    }

    #[test]
    fn what_a_branch_was_cloned_from_may_outlive_its_commit() {
        let expected = Expected {
            datasets: ["d", "d/h", "d/h/v"].map(str::to_owned).into(),
            ..Expected::default()
        };
        let found = [
            entry("d", None),
            entry("d/g", None),
            entry("d/g/v", None),
            entry("d/g/v@c", None),
            entry("d/h", None),
            entry("d/h/v", Some("d/g/v@c")),
        ];
        assert_eq!(compare(&expected, &found), Vec::<String>::new());
    }
}
