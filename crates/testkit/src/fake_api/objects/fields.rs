//! Which fields a manager applied: a set of paths, as a tree. After `structured-merge-diff`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::structure::Structure;

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

/// The parts of a value that have owners of their own, with their structures; absent: it has one owner.
pub(crate) fn parts<'a>(structure: &'a Structure, value: &'a Value) -> Option<Vec<(Step, &'a Structure, &'a Value)>> {
    match value {
        Value::Object(fields) => {
            let part = |(name, field): (&String, &'a Value)| (Step::Field(name.clone()), structure.at(name), field);
            Some(fields.iter().map(part).collect())
        }
        Value::Array(items) => {
            let part = |item| Some((Step::Item(structure.name_of_item(item)?), structure.items(), item));
            items.iter().map(part).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn part<'a>(structure: &'a Structure, value: &'a Value, step: &Step) -> Option<(&'a Structure, &'a Value)> {
    match (value, step) {
        (Value::Object(fields), Step::Field(name)) => Some((structure.at(name), fields.get(name)?)),
        (Value::Array(items), Step::Item(name)) => {
            let is_it = |item: &&Value| structure.name_of_item(item).as_ref() == Some(name);
            Some((structure.items(), items.iter().find(is_it)?))
        }
        _ => None,
    }
}

impl Fields {
    /// All fields of a value.
    pub(crate) fn of(structure: &Structure, value: &Value) -> Self {
        let parts = parts(structure, value).unwrap_or_default();
        Self {
            owned: parts.is_empty(),
            below: parts
                .into_iter()
                .map(|(step, structure, part)| {
                    let mut fields = Self::of(structure, part);
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
    pub(crate) fn forget_changed(&mut self, structure: &Structure, before: &Value, after: &Value) {
        if before == after {
            return;
        }
        if self.below.is_empty() {
            self.owned = false;
        }
        self.below.retain(|step, fields| {
            let was = part(structure, before, step).map_or(&Value::Null, |(_, part)| part);
            let Some((structure, is)) = part(structure, after, step) else {
                return false;
            };
            let is_item = matches!(step, Step::Item(_)) && fields.owned;
            fields.forget_changed(structure, was, is);
            fields.owned |= is_item;
            fields.owned || !fields.below.is_empty()
        });
    }
}
