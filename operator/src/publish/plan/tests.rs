//! Each state of a pair, and the step that follows.

use std::sync::Arc;

use dotmesh_crds::Commit;
use dotmesh_crds::names::{ANNOTATION_SNAPSHOT_GOES, LABEL_COMMIT_UID};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::*;

const DOT: &str = "0c5a6f6e-1111-4222-8333-444455556666";
const VOLUME: &str = "1c5a6f6e-1111-4222-8333-444455556666";
const COMMIT: &str = "2c5a6f6e-1111-4222-8333-444455556666";

fn ready(is_ready: bool) -> Value {
    let status = if is_ready { "True" } else { "False" };
    json!({
        "type": "Ready", "status": status, "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

fn commit(labels: &Value, publish: bool) -> Commit {
    serde_json::from_value(json!({
        "apiVersion": "dotmesh.io/v1alpha1", "kind": "Commit",
        "metadata": { "name": "first", "namespace": "dev", "uid": COMMIT, "labels": labels },
        "spec": { "dot": "shop", "publish": publish },
        "status": {
            "id": COMMIT, "conditions": [ready(true)],
            "volumes": [{ "name": "db", "id": VOLUME, "guid": "1", "referencedBytes": 1, "writtenBytes": 1 }],
        },
    }))
    .unwrap()
}

fn dot(publish: bool, mode: &str) -> Dot {
    serde_json::from_value(json!({
        "apiVersion": "dotmesh.io/v1alpha1", "kind": "Dot", "metadata": { "name": "shop", "namespace": "dev", "uid": DOT },
        "spec": { "publish": publish },
        "status": { "id": DOT, "volumes": [{ "name": "db", "id": VOLUME, "size": "1Gi", "volumeMode": mode }] },
    }))
    .unwrap()
}

fn seen(publish: bool) -> Observed {
    let commit = commit(&json!({}), publish);
    let volume = commit.status.as_ref().unwrap().volumes[0].clone();
    Observed {
        commit,
        is_fresh: true,
        dot: Some(Arc::new(dot(false, "Block"))),
        is_served: true,
        is_unknown: false,
        pairs: vec![Pair {
            volume,
            content: None,
            snapshot: None,
        }],
    }
}

/// The contents that there may be, by what they are like.
fn contents(seen: &Observed) -> Vec<(&'static str, Option<VolumeSnapshotContent>)> {
    let ours = build_content(&seen.commit, &dot(false, "Block"), &seen.pairs[0].volume, None).unwrap();
    let like = |bound: Option<&str>, is_going: bool, is_loose: bool| {
        let mut content = ours.clone();
        content.spec.volume_snapshot_ref.uid = bound.map(str::to_owned);
        if is_going {
            let now = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
            content.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
        }
        if is_loose {
            content
                .annotations_mut()
                .insert(ANNOTATION_SNAPSHOT_GOES.to_owned(), "yes".to_owned());
        }
        Some(content)
    };
    let mut others = ours.clone();
    others.metadata.labels = None;
    vec![
        ("none", None),
        ("free", like(None, false, false)),
        ("bound", like(Some("its"), false, false)),
        ("bound, may go", like(Some("its"), false, true)),
        ("bound to another", like(Some("another"), false, false)),
        ("held and going", like(Some("its"), true, false)),
        ("going", like(Some("its"), true, true)),
        ("somebody's", Some(others)),
    ]
}

/// The VolumeSnapshots that there may be.
fn snapshots(seen: &Observed) -> Vec<(&'static str, Option<VolumeSnapshot>)> {
    let mut ours = build_snapshot(&seen.commit, &seen.pairs[0].volume);
    ours.metadata.uid = Some("its".to_owned());
    let mut going = ours.clone();
    let now = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
    going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    let mut of_another = ours.clone();
    of_another.spec.source.volume_snapshot_content_name = Some("another".to_owned());
    let mut left = ours.clone();
    left.labels_mut()
        .insert(LABEL_COMMIT_UID.to_owned(), "earlier".to_owned());
    left.owner_references_mut()[0].uid = "earlier".to_owned();
    vec![
        ("none", None),
        ("there", Some(ours)),
        ("going", Some(going)),
        ("of another", Some(of_another)),
        ("of an earlier Commit", Some(left)),
    ]
}

fn describe(plan: &Plan<Step>) -> &'static str {
    match plan {
        Plan::Rest => "rest",
        Plan::Report(verdict) => verdict.reason.as_str(),
        Plan::Do(step) | Plan::DoGuarded(step) => match step {
            Step::CreateContent(..) => "create content",
            Step::CreateSnapshot(..) => "create snapshot",
            Step::DeleteSnapshot(_) => "delete snapshot",
            Step::Loosen(_) => "loosen",
            Step::DeleteContent(_) => "delete content",
            Step::Forget => "forget",
        },
    }
}

/// The steps for each content, with each VolumeSnapshot.
fn table(mut seen: Observed) -> Vec<(&'static str, Vec<&'static str>)> {
    let (contents, snapshots) = (contents(&seen), snapshots(&seen));
    let row = |(name, content): (&'static str, Option<VolumeSnapshotContent>)| {
        let steps = snapshots.iter().map(|(_, snapshot)| {
            seen.pairs[0].content.clone_from(&content);
            seen.pairs[0].snapshot.clone_from(snapshot);
            describe(&plan(&seen))
        });
        (name, steps.collect())
    };
    contents.into_iter().map(row).collect()
}

#[test]
fn a_pair_is_made_and_one_that_is_broken_is_made_anew() {
    let with = ["none", "there", "going", "of another", "of an earlier Commit"];
    let names = snapshots(&seen(true)).into_iter().map(|(name, _)| name);
    assert!(names.eq(with));
    let expected = [
        ("none", ["create content", "create content", "rest", "Conflict", "rest"]),
        ("free", ["create snapshot", "Ready", "rest", "Conflict", "rest"]),
        ("bound", ["loosen", "Ready", "rest", "Conflict", "rest"]),
        ("bound, may go", ["delete content", "Ready", "rest", "Conflict", "rest"]),
        ("bound to another", ["loosen", "loosen", "rest", "Conflict", "rest"]),
        ("held and going", ["loosen", "loosen", "loosen", "Conflict", "rest"]),
        ("going", ["rest", "rest", "rest", "Conflict", "rest"]),
        ("somebody's", ["Conflict"; 5]),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(name, steps)| (name, steps.to_vec()))
        .collect();
    assert_eq!(table(seen(true)), expected);
}

#[test]
fn what_is_not_asked_for_goes_and_what_is_not_ours_stays() {
    let expected = [
        ("none", ["rest", "delete snapshot", "rest", "rest", "rest"]),
        ("free", ["loosen", "delete snapshot", "loosen", "loosen", "loosen"]),
        ("bound", ["loosen", "delete snapshot", "loosen", "loosen", "loosen"]),
        (
            "bound, may go",
            [
                "delete content",
                "delete snapshot",
                "delete content",
                "delete content",
                "delete content",
            ],
        ),
        (
            "bound to another",
            ["loosen", "delete snapshot", "loosen", "loosen", "loosen"],
        ),
        (
            "held and going",
            ["loosen", "delete snapshot", "loosen", "loosen", "loosen"],
        ),
        ("going", ["rest", "delete snapshot", "rest", "rest", "rest"]),
        ("somebody's", ["rest", "delete snapshot", "rest", "rest", "rest"]),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(name, steps)| (name, steps.to_vec()))
        .collect();
    assert_eq!(table(seen(false)), expected);
}

#[test]
fn a_content_says_what_it_stands_for() {
    let seen = seen(true);
    let volume = &seen.pairs[0].volume;
    let build = |mode| build_content(&seen.commit, &dot(false, mode), volume, None).unwrap();
    let content = build("Block");
    assert_eq!(
        serde_json::to_value(&content.spec).unwrap(),
        json!({
            "driver": "csi.dotmesh.io", "deletionPolicy": "Retain", "sourceVolumeMode": "Block",
            "source": { "snapshotHandle": format!("s1.{DOT}.{VOLUME}.{COMMIT}") },
            "volumeSnapshotRef": {
                "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "namespace": "dev", "name": "first.db",
            },
        })
    );
    assert_eq!(
        build("Filesystem").spec.source_volume_mode.as_deref(),
        Some("Filesystem")
    );
    let snapshot = build_snapshot(&seen.commit, volume);
    assert_eq!(
        serde_json::to_value(&snapshot.spec).unwrap(),
        json!({ "source": { "volumeSnapshotContentName": content.name_any() } })
    );
    assert!(content.name_any().len() <= 63, "{}", content.name_any());
}

#[test]
fn a_dot_publishes_what_people_and_the_operator_committed() {
    let is_wanted = |labels: Value, publish, of_dot| is_wanted(&commit(&labels, publish), &dot(of_dot, "Filesystem"));
    assert!(!is_wanted(json!({}), false, false));
    assert!(is_wanted(json!({}), true, false));
    assert!(is_wanted(json!({ "dotmesh.io/automatic": "true" }), false, true));
    for label in ["dotmesh.io/snapshot", "dotmesh.io/claim-uid"] {
        assert!(!is_wanted(json!({ label: "x" }), false, true), "{label}");
        assert!(is_wanted(json!({ label: "x" }), true, false), "{label}");
    }
}

#[test]
fn nothing_is_made_of_a_commit_that_is_not_there_and_nothing_is_taken_from_one_that_is_lost() {
    let mut lost = seen(true);
    lost.commit.status.as_mut().unwrap().conditions = vec![serde_json::from_value(ready(false)).unwrap()];
    assert_eq!(describe(&plan(&lost)), "rest");
    let mut taken_by_nobody = seen(true);
    taken_by_nobody.commit.status = None;
    assert_eq!(describe(&plan(&taken_by_nobody)), "rest");
    let mut alone = seen(true);
    alone.dot = None;
    assert_eq!(describe(&plan(&alone)), "rest");
}

#[test]
fn where_there_are_no_volume_snapshots_that_is_told_with_its_remedy() {
    let mut off = seen(true);
    (off.is_served, off.pairs) = (false, Vec::new());
    let Plan::Report(verdict) = plan(&off) else {
        panic!("nothing is told");
    };
    assert!(
        verdict.message.contains("csiSnapshotter.enabled=true"),
        "{}",
        verdict.message
    );
    let mut unknown = seen(true);
    unknown.is_unknown = true;
    assert_eq!(describe(&plan(&unknown)), "SnapshotsUnavailable");
    assert!(is_untold(&unknown) && !is_untold(&off));
}
