//! Objects as people write them.

use serde_json::{Value, json};

/// Where the storage class of the chart gets its data.
pub const CLASS: &str = "dotmesh";

/// The image for pods.
pub fn image() -> String {
    std::env::var("DOTMESH_DATABASE_IMAGE").unwrap_or_else(|_| "dotmesh.io/testbed/database:17".to_owned())
}

/// A Dot with volumes (name, size); none: an open list.
pub fn dot(name: &str, volumes: &[(&str, &str)]) -> Value {
    let volumes: Vec<Value> = volumes
        .iter()
        .map(|(name, size)| json!({"name": name, "size": size}))
        .collect();
    let spec = if volumes.is_empty() {
        json!({})
    } else {
        json!({"volumes": volumes})
    };
    json!({"apiVersion": "dotmesh.io/v1alpha1", "kind": "Dot", "metadata": {"name": name}, "spec": spec})
}

/// A Commit of the Dot's checked-out branch.
pub fn commit(name: &str, dot: &str) -> Value {
    json!({
        "apiVersion": "dotmesh.io/v1alpha1", "kind": "Commit", "metadata": {"name": name},
        "spec": {"dot": dot, "message": format!("{name} of {dot}"), "author": "Ada <ada@example.com>"},
    })
}

/// A Branch whose own name is that of its object.
pub fn branch(name: &str, dot: &str, from: &str) -> Value {
    json!({
        "apiVersion": "dotmesh.io/v1alpha1", "kind": "Branch", "metadata": {"name": name},
        "spec": {"dot": dot, "name": name, "from": from},
    })
}

/// A claim of our class without a data source.
pub fn plain_claim(name: &str, size: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {
            "storageClassName": CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        },
    })
}

/// A claim on a volume of a Dot or a Branch (`kind`, `source`).
pub fn claim(name: &str, size: &str, kind: &str, source: &str, volume: &str) -> Value {
    let mut claim = plain_claim(name, size);
    claim["metadata"]["annotations"] = json!({"dotmesh.io/volume": volume});
    claim["spec"]["dataSourceRef"] = json!({"apiGroup": "dotmesh.io", "kind": kind, "name": source});
    claim
}

/// A pod that runs a bash script with claims mounted at `/NAME-OF-THE-CLAIM`.
pub fn pod(name: &str, claims: &[&str], script: &str) -> Value {
    let mounts: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "mountPath": format!("/{claim}")}))
        .collect();
    let volumes: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "containers": [{
                "name": "main",
                "image": image(),
                "imagePullPolicy": "IfNotPresent",
                "command": ["bash", "-c", script],
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    })
}

/// A pod that only keeps its claims mounted.
pub fn holder(name: &str, claims: &[&str]) -> Value {
    pod(name, claims, "exec sleep infinity")
}
