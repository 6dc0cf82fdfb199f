//! Good manifests of each kind, to be spoilt by the operations.

use serde_json::{Value, json};

use super::operation::Subject;

/// A manifest that every server accepts; the Dot that Branches and Commits name is the run's own.
pub(super) fn manifest(subject: Subject, run: &str) -> Value {
    let dot = format!("dot-{run}");
    let (api_version, spec) = match subject {
        Subject::Dot => ("dotmesh.io/v1alpha1", json!({})),
        Subject::Branch => ("dotmesh.io/v1alpha1", json!({"dot": dot, "name": "feature/x"})),
        Subject::Commit => ("dotmesh.io/v1alpha1", json!({"dot": dot, "message": "a message"})),
        Subject::Pool => (
            "dotmesh.io/v1alpha1",
            json!({"nodeName": "n1", "file": {"path": "/var/lib/dotmesh/pool.img", "size": "2Gi"}}),
        ),
        Subject::ConfigMap => return json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "0"}}),
        Subject::PersistentVolumeClaim => (
            "v1",
            json!({
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": "none-such",
                "volumeMode": "Filesystem",
            }),
        ),
    };
    json!({"apiVersion": api_version, "kind": format!("{subject:?}"), "spec": spec})
}

/// RFC 7386, with nulls kept: a manifest may say null.
pub(super) fn merged(into: &mut Value, extra: &Value) {
    match (into, extra) {
        (Value::Object(into), Value::Object(extra)) => {
            for (name, value) in extra {
                merged(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, extra) => *into = extra.clone(),
    }
}
