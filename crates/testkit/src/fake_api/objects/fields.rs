//! Which fields a manager applied: a set of paths, as a tree. After `structured-merge-diff`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::schema::name_of_item;

/// From a value to one in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A field of an object.
    Field(String),
    /// An item of a list, by what it is known by.
    Item(String),
}

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// The value at this place itself is in the set.
    owned: bool,
    below: BTreeMap<Step, Fields>,
}

/// The schema of a field.
pub(crate) fn schema_of<'a>(schema: &'a Value, field: &str) -> Option<&'a Value> {
    schema["properties"]
        .get(field)
        .or_else(|| schema.get("additionalProperties"))
}

/// The parts of a value that have owners of their own, with their schemas; absent: it has one owner.
pub(crate) fn parts<'a>(schema: &'a Value, value: &'a Value) -> Option<Vec<(Step, &'a Value, &'a Value)>> {
    match value {
        Value::Object(fields) => {
            let part = |(name, field): (&String, &'a Value)| {
                let schema = schema_of(schema, name).unwrap_or(&Value::Null);
                (Step::Field(name.clone()), schema, field)
            };
            Some(fields.iter().map(part).collect())
        }
        Value::Array(items) => {
            let part = |item| Some((Step::Item(name_of_item(schema, item)?), &schema["items"], item));
            items.iter().map(part).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn part<'a>(schema: &'a Value, value: &'a Value, step: &Step) -> Option<(&'a Value, &'a Value)> {
    match (value, step) {
        (Value::Object(fields), Step::Field(name)) => {
            let field = fields.get(name)?;
            Some((schema_of(schema, name).unwrap_or(&Value::Null), field))
        }
        (Value::Array(items), Step::Item(name)) => {
            let is_it = |item: &&Value| name_of_item(schema, item).as_ref() == Some(name);
            Some((&schema["items"], items.iter().find(is_it)?))
        }
        _ => None,
    }
}

impl Fields {
    /// All fields of a value.
    pub(crate) fn of(schema: &Value, value: &Value) -> Self {
        let parts = parts(schema, value).unwrap_or_default();
        Self {
            owned: parts.is_empty(),
            below: parts
                .into_iter()
                .map(|(step, schema, part)| {
                    let mut fields = Self::of(schema, part);
                    fields.owned |= matches!(step, Step::Item(_));
                    (step, fields)
                })
                .collect(),
        }
    }

    /// Those at a step from here.
    pub(crate) fn at(&self, step: &Step) -> Option<&Self> {
        self.below.get(step)
    }

    /// Whether all of these are in another set.
    pub(crate) fn are_within(&self, other: &Self) -> bool {
        let is_within = |(step, fields): (&Step, &Self)| other.at(step).is_some_and(|other| fields.are_within(other));
        self.below.iter().all(is_within)
    }

    /// Adds another set.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.owned |= other.owned;
        for (step, fields) in &other.below {
            self.below.entry(step.clone()).or_default().extend(fields);
        }
    }

    /// Takes out what has another value after than before.
    pub(crate) fn forget_changed(&mut self, schema: &Value, before: &Value, after: &Value) {
        if before == after {
            return;
        }
        if self.below.is_empty() {
            self.owned = false;
        }
        self.below.retain(|step, fields| {
            let was = part(schema, before, step).map_or(&Value::Null, |(_, part)| part);
            let Some((schema, is)) = part(schema, after, step) else {
                return false;
            };
            let is_item = matches!(step, Step::Item(_)) && fields.owned;
            fields.forget_changed(schema, was, is);
            fields.owned |= is_item;
            fields.owned || !fields.below.is_empty()
        });
    }
}
