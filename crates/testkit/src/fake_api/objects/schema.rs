//! What the CRDs demand: defaults, unknown fields, types, lengths, and the rules in CEL.
//!
//! The rules are evaluated by `kube-cel`. Not evaluated: `format` other than `date-time`, and rules on a write that
//! leaves the spec as it was (the server does not let such a write fail either: what was valid may stay).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Map, Value};

/// `openAPIV3Schema` of each of our kinds.
static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
    let crds = dotmesh_crds::yaml::crds().into_iter();
    crds.map(|crd| {
        let schema = crd.spec.versions[0]
            .schema
            .as_ref()
            .and_then(|all| all.open_api_v3_schema.as_ref());
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        (crd.spec.names.kind, schema)
    })
    .collect()
});

/// Their rules; compiling them takes longer than most tests.
static RULES: LazyLock<BTreeMap<String, CompiledSchema>> = LazyLock::new(|| {
    let schemas = SCHEMAS.iter();
    schemas
        .map(|(kind, schema)| (kind.clone(), compile_schema(schema)))
        .collect()
});

thread_local! {
    static VALIDATOR: Validator = Validator::new();
}

/// The schema of a kind, if it is one of ours.
pub(crate) fn of(kind: &str) -> Option<&'static Value> {
    SCHEMAS.get(kind)
}

/// The schema of `status`.
pub(crate) fn of_status(kind: &str) -> &'static Value {
    let schema = of(kind).unwrap_or_else(|| panic!("the fake API applies no status of kind {kind}"));
    &schema["properties"]["status"]
}

/// Makes of an object what is stored of it: takes out fields that the schema does not know, and puts in its defaults.
pub(crate) fn settle(schema: &Value, object: &mut Value) {
    let (Value::Object(parts), Value::Object(known)) = (object, &schema["properties"]) else {
        return;
    };
    parts.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata") || known.contains_key(name));
    for part in ["spec", "status"] {
        if let (Some(schema), Some(value)) = (known.get(part), parts.get_mut(part)) {
            settle_value(schema, value);
        }
    }
    put_defaults(known, parts);
}

fn settle_value(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let (known, any) = (schema["properties"].as_object(), schema.get("additionalProperties"));
            if any.is_none() {
                fields.retain(|name, _| known.is_some_and(|known| known.contains_key(name)));
            }
            for (name, field) in fields.iter_mut() {
                if let Some(schema) = known.and_then(|known| known.get(name)).or(any) {
                    settle_value(schema, field);
                }
            }
            if let Some(known) = known {
                put_defaults(known, fields);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| settle_value(&schema["items"], item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fields that are missing and have a default.
fn put_defaults(known: &Map<String, Value>, fields: &mut Map<String, Value>) {
    for (name, schema) in known {
        if let Some(default) = schema.get("default")
            && !fields.contains_key(name)
        {
            fields.insert(name.clone(), default.clone());
        }
    }
}

/// Where in an object a value is. Text is made of it only when there is something to say about the value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'a> {
    /// The object itself.
    Whole,
    /// A field of what is there.
    Field(&'a Path<'a>, &'a str),
    /// An item of what is there.
    Item(&'a Path<'a>, usize),
}

impl Path<'static> {
    /// `.status`
    pub(crate) const STATUS: &'static Self = &Self::Field(&Self::Whole, "status");
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Field(of, name) => write!(f, "{of}.{name}"),
            Self::Item(of, at) => write!(f, "{of}[{at}]"),
        }
    }
}

/// What is wrong with an object of a kind of ours.
pub(crate) fn faults(kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    let Some(schema) = of(kind) else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    check(schema, object, &Path::Whole, &mut wrong);
    if wrong.is_empty() {
        VALIDATOR.with(|validator| {
            let (object, old) = match old {
                Some(old) => aligned(schema, object, old),
                None => (object.clone(), None),
            };
            let broken = validator.validate_compiled(&RULES[kind], &object, old.as_ref());
            wrong.extend(broken.err().into_iter().flatten().map(|error| error.to_string()));
        });
    }
    wrong
}

/// Both with the items of lists with keys in an order in which those of one key have one index, as the rules' `oldSelf`
/// needs it: `kube-cel` goes by index.
fn aligned(schema: &Value, new: &Value, old: &Value) -> (Value, Option<Value>) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let (mut news, mut olds) = (new.clone(), old.clone());
            for (name, value) in new {
                if let (Some(old), Some(schema)) = (old.get(name), schema["properties"].get(name)) {
                    let (new, old) = aligned(schema, value, old);
                    news.insert(name.clone(), new);
                    olds.extend(old.map(|old| (name.clone(), old)));
                }
            }
            (Value::Object(news), Some(Value::Object(olds)))
        }
        (Value::Array(new), Value::Array(old)) if schema["x-kubernetes-list-type"] == "map" => {
            let counterpart = |item: &&Value| {
                let name = name_of_item(schema, item);
                old.iter().find(|old| name_of_item(schema, old) == name)
            };
            let (both, fresh): (Vec<_>, Vec<_>) = new.iter().partition(|item| counterpart(item).is_some());
            let olds = both.iter().filter_map(counterpart).cloned().collect();
            (both.into_iter().chain(fresh).cloned().collect(), Some(olds))
        }
        _ => (new.clone(), Some(old.clone())),
    }
}

