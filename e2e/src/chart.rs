//! The Helm chart and the CRDs as they lie in the checkout.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize as _;
use serde_json::Value;

use crate::program::Program;

/// Where the release lives.
pub const NAMESPACE: &str = "dotmesh-system";

/// For [`template`]: as for a server that carries out mutating admission policies, which it knows only when told.
pub const MUTATING_POLICIES: [&str; 2] = [
    "--api-versions",
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",
];

/// Values whose parts are Kubernetes' and not the chart's.
const WHOLE: [&str; 3] = ["resources", "nodeSelector", "affinity"];

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

/// `helm template` with these values.
///
/// # Errors
/// As [`template`].
pub fn template_with(values: &Value) -> Result<Program> {
    Ok(template(&["--values", "-"])?.input(values.to_string()))
}

/// The objects in a text of YAML documents.
///
/// # Errors
/// When it is no YAML.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    let objects: Result<Vec<Value>, _> = documents
        .filter(|document| !matches!(document, Ok(Value::Null)))
        .collect();
    objects.context("YAML of objects")
}

/// The values file: every value at its default.
///
/// # Errors
/// When it cannot be read.
pub fn defaults() -> Result<Value> {
    let path = folder().join("values.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_yaml::from_str(&text).context("values.yaml")
}

/// Paths of all values that can be set, such as `operator.log.format`.
pub fn paths(values: &Value) -> Vec<String> {
    let Value::Object(map) = values else { return Vec::new() };
    let below = |name: &String, value: &Value| {
        if value.is_object() && !WHOLE.contains(&name.as_str()) {
            paths(value).iter().map(|path| format!("{name}.{path}")).collect()
        } else {
            vec![name.clone()]
        }
    };
    map.iter().flat_map(|(name, value)| below(name, value)).collect()
}

/// The values file in which only this path is set.
pub fn only(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |inner, name| {
        let mut outer = serde_json::Map::new();
        outer.insert(name.to_owned(), inner);
        Value::Object(outer)
    })
}

/// Both values files, the second one where they differ.
pub fn merged(one: Value, two: Value) -> Value {
    match (one, two) {
        (Value::Object(mut one), Value::Object(two)) => {
            for (name, new) in two {
                let old = one.remove(&name).unwrap_or(Value::Null);
                one.insert(name, merged(old, new));
            }
            Value::Object(one)
        }
        (_, two) => two,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
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

    /// For each line of the values file that sets something: its path, and whether a comment stands above it.
    fn lines_with_comments(text: &str) -> BTreeMap<String, bool> {
        let mut found = BTreeMap::new();
        let mut above: Vec<(usize, &str)> = Vec::new();
        let mut commented = false;
        for line in text.lines() {
            let trimmed = line.trim_start();
            let indent = line.len() - trimmed.len();
            let key = trimmed.split_once(':').map(|(key, _)| key);
            if let Some(key) = key.filter(|key| key.chars().all(char::is_alphanumeric)) {
                above.retain(|(outer, _)| *outer < indent);
                above.push((indent, key));
                let path: Vec<&str> = above.iter().map(|(_, key)| *key).collect();
                found.insert(path.join("."), commented);
            }
            commented = trimmed.starts_with('#');
        }
        found
    }

    #[test]
    fn every_value_has_a_comment() {
        let text = fs::read_to_string(folder().join("values.yaml")).unwrap();
        let commented = lines_with_comments(&text);
        let paths = paths(&defaults().unwrap());
        assert!(paths.len() > 40, "{paths:?}");
        let bare: Vec<_> = paths
            .iter()
            .filter(|path| commented.get(*path) != Some(&true))
            .collect();
        assert!(bare.is_empty(), "without a comment above: {bare:?}");
    }

    /// What a schema allows, with its references followed.
    fn paths_of_schema(root: &Value, schema: &Value) -> BTreeSet<String> {
        if let Some(reference) = schema["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            return paths_of_schema(root, root.pointer(pointer).unwrap());
        }
        let parts = schema["allOf"].as_array().into_iter().flatten();
        let mut found: BTreeSet<String> = parts.flat_map(|part| paths_of_schema(root, part)).collect();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let below = paths_of_schema(root, schema);
            if below.is_empty() || WHOLE.contains(&name.as_str()) {
                found.insert(name.clone());
            }
            if !WHOLE.contains(&name.as_str()) {
                found.extend(below.iter().map(|path| format!("{name}.{path}")));
            }
        }
        found
    }

    #[test]
    fn the_schema_knows_the_values_and_no_others() {
        let text = fs::read_to_string(folder().join("values.schema.json")).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        let mut known = paths_of_schema(&schema, &schema);
        assert!(known.remove("global"), "Helm's own");
        assert_eq!(known, paths(&defaults().unwrap()).into_iter().collect());
    }

    #[test]
    fn the_readme_names_values_that_exist() {
        let text = fs::read_to_string(folder().join("README.md")).unwrap();
        let paths = paths(&defaults().unwrap());
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let names: Vec<&str> = rows
            .filter_map(|row| row.split('|').nth(1))
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        assert!(names.len() > 10, "{names:?}");
        for name in names {
            let within = format!("{name}.");
            assert!(
                paths.iter().any(|path| path == name || path.starts_with(&within)),
                "README.md tells of {name}, which is no value"
            );
        }
    }
}
