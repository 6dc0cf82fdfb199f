//! What stands in the files: module headers, sizes, words that belong to one machine only, copies that must be equal.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::Cmd;
use crate::{crds, workspace};

/// Longer files are split.
const MOST_LINES: usize = 600;

/// Words that tie the tree to somebody's machine or network, in two halves so that this file does not hold them.
const FOREIGN: [(&str, &str); 8] = [
    ("/ho", "me/"),
    ("/Us", "ers/"),
    ("/root", "/."),
    ("artif", "actory"),
    ("deb.debian", ".org"),
    ("index.crates", ".io"),
    ("static.crates", ".io"),
    ("proxy.golang", ".org"),
];

pub(super) fn check() -> Result<Vec<String>> {
    let root = workspace::root();
    let files = Cmd::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .dir(&root)
        .output()?;
    let mut wrong = Vec::new();
    for file in files.lines() {
        // Not there: deleted but not committed yet. Not text: nothing to read.
        let Ok(content) = fs::read_to_string(root.join(file)) else {
            continue;
        };
        wrong.extend(check_file(file, &content));
    }
    for (file, expected) in crds::copies(&root)? {
        let found = fs::read_to_string(&file).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{}: stale; run `cargo xtask crds`", shown(&file, &root)?));
        }
    }
    Ok(wrong)
}

fn shown(file: &Path, root: &Path) -> Result<String> {
    Ok(file
        .strip_prefix(root)
        .context("a file of the checkout")?
        .display()
        .to_string())
}

fn check_file(file: &str, content: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if file.ends_with(".rs") {
        // Tests of the module beside them need no words.
        if !content.starts_with("//!") && !file.ends_with("/tests.rs") {
            wrong.push(format!("{file}: does not begin with //! saying what it is for"));
        }
        let lines = content.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{file}: {lines} lines; split what is longer than {MOST_LINES}"));
        }
    }
    for (one, two) in FOREIGN {
        let word = format!("{one}{two}");
        if let Some(line) = content.lines().position(|line| line.contains(&word)) {
            wrong.push(format!("{file}:{}: {word} belongs to one machine or network", line + 1));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_a_header_is_named() {
        assert_eq!(
            check_file("a.rs", "fn main() {}\n"),
            ["a.rs: does not begin with //! saying what it is for"]
        );
        assert!(check_file("a.rs", "//! Words.\n").is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_named() {
        let line = format!("see {}{}somebody\n", "/ho", "me/");
        assert_eq!(check_file("a.md", &line).len(), 1);
    }
}
