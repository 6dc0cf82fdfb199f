//! The Helm chart and the CRDs as they lie in the checkout.

use std::path::PathBuf;

use anyhow::Result;

use crate::program::Program;

/// Where the release lives.
pub const NAMESPACE: &str = "dotmesh-system";

/// Top of the checkout.
pub fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Folder of the chart.
pub fn folder() -> PathBuf {
    checkout().join("charts/dotmesh")
}

/// `helm template` with the given further arguments.
///
/// # Errors
/// When there is no helm.
pub fn template(args: &[&str]) -> Result<Program> {
    let folder = folder().display().to_string();
    let fixed = ["template", "dotmesh", folder.as_str(), "--namespace", NAMESPACE];
    Ok(Program::find("helm")?.args(fixed).args(args.iter().copied()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn files(folder: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect()
    }

    #[test]
    fn the_chart_installs_the_crds_as_generated() {
        let generated = files(&checkout().join("crds/yaml"));
        assert!(!generated.is_empty());
        assert!(
            generated == files(&folder().join("files/crds")),
            "charts/dotmesh/files/crds is stale: run `cargo xtask crds`"
        );
    }
}