/// What is wrong with a value as its schema sees it, by types, lengths and lists.
pub(crate) fn check(schema: &Value, value: &Value, path: &Path<'_>, wrong: &mut Vec<String>) {
    let mut fault = |what: String| wrong.push(format!("{path}: {what}"));
    if value.is_null() {
        if schema["nullable"] != true {
            fault("must not be null".to_owned());
        }
        return;
    }
    let limit = |name: &str| schema[name].as_u64().and_then(|limit| usize::try_from(limit).ok());
    let bounds = |size: usize, at_least: &str, at_most: &str| {
        limit(at_least).is_none_or(|least| size >= least) && limit(at_most).is_none_or(|most| size <= most)
    };
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(fields)) => {
            if !bounds(fields.len(), "minProperties", "maxProperties") {
                fault(format!("{} properties", fields.len()));
            }
            for name in schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                if !fields.contains_key(name) {
                    fault(format!("{name} is required"));
                }
            }
            check_fields(schema, fields, path, wrong);
        }
        (Some("array"), Value::Array(items)) => {
            if !bounds(items.len(), "minItems", "maxItems") {
                fault(format!("{} items", items.len()));
            }
            let names: Vec<_> = items.iter().filter_map(|item| name_of_item(schema, item)).collect();
            if (1..names.len()).any(|at| names[..at].contains(&names[at])) {
                fault("Duplicate value".to_owned());
            }
            for (at, item) in items.iter().enumerate() {
                check(&schema["items"], item, &Path::Item(path, at), wrong);
            }
        }
        (Some("string"), Value::String(text)) => {
            if !bounds(text.chars().count(), "minLength", "maxLength") {
                fault(format!("{} characters", text.chars().count()));
            }
            let is_date = || text.parse::<k8s_openapi::jiff::Timestamp>().is_ok();
            if schema["format"] == "date-time" && !is_date() {
                fault(format!("{text} is no date-time"));
            }
        }
        (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => {}
        (Some("boolean"), Value::Bool(_)) => {}
        (wanted, _) => fault(format!("must be of type {}", wanted.unwrap_or("that the schema names"))),
    }
}

fn check_fields(schema: &Value, fields: &Map<String, Value>, path: &Path<'_>, wrong: &mut Vec<String>) {
    for (name, field) in fields {
        let known = schema["properties"]
            .get(name)
            .or_else(|| schema.get("additionalProperties"));
        if let Some(known) = known {
            check(known, field, &Path::Field(path, name), wrong);
        }
    }
}

/// What of an applied value has no place in its schema: fields that are not there, values of other types.
pub(crate) fn misfits(schema: &Value, value: &Value, path: &Path<'_>, wrong: &mut Vec<String>) {
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(fields)) => {
            for (name, field) in fields {
                let path = &Path::Field(path, name);
                match schema["properties"]
                    .get(name)
                    .or_else(|| schema.get("additionalProperties"))
                {
                    Some(schema) => misfits(schema, field, path, wrong),
                    None => wrong.push(format!("{path}: field not declared in schema")),
                }
            }
        }
        (Some("array"), Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                misfits(&schema["items"], item, &Path::Item(path, at), wrong);
            }
        }
        (Some("string"), Value::String(_))
        | (Some("integer"), Value::Number(_))
        | (Some("boolean"), Value::Bool(_))
        | (_, Value::Null) => {}
        (wanted, _) => wrong.push(format!(
            "{path}: expected {}",
            wanted.unwrap_or("what the schema names")
        )),
    }
}

/// What an item of a list is known by: its keys in a map, itself in a set; nothing where the list is one value.
pub(crate) fn name_of_item(schema: &Value, item: &Value) -> Option<String> {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Some(item.to_string()),
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array()?.iter();
            let keys = keys.filter_map(Value::as_str).map(|key| (key, &item[key]));
            Some(
                keys.map(|(key, value)| format!("{key}={value}"))
                    .collect::<Vec<_>>()
                    .join(","),
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Everything that a schema of ours may say, and this module reads or may leave unread.
    const KNOWN: [&str; 23] = [
        "additionalProperties",
        "default",
        "description",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "message",
        "minItems",
        "minLength",
        "minProperties",
        "nullable",
        "properties",
        "required",
        "rule",
        "title",
        "type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-validations",
        "x-kubernetes-int-or-string",
        "x-kubernetes-map-type",
    ];

    fn words(schema: &Value, found: &mut BTreeSet<String>) {
        for (word, value) in schema.as_object().into_iter().flatten() {
            found.insert(word.clone());
            match (word.as_str(), value) {
                ("properties", Value::Object(fields)) => fields.values().for_each(|field| words(field, found)),
                ("items" | "additionalProperties", schema) => words(schema, found),
                _ => {}
            }
        }
    }

    #[test]
    fn no_schema_says_what_is_not_read_here() {
        let mut found = BTreeSet::new();
        SCHEMAS.values().for_each(|schema| words(schema, &mut found));
        let unread: Vec<_> = found.iter().filter(|word| !KNOWN.contains(&word.as_str())).collect();
        assert!(unread.is_empty(), "{unread:?}");
    }

    #[test]
    fn every_rule_compiles() {
        for (kind, compiled) in &*RULES {
            assert!(!compiled.has_errors(), "{kind}: {:?}", compiled.compilation_errors());
        }
    }
}
