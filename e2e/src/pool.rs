//! The pool as `zfs list` shows it, and whether it and the objects account for each other.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_model::bijection;
use dotmesh_testkit::accounts::expected;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::node::Nodes;

/// The dataset that everything of ours is below, in the pool that each node has.
pub const ROOT: &str = "dotmesh/dotmesh";

/// The dataset of that name in any pool of a node: of class `default`, or of another.
fn below_root(name: &str) -> Option<&str> {
    let (pool, rest) = name.split_once('/')?;
    let is_ours = pool == "dotmesh" || pool.starts_with("dotmesh-");
    rest.strip_prefix("dotmesh/").filter(|_| is_ours)
}

/// The property of a Dot's dataset that says whose it is; what is below inherits it.
const DOT_PROPERTY: &str = "io.dotmesh:dot";

/// A dataset or snapshot below the root, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What it is.
    pub entry: bijection::Entry,
    /// Namespace of the Dot.
    pub namespace: Option<String>,
}

/// Everything below the roots of all pools, on all nodes. The roots themselves are not in it.
///
/// # Errors
/// When a node does not answer.
pub async fn entries(nodes: &Nodes) -> Result<Vec<Entry>> {
    let mut all = Vec::new();
    for node in nodes.names() {
        all.append(&mut entries_on(nodes, node).await?);
    }
    all.sort();
    Ok(all)
}

/// Everything below the roots on one node.
///
/// # Errors
/// When it does not answer.
pub async fn entries_on(nodes: &Nodes, node: &str) -> Result<Vec<Entry>> {
    let columns = format!("name,guid,origin,{DOT_PROPERTY}");
    let kinds = "filesystem,volume,snapshot";
    // Without a name: of all pools that are imported.
    let command = ["zfs", "list", "-Hp", "-t", kinds, "-o", &columns];
    let text = nodes.run(node, &command).await?;
    Ok(text.lines().filter_map(parse_entry).collect())
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
    let name = below_root(fields.next()?)?;
    let guid = fields.next()?;
    let origin = below_root(fields.next()?);
    Some(Entry {
        entry: bijection::Entry {
            name: name.to_owned(),
            guid: guid.to_owned(),
            origin: origin.map(str::to_owned),
        },
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
    let remnants = cluster.remnants().await?;
    let found = of_namespace(nodes, &cluster.namespace).await?;
    let found: Vec<bijection::Entry> = found.into_iter().map(|found| found.entry).collect();
    Ok(bijection::compare(
        &expected(&dots, &branches, &commits, &remnants),
        &found,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_zfs_list_says_whose_it_is() {
        let whose = URL_SAFE_NO_PAD.encode(r#"{"namespace":"dev","name":"shop"}"#);
        let line = format!("{ROOT}/d/h/v\t7\t{ROOT}/d/g/v@c\t1:{whose}");
        let expected = Entry {
            entry: bijection::Entry {
                name: "d/h/v".to_owned(),
                guid: "7".to_owned(),
                origin: Some("d/g/v@c".to_owned()),
            },
            namespace: Some("dev".to_owned()),
        };
        assert_eq!(parse_entry(&line), Some(expected.clone()));
        assert_eq!(parse_entry(&line.replace(ROOT, "dotmesh-fast/dotmesh")), Some(expected));
        assert_eq!(parse_entry(&line.replace(ROOT, "tank/dotmesh")), None);
        assert_eq!(parse_entry(&format!("{ROOT}\t1\t-\t-")), None);
    }
}
