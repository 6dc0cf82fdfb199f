//! What was heard, without what differs between any two runs.
//!
//! A uid is the first, second … of the run; a resourceVersion is its rank among those of the run, so that "changed",
//! "unchanged" and "later than" stay visible; a time is a time. Who owns fields is left out: what follows from it is
//! seen in what later applies take away. An empty list in a status is none: which of the two a server leaves behind
//! when the last item goes depends on more than anybody should, and all of ours read both alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dotmesh_operator::api::ApiErrorKind;
use serde_json::{Map, Value, json};

/// What was heard of one call.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The call.
    pub call: String,
    /// The HTTP status.
    pub code: u16,
    /// As in `Status`; empty on success.
    pub reason: String,
    /// What the operator takes a failure for.
    pub kind: Option<ApiErrorKind>,
    /// The object or objects, in normal form.
    pub value: Value,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.call, self.code)?;
        if !self.reason.is_empty() {
            write!(f, " {}", self.reason)?;
        }
        if let Some(kind) = self.kind {
            write!(f, " = {}", kind.as_str())?;
        }
        if !self.value.is_null() {
            write!(f, "\n    {}", self.value)?;
        }
        Ok(())
    }
}

/// The first line in which two transcripts of one sequence differ, for people.
#[must_use]
pub fn difference(left: &[Line], right: &[Line]) -> Option<String> {
    let at = (0..left.len().max(right.len())).find(|at| left.get(*at) != right.get(*at))?;
    let shown = |lines: &[Line]| lines.get(at).map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let before: Vec<_> = left[..at.min(left.len())].iter().map(|line| line.to_string()).collect();
    Some(format!("{}\n< {}\n> {}", before.join("\n"), shown(left), shown(right)))
}

/// What a run calls its own.
#[derive(Debug)]
pub(super) struct Names {
    namespace: String,
    run: String,
    uids: BTreeMap<String, usize>,
}

/// Set by a server's own controllers, at admission: nothing of ours is about it.
const PROTECTION: &str = "kubernetes.io/pvc-protection";

impl Names {
    pub(super) fn new(namespace: &str, run: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            run: run.to_owned(),
            uids: BTreeMap::new(),
        }
    }

    /// An object or a list of them in normal form, but for its versions.
    pub(super) fn normal(&mut self, heard: &Value) -> Value {
        if heard["kind"] == "Status" {
            return Value::Null;
        }
        if let Some(items) = heard["items"].as_array() {
            return items.iter().map(|item| self.normal(item)).collect();
        }
        if let Some(uid) = heard["metadata"]["uid"].as_str() {
            let next = self.uids.len() + 1;
            self.uids.entry(uid.to_owned()).or_insert(next);
        }
        let mut object = self.walk(heard);
        if let Some(fields) = object.as_object_mut() {
            fields.retain(|name, _| name != "kind" && name != "apiVersion");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            for time in ["creationTimestamp", "deletionTimestamp"] {
                if let Some(value) = metadata.get_mut(time) {
                    *value = json!("a time");
                }
            }
            without_protection(metadata);
        }
        if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
            status.retain(|_, value| value.as_array().is_none_or(|items| !items.is_empty()));
        }
        object
    }

    fn walk(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.walk(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), self.walk(value)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        if let Some(number) = self.uids.get(text) {
            return format!("uid {number}");
        }
        if text == self.namespace {
            return "the namespace".to_owned();
        }
        let generated = format!("gen-{}-", self.run);
        if text.len() > generated.len() && text.starts_with(&generated) {
            return format!("gen-{}", "?".repeat(text.len() - generated.len()));
        }
        text.replace(&format!("-{}", self.run), "")
            .replace(&self.run, "the run")
    }
}

fn without_protection(metadata: &mut Map<String, Value>) {
    if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        finalizers.retain(|name| name != PROTECTION);
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        }
    }
}

/// Replaces versions by their ranks.
pub(super) fn rank(lines: &mut [Line]) {
    let mut versions = BTreeSet::new();
    for line in lines.iter_mut() {
        each_version(&mut line.value, &mut |version| {
            versions.insert(number(version));
        });
    }
    let ranks: BTreeMap<u64, usize> = versions.into_iter().zip(1..).collect();
    for line in lines {
        each_version(&mut line.value, &mut |version| {
            *version = json!(ranks[&number(version)])
        });
    }
}

fn number(version: &Value) -> u64 {
    let text = version.as_str().unwrap_or_default();
    text.parse().unwrap_or_else(|error| panic!("{version}: {error}"))
}

fn each_version(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_version(item, visit)),
        Value::Object(fields) => {
            let metadata = fields.get_mut("metadata").and_then(Value::as_object_mut);
            if let Some(version) = metadata.and_then(|metadata| metadata.get_mut("resourceVersion")) {
                visit(version);
            }
            if let Some(object) = fields.get_mut("object") {
                each_version(object, visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
