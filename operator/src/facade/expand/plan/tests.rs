use std::sync::Arc;

use dotmesh_crds::{Branch, Dot, Pool};
use dotmesh_model::id::{DotId, VolumeId};
use tonic::{Code, Status};

use super::*;
use crate::facade::expand::ExpandError;

const CLAIM: &str = "0c5a6f6e-1111-4222-8333-0000000000c1";
const DOT: &str = "0c5a6f6e-1111-4222-8333-0000000000d1";

fn volume() -> VolumeId {
    VolumeId::derive(DOT.parse::<DotId>().unwrap(), "db")
}

fn request(size: &str, limit: Option<&str>) -> ExpandVolume {
    let bytes = |text: &str| parse_quantity(text).unwrap();
    ExpandVolume {
        handle: Handle {
            dot: DOT.parse().unwrap(),
            volume: volume(),
            claim: CLAIM.parse().unwrap(),
        },
        size_bytes: bytes(size),
        limit_bytes: limit.map(bytes),
    }
}

/// The claim asked for `asked`; the Dot has recorded, and the claim's branch has these sizes.
fn world(asked: &str, recorded: &str, there: &str) -> World {
    let id = volume();
    let dot: Dot = serde_yaml::from_str(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: shop, namespace: dev, uid: {DOT}}}, spec: {{}}, \
         status: {{id: {DOT}, node: n1, checkout: main, attachments: [{CLAIM}], volumes: [{{name: db, id: {id}, size: {recorded}}}], \
         claims: [{{uid: {CLAIM}, namespace: dev, name: pg, volume: db, size: {asked}}}]}}}}"
    ))
    .unwrap();
    let branch: Branch = serde_yaml::from_str(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Branch, metadata: {{name: shop-main, namespace: dev}}, spec: {{dot: shop, name: main}}, \
         status: {{volumes: [{{name: db, id: {id}, guid: '7', size: {there}, cloned: false}}]}}}}"
    ))
    .unwrap();
    World {
        dot: Some(dot),
        branch: Some(branch),
        pool: Some(Arc::new(pool("10Gi"))),
        has_asked: false,
    }
}

