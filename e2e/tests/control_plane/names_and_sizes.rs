//! Names and sizes that people get wrong.

use dotmesh_e2e::objects::{branch, commit, dot};
use serde_json::{Value, json};

use super::{assert_accepted, assert_refused};

/// No DNS labels.
const BAD_LABELS: [&str; 9] = ["Upper", "a/b", "..", "a..b", "a@b", "-a", "a-", "ünï", "a b"];

#[tokio::test]
async fn names_of_volumes_are_dns_labels() {
    for name in BAD_LABELS {
        assert_refused(&dot("d", &[(name, "1Gi")]), "a volume's name has lower-case letters").await;
    }
    assert_refused(&dot("d", &[("", "1Gi")]), "spec.volumes[0].name").await;
    assert_refused(&dot("d", &[(&"a".repeat(64), "1Gi")]), "may not be more than 63").await;
    assert_accepted(&dot("d", &[(&"a".repeat(63), "1Gi"), ("0", "1Gi")])).await;
}

#[tokio::test]
async fn a_volume_is_named_once() {
    assert_refused(&dot("d", &[("a", "1Gi"), ("a", "2Gi")]), "Duplicate value").await;
}

#[tokio::test]
async fn a_list_of_volumes_is_not_empty_and_not_endless() {
    let mut object = dot("d", &[("a", "1Gi")]);
    object["spec"]["volumes"] = json!([]);
    assert_refused(&object, "spec.volumes").await;
    let volume = |n: usize| json!({"name": format!("v{n}"), "size": "1Gi"});
    object["spec"]["volumes"] = (0..101).map(volume).collect();
    assert_refused(&object, "spec.volumes").await;
    object["spec"]["volumes"] = (0..100).map(volume).collect();
    assert_accepted(&object).await;
    assert_accepted(&dot("d", &[])).await;
}

#[tokio::test]
async fn sizes_are_quantities_of_at_least_a_mebibyte() {
    for size in ["0", "-1Gi", "1023Ki", "1", "", "lots", "1 Gi", "10GB"] {
        assert_refused(&dot("d", &[("a", size)]), "spec.volumes[0].size").await;
    }
    for size in ["1Mi", "1Gi", "1.5Gi", "1000000000", "1e9", "20G"] {
        assert_accepted(&dot("d", &[("a", size)])).await;
    }
    let mut object = dot("d", &[("a", "1Gi")]);
    object["spec"]["volumes"][0]["size"] = json!(5);
    assert_refused(&object, "must be of type string").await;
}

#[tokio::test]
async fn names_of_objects_are_dns_labels_of_limited_length() {
    for name in BAD_LABELS {
        for object in [dot(name, &[]), commit(name, "d"), branch(name, "d", "HEAD")] {
            assert_refused(&object, "name").await;
        }
    }
    assert_refused(&dot("a.b", &[]), "a Dot's name has at most 55").await;
    assert_refused(&commit("a.b", "d"), "a Commit's name has at most 63").await;
    let dotted = named(branch("b", "d", "HEAD"), "a.b");
    assert_refused(&dotted, "a Branch object's name has at most 63").await;
    assert_refused(&dot(&"a".repeat(56), &[]), "a Dot's name has at most 55").await;
    assert_accepted(&dot(&"a".repeat(55), &[])).await;
    assert_refused(&commit(&"a".repeat(64), "d"), "a Commit's name has at most 63").await;
    assert_accepted(&commit(&"a".repeat(63), "d")).await;
    assert_refused(&named(branch("b", "d", "HEAD"), &"a".repeat(64)), "at most 63").await;
    assert_accepted(&named(branch("b", "d", "HEAD"), &"a".repeat(63))).await;
}

fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

#[tokio::test]
async fn the_dot_that_is_named_has_a_name_that_a_dot_can_have() {
    for name in BAD_LABELS {
        assert_refused(&commit("c", name), "dot is the name of a Dot object").await;
        assert_refused(&branch("b", name, "HEAD"), "dot is the name of a Dot object").await;
    }
    assert_refused(&commit("c", ""), "spec.dot").await;
    assert_refused(&commit("c", &"a".repeat(56)), "may not be more than 55").await;
}

#[tokio::test]
async fn names_of_branches_follow_git() {
    let named = |name: &str| {
        let mut object = branch("b", "d", "HEAD");
        object["spec"]["name"] = json!(name);
        object
    };
    for name in [
        "-a", "a..b", "a//b", "/a", "a/", ".a", "a/.b", "a.", "a./b", "a.lock", "a.lock/b", "HEAD", "a@b", "a b",
        "ünï", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "..",
    ] {
        assert_refused(&named(name), "a branch's name follows git's rules").await;
    }
    assert_refused(&named(""), "spec.name").await;
    assert_refused(&named(&"a".repeat(201)), "may not be more than 200").await;
    for name in ["main", "feature/x_1", "Release-1.2", "a+b", "#7", &"a".repeat(200)] {
        assert_accepted(&named(name)).await;
    }
}

