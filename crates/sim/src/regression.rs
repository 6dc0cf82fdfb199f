//! Histories that once failed, as files that tests replay.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::stage::Schedule;

/// A saved history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Regression {
    /// The workload's name.
    pub workload: String,
    /// Faults and order.
    pub schedule: Schedule,
    /// What was wrong when it was found, for people.
    pub found: String,
}

/// Where they lie.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions")
}

/// All of them, by file name.
///
/// # Errors
/// When one cannot be read.
pub fn all() -> anyhow::Result<Vec<(String, Regression)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder()).with_context(|| folder().display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read(&path)?;
            let regression = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
            let name = path
                .file_stem()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            all.push((name, regression));
        }
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(all)
}

/// Saves one.
///
/// # Errors
/// When it cannot be written.
pub fn save(name: &str, regression: &Regression) -> anyhow::Result<()> {
    fs::create_dir_all(folder())?;
    let mut text = serde_json::to_string_pretty(regression)?;
    text.push('\n');
    fs::write(folder().join(format!("{name}.json")), text)?;
    Ok(())
}
