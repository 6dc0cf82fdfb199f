//! Whose branch it is, of what, and what is told when there is none.

use super::*;

const POD: &str = "{metadata: {name: look, namespace: dev, uid: u1}, spec: {nodeName: n1, containers: [], volumes: [\
    {name: db, csi: {driver: csi.dotmesh.io, volumeAttributes: {dotmesh.io/commit: before}}}, \
    {name: a, csi: {driver: csi.dotmesh.io, volumeAttributes: {dotmesh.io/commit: twice}}}, \
    {name: b, csi: {driver: csi.dotmesh.io, volumeAttributes: {dotmesh.io/commit: twice}}}, \
    {name: c, csi: {driver: csi.dotmesh.io, volumeAttributes: {dotmesh.io/commit: before, dotmesh.io/volume: cache}}}, \
    {name: d, csi: {driver: csi.dotmesh.io, volumeAttributes: {dotmesh.io/comit: before}}}, \
    {name: e, csi: {driver: csi.dotmesh.io}}, \
    {name: f, csi: {driver: csi.example.org, volumeAttributes: {dotmesh.io/commit: other}}}]}}";
const READY: &str = "conditions: [{type: Ready, status: 'True', reason: Ready, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}]";
const WAITING: &str = "conditions: [{type: Ready, status: 'False', reason: Progressing, message: snapshots are made, lastTransitionTime: '2026-01-01T00:00:00Z'}]";
const ID: &str = "0c5a6f6e-1111-4222-8333-0000000000f1";

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn request(attributes: &[(&str, &str)]) -> LendRequest {
    LendRequest {
        token: "t".to_owned(),
        pod_namespace: "dev".to_owned(),
        pod_name: "look".to_owned(),
        pod_uid: "u1".to_owned(),
        volume_id: format!("csi-{}", "0123456789abcdef".repeat(4)),
        attributes: attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn find(attributes: &[(&str, &str)]) -> Result<InlineVolume, Refusal> {
    find_volume(Some(&read(POD)), &request(attributes), "n1")
}

#[test]
fn a_node_gets_what_the_spec_of_a_pod_that_runs_on_it_names() {
    let found = find(&[("dotmesh.io/commit", "before")]).unwrap();
    assert_eq!(
        (found.commit.as_str(), found.volume, found.name.as_deref()),
        ("before", None, Some("db"))
    );
    assert_eq!(
        find(&[("dotmesh.io/commit", "twice")]).unwrap().name,
        None,
        "which of both is asked for nobody knows"
    );
    let named = find(&[("dotmesh.io/commit", "before"), ("dotmesh.io/volume", "cache")]).unwrap();
    assert_eq!(named.volume.as_deref(), Some("cache"));
    let not_its = |attributes: &[(&str, &str)]| matches!(find(attributes), Err(Refusal::NotItsPod(_)));
    assert!(
        not_its(&[("dotmesh.io/commit", "another")]),
        "the spec does not name it"
    );
    assert!(not_its(&[("dotmesh.io/commit", "other")]), "another driver's");
    assert!(matches!(
        find(&[("dotmesh.io/comit", "before")]),
        Err(Refusal::Attribute(_))
    ));
    assert_eq!(find(&[]), Err(Refusal::NoCommit));
}

#[test]
fn a_pod_that_is_elsewhere_gone_ended_or_another_one_gets_nothing() {
    let asked = request(&[("dotmesh.io/commit", "before")]);
    for (change, word) in [
        (("uid: u1", "uid: u2"), "gone"),
        (("nodeName: n1", "nodeName: n2"), "node"),
        (("nodeName: n1, ", ""), "node"),
        (
            ("uid: u1", "uid: u1, deletionTimestamp: '2026-01-01T00:00:00Z'"),
            "being deleted",
        ),
        (("}]}}", "}]}, status: {phase: Succeeded}}"), "ended"),
        (("}]}}", "}]}, status: {phase: Failed}}"), "ended"),
    ] {
        assert!(POD.contains(change.0));
        let pod: Pod = read(&POD.replace(change.0, change.1));
        let refused = find_volume(Some(&pod), &asked, "n1").unwrap_err().to_string();
        assert!(refused.contains(word), "{change:?}: {refused}");
    }
    assert!(
        find_volume(None, &asked, "n1")
            .unwrap_err()
            .to_string()
            .contains("gone")
    );
    for id in [String::new(), "x".repeat(MAX_VOLUME_ID + 1)] {
        let asked = LendRequest {
            volume_id: id,
            ..asked.clone()
        };
        assert!(matches!(
            find_volume(Some(&read(POD)), &asked, "n1"),
            Err(Refusal::Request(_))
        ));
    }
}

fn commit(conditions: &str) -> Commit {
    let volume = |name: &str| format!("{{name: {name}, id: {ID}, guid: '7', referencedBytes: 1, writtenBytes: 1}}");
    read(&format!(
        "{{metadata: {{name: before, namespace: dev}}, spec: {{dot: shop}}, status: {{id: {ID}, \
         volumes: [{}, {}], {conditions}}}}}",
        volume("db"),
        volume("cache")
    ))
}

fn dot(mode: &str) -> Dot {
    read(&format!(
        "{{metadata: {{name: shop, namespace: dev, uid: {ID}}}, spec: {{}}, status: {{id: {ID}, node: n1, volumes: [\
         {{name: db, id: {ID}, size: 1Gi{mode}}}, {{name: cache, id: {ID}, size: 1Gi}}]}}}}"
    ))
}

fn branch(volumes: &str, conditions: &str) -> Branch {
    read(&format!(
        "{{metadata: {{name: x, namespace: dev, labels: {{dotmesh.io/pod-uid: u1}}}}, spec: {{dot: shop, name: x, from: HEAD}}, \
         status: {{id: {ID}, volumes: [{volumes}], {conditions}}}}}"
    ))
}

fn db() -> InlineVolume {
    find(&[("dotmesh.io/commit", "before")]).unwrap()
}

#[test]
fn a_branch_is_made_of_a_commit_that_is_ready_and_lies_here() {
    let world = World {
        branch: None,
        commit: Some(commit(READY)),
        dot: Some(dot("")),
    };
    let Step::Create(made) = plan(&db(), "n1", &world).unwrap() else {
        panic!("not made");
    };
    assert_eq!((made.spec.dot.as_str(), made.spec.from.as_str()), ("shop", ID));
    assert_eq!(made.labels()["dotmesh.io/pod-uid"], "u1");
    assert_eq!(made.annotations()["dotmesh.io/pod"], "look");
    assert_eq!(made.name_any(), db().branch_object(), "each call finds it again");
    let another = InlineVolume {
        id: "csi-0123456789abcdee".to_owned(),
        ..db()
    };
    assert_ne!(made.name_any(), another.branch_object(), "one for each volume");

    let waiting = World {
        commit: Some(commit(WAITING)),
        ..world.clone()
    };
    let refused = plan(&db(), "n1", &waiting).unwrap_err();
    assert!(refused.to_string().contains("snapshots are made"), "{refused}");
    let none = World {
        commit: None,
        ..world.clone()
    };
    assert_eq!(
        plan(&db(), "n1", &none),
        Err(Refusal::CommitNotFound("before".to_owned()))
    );
    let elsewhere = plan(&db(), "n2", &world).unwrap_err();
    assert!(elsewhere.to_string().contains("nodeSelector"), "{elsewhere}");
    let device = World {
        dot: Some(dot(", volumeMode: Block")),
        ..world
    };
    assert!(matches!(plan(&db(), "n1", &device), Err(Refusal::Block { .. })));
}

#[test]
fn which_volume_is_told_or_asked_for() {
    let world = World {
        branch: None,
        commit: Some(commit(READY)),
        dot: Some(dot("")),
    };
    let unnamed = InlineVolume {
        name: Some("data".to_owned()),
        ..db()
    };
    let asked = plan(&unnamed, "n1", &world).unwrap_err().to_string();
    assert!(asked.contains("db, cache"), "{asked}");
    let wrong = InlineVolume {
        volume: Some("nope".to_owned()),
        ..db()
    };
    let asked = plan(&wrong, "n1", &world).unwrap_err().to_string();
    assert!(asked.contains("\"nope\"") && asked.contains("db, cache"), "{asked}");
}

#[test]
fn the_answer_is_a_volume_that_was_cloned() {
    let both = "{name: cache, id: v, guid: '1', size: 1Gi, cloned: true}, {name: db, id: v, guid: '2', size: 1Gi, cloned: true}";
    let world = |branch: Branch| World {
        branch: Some(branch),
        commit: None,
        dot: Some(dot("")),
    };
    let Step::Answer(lent) = plan(&db(), "n1", &world(branch(both, READY))).unwrap() else {
        panic!("not lent");
    };
    assert_eq!((lent.branch_id.as_str(), lent.volume_id.as_str()), (ID, ID));
    let Step::Wait(why) = plan(&db(), "n1", &world(branch("", WAITING))).unwrap() else {
        panic!("not waited for");
    };
    assert_eq!(why, "Progressing: snapshots are made");
    let younger = both.replace(
        "guid: '2', size: 1Gi, cloned: true",
        "guid: '2', size: 1Gi, cloned: false",
    );
    let named = InlineVolume {
        volume: Some("db".to_owned()),
        ..db()
    };
    let refused = plan(&named, "n1", &world(branch(&younger, READY)));
    assert!(matches!(refused, Err(Refusal::Volume { .. })), "{refused:?}");
    let mut foreign = branch(both, READY);
    foreign.metadata.labels = None;
    assert!(matches!(plan(&db(), "n1", &world(foreign)), Err(Refusal::Taken(_))));
    let mut going = branch(both, READY);
    going.metadata.deletion_timestamp = read("2026-01-01T00:00:00Z");
    assert!(matches!(plan(&db(), "n1", &world(going)), Err(Refusal::Taken(_))));
}
