//! What the server does with `metadata`, of every kind alike.

use serde_json::{Map, Value, json};

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
    !finalizers(&object["metadata"]).is_empty()
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
    let (Some(before), Some(after)) = (before["metadata"].as_object(), after["metadata"].as_object_mut()) else {
        return;
    };
    for field in ["creationTimestamp", "generation"] {
        copy(before, after, field);
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if before.contains_key(field) {
            copy(before, after, field);
        }
    }
    if after.get("uid").is_none_or(Value::is_null) {
        copy(before, after, "uid");
    }
}

/// Makes a field the same as in another object.
pub(super) fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, field: &str) {
    match (from.get(field), to.get_mut(field)) {
        (Some(value), Some(there)) if there == value => {}
        (Some(value), Some(there)) => there.clone_from(value),
        (Some(value), None) => drop(to.insert(field.to_owned(), value.clone())),
        (None, _) => drop(to.remove(field)),
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
    let (old, new) = (finalizers(before), finalizers(metadata));
    let is_new = new.iter().any(|finalizer| !old.contains(finalizer));
    if is_new && !before["deletionTimestamp"].is_null() {
        wrong.push("metadata.finalizers: no new finalizers can be added if the object is being deleted".to_owned());
    }
    wrong
}

fn finalizers(metadata: &Value) -> &[Value] {
    metadata["finalizers"].as_array().map_or(&[], Vec::as_slice)
}

fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
