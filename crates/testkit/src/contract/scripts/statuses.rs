//! Server-side apply of statuses.

use serde_json::{Value, json};

use super::super::operation::Operation::{self, Apply, Delete, Patch};
use super::super::operation::{Insist, Manager};
use super::{POOL, SAVED, SHOP, claims, operator, plain};

fn entry(uid: &str, size: &str) -> Value {
    json!({"uid": uid, "namespace": "dev", "name": format!("claim-{uid}"), "volume": "db", "size": size})
}

fn volume(name: &str, size: &str) -> Value {
    json!({"name": name, "id": format!("id-{name}"), "size": size})
}

fn condition(kind: &str, status: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": "Because", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

pub(super) fn owners_of_fields() -> Vec<Operation> {
    vec![
        plain(SHOP),
        operator(json!({"node": "n1", "pool": "n1", "attachments": ["u1", "u2"], "volumes": [volume("a", "1")]})),
        claims(json!({"claims": [entry("u1", "1Gi"), entry("u2", "1Gi")]})),
        // The same again writes nothing.
        claims(json!({"claims": [entry("u1", "1Gi"), entry("u2", "1Gi")]})),
        // What is applied no more goes; what another applies stays.
        operator(json!({"node": "n1", "attachments": ["u2"], "volumes": [volume("b", "2")]})),
        claims(json!({"claims": [entry("u2", "2Gi")]})),
        claims(json!({"claims": []})),
        claims(json!({"claims": [entry("u3", "2Gi")]})),
        // Two owners of one field: it goes with the last.
        claims(json!({"claims": [entry("u3", "2Gi")], "node": "n1"})),
        operator(json!({"pool": "n1"})),
        claims(json!({"claims": [entry("u3", "2Gi")]})),
        // By force: who had it loses it, and does not take it along.
        operator(json!({"node": "n1", "pool": "n1"})),
        claims(json!({"node": "n2"})),
        operator(json!({"pool": "n1"})),
        claims(json!({"checkout": "main"})),
        // Items are owned by field.
        operator(json!({"pool": "n1", "claims": [entry("u1", "1Gi")]})),
        claims(json!({"claims": [entry("u1", "2Gi")]})),
        operator(json!({"pool": "n1"})),
        claims(json!({"checkout": "main"})),
        operator(json!({"conditions": [condition("Ready", "False"), condition("Other", "True")]})),
        operator(json!({"conditions": [condition("Ready", "True")]})),
        Patch(SHOP, Insist::Unchanged, json!({"metadata": {"labels": {"a": "b"}}})),
        // Another object of that name has no owners yet.
        Delete(SHOP, Insist::Same),
        plain(SHOP),
        claims(json!({"claims": [entry("u1", "1Gi")]})),
        operator(json!({"node": "n1"})),
        plain(POOL),
        Apply(
            POOL,
            Insist::Unchanged,
            Manager::Operator,
            json!({"health": "ONLINE", "guid": "1"}),
        ),
        Apply(
            POOL,
            Insist::Unchanged,
            Manager::Operator,
            json!({"health": "DEGRADED"}),
        ),
        plain(SAVED),
        Apply(
            SAVED,
            Insist::Unchanged,
            Manager::Operator,
            json!({"id": "i", "createtxg": 5, "volumes": [
                {"name": "db", "id": "v", "guid": "1", "referencedBytes": 1, "writtenBytes": 0},
            ]}),
        ),
        Apply(
            SAVED,
            Insist::Unchanged,
            Manager::Operator,
            json!({"id": "i", "createtxg": 5, "conditions": [condition("Ready", "True")]}),
        ),
    ]
}

pub(super) fn orders() -> Vec<Operation> {
    let mut operations = vec![plain(SHOP)];
    for names in ["abc", "cab", "bd", "dxb", "b", "ab", "zyxb", "xz", "bxza", "azxb"] {
        let volumes: Vec<_> = names.chars().map(|name| volume(&name.to_string(), "1")).collect();
        let set: Vec<_> = names.chars().map(|name| name.to_string()).collect();
        operations.push(operator(json!({"volumes": volumes, "attachments": set})));
    }
    // With another's items in between.
    operations.push(claims(
        json!({"volumes": [volume("k", "1"), volume("x", "1"), volume("l", "1")]}),
    ));
    for names in ["xa", "ax", "mxn", "lk", "klx"] {
        let volumes: Vec<_> = names.chars().map(|name| volume(&name.to_string(), "1")).collect();
        operations.push(operator(json!({ "volumes": volumes })));
    }
    operations
}
