//! Tests that documents name: each is there.

use std::fs;

use anyhow::{Context, Result};

use crate::process::Cmd;
use crate::workspace;

/// The documents whose rows name what shows them.
const DOCUMENTS: [&str; 2] = ["docs/lifecycle.md", "docs/snapshots.md"];
/// Where the simulator's workloads are.
const WORKLOADS: &str = "crates/sim/src/workload";

pub(super) fn check() -> Result<Vec<String>> {
    let root = workspace::root();
    let read = |file: &str| fs::read_to_string(root.join(file)).with_context(|| file.to_owned());
    let files = Cmd::new("git").args(["ls-files", "*.rs"]).dir(&root).output()?;
    let (mut tests, mut workloads) = (String::new(), String::new());
    for file in files.lines() {
        let text = read(file)?;
        if file.starts_with(WORKLOADS) {
            workloads.push_str(&text);
        }
        tests.push_str(&text);
    }
    let is_there = |name: &Named| match name {
        Named::Test(name) => tests.contains(&format!("fn {name}(")),
        Named::Workload(name) => workloads.contains(&format!("\"{name}\",")),
    };
    let mut problems = Vec::new();
    for document in DOCUMENTS {
        let text = read(document)?;
        let named = named(&text);
        if named.is_empty() {
            problems.push(format!("{document}: names no test"));
        }
        let missing = named.iter().filter(|name| !is_there(name));
        problems.extend(missing.map(|name| format!("{document}: there is no {name:?}")));
    }
    Ok(problems)
}

#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Test(&'a str),
    Workload(&'a str),
}

/// What stands in the last column of the tables: tests in backquotes, workloads in quotes.
fn named(document: &str) -> Vec<Named<'_>> {
    let rows = document.lines().filter(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit(" | ").next());
    cells
        .flat_map(|cell| {
            let tests = cell.split('`').skip(1).step_by(2).map(Named::Test);
            let workloads = cell.split('"').skip(1).step_by(2).map(Named::Workload);
            tests.chain(workloads)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_names_tests_and_workloads() {
        let document =
            "Words with `code`.\n\n| event `x` | shown by |\n| --- | --- |\n| a `b` | `one_test`, \"a workload\" |\n";
        assert_eq!(
            named(document),
            [Named::Test("one_test"), Named::Workload("a workload")]
        );
    }
}
