//! Steps of plain claims, as tables over small worlds.

use super::*;
use dotmesh_model::format::VolumeFormat;

const DOT_ID: &str = "0c5a6f6e-1111-4222-8333-000000000001";
const VOLUME_ID: &str = "0c5a6f6e-1111-4222-8333-000000000002";
const CLAIM: &str = "0c5a6f6e-1111-4222-8333-000000000003";

fn request() -> CreateVolume {
    CreateVolume {
        claim: CLAIM.parse().unwrap(),
        namespace: "dev".to_owned(),
        name: "data".to_owned(),
        size_bytes: 1 << 30,
        limit_bytes: None,
        node: "n1".to_owned(),
        pool_class: "default".to_owned(),
        format: VolumeFormat::Zfs,
        tuning: dotmesh_model::tuning::Tuning::default(),
        source: None,
    }
}

fn world(dot: Option<&str>) -> World {
    World {
        claim_exists: true,
        dot: dot.map(|status| dot_with("", status)),
        pool: PoolState::Ready(20 << 30),
    }
}

fn dot_with(metadata: &str, status: &str) -> Dot {
    serde_yaml::from_str(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: pvc-{CLAIM}, namespace: dev, labels: {{dotmesh.io/claim-uid: {CLAIM}}}{metadata}}}, \
         spec: {{volumes: [{{name: data, size: 1Gi}}]}}, status: {status}}}"
    ))
    .unwrap()
}

/// Status with an entry and more.
fn entered(entry: &str, more: &str) -> String {
    format!(
        "{{id: {DOT_ID}, volumes: [{{name: data, id: {VOLUME_ID}, size: 1Gi}}], \
         claims: [{{uid: {CLAIM}, namespace: dev, name: data, volume: data, size: 1Gi, selectedNode: n1{entry}}}]{more}}}"
    )
}

fn attached() -> String {
    format!(", node: n1, attachments: [{CLAIM}]")
}

