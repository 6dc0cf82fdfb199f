//! Sequences written by hand, one per promise that controllers stand on.

mod contents;
mod lives;
mod statuses;

use serde_json::{Value, json};

use super::operation::Operation::{self, Apply, Create, Patch};
use super::operation::{Insist, Manager, Object, Subject};

const SHOP: Object = Object(Subject::Dot, "shop");
const OTHER: Object = Object(Subject::Dot, "other");
const TRY: Object = Object(Subject::Branch, "try");
const SAVED: Object = Object(Subject::Commit, "saved");
const POOL: Object = Object(Subject::Pool, "n1");
const MAP: Object = Object(Subject::ConfigMap, "map");
const CLAIM: Object = Object(Subject::PersistentVolumeClaim, "pg");
/// More than a Dot's name may have.
const LONG: &str = "a2345678901234567890123456789012345678901234567890123456";

const INSISTS: [Insist; 5] = [
    Insist::Nothing,
    Insist::Same,
    Insist::Unchanged,
    Insist::Another,
    Insist::Old,
];

/// Name and sequence of each.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<Operation>)> {
    vec![
        ("births", lives::births()),
        ("names", lives::names()),
        ("guards", lives::guards()),
        ("generations", lives::generations()),
        ("defaults and unknown fields", contents::defaults()),
        ("rules", contents::rules()),
        ("what a status refuses", contents::bad_statuses()),
        ("owners of fields", statuses::owners_of_fields()),
        ("order of lists with keys", statuses::orders()),
        ("finalizers", lives::finalizers()),
        ("owners", lives::owners()),
        ("lists", contents::lists()),
        ("a claim", contents::claim()),
    ]
}

fn plain(object: Object) -> Operation {
    Create(object, json!({}))
}

fn with(object: Object, extra: Value) -> Operation {
    Create(object, extra)
}

fn patch(object: Object, patch: Value) -> Operation {
    Patch(object, Insist::Nothing, patch)
}

fn apply(manager: Manager, status: Value) -> Operation {
    Apply(SHOP, Insist::Nothing, manager, status)
}

fn operator(status: Value) -> Operation {
    apply(Manager::Operator, status)
}

fn claims(status: Value) -> Operation {
    apply(Manager::Claims, status)
}
