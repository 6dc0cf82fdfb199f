//! What the server does with `metadata`, of every kind alike.

use serde_json::{Value, json};

/// The letters of generated names, as the server has them: none that make words.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How much of `generateName` stays.
const PREFIX_MAX: usize = 58;

/// A name from `generateName` and a number that is used once.
pub(super) fn generated(prefix: &str, number: u64) -> String {
    let prefix: String = prefix.chars().take(PREFIX_MAX).collect();
    let letter = |place: u32| {
        let at = number / 27_u64.pow(place) % 27;
        char::from(LETTERS[usize::try_from(at).unwrap_or_default()])
    };
    (0..5).rev().map(letter).fold(prefix, |mut name, letter| {
        name.push(letter);
        name
    })
}

/// Whether finalizers hold the object.
pub(super) fn is_held(object: &Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|all| !all.is_empty())
}

/// Deletion was requested and nothing holds it any more.
pub(super) fn is_finished(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null() && !is_held(object)
}

/// One more generation, of kinds that count them.
pub(super) fn count_generation(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"].as_u64() {
        object["metadata"]["generation"] = json!(generation + 1);
    }
}

/// What no update changes, whatever it says.
pub(super) fn keep(before: &Value, after: &mut Value) {
    let before = &before["metadata"];
    for field in ["creationTimestamp", "generation"] {
        after["metadata"][field] = before[field].clone();
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if !before[field].is_null() {
            after["metadata"][field] = before[field].clone();
        }
    }
    if after["metadata"]["uid"].is_null() {
        after["metadata"]["uid"] = before["uid"].clone();
    }
}

/// Without fields that are null or empty.
pub(super) fn tidy(object: &mut Value) {
    if let Some(fields) = object["metadata"].as_object_mut() {
        fields.retain(|_, value| match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        });
    }
}

/// What is wrong with an object's metadata.
pub(super) fn faults(object: &Value, before: Option<&Value>) -> Vec<String> {
    let metadata = &object["metadata"];
    let mut wrong = Vec::new();
    let name = metadata["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        wrong.push("metadata.name: name or generateName is required".to_owned());
    } else if !is_subdomain(name) {
        wrong.push(format!("metadata.name: {name} is no lowercase RFC 1123 subdomain"));
    }
    let Some(before) = before.map(|before| &before["metadata"]) else {
        return wrong;
    };
    for field in ["uid", "deletionTimestamp"] {
        if metadata[field] != before[field] {
            wrong.push(format!("metadata.{field}: field is immutable"));
        }
    }
    let finalizers = |metadata: &Value| metadata["finalizers"].as_array().cloned().unwrap_or_default();
    let old = finalizers(before);
    let is_new = finalizers(metadata).iter().any(|finalizer| !old.contains(finalizer));
    if is_new && !before["deletionTimestamp"].is_null() {
        wrong.push("metadata.finalizers: no new finalizers can be added if the object is being deleted".to_owned());
    }
    wrong
}

fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