#[tokio::test]
async fn a_commit_says_as_much_as_there_is_room_for() {
    let with = |field: &str, value: Value| {
        let mut object = commit("c", "d");
        object["spec"][field] = value;
        object
    };
    assert_accepted(&with("message", json!("m".repeat(16384)))).await;
    assert_refused(&with("message", json!("m".repeat(16385))), "may not be more than 16384").await;
    assert_refused(&with("author", json!("a".repeat(257))), "may not be more than 256").await;
    assert_accepted(&with("committer", json!("c".repeat(1024)))).await;
    assert_refused(&with("committer", json!("c".repeat(1025))), "may not be more than 1024").await;
    assert_accepted(&with("metadata", json!({"build": "512", "ünï/@..": "any key will do"}))).await;
    assert_refused(&with("metadata", json!({"": "x"})), "1 to 253 characters").await;
    assert_refused(&with("metadata", json!({"k".repeat(254): "x"})), "1 to 253 characters").await;
    assert_refused(
        &with("metadata", json!({"k": "v".repeat(4097)})),
        "may not be more than 4096",
    )
    .await;
    let many: serde_json::Map<_, _> = (0..257).map(|n| (format!("k{n}"), json!("v"))).collect();
    assert_refused(&with("metadata", Value::Object(many)), "at most 256").await;
    assert_refused(&with("branch", json!("")), "spec.branch").await;
}

#[tokio::test]
async fn misspelled_fields_are_refused() {
    let mut object = dot("d", &[("a", "1Gi")]);
    object["spec"]["volume"] = json!([]);
    assert_refused(&object, "unknown field \"spec.volume\"").await;
    let mut object = commit("c", "d");
    object["spec"]["mesage"] = json!("m");
    assert_refused(&object, "unknown field \"spec.mesage\"").await;
}

#[tokio::test]
async fn a_pool_lies_below_our_folder_and_is_large_enough() {
    let pool = |path: &str, size: &str| {
        json!({
            "apiVersion": "dotmesh.io/v1alpha1", "kind": "Pool", "metadata": {"name": "p"},
            "spec": {"nodeName": "n1", "file": {"path": path, "size": size}},
        })
    };
    for path in [
        "/etc/passwd",
        "/var/lib/dotmesh",
        "/var/lib/dotmesh/",
        "/var/lib/dotmesh/../x",
        "/var/lib/dotmesh/a/../../x",
        "/var/lib/dotmesh/.hidden",
        "/var/lib/dotmesh/-rf",
        "/var/lib/dotmesh/a b",
        "var/lib/dotmesh/a",
    ] {
        assert_refused(&pool(path, "2Gi"), "a pool's file lies below /var/lib/dotmesh").await;
    }
    for size in ["0", "-2Gi", "1023Mi", "big"] {
        assert_refused(&pool("/var/lib/dotmesh/pool.img", size), "at least 1Gi").await;
    }
    assert_accepted(&pool("/var/lib/dotmesh/fast/pool-1.img", "1Gi")).await;
}

#[tokio::test]
async fn a_pool_lies_in_one_place() {
    let pool = |place: Value| {
        let mut spec = json!({"nodeName": "n1"});
        spec.as_object_mut().unwrap().extend(place.as_object().unwrap().clone());
        json!({"apiVersion": "dotmesh.io/v1alpha1", "kind": "Pool", "metadata": {"name": "p"}, "spec": spec})
    };
    let file = json!({"path": "/var/lib/dotmesh/pool.img", "size": "2Gi"});
    for places in [
        json!({}),
        json!({"file": file, "existing": "tank"}),
        json!({"devices": ["/dev/vdb"], "existing": "tank"}),
    ] {
        assert_refused(&pool(places), "a Pool has exactly one of file, devices and existing").await;
    }
    for devices in [
        json!(["vdb"]),
        json!(["/etc/passwd"]),
        json!(["/dev/../etc/passwd"]),
        json!(["/dev/"]),
    ] {
        assert_refused(&pool(json!({"devices": devices})), "absolute paths below /dev").await;
    }
    let twice = json!({"devices": ["/dev/vdb", "/dev/vdb"]});
    assert_refused(&pool(twice), "named once each").await;
    assert_refused(&pool(json!({"devices": []})), "spec.devices").await;
    assert_refused(&pool(json!({"existing": "-f"})), "a pool's name begins with a letter").await;
    let fine = ["/dev/vdb", "/dev/disk/by-id/nvme-eui.0025-part1", "/dev/mapper/vg-lv"];
    assert_accepted(&pool(json!({"devices": fine}))).await;
    assert_accepted(&pool(json!({"existing": "tank_1"}))).await;
}