fn written(step: Result<Step, Refusal>) -> Vec<DotClaim> {
    match step {
        Ok(Step::Write(entries)) => entries,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_intent_is_recorded_before_anything_else() {
    assert_eq!(plan(&request(), &world(None)), Ok(Step::CreateDot));
    insta::assert_snapshot!(serde_yaml::to_string(&build_dot(&request())).unwrap());
    let entries = written(plan(&request(), &world(Some("{}"))));
    insta::assert_snapshot!(serde_yaml::to_string(&entries).unwrap());
    let waiting = world(Some(&entered("", ", node: n1")));
    assert_eq!(plan(&request(), &waiting), Ok(Step::Wait));
}

#[test]
fn the_handle_is_given_out_only_after_that_is_recorded() {
    let entries = written(plan(&request(), &world(Some(&entered("", &attached())))));
    assert!(entries[0].provisioned);
    let recorded = world(Some(&entered(", provisioned: true", &attached())));
    match plan(&request(), &recorded) {
        Ok(Step::Answer(created)) => {
            assert_eq!(created.handle.to_string(), format!("1.{DOT_ID}.{VOLUME_ID}.{CLAIM}"));
            assert_eq!((created.size_bytes, created.node.as_str()), (1 << 30, "n1"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_volume_that_was_given_out_is_never_taken_back() {
    let full = ", node: n2, conditions: [{type: Ready, status: 'False', reason: OutOfSpace, message: full, lastTransitionTime: '2026-01-01T00:00:00Z'}]";
    for more in [attached(), full.to_owned()] {
        let mut world = world(Some(&entered(", provisioned: true", &more)));
        world.claim_exists = false;
        let step = plan(&request(), &world);
        assert!(matches!(step, Ok(Step::Answer(_) | Step::Wait)), "{step:?}");
    }
}

#[test]
fn what_nobody_has_seen_is_taken_back_when_it_cannot_be() {
    let full = ", node: n1, conditions: [{type: Ready, status: 'False', reason: OutOfSpace, message: full, lastTransitionTime: '2026-01-01T00:00:00Z'}]";
    let step = plan(&request(), &world(Some(&entered("", full))));
    assert!(
        matches!(step, Ok(Step::Withdraw(Refusal::OutOfSpace { .. }))),
        "{step:?}"
    );
    let elsewhere = plan(&request(), &world(Some(&entered("", ", node: n2"))));
    assert_eq!(elsewhere, Ok(Step::Withdraw(Refusal::OtherNode("n2".to_owned()))));
    for status in ["{}".to_owned(), entered("", ""), entered("", &attached())] {
        let mut world = world(Some(&status));
        world.claim_exists = false;
        assert_eq!(
            plan(&request(), &world),
            Ok(Step::Withdraw(Refusal::ClaimGone)),
            "{status}"
        );
    }
}

#[test]
fn an_unplaced_volume_follows_the_scheduler() {
    let mut moved = request();
    moved.node = "n2".to_owned();
    let entries = written(plan(&moved, &world(Some(&entered("", "")))));
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].selected_node.as_deref(), Some("n2"));
}

#[test]
fn nothing_is_made_without_a_claim_a_pool_and_its_size() {
    let mut gone = world(None);
    gone.claim_exists = false;
    assert_eq!(plan(&request(), &gone), Err(Refusal::ClaimGone));
    let mut poolless = world(None);
    poolless.pool = PoolState::Unavailable("it is away".to_owned());
    assert!(matches!(
        plan(&request(), &poolless),
        Err(Refusal::PoolUnavailable { .. })
    ));
    let mut large = request();
    large.size_bytes = 21 << 30;
    assert!(matches!(
        plan(&large, &world(None)),
        Err(Refusal::LargerThanPool { .. })
    ));
}

#[test]
fn another_size_or_owner_is_another_volume() {
    let there = world(Some(&entered("", &attached())));
    let mut larger = request();
    larger.size_bytes = 2 << 30;
    assert_eq!(plan(&larger, &there), Err(Refusal::OtherSize(1 << 30)));
    let mut limited = request();
    limited.size_bytes = 1 << 20;
    limited.limit_bytes = Some(2 << 20);
    assert_eq!(plan(&limited, &there), Err(Refusal::OtherSize(1 << 30)));
    let mut foreign = world(Some("{}"));
    foreign.dot.as_mut().unwrap().metadata.labels = None;
    assert!(matches!(plan(&request(), &foreign), Err(Refusal::ForeignDot(_))));
}

#[test]
fn a_dot_that_is_going_away_is_waited_for_and_freed() {
    let dying = ", deletionTimestamp: '2026-01-01T00:00:00Z'";
    let mut world = world(None);
    world.dot = Some(dot_with(dying, &entered("", "")));
    assert_eq!(written(plan(&request(), &world)), []);
    for status in ["{}".to_owned(), entered(", provisioned: true", "")] {
        world.dot = Some(dot_with(dying, &status));
        assert_eq!(plan(&request(), &world), Ok(Step::Wait), "{status}");
    }
}

#[test]
fn the_dot_is_made_for_the_class_that_the_storage_class_names() {
    let fast = CreateVolume {
        pool_class: "fast".to_owned(),
        format: VolumeFormat::Zfs,
        ..request()
    };
    assert_eq!(build_dot(&request()).spec.placement, None);
    let dot = build_dot(&fast);
    assert_eq!(dot.spec.pool_class(), "fast");
    // Begun for another class, and not handed out: made anew.
    let begun = World {
        dot: Some(Dot {
            status: Some(dotmesh_crds::DotStatus {
                claims: vec![new_entry(&fast)],
                ..dotmesh_crds::DotStatus::default()
            }),
            ..dot
        }),
        ..world(None)
    };
    let planned = plan(&request(), &begun);
    assert_eq!(planned, Ok(Step::Withdraw(Refusal::OtherClass("fast".to_owned()))));
    assert_eq!(plan(&fast, &begun), Ok(Step::Wait));
}

#[test]
fn the_volume_is_what_the_capability_asks_for_and_stays_that() {
    let xfs = CreateVolume {
        format: VolumeFormat::Xfs,
        ..request()
    };
    let listed = build_dot(&xfs).spec.volumes.unwrap_or_default();
    assert_eq!(listed[0].format(), VolumeFormat::Xfs);
    let more = attached();
    let begun = world(Some(&entered(", fsType: xfs, provisioned: true", &more)));
    let refused = Refusal::OtherFormat(VolumeFormat::Xfs, VolumeFormat::Zfs);
    assert_eq!(plan(&request(), &begun), Err(refused));
    // The entry is of the right one and the volume is not: nothing is answered that its caller would write down wrongly.
    assert_eq!(plan(&xfs, &begun), Ok(Step::Wait));
    let there = entered(", fsType: xfs, provisioned: true", &more).replace("size: 1Gi}]", "size: 1Gi, fsType: xfs}]");
    assert!(matches!(plan(&xfs, &world(Some(&there))), Ok(Step::Answer(_))));
}
