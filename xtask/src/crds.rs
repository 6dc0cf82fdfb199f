//! `cargo xtask crds`: the YAML of the API, written by its crate, and the chart's copies of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// Writes everything that is generated from the API's types.
pub(crate) fn write() -> Result<()> {
    workspace::cargo()
        .args(["run", "--quiet", "--package", "dotmesh-crds", "--example", "write_yaml"])
        .run()?;
    for (file, content) in copies(&workspace::root())? {
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// The files of the chart that are copies, and what they should hold. (That the originals are what the types say is a
/// test of the crate that has the types.)
pub(crate) fn copies(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let folder = root.join("crds/yaml");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let content = fs::read_to_string(entry.path()).with_context(|| format!("read {}", entry.path().display()))?;
        found.push((root.join("charts/dotmesh/files/crds").join(entry.file_name()), content));
    }
    found.sort();
    Ok(found)
}
