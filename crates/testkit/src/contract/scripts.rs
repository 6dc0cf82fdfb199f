//! Sequences written by hand, one per promise that controllers stand on.

use dotmesh_crds::names::FINALIZER;
use serde_json::{Value, json};

use super::operation::Operation::{self, Apply, Collected, Create, Delete, Get, List, Pages, Patch};
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
        ("births", births()),
        ("names", names()),
        ("guards", guards()),
        ("generations", generations()),
        ("defaults and unknown fields", defaults()),
        ("rules", rules()),
        ("what a status refuses", bad_statuses()),
        ("owners of fields", owners_of_fields()),
        ("order of lists with keys", orders()),
        ("finalizers", finalizers()),
        ("owners", owners()),
        ("lists", lists()),
        ("a claim", claim()),
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

fn births() -> Vec<Operation> {
    let server_sets = json!({"metadata": {
        "uid": "11111111-0000-4000-8000-000000000001", "generation": 7,
        "creationTimestamp": "2020-01-01T00:00:00Z", "annotations": {}, "finalizers": [],
    }, "status": {"node": "n1"}});
    vec![
        Get(SHOP),
        plain(SHOP),
        plain(SHOP),
        Get(SHOP),
        Delete(SHOP, Insist::Nothing),
        Get(SHOP),
        Delete(SHOP, Insist::Nothing),
        with(SHOP, server_sets),
        with(OTHER, json!({"metadata": {"resourceVersion": "5"}})),
        plain(TRY),
        plain(SAVED),
        plain(POOL),
        plain(MAP),
        plain(MAP),
        // Refused for what it says before it is refused for its name.
        with(SHOP, json!({"spec": {"volumes": [{"name": "db", "size": "0"}]}})),
    ]
}

fn names() -> Vec<Operation> {
    let generated = json!({"metadata": {"generateName": "gen-{run}-"}});
    let mut operations = Vec::new();
    for subject in [Subject::Dot, Subject::Commit, Subject::ConfigMap] {
        let nameless = Object(subject, "");
        operations.extend([
            with(nameless, generated.clone()),
            plain(nameless),
            plain(Object(subject, "Upper")),
            plain(Object(subject, "a_b")),
            plain(Object(subject, "a.b")),
            plain(Object(subject, LONG)),
            with(Object(subject, "named"), generated.clone()),
        ]);
    }
    operations
}

fn guards() -> Vec<Operation> {
    let mut operations = Vec::new();
    for object in [SHOP, MAP] {
        operations.extend(INSISTS.map(|insist| Patch(object, insist, json!({}))));
        operations.extend(INSISTS.map(|insist| Delete(object, insist)));
        operations.push(plain(object));
        let label = |n: usize| json!({"metadata": {"labels": {"n": n.to_string()}}});
        for (n, insist) in INSISTS.into_iter().enumerate() {
            operations.push(Patch(object, insist, label(n)));
        }
        for insist in [Insist::Another, Insist::Old, Insist::Same] {
            operations.push(Delete(object, insist));
        }
        operations.extend([plain(object), Delete(object, Insist::Unchanged)]);
    }
    operations.extend(INSISTS.map(|insist| Apply(SHOP, insist, Manager::Operator, json!({"node": "n0"}))));
    operations.push(plain(SHOP));
    for (n, insist) in INSISTS.into_iter().enumerate() {
        operations.push(Apply(SHOP, insist, Manager::Operator, json!({"node": format!("n{n}")})));
    }
    operations
}

fn generations() -> Vec<Operation> {
    let sized = |size: &str| json!({"spec": {"volumes": [{"name": "db", "size": size}]}});
    vec![
        plain(SHOP),
        patch(
            SHOP,
            json!({"metadata": {"labels": {"team": "a"}, "annotations": {"x": "1"}}}),
        ),
        patch(
            SHOP,
            json!({"metadata": {"labels": {"team": null}, "annotations": null}}),
        ),
        patch(SHOP, json!({})),
        patch(SHOP, sized("1Gi")),
        patch(SHOP, sized("1Gi")),
        patch(SHOP, sized("2Gi")),
        patch(SHOP, json!({"status": {"node": "n1"}})),
        operator(json!({"node": "n1"})),
        patch(SHOP, json!({"status": null})),
        patch(
            SHOP,
            json!({"metadata": {"generation": 9, "creationTimestamp": "2020-01-01T00:00:00Z"}}),
        ),
        patch(SHOP, json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}})),
        patch(SHOP, json!({"metadata": {"name": "another"}})),
        patch(SHOP, json!({"metadata": {"finalizers": []}})),
        plain(MAP),
        patch(MAP, json!({"data": {"k": "1", "l": "2"}})),
        patch(MAP, json!({"data": {"k": null}})),
        patch(MAP, json!({"metadata": {"labels": {"a": "b"}}})),
    ]
}

