//! Objects that come, change and go.

use dotmesh_crds::names::FINALIZER;
use serde_json::{Value, json};

use super::super::operation::Operation::{self, Apply, Collected, Delete, Get, Patch};
use super::super::operation::{Insist, Manager, Object, Subject};
use super::{INSISTS, LONG, MAP, OTHER, POOL, SAVED, SHOP, TRY, operator, patch, plain, with};

pub(super) fn births() -> Vec<Operation> {
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

pub(super) fn names() -> Vec<Operation> {
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

pub(super) fn guards() -> Vec<Operation> {
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

pub(super) fn generations() -> Vec<Operation> {
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

pub(super) fn finalizers() -> Vec<Operation> {
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

pub(super) fn owners() -> Vec<Operation> {
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
