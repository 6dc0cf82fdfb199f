//! What the CRDs demand: defaults, unknown fields, types, lengths, and the rules in CEL.
//!
//! The rules are evaluated by `kube-cel`. Not evaluated: `format` other than `date-time`, and rules on a write that
//! leaves the spec as it was (the server does not let such a write fail either: what was valid may stay).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Map, Value, json};

use super::structure::{List, Structure, Type};

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

/// What they say of objects' structure.
static STRUCTURES: LazyLock<BTreeMap<String, Structure>> = LazyLock::new(|| {
    let schemas = SCHEMAS.iter();
    schemas
        .map(|(kind, schema)| (kind.clone(), Structure::parse(schema)))
        .collect()
});

/// Their rules; compiling them takes longer than most tests.
static RULES: LazyLock<BTreeMap<String, CompiledSchema>> = LazyLock::new(|| {
    let schemas = SCHEMAS.iter();
    schemas
        .map(|(kind, schema)| (kind.clone(), compile_schema(schema)))
        .collect()
});

/// Answers that are kept at most.
const ANSWERS_MAX: usize = 10_000;

thread_local! {
    static VALIDATOR: Validator = Validator::new();
    /// What was asked of the rules before, and what they said: the same again. They take as long as many calls do.
    static ANSWERS: RefCell<BTreeMap<String, Vec<String>>> = const { RefCell::new(BTreeMap::new()) };
}

/// The structure of a kind, if it is one of ours.
pub(crate) fn of(kind: &str) -> Option<&'static Structure> {
    STRUCTURES.get(kind)
}

/// The structure of `status`.
pub(crate) fn of_status(kind: &str) -> &'static Structure {
    let whole = of(kind).unwrap_or_else(|| panic!("the fake API applies no status of kind {kind}"));
    whole.at("status")
}

/// Makes of an object what is stored of it: takes out fields that its structure does not have, and puts in defaults.
pub(crate) fn settle(structure: &Structure, object: &mut Value) {
    let Value::Object(parts) = object else {
        return;
    };
    let known = &structure.fields;
    parts.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata") || known.contains_key(name));
    for part in ["spec", "status"] {
        if let (Some(structure), Some(value)) = (known.get(part), parts.get_mut(part)) {
            settle_value(structure, value);
        }
    }
    put_defaults(structure, parts);
}

fn settle_value(structure: &Structure, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| {
                let known = structure.field(name);
                if let Some(structure) = known {
                    settle_value(structure, field);
                }
                known.is_some()
            });
            put_defaults(structure, fields);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| settle_value(structure.items(), item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fields that are missing and have a default.
fn put_defaults(structure: &Structure, fields: &mut Map<String, Value>) {
    for (name, field) in &structure.fields {
        if let Some(default) = &field.default
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
    let Some(structure) = of(kind) else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    check(structure, object, &Path::Whole, &mut wrong);
    if wrong.is_empty() {
        wrong = broken(kind, structure, object, old);
    }
    wrong
}

/// The rules that an object breaks.
fn broken(kind: &str, structure: &Structure, object: &Value, old: Option<&Value>) -> Vec<String> {
    let shown = shown(object);
    let (object, old) = match old.map(self::shown) {
        Some(old) => aligned(structure, &shown, &old),
        None => (shown, None),
    };
    let asked = match &old {
        Some(old) => format!("{kind} {object} {old}"),
        None => format!("{kind} {object}"),
    };
    if let Some(answer) = ANSWERS.with_borrow(|answers| answers.get(&asked).cloned()) {
        return answer;
    }
    let broken = VALIDATOR.with(|validator| validator.validate_compiled(&RULES[kind], &object, old.as_ref()));
    let broken: Vec<String> = broken
        .err()
        .into_iter()
        .flatten()
        .map(|error| error.to_string())
        .collect();
    ANSWERS.with_borrow_mut(|answers| {
        if answers.len() == ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(asked, broken.clone());
    });
    broken
}

/// What rules see of an object: of its metadata the name alone.
fn shown(object: &Value) -> Value {
    let Value::Object(parts) = object else {
        return object.clone();
    };
    let part = |(name, part): (&String, &Value)| {
        let part = match name.as_str() {
            "metadata" => json!({ "name": part["name"] }),
            _ => part.clone(),
        };
        (name.clone(), part)
    };
    Value::Object(parts.iter().map(part).collect())
}

/// Both with the items of lists with keys in an order in which those of one key have one index, as the rules' `oldSelf`
/// needs it: `kube-cel` goes by index.
fn aligned(structure: &Structure, new: &Value, old: &Value) -> (Value, Option<Value>) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let (mut news, mut olds) = (new.clone(), old.clone());
            for (name, value) in new {
                if let (Some(old), Some(field)) = (old.get(name), structure.fields.get(name)) {
                    let (new, old) = aligned(field, value, old);
                    news.insert(name.clone(), new);
                    olds.extend(old.map(|old| (name.clone(), old)));
                }
            }
            (Value::Object(news), Some(Value::Object(olds)))
        }
        (Value::Array(new), Value::Array(old)) if matches!(structure.list, List::Map(_)) => {
            let counterpart = |item: &&Value| {
                let name = structure.name_of_item(item);
                old.iter().find(|old| structure.name_of_item(old) == name)
            };
            let (both, fresh): (Vec<_>, Vec<_>) = new.iter().partition(|item| counterpart(item).is_some());
            let olds = both.iter().filter_map(counterpart).cloned().collect();
            (both.into_iter().chain(fresh).cloned().collect(), Some(olds))
        }
        _ => (new.clone(), Some(old.clone())),
    }
}

