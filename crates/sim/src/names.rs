//! Names for ids, so that traces can be read and end states of different histories compared.

use std::collections::BTreeMap;

use dotmesh_crds::names::ANNOTATION_SELECTED_NODE;
use dotmesh_model::id::{DotId, VolumeId};
use dotmesh_testkit::Change;
use serde_json::{Value, json};

/// Names by id.
#[derive(Debug, Clone, Default)]
pub struct Names {
    by_id: BTreeMap<String, String>,
    times: BTreeMap<String, u32>,
}

/// Length of an id's text.
const LEN: usize = DotId::LEN;

impl Names {
    /// Learns from a change.
    pub fn note(&mut self, change: &Change) {
        let Some(uid) = change.object["metadata"]["uid"].as_str() else {
            return;
        };
        if !self.by_id.contains_key(uid) {
            // A name may hold an id itself: of a claim that is known by then.
            let name = self.of(&format!("{}:{}", change.kind, change.key.name));
            let times = self.times.entry(name.clone()).or_default();
            *times += 1;
            let name = if *times == 1 { name } else { format!("{name}#{times}") };
            self.by_id.insert(uid.to_owned(), name);
        }
        if change.kind == "Dot"
            && let Ok(dot) = uid.parse::<DotId>()
        {
            let of_spec = change.object["spec"]["volumes"].as_array();
            let of_status = change.object["status"]["volumes"].as_array();
            let names = of_spec.into_iter().chain(of_status).flatten();
            for name in names.filter_map(|volume| volume["name"].as_str()) {
                let id = VolumeId::derive(dot, name).to_string();
                self.by_id.entry(id).or_insert_with(|| format!("volume:{name}"));
            }
        }
    }

    /// The text with names in the place of ids.
    #[must_use]
    pub fn of(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let (mut named, mut from, mut at) = (String::new(), 0, 0);
        while at + LEN <= bytes.len() {
            let candidate = &bytes[at..at + LEN];
            let is_id = candidate[8] == b'-' && candidate[13] == b'-' && candidate[18] == b'-' && candidate[23] == b'-';
            let name = if is_id {
                text.get(at..at + LEN).and_then(|id| self.by_id.get(id))
            } else {
                None
            };
            if let Some(name) = name {
                named.push_str(&text[from..at]);
                named.push('<');
                named.push_str(name);
                named.push('>');
                at += LEN;
                from = at;
            } else {
                at += 1;
            }
        }
        named.push_str(&text[from..]);
        named
    }
}

/// Fields that differ from history to history without meaning.
const PASSING: [&str; 23] = [
    "uid",
    "resourceVersion",
    "generation",
    "observedGeneration",
    "creationTimestamp",
    "deletionTimestamp",
    "lastTransitionTime",
    "time",
    "startTime",
    "completionTime",
    "createtxg",
    "guid",
    "guids",
    "referencedBytes",
    "writtenBytes",
    "allocated",
    "available",
    "fragmentation",
    "parent",
    "selectedNode",
    // A claim on a Dot that lies somewhere is bound whether the scheduler chose first or not.
    ANNOTATION_SELECTED_NODE,
    "deletedAt",
    "expiresAt",
];

/// An object without what differs from history to history; lists in the order of what they name.
#[must_use]
pub fn without_passing(object: &Value, names: &Names) -> Value {
    match object {
        Value::Object(fields) => {
            // An empty list says no more than none, and so do annotations of which nothing is left.
            let is_empty = |name: &str, value: &Value| {
                value.as_array().is_some_and(Vec::is_empty) || name == "annotations" && *value == json!({})
            };
            let kept = fields.iter().filter(|(name, _)| !PASSING.contains(&name.as_str()));
            let kept = kept.map(|(name, value)| (name.clone(), without_passing(value, names)));
            Value::Object(kept.filter(|(name, value)| !is_empty(name, value)).collect())
        }
        // Lists of ours are maps and sets to Kubernetes: their order is that of arrival.
        Value::Array(all) => {
            let mut all: Vec<Value> = all.iter().map(|value| without_passing(value, names)).collect();
            all.sort_by_cached_key(|value| names.of(&value.to_string()));
            Value::Array(all)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => object.clone(),
    }
}
