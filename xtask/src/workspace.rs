//! The checkout: where it is, and cargo on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::Cmd;

/// The longest that one run of cargo may take.
const CARGO_TIME: Duration = Duration::from_secs(2400);

/// The top folder of the checkout that this program was built from.
pub(crate) fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// cargo in the checkout, as if a person had typed it: what `cargo run` set for us would make build scripts run again.
pub(crate) fn cargo() -> Cmd {
    let set_by_cargo = |name: &str| {
        let names = [
            "CARGO_MANIFEST_DIR",
            "CARGO_MANIFEST_PATH",
            "CARGO_BIN_NAME",
            "CARGO_CRATE_NAME",
            "CARGO_PRIMARY_PACKAGE",
        ];
        name.starts_with("CARGO_PKG_") || names.contains(&name)
    };
    let names = std::env::vars().map(|(name, _)| name).filter(|name| set_by_cargo(name));
    names
        .fold(Cmd::new("cargo"), |cmd, name| cmd.without_env(&name))
        .dir(&root())
        .within(CARGO_TIME)
}

/// A crate of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Crates of the workspace that it uses; those only for tests apart, here and below.
    pub(crate) ours: Vec<String>,
    /// Other crates that it uses.
    pub(crate) others: Vec<String>,
    /// Its integration tests.
    pub(crate) tests: Vec<Test>,
}

/// An integration test target.
#[derive(Debug)]
pub(crate) struct Test {
    /// Its name.
    pub(crate) name: String,
    /// Its source.
    pub(crate) file: PathBuf,
    /// Whether plain `cargo test` runs it.
    pub(crate) ordinary: bool,
}

/// The crates of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let text = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()?;
    let metadata: Value = serde_json::from_str(&text).context("read what cargo says about the workspace")?;
    Ok(list(&metadata["packages"]).map(package).collect())
}

fn package(package: &Value) -> Package {
    let used = |ours: bool| {
        let shipped = |dependency: &&Value| dependency["kind"].as_str() != Some("dev");
        let wanted = move |dependency: &&Value| dependency["path"].is_string() == ours;
        list(&package["dependencies"])
            .filter(shipped)
            .filter(wanted)
            .map(|dependency| text(&dependency["name"]))
            .collect()
    };
    let is_test = |target: &&Value| list(&target["kind"]).any(|kind| kind == "test");
    let tests = list(&package["targets"]).filter(is_test).map(|target| Test {
        name: text(&target["name"]),
        file: PathBuf::from(text(&target["src_path"])),
        ordinary: target["test"].as_bool().unwrap_or(true),
    });
    Package {
        name: text(&package["name"]),
        folder: PathBuf::from(text(&package["manifest_path"]))
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default(),
        ours: used(true),
        others: used(false),
        tests: tests.collect(),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Compiles with the given arguments of cargo, and returns the programs of the targets of that kind and name, by the
/// folder of their crate: cargo makes a package's binaries along with its tests.
///
/// Always the whole workspace: for some crates alone, what they share would be compiled once more with fewer features.
pub(crate) fn executables(args: &[&str], kind: &str, name: &str) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let text = cargo()
        .args(args)
        .args(["--workspace", "--message-format=json-render-diagnostics"])
        .visible_output()?;
    let mut programs = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("read a message of cargo")?;
        let target = &message["target"];
        let wanted = target["name"] == name && list(&target["kind"]).any(|found| found == kind);
        if let (Some(program), Some(manifest)) = (message["executable"].as_str(), message["manifest_path"].as_str())
            && wanted
        {
            let folder = Path::new(manifest).parent().map(PathBuf::from).unwrap_or_default();
            programs.insert(folder, PathBuf::from(program));
        }
    }
    if programs.is_empty() {
        bail!("cargo {} made no {kind} {name}", args.join(" "));
    }
    Ok(programs)
}