fn pool(available: &str) -> Pool {
    serde_yaml::from_str(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Pool, metadata: {{name: n1}}, spec: {{nodeName: n1}}, status: {{size: 20Gi, \
         available: {available}, conditions: [{{type: Ready, status: 'True', reason: Ready, message: '', \
         lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}}}"
    ))
    .unwrap()
}

fn code(refused: Refusal) -> Code {
    Status::from(ExpandError::Refused(refused)).code()
}

#[test]
fn the_wish_is_written_once_and_answered_when_the_claims_branch_has_it() {
    let mut seen = world("1Gi", "1Gi", "1Gi");
    let Ok(Step::Write(all)) = plan(&request("2Gi", None), &seen) else {
        panic!("a wish");
    };
    assert_eq!(
        (all.len(), all[0].size.as_str(), all[0].name.as_str()),
        (1, "2Gi", "pg")
    );
    seen.has_asked = true;
    assert_eq!(
        plan(&request("2Gi", None), &seen),
        Err(Refusal::Superseded),
        "it was written over meanwhile"
    );
    for (asked, recorded, there, step) in [
        ("2Gi", "1Gi", "1Gi", Step::Wait),
        ("2Gi", "2Gi", "1Gi", Step::Wait),
        ("1Gi", "3Gi", "1Gi", Step::Wait),
        ("2Gi", "2Gi", "2Gi", Step::Answer(2 << 30)),
        ("1Gi", "3Gi", "3Gi", Step::Answer(3 << 30)),
    ] {
        let seen = world(asked, recorded, there);
        assert_eq!(
            plan(&request("2Gi", None), &seen),
            Ok(step),
            "{asked} {recorded} {there}"
        );
    }
}

#[test]
fn what_is_asked_for_in_vain_can_be_taken_back_and_what_is_there_cannot() {
    let seen = world("18Gi", "1Gi", "1Gi");
    let Ok(Step::Write(all)) = plan(&request("2Gi", None), &seen) else {
        panic!("a smaller wish");
    };
    assert_eq!(all[0].size, "2Gi");
    let seen = world("18Gi", "18Gi", "18Gi");
    assert_eq!(plan(&request("2Gi", None), &seen), Ok(Step::Answer(18 << 30)));
}

#[test]
fn a_limit_below_what_is_there_is_out_of_range() {
    for (recorded, there) in [("3Gi", "3Gi"), ("3Gi", "1Gi")] {
        let refused = plan(&request("1Gi", Some("2Gi")), &world("1Gi", recorded, there)).unwrap_err();
        assert!(refused.to_string().contains("has 3Gi"), "{refused}");
        assert_eq!(code(refused), Code::OutOfRange);
    }
    let fits = plan(&request("1Gi", Some("3Gi")), &world("1Gi", "3Gi", "3Gi"));
    assert_eq!(fits, Ok(Step::Answer(3 << 30)));
}

#[test]
fn what_keeps_it_is_told_with_a_code_that_says_whether_to_come_again() {
    let asks = request("2Gi", None);
    let seen = || world("1Gi", "1Gi", "1Gi");
    let foreign = VolumeId::derive(DOT.parse::<DotId>().unwrap(), "cache");
    let other = ExpandVolume {
        handle: Handle {
            volume: foreign,
            ..asks.handle
        },
        ..asks
    };
    assert_eq!(code(plan(&other, &seen()).unwrap_err()), Code::NotFound);
    assert_eq!(code(plan(&asks, &World::default()).unwrap_err()), Code::NotFound);
    let with = |change: &dyn Fn(&mut World)| {
        let mut world = seen();
        change(&mut world);
        let refused = plan(&asks, &world).unwrap_err();
        (refused.to_string(), code(refused))
    };
    let (why, code_of_low) = with(&|world| world.pool = Some(Arc::new(pool("1Mi"))));
    assert!(
        why.contains("volume \"db\" of Dot \"shop\" cannot grow: less than a twentieth"),
        "{why}"
    );
    assert_eq!(code_of_low, Code::ResourceExhausted);
    assert_eq!(with(&|world| world.pool = None).1, Code::Unavailable);
    assert_eq!(with(&|world| world.branch = None).1, Code::Unavailable);
    let goes = |world: &mut World| {
        let now = serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap();
        world.dot.as_mut().unwrap().metadata.deletion_timestamp = Some(now);
    };
    assert_eq!(with(&goes).1, Code::Aborted);
    let refused = plan(&request("21Gi", None), &seen()).unwrap_err();
    assert!(refused.to_string().contains("more than all of Pool"), "{refused}");
    assert_eq!(code(refused), Code::OutOfRange);
}

/// The rule is asked before a size is recorded; what is recorded comes to all branches, however little is free.
#[test]
fn a_size_that_is_recorded_is_waited_for_on_a_full_pool_too() {
    let full = World {
        pool: Some(Arc::new(pool("0"))),
        ..world("2Gi", "2Gi", "1Gi")
    };
    assert_eq!(plan(&request("2Gi", None), &full), Ok(Step::Wait));
}

#[test]
fn when_there_was_not_enough_time_the_branch_says_why() {
    let mut seen = world("2Gi", "2Gi", "1Gi");
    assert_eq!(explain(&seen), None);
    let condition = |reason: &str| {
        serde_yaml::from_str::<Condition>(&format!(
            "{{type: Ready, status: 'False', reason: {reason}, message: because, lastTransitionTime: '2026-01-01T00:00:00Z'}}"
        ))
        .unwrap()
    };
    for (reason, expected) in [
        ("NodeUnreachable", Some(Code::Unavailable)),
        ("OutOfSpace", Some(Code::ResourceExhausted)),
        ("Progressing", None),
    ] {
        seen.branch.as_mut().unwrap().status.as_mut().unwrap().conditions = vec![condition(reason)];
        assert_eq!(explain(&seen).map(code), expected, "{reason}");
    }
}
