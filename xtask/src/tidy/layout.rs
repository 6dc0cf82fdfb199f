//! Who may use whom, and which tests there are.

use std::fs;

use anyhow::Result;

use crate::test::{OUTSIDE, TARGETS};
use crate::workspace::{self, Package};

/// What a crate may depend on; dependencies that only its tests have are free.
struct Rule {
    /// The crate, without the common prefix.
    name: &'static str,
    /// Crates of ours that it may use.
    ours: &'static [&'static str],
    /// Other crates that it must not use.
    never: &'static [&'static str],
}

/// The table of ARCHITECTURE.md.
const RULES: [Rule; 16] = [
    Rule {
        name: "model",
        ours: &[],
        never: &["tokio", "futures", "kube", "k8s-openapi", "nix"],
    },
    Rule {
        name: "zfs",
        ours: &[],
        never: &["kube", "k8s-openapi", "tonic"],
    },
    Rule {
        name: "crds",
        ours: &["model"],
        never: &["tokio"],
    },
    Rule {
        name: "operator",
        ours: &["model", "crds", "csi-proto", "mutant", "telemetry", "tls"],
        never: &["nix"],
    },
    Rule {
        name: "csi-node",
        ours: &["model", "zfs", "mount", "csi-proto", "mutant", "telemetry", "tls"],
        never: &["kube", "k8s-openapi"],
    },
    Rule {
        name: "importer",
        ours: &["model"],
        never: &["tokio", "kube", "k8s-openapi", "nix"],
    },
    Rule {
        name: "mount",
        ours: &["ioctl"],
        never: &["kube", "k8s-openapi"],
    },
    Rule {
        name: "ioctl",
        ours: &[],
        never: &["tokio", "kube", "k8s-openapi"],
    },
    Rule {
        name: "csi-proto",
        ours: &[],
        never: &["kube", "k8s-openapi"],
    },
    Rule {
        name: "mutant",
        ours: &[],
        never: &["tokio", "kube", "k8s-openapi"],
    },
    Rule {
        name: "sim",
        ours: &[
            "model",
            "crds",
            "zfs",
            "mount",
            "operator",
            "csi-node",
            "csi-proto",
            "mutant",
            "testkit",
        ],
        never: &[],
    },
    Rule {
        name: "telemetry",
        ours: &[],
        never: &["kube", "k8s-openapi"],
    },
    Rule {
        name: "tls",
        ours: &[],
        never: &["kube", "k8s-openapi", "tonic"],
    },
    Rule {
        name: "testkit",
        ours: &["model", "crds", "zfs", "mount", "operator", "csi-proto"],
        never: &[],
    },
    Rule {
        name: "xtask",
        ours: &["crds"],
        never: &[],
    },
    Rule {
        name: "e2e",
        ours: &["crds", "csi-proto", "model", "testkit"],
        never: &[],
    },
];

pub(super) fn check() -> Result<Vec<String>> {
    let packages = workspace::packages()?;
    let mut wrong = Vec::new();
    for package in &packages {
        wrong.extend(check_uses(package));
        wrong.extend(check_tests(package)?);
    }
    Ok(wrong)
}

fn check_uses(package: &Package) -> Vec<String> {
    let name = short(&package.name);
    let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
        return vec![format!(
            "{}: not in the table of who may use whom (xtask/src/tidy/layout.rs)",
            package.name
        )];
    };
    let ours = package.ours.iter().filter(|used| !rule.ours.contains(&short(used)));
    let others = package.others.iter().filter(|used| rule.never.contains(&used.as_str()));
    ours.chain(others)
        .map(|used| format!("{} must not depend on {used}", package.name))
        .collect()
}

/// A test file that is no target is never run, nor is one that plain `cargo test` skips and no part knows.
fn check_tests(package: &Package) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    if let Ok(files) = fs::read_dir(package.folder.join("tests")) {
        for file in files {
            let path = file?.path();
            let is_test = path.extension().is_some_and(|extension| extension == "rs");
            if is_test && !package.tests.iter().any(|test| test.file == path) {
                wrong.push(format!("{}: not a test target of {}", path.display(), package.name));
            }
        }
    }
    for test in package.tests.iter().filter(|test| !test.ordinary) {
        let known = test.name == "node" || (package.name == OUTSIDE && TARGETS.contains(&test.name.as_str()));
        if !known {
            wrong.push(format!(
                "{}: no part of `cargo xtask test` runs the target {}",
                package.name, test.name
            ));
        }
    }
    Ok(wrong)
}

fn short(name: &str) -> &str {
    name.strip_prefix("dotmesh-").unwrap_or(name)
}
