//! Sequences by chance, of what the scripts are made of.

use dotmesh_crds::names::FINALIZER;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::operation::{Insist, Manager, Object, Operation, SUBJECTS, Subject};

/// Few names, so that calls meet.
const NAMES: [&str; 2] = ["a", "b"];

fn object() -> impl Strategy<Value = Object> {
    (select(&SUBJECTS[..]), select(&NAMES[..])).prop_map(|(subject, name)| Object(subject, name))
}

fn with_status() -> impl Strategy<Value = Object> {
    object().prop_filter("has a status", |object| object.0 != Subject::ConfigMap)
}

fn insist() -> impl Strategy<Value = Insist> {
    prop_oneof![
        3 => Just(Insist::Nothing),
        2 => Just(Insist::Same),
        4 => Just(Insist::Unchanged),
        1 => Just(Insist::Another),
        1 => Just(Insist::Old),
    ]
}

fn extra() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!({})),
        2 => Just(json!({"metadata": {"finalizers": [FINALIZER]}})),
        1 => Just(json!({"metadata": {"labels": {"n": "0"}}, "status": {}})),
        1 => Just(json!({"metadata": {"resourceVersion": "7"}})),
    ]
}

fn patch() -> impl Strategy<Value = Value> {
    let label = select(vec![json!("0"), json!("1"), Value::Null]);
    let finalizers = select(vec![
        json!([FINALIZER]),
        json!([FINALIZER, "example.org/other"]),
        json!([]),
        Value::Null,
    ]);
    let size = select(vec!["1Gi", "2Gi", "2048Mi", "0", "lots"]);
    prop_oneof![
        3 => label.prop_map(|n| json!({"metadata": {"labels": {"n": n}}})),
        4 => finalizers.prop_map(|all| json!({"metadata": {"finalizers": all}})),
        3 => size.prop_map(|size| json!({"spec": {"volumes": [{"name": "db", "size": size}]}})),
        1 => Just(json!({"spec": {"message": "other"}, "data": {"k": "1"}})),
        1 => Just(json!({"spec": {"dot": 5}, "data": {"k": "2"}})),
        1 => Just(json!({"spec": {"nosuch": 1}})),
        1 => Just(json!({"status": {"head": "h"}})),
        1 => Just(json!({})),
    ]
}

/// In any order, with values that differ or not.
fn items(names: &'static [&'static str], item: fn(&str, u8) -> Value) -> impl Strategy<Value = Value> {
    let some = subsequence(names, 0..=names.len()).prop_shuffle();
    some.prop_flat_map(move |names| {
        let values = vec(0_u8..2, names.len());
        values.prop_map(move |values| {
            let pairs = names.iter().zip(values);
            pairs.map(|(name, value)| item(name, value)).collect()
        })
    })
}

fn condition(kind: &str, value: u8) -> Value {
    json!({
        "type": kind, "status": if value == 0 { "False" } else { "True" }, "reason": "Because", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

fn claim(uid: &str, value: u8) -> Value {
    json!({"uid": uid, "namespace": "dev", "name": uid, "volume": "db", "size": format!("{value}Gi")})
}

/// A status of a Dot, or what of it fits another kind too.
fn status() -> impl Strategy<Value = (Value, Value)> {
    let dot = (
        items(&["Ready", "Other"], condition),
        items(&["u1", "u2", "u3"], claim),
        items(
            &["v1", "v2", "v3"],
            |name, value| json!({"name": name, "id": name, "size": format!("{value}Gi")}),
        ),
        items(&["u1", "u2", "u3"], |uid, _| json!(uid)),
        select(vec!["n1", "n2"]),
    );
    let dot = (
        dot,
        subsequence(vec!["conditions", "claims", "volumes", "attachments", "node"], 1..=5),
    );
    let dot = dot.prop_map(|((conditions, claims, volumes, attachments, node), fields)| {
        let all = json!({
            "conditions": conditions, "claims": claims, "volumes": volumes, "attachments": attachments, "node": node,
        });
        fields
            .into_iter()
            .map(|field| (field.to_owned(), all[field].clone()))
            .collect()
    });
    let other = (items(&["Ready", "Other"], condition), 1_i64..3)
        .prop_map(|(conditions, generation)| json!({"conditions": conditions, "observedGeneration": generation}));
    (dot, other)
}

fn operation() -> impl Strategy<Value = Operation> {
    let manager = prop_oneof![2 => Just(Manager::Operator), 1 => Just(Manager::Claims)];
    let apply = (with_status(), insist(), manager, status());
    prop_oneof![
        5 => (object(), extra()).prop_map(|(object, extra)| Operation::Create(object, extra)),
        6 => (object(), insist(), patch()).prop_map(|(object, insist, mut patch)| {
            if let (Subject::ConfigMap, Some(fields)) = (object.0, patch.as_object_mut()) {
                fields.retain(|name, _| matches!(name.as_str(), "metadata" | "data"));
            }
            Operation::Patch(object, insist, patch)
        }),
        8 => apply.prop_map(|(object, insist, manager, (dot, other))| {
            let status = if object.0 == Subject::Dot { dot } else { other };
            Operation::Apply(object, insist, manager, status)
        }),
        3 => (object(), insist()).prop_map(|(object, insist)| Operation::Delete(object, insist)),
        2 => object().prop_map(Operation::Get),
        1 => (select(&SUBJECTS[..]), 1_u32..3).prop_map(|(subject, limit)| Operation::Pages(subject, limit)),
        1 => Just(Operation::List(Subject::Commit, "spec.dot=dot-{run}")),
    ]
}

/// A sequence of so many calls at most.
pub fn sequence(at_most: usize) -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..=at_most)
}
