//! The bodies of writes, with their guards in them: pure, so that whatever stands in for the server gets the same.

use serde_json::{Value, json};

use super::{Guard, Key, Kind};

/// Of a merge patch (RFC 7386).
#[must_use]
pub fn of_patch(guard: &Guard, patch: Value) -> Value {
    let mut body = json!({ "metadata": metadata(guard) });
    merge(&mut body, patch);
    body
}

/// Of a server-side apply of `status`.
#[must_use]
pub fn of_status<K: Kind>(key: &Key, guard: &Guard, status: Value) -> Value {
    let mut metadata = metadata(guard);
    metadata["name"] = json!(key.name);
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": status,
    })
}

fn metadata(guard: &Guard) -> Value {
    let mut metadata = json!({});
    if let Some(uid) = &guard.uid {
        metadata["uid"] = json!(uid);
    }
    if let Some(version) = &guard.resource_version {
        metadata["resourceVersion"] = json!(version);
    }
    metadata
}

/// For objects that have nothing to delete in common.
fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}
