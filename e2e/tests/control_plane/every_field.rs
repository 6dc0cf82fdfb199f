//! Every field of every kind, made wrong in every way that its schema tells of: the server refuses it and names the
//! field. A field that is added later is tried without anybody thinking of it.

use std::collections::BTreeSet;

use dotmesh_crds::yaml::crds;
use dotmesh_e2e::objects::{branch, commit, dot};
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::{assert_accepted, cluster, refusal};

/// Requests to the server at a time.
const REQUESTS: usize = 8;

/// Good objects of each kind, in which together every field of the spec is set.
fn examples() -> Vec<Value> {
    let mut full_commit = commit("c", "d");
    full_commit["spec"]["branch"] = json!("main");
    full_commit["spec"]["committer"] = json!("ada");
    full_commit["spec"]["metadata"] = json!({"build": "512"});
    full_commit["spec"]["group"] = json!({"name": "release", "members": 2});
    full_commit["spec"]["publish"] = json!(true);
    let pool = |place: &str, value: Value| {
        json!({
            "apiVersion": "dotmesh.io/v1alpha1", "kind": "Pool", "metadata": {"name": "p"},
            "spec": {"nodeName": "n1", "class": "fast", place: value},
        })
    };
    let mut full_dot = dot("d", &[("a", "1Gi")]);
    full_dot["spec"]["placement"] = json!({"poolClass": "fast"});
    full_dot["spec"]["volumes"][0]["volumeMode"] = json!("Filesystem");
    full_dot["spec"]["volumes"][0]["fsType"] = json!("ext4");
    full_dot["spec"]["volumes"][0]["zfs"] =
        json!({"compression": "zstd-3", "volblocksize": "8Ki", "thin": true, "sync": "always"});
    let mut files = dot("files", &[("a", "1Gi")]);
    files["spec"]["volumes"][0]["zfs"] = json!({"compression": "lz4", "recordsize": "16Ki", "sync": "disabled"});
    files["spec"]["volumes"][0]["importFrom"] = json!({"persistentVolumeClaim": "old-db"});
    let mut adopted = dot("adopted", &[("a", "1Gi")]);
    adopted["spec"]["volumes"][0]["importFrom"] = json!({"zfsSnapshot": {"pool": "n1", "name": "tank/old data@move"}});
    let mut forked = dot("forked", &[("a", "1Gi")]);
    forked["spec"]["volumes"][0]["importFrom"] = json!({"commit": {"name": "before.sale", "volume": "db"}});
    full_dot["spec"]["deletionPolicy"] = json!("Retain");
    full_dot["spec"]["publish"] = json!(true);
    let id = "0c5a6f6e-1111-4222-8333-444455556666";
    full_dot["spec"]["restoreFrom"] = json!(id);
    let zfs =
        json!({"compression": "off", "recordsize": "1Mi", "volblocksize": "4Ki", "thin": false, "sync": "standard"});
    let origin = json!({
        "dot": "d", "dotId": id, "commit": "c", "commitId": id, "head": id, "volume": "v", "volumeId": id, "guid": "1", "converted": true,
    });
    let remnant = json!({
        "apiVersion": "dotmesh.io/v1alpha1", "kind": "Remnant", "metadata": {"name": format!("dot-{id}")},
        "spec": {
            "kind": "Dot", "id": id, "dot": id, "name": "d", "uid": id, "namespace": {"name": "n", "uid": id},
            "node": "n1", "pool": "p", "poolClass": "fast",
            "volumes": [{"name": "a", "id": id, "size": "1Gi", "volumeMode": "Filesystem", "fsType": "xfs", "zfs": zfs, "origin": origin}],
            "deletedAt": "2026-01-31T12:00:00Z", "expiresAt": "2026-02-01T12:00:00Z",
        },
    });
    let mut of_branch = remnant.clone();
    of_branch["metadata"]["name"] = json!(format!("branch-{id}"));
    of_branch["spec"]["kind"] = json!("Branch");
    of_branch["spec"]["branch"] = json!({
        "name": "main", "head": id, "guids": {"v": "1"},
        "origin": {"commit": id, "commitName": "c", "head": id, "guids": {"v": "1"}},
    });
    let mut restored = branch("b2", "d", "HEAD");
    restored["spec"]["restoreFrom"] = json!(id);
    vec![
        full_dot,
        files,
        adopted,
        forked,
        remnant,
        of_branch,
        restored,
        full_commit,
        branch("b", "d", "HEAD"),
        pool("file", json!({"path": "/var/lib/dotmesh/pool.img", "size": "2Gi"})),
        pool("devices", json!(["/dev/disk/by-id/one"])),
        pool("existing", json!("tank")),
    ]
}

/// All fields below one, as the server calls them.
fn fields(schema: &Value, field: &str) -> BTreeSet<String> {
    let below = |schema: &Value, name: &str| fields(schema, &format!("{field}.{name}"));
    let named = schema["properties"].as_object().into_iter().flatten();
    let mut all: BTreeSet<String> = named.flat_map(|(name, schema)| below(schema, name)).collect();
    all.insert(field.to_owned());
    if let Some(items) = schema.get("items") {
        all.extend(fields(items, &format!("{field}[0]")));
    }
    all
}

/// What is wrong with an object: the field, as the server calls it, and the object.
struct Wrong {
    field: String,
    how: &'static str,
    object: Value,
}

