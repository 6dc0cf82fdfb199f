//! What may be in an object: defaults, schemas, rules.

use serde_json::{Value, json};

use super::super::operation::Operation::{self, Apply, Delete, Get, List, Pages, Patch};
use super::super::operation::{Insist, Manager, Object, Subject};
use super::{CLAIM, OTHER, POOL, SAVED, SHOP, TRY, operator, patch, plain, with};

pub(super) fn defaults() -> Vec<Operation> {
    vec![
        with(TRY, json!({"spec": {"from": "HEAD~1"}})),
        Delete(TRY, Insist::Nothing),
        plain(TRY),
        patch(TRY, json!({"spec": {"form": "HEAD"}, "sepc": {}})),
        plain(SHOP),
        patch(SHOP, json!({"spec": {"volume": []}})),
        patch(SHOP, json!({"spec": {"volumes": null}})),
        Apply(
            TRY,
            Insist::Nothing,
            Manager::Operator,
            json!({"origin": {"commit": "c", "commitName": "n", "head": "h"}}),
        ),
        Get(TRY),
    ]
}

pub(super) fn rules() -> Vec<Operation> {
    let volumes = |volumes: Value| json!({"spec": {"volumes": volumes}});
    let one = |name: &str, size: &str| json!([{"name": name, "size": size}]);
    let mut operations = vec![plain(SHOP), plain(TRY), plain(SAVED), plain(POOL)];
    for bad in [
        json!([]),
        one("Upper", "1Gi"),
        one("", "1Gi"),
        one("db", "1"),
        one("db", "1 Gi"),
        one("db", ""),
        json!([{"name": "db"}]),
        json!([{"name": "db", "size": 5}]),
        json!([{"name": "db", "size": "1Gi"}, {"name": "db", "size": "2Gi"}]),
        json!("db"),
    ] {
        operations.push(patch(SHOP, volumes(bad)));
    }
    for size in ["2Gi", "1Gi", "2048Mi", "2.5Gi", "3e9", "1Gi"] {
        operations.push(patch(SHOP, volumes(one("db", size))));
    }
    operations.extend([
        // One that comes may be smaller than one that is there; one that goes and comes again may be smaller too.
        patch(
            SHOP,
            volumes(json!([{"name": "cache", "size": "1Mi"}, {"name": "db", "size": "4Gi"}])),
        ),
        patch(SHOP, volumes(one("cache", "1Mi"))),
        patch(SHOP, volumes(one("db", "1Mi"))),
        patch(SAVED, json!({"spec": {"message": "other"}})),
        patch(SAVED, json!({"spec": {"message": "a message"}})),
        patch(SAVED, json!({"metadata": {"labels": {"a": "b"}}})),
        patch(SAVED, json!({"spec": {"metadata": {"": "x"}}})),
        patch(TRY, json!({"spec": {"name": "other"}})),
        patch(TRY, json!({"spec": {"from": "HEAD"}})),
        patch(POOL, json!({"spec": {"file": {"size": "3Gi"}}})),
        patch(POOL, json!({"spec": {"file": {"size": "2Gi"}}})),
        patch(POOL, json!({"spec": {"file": {"path": "/var/lib/dotmesh/other.img"}}})),
        patch(POOL, json!({"spec": {"file": null, "existing": "tank"}})),
        patch(POOL, json!({"spec": {"existing": "tank"}})),
        patch(SAVED, json!({"spec": null})),
        with(
            OTHER,
            volumes(json!([{"name": "a", "size": "1Mi"}, {"name": "a", "size": "1Mi"}])),
        ),
        with(Object(Subject::Branch, "bad"), json!({"spec": {"name": "a..b"}})),
        with(Object(Subject::Commit, "bad"), json!({"spec": {"dot": "Upper"}})),
        with(
            Object(Subject::Pool, "bad"),
            json!({"spec": {"file": {"path": "/etc/passwd"}}}),
        ),
    ]);
    operations
}

pub(super) fn bad_statuses() -> Vec<Operation> {
    let mut operations = vec![plain(SHOP), operator(json!({"node": "n1"}))];
    for bad in [
        json!({"nosuch": 1}),
        json!({"node": 1}),
        json!({"claims": "none"}),
        json!({"claims": [{"uid": "u1"}]}),
        json!({"conditions": [{"type": "Ready", "status": "True"}]}),
        json!({"conditions": [{
            "type": "Ready", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": "today",
        }]}),
    ] {
        operations.push(operator(bad));
    }
    operations.push(Get(SHOP));
    operations
}

pub(super) fn lists() -> Vec<Operation> {
    let mut operations = vec![Pages(Subject::Commit, 2), List(Subject::Commit, "spec.dot=dot-{run}")];
    for name in ["e", "a", "d", "b", "c"] {
        operations.push(plain(Object(Subject::Commit, name)));
    }
    let other = json!({"spec": {"dot": "another-{run}"}});
    operations.push(with(Object(Subject::Commit, "f"), other));
    for limit in [1, 2, 3, 5, 6, 7] {
        operations.push(Pages(Subject::Commit, limit));
    }
    operations.extend([
        List(Subject::Commit, "spec.dot=dot-{run}"),
        List(Subject::Commit, "spec.dot=another-{run}"),
        List(Subject::Commit, "spec.dot=dot-{run},metadata.name=a-{run}"),
        List(Subject::Commit, "metadata.name=a-{run}"),
        List(Subject::Commit, "spec.message=x"),
        List(Subject::Dot, "spec.dot=dot-{run}"),
        List(Subject::Pool, "metadata.name=a-{run}"),
        Delete(Object(Subject::Commit, "c"), Insist::Nothing),
        Pages(Subject::Commit, 2),
    ]);
    operations
}

pub(super) fn claim() -> Vec<Operation> {
    let note = |value: &str| json!({"metadata": {"annotations": {"dotmesh.io/x": value}}});
    vec![
        plain(CLAIM),
        plain(CLAIM),
        Patch(CLAIM, Insist::Unchanged, note("1")),
        Patch(CLAIM, Insist::Old, note("2")),
        Patch(CLAIM, Insist::Another, note("3")),
        patch(CLAIM, json!({"status": {"phase": "Bound"}})),
        Get(CLAIM),
    ]
}