fn defaults() -> Vec<Operation> {
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

fn rules() -> Vec<Operation> {
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

fn bad_statuses() -> Vec<Operation> {
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

fn owners_of_fields() -> Vec<Operation> {
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

fn orders() -> Vec<Operation> {
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

fn finalizers() -> Vec<Operation> {
    let finalizers = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    let mut operations = Vec::new();
    for object in [SHOP, MAP] {
        operations.extend([
            with(object, finalizers(json!([FINALIZER, "example.org/other"]))),
            Delete(object, Insist::Another),
            Delete(object, Insist::Unchanged),
            Delete(object, Insist::Same),
            Delete(object, Insist::Old),
            plain(object),
            patch(object, json!({"metadata": {"labels": {"a": "b"}}})),
            patch(object, json!({"metadata": {"deletionTimestamp": null}})),
            patch(object, finalizers(json!([FINALIZER, "example.org/more"]))),
            patch(object, finalizers(json!([FINALIZER]))),
            patch(object, finalizers(json!([FINALIZER, "example.org/other"]))),
            Patch(object, Insist::Old, finalizers(Value::Null)),
            Patch(object, Insist::Unchanged, finalizers(Value::Null)),
            Get(object),
            patch(object, finalizers(Value::Null)),
            plain(object),
            patch(object, finalizers(json!([FINALIZER]))),
            Delete(object, Insist::Nothing),
            patch(object, finalizers(json!([]))),
            Get(object),
        ]);
    }
    operations.extend([
        with(SHOP, finalizers(json!([FINALIZER]))),
        operator(json!({"node": "n1"})),
        Delete(SHOP, Insist::Nothing),
        operator(json!({"node": "n2"})),
        patch(SHOP, json!({"spec": {"volumes": [{"name": "db", "size": "1Gi"}]}})),
        patch(SHOP, finalizers(Value::Null)),
        Get(SHOP),
    ]);
    operations
}

fn owned_by(names: &[&str]) -> Value {
    let reference = |name: &&str| {
        json!({
            "apiVersion": "dotmesh.io/v1alpha1", "kind": "Dot", "name": format!("{name}-{{run}}"),
            "uid": format!("{{uid of {name}}}"),
        })
    };
    json!({"metadata": {"ownerReferences": names.iter().map(reference).collect::<Vec<_>>()}})
}

fn owners() -> Vec<Operation> {
    let mut held = owned_by(&["shop"]);
    held["metadata"]["finalizers"] = json!([FINALIZER]);
    let mut stranger = owned_by(&["shop"]);
    stranger["metadata"]["ownerReferences"][0]["uid"] = json!("11111111-0000-4000-8000-000000000001");
    vec![
        plain(SHOP),
        with(TRY, owned_by(&["shop"])),
        with(Object(Subject::Commit, "orphan"), stranger),
        Collected(Object(Subject::Commit, "orphan")),
        Get(TRY),
        Delete(SHOP, Insist::Nothing),
        Collected(TRY),
        plain(SHOP),
        with(SAVED, held),
        Delete(SHOP, Insist::Nothing),
        Collected(SAVED),
        patch(SAVED, json!({"metadata": {"finalizers": null}})),
        Get(SAVED),
        plain(SHOP),
        plain(OTHER),
        with(MAP, owned_by(&["shop", "other"])),
        Delete(SHOP, Insist::Nothing),
        Collected(MAP),
        Delete(OTHER, Insist::Nothing),
        Collected(MAP),
    ]
}

fn lists() -> Vec<Operation> {
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

fn claim() -> Vec<Operation> {
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