fn with(object: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = object.clone();
    let place = changed.pointer_mut(pointer);
    *place.unwrap_or_else(|| panic!("{pointer} is not set in {object}")) = value;
    changed
}

fn without(object: &Value, pointer: &str, name: &str) -> Value {
    let mut object = object.clone();
    let parent = object.pointer_mut(pointer).and_then(Value::as_object_mut);
    parent.unwrap().remove(name).unwrap();
    object
}

/// Everything that can be wrong with a field and what is below it.
fn wrongs(object: &Value, schema: &Value, pointer: &str, field: &str, all: &mut Vec<Wrong>) {
    let mut add = |how, value| {
        all.push(Wrong {
            field: field.to_owned(),
            how,
            object: with(object, pointer, value),
        });
    };
    let limit = |name: &str| schema[name].as_u64().and_then(|limit| usize::try_from(limit).ok());
    match schema["type"].as_str() {
        Some("boolean") => add("a word", json!("yes")),
        Some("integer") => {
            add("a text", json!("7"));
            add("below zero", json!(-1));
            add("too large", json!(i32::MAX));
        }
        Some("string") => {
            add("a number", json!(7));
            if limit("minLength").is_some_and(|min| min > 0) {
                add("empty", json!(""));
            }
            let has = |word: &str| schema.get(word).is_some();
            let is_bounded = has("enum") || schema["format"] == "date-time";
            if !is_bounded {
                let max = limit("maxLength").unwrap_or_else(|| panic!("{field} has no maxLength"));
                add("too long", json!("a".repeat(max + 1)));
            }
            if is_bounded || has("pattern") || has("x-kubernetes-validations") {
                add("of another form", json!("-?\u{1f}!"));
            }
        }
        Some("array") => {
            add("an object", json!({}));
            if limit("minItems").is_some_and(|min| min > 0) {
                add("empty", json!([]));
            }
            let max = limit("maxItems").unwrap_or_else(|| panic!("{field} has no maxItems"));
            let item = object.pointer(&format!("{pointer}/0")).cloned();
            let item = item.unwrap_or_else(|| panic!("{field} has no example"));
            add("too many", vec![item; max + 1].into());
            wrongs(
                object,
                &schema["items"],
                &format!("{pointer}/0"),
                &format!("{field}[0]"),
                all,
            );
        }
        Some("object") => {
            add("a text", json!("x"));
            if let Some(values) = schema.get("additionalProperties") {
                let max = limit("maxProperties").unwrap_or_else(|| panic!("{field} has no maxProperties"));
                let many: serde_json::Map<_, _> = (0..=max).map(|n| (format!("k{n}"), json!("v"))).collect();
                add("too many", Value::Object(many));
                let here = object.pointer(pointer).and_then(Value::as_object);
                let key = here.and_then(|here| here.keys().next()).unwrap();
                wrongs(
                    object,
                    values,
                    &format!("{pointer}/{key}"),
                    &format!("{field}.{key}"),
                    all,
                );
            }
            for (name, below) in schema["properties"].as_object().into_iter().flatten() {
                if object.pointer(&format!("{pointer}/{name}")).is_none() {
                    continue;
                }
                wrongs(
                    object,
                    below,
                    &format!("{pointer}/{name}"),
                    &format!("{field}.{name}"),
                    all,
                );
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap();
                all.push(Wrong {
                    field: format!("{field}.{name}"),
                    how: "missing",
                    object: without(object, pointer, name),
                });
            }
            if schema.get("properties").is_some() {
                let mut object = object.clone();
                object.pointer_mut(pointer).unwrap()["misspelt"] = json!(1);
                all.push(Wrong {
                    field: format!("{field}.misspelt"),
                    how: "unknown",
                    object,
                });
            }
        }
        other => panic!("{field} has type {other:?}: nobody decided yet how it is made wrong"),
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_field_is_refused_and_the_field_is_named() {
    let mut all = Vec::new();
    let examples = examples();
    for crd in crds() {
        let kind = &crd.spec.names.kind;
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
        let mut of_kind = Vec::new();
        for object in examples.iter().filter(|object| object["kind"] == *kind) {
            assert_accepted(object).await;
            wrongs(object, spec, "/spec", "spec", &mut of_kind);
        }
        let tried: BTreeSet<String> = of_kind.iter().map(|wrong| wrong.field.clone()).collect();
        let left: Vec<String> = fields(spec, "spec")
            .into_iter()
            .filter(|field| !tried.contains(field))
            .collect();
        assert!(left.is_empty(), "{kind}: no example sets {left:?}");
        all.extend(of_kind);
    }
    let tried = all.len();
    assert!(tried > 60, "{tried}");
    cluster().await;
    let complaints: Vec<String> = stream::iter(all)
        .map(|wrong| async move {
            let Wrong { field, how, object } = wrong;
            let last = field.rsplit('.').next().unwrap_or_default().to_owned();
            match refusal(&object).await {
                None => Some(format!("{field} {how}: accepted: {object}")),
                Some(words) if !words.contains(&last) => Some(format!("{field} {how}: not named: {words}")),
                Some(_) => None,
            }
        })
        .buffer_unordered(REQUESTS)
        .filter_map(async |complaint| complaint)
        .collect()
        .await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    println!("{tried} wrong objects refused");
}