/// What is wrong with a value by types, lengths and lists.
pub(crate) fn check(structure: &Structure, value: &Value, path: &Path<'_>, wrong: &mut Vec<String>) {
    let mut fault = |what: String| wrong.push(format!("{path}: {what}"));
    match (structure.kind, value) {
        (_, Value::Null) if structure.nullable => {}
        (_, Value::Null) => fault("must not be null".to_owned()),
        (Type::Object, Value::Object(fields)) => {
            if !structure.allows(fields.len()) {
                fault(format!("{} properties", fields.len()));
            }
            for name in structure.required.iter().filter(|name| !fields.contains_key(*name)) {
                fault(format!("{name} is required"));
            }
            for (name, field) in fields {
                if let Some(known) = structure.field(name) {
                    check(known, field, &Path::Field(path, name), wrong);
                }
            }
        }
        (Type::Array, Value::Array(items)) => {
            if !structure.allows(items.len()) {
                fault(format!("{} items", items.len()));
            }
            let names: Vec<_> = items.iter().filter_map(|item| structure.name_of_item(item)).collect();
            if (1..names.len()).any(|at| names[..at].contains(&names[at])) {
                fault("Duplicate value".to_owned());
            }
            for (at, item) in items.iter().enumerate() {
                check(structure.items(), item, &Path::Item(path, at), wrong);
            }
        }
        (Type::String, Value::String(text)) => {
            if !structure.allows(text.chars().count()) {
                fault(format!("{} characters", text.chars().count()));
            }
            if structure.is_time && text.parse::<k8s_openapi::jiff::Timestamp>().is_err() {
                fault(format!("{text} is no date-time"));
            }
            if !structure.choices.is_empty() && !structure.choices.contains(text) {
                fault(format!("{text:?} is none of {}", structure.choices.join(", ")));
            }
        }
        (Type::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => {}
        (Type::Boolean, Value::Bool(_)) => {}
        (wanted, _) => fault(format!("must be of type {}", named(wanted))),
    }
}

fn named(kind: Type) -> &'static str {
    kind.name().unwrap_or("that the schema names")
}

/// What of an applied value has no place in its structure: fields that are not there, values of other types.
pub(crate) fn misfits(structure: &Structure, value: &Value, path: &Path<'_>, wrong: &mut Vec<String>) {
    match (structure.kind, value) {
        (Type::Object, Value::Object(fields)) => {
            for (name, field) in fields {
                let path = &Path::Field(path, name);
                match structure.field(name) {
                    Some(known) => misfits(known, field, path, wrong),
                    None => wrong.push(format!("{path}: field not declared in schema")),
                }
            }
        }
        (Type::Array, Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                misfits(structure.items(), item, &Path::Item(path, at), wrong);
            }
        }
        (Type::String, Value::String(_))
        | (Type::Integer, Value::Number(_))
        | (Type::Boolean, Value::Bool(_))
        | (_, Value::Null) => {}
        (wanted, _) => wrong.push(format!(
            "{path}: expected {}",
            wanted.name().unwrap_or("what the schema names")
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Everything that a schema of ours may say, and this module reads or may leave unread.
    const KNOWN: [&str; 24] = [
        "additionalProperties",
        "default",
        "description",
        "enum",
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
