//! The node from outside: its `zfs` by ssh.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::program::{Program, variable};

/// How to run commands on the cluster's nodes.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// Words before a command, by the node's name; the name is empty when there is one node only.
    prefixes: BTreeMap<String, Vec<String>>,
}

impl Nodes {
    /// As `DOTMESH_TEST_SSH` says.
    ///
    /// # Errors
    /// When the variable is missing or not of either form.
    pub fn from_env() -> Result<Self> {
        parse_prefixes(&variable("DOTMESH_TEST_SSH")?).context("read DOTMESH_TEST_SSH")
    }

    /// Names of all nodes; one empty name when there is one node only.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.prefixes.keys().map(String::as_str)
    }

    /// Words before a command for a node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn prefix(&self, node: &str) -> Result<&[String]> {
        let prefix = self.prefixes.get(node).or_else(|| self.prefixes.get(""));
        let prefix = prefix.with_context(|| format!("DOTMESH_TEST_SSH knows no node {node}"))?;
        Ok(prefix)
    }

    /// Runs a command on a node and returns what it printed. The words must mean the same to the node's shell.
    ///
    /// # Errors
    /// When it fails or takes longer than a minute.
    pub async fn run(&self, node: &str, command: &[&str]) -> Result<String> {
        self.run_within(Duration::from_secs(60), node, command).await
    }

    /// The same, with a deadline of one's own.
    ///
    /// # Errors
    /// When it fails or takes longer.
    pub async fn run_within(&self, time: Duration, node: &str, command: &[&str]) -> Result<String> {
        let program = Program::new(self.prefix(node)?).args(command.iter().copied());
        program.within(time).output().await
    }
}

fn parse_prefixes(text: &str) -> Result<Nodes> {
    let words = |value: &Value| -> Result<Vec<String>> {
        let Value::Array(items) = value else {
            bail!("{value} is not an array")
        };
        let words = items.iter().map(|item| item.as_str().map(str::to_owned));
        words
            .collect::<Option<_>>()
            .context("an array has something else than strings")
    };
    let parsed: Value = serde_json::from_str(text)?;
    let prefixes = if let Value::Object(nodes) = &parsed {
        let nodes = nodes.iter().map(|(name, value)| Ok((name.clone(), words(value)?)));
        nodes.collect::<Result<_>>()?
    } else {
        BTreeMap::from([(String::new(), words(&parsed)?)])
    };
    Ok(Nodes { prefixes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_understood() {
        let one = parse_prefixes(r#"["ssh", "root@n1"]"#).unwrap();
        assert_eq!(one.prefixes[""], ["ssh", "root@n1"]);
        let two = parse_prefixes(r#"{"n1": ["ssh", "a"], "n2": ["ssh", "b"]}"#).unwrap();
        assert_eq!(two.names().collect::<Vec<_>>(), ["n1", "n2"]);
        assert!(parse_prefixes(r#"["ssh", 1]"#).is_err());
        assert!(parse_prefixes("ssh").is_err());
    }
}
