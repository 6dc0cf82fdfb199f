//! Steps of claims, as tables over small worlds.

use super::*;
use crate::claim::validate::Class;

const DOT_ID: &str = "0c5a6f6e-1111-4222-8333-000000000001";
const VOLUME_ID: &str = "0c5a6f6e-1111-4222-8333-000000000002";
const CLAIM: &str = "0c5a6f6e-1111-4222-8333-000000000003";

fn request(name: &str) -> Request {
    Request {
        uid: CLAIM.parse().unwrap(),
        namespace: "dev".to_owned(),
        name: name.to_owned(),
        source: Source::Dot("shop".to_owned()),
        volume: None,
        shared: false,
        size_bytes: 1 << 30,
        selected_node: None,
        access_modes: vec!["ReadWriteOnce".to_owned()],
        class: Class {
            name: "dotmesh".to_owned(),
            reclaim_policy: "Delete".to_owned(),
            mount_options: Some(vec!["noatime".to_owned()]),
        },
        attributes_class: None,
        pool_class: None,
        format: None,
        import: None,
        tuning: dotmesh_model::tuning::Tuning::default(),
    }
}

fn world(spec: &str, status: &str) -> World {
    let dot = format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: shop, namespace: dev}}, spec: {spec}, status: {status}}}"
    );
    World {
        dot: serde_yaml::from_str(&dot).unwrap(),
        retiring: false,
        branch: None,
        origin: None,
        branch_names: BranchNames::new(),
        attributes: dotmesh_model::tuning::Tuning::default(),
        volume: None,
        pool_bytes: Some(20 << 30),
    }
}

const CLOSED: &str = "{volumes: [{name: db, size: 2Gi}, {name: cache, size: 1Gi}]}";
const ONE: &str = "{volumes: [{name: db, size: 2Gi}]}";
const PLACED: &str = "{node: n1}";

fn entered(result: Result<Plan, ClaimError>) -> DotClaim {
    match result {
        Ok(Plan::Enter(entry)) => *entry,
        other => panic!("{other:?}"),
    }
}

fn told(result: Result<Plan, ClaimError>) -> String {
    let error = result.unwrap_err();
    format!("{}: {error}", error.reason())
}

#[test]
fn before_the_import_only_its_own_claim_gets_the_volume() {
    let spec =
        "{volumes: [{name: db, size: 2Gi, importFrom: {persistentVolumeClaim: old-db}}, {name: cache, size: 1Gi}]}";
    let with = |status: &str, import: Option<&str>| {
        let mut world = world(spec, status);
        world.dot.metadata.uid = Some(DOT_ID.to_owned());
        let request = Request {
            import: import.map(str::to_owned),
            ..request("db")
        };
        plan(&request, &world)
    };
    let copied = "{node: n1, imports: [{volume: db, claim: old-db, state: Done}]}";
    for status in [PLACED, copied] {
        for foreign in [None, Some(VOLUME_ID)] {
            let words = told(with(status, foreign));
            assert!(words.starts_with("Importing: an import into Dot \"shop\""), "{words}");
        }
        assert_eq!(entered(with(status, Some(DOT_ID))).volume, "db");
    }
    let done = "{node: n1, initialCommit: shop-initial, imports: [{volume: db, claim: old-db, state: Done}]}";
    assert_eq!(entered(with(done, None)).volume, "db");
}

#[test]
fn the_volume_is_the_annotations_else_the_namesake_else_the_only_one_else_new() {
    for (spec, claim, annotation, chosen) in [
        (CLOSED, "db", None, "db"),
        (CLOSED, "db", Some("cache"), "cache"),
        (ONE, "data-pg-0", None, "db"),
        (ONE, "db", None, "db"),
        ("{}", "data-pg-0", None, "data-pg-0"),
        ("{}", "Data.pg", Some("pg"), "pg"),
    ] {
        let mut request = request(claim);
        request.volume = annotation.map(|name| name.parse().unwrap());
        let entry = entered(plan(&request, &world(spec, PLACED)));
        assert_eq!(entry.volume, chosen, "{spec} {claim} {annotation:?}");
    }
}

#[test]
fn what_is_missing_or_held_is_told_with_its_remedy() {
    let with_volume = |claim: &str, volume: &str| {
        let mut request = request(claim);
        request.volume = Some(volume.parse().unwrap());
        request
    };
    let held = "{node: n1, checkout: main, claims: [{uid: other, namespace: dev, name: pg-0, volume: db, size: 1Gi}]}";
    let mut large = request("db");
    large.size_bytes = 21 << 30;
    let mut dying = world(CLOSED, PLACED);
    dying.dot.metadata.deletion_timestamp = Some(serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap());
    insta::assert_snapshot!(
        [
            told(plan(&with_volume("db", "dbx"), &world(CLOSED, PLACED))),
            told(plan(&request("data"), &world(CLOSED, PLACED))),
            told(plan(&request("data.pg"), &world("{}", PLACED))),
            told(plan(&request("db"), &world(CLOSED, held))),
            told(plan(&large, &world(CLOSED, PLACED))),
            told(plan(&request("db"), &dying)),
        ]
        .join("\n")
    );
}

#[test]
fn the_first_claim_of_an_unplaced_dot_waits_for_the_scheduler() {
    assert_eq!(
        plan(&request("db"), &world(CLOSED, "{}")),
        Ok(Plan::Wait(Waiting::FirstPod))
    );
    let mut chosen = request("db");
    chosen.selected_node = Some("n2".to_owned());
    assert_eq!(
        entered(plan(&chosen, &world(CLOSED, "{}"))).selected_node.as_deref(),
        Some("n2")
    );
}

#[test]
fn an_unplaced_entry_follows_the_scheduler_and_a_placed_one_does_not() {
    let entry = |node: &str| {
        format!("claims: [{{uid: {CLAIM}, namespace: dev, name: db, volume: db, size: 1Gi, selectedNode: n1}}]{node}")
    };
    let mut moved = request("db");
    moved.selected_node = Some("n2".to_owned());
    let unplaced = world(CLOSED, &format!("{{{}}}", entry("")));
    assert_eq!(entered(plan(&moved, &unplaced)).selected_node.as_deref(), Some("n2"));
    let placed = world(CLOSED, &format!("{{{}}}", entry(", node: n1")));
    assert_eq!(plan(&moved, &placed), Ok(Plan::Wait(Waiting::Attachment)));
}

#[test]
fn an_entry_waits_until_its_volume_is_attached_and_large_enough() {
    let status = |size: &str, attachments: &str| {
        format!(
            "{{id: {DOT_ID}, node: n1, volumes: [{{name: db, id: {VOLUME_ID}, size: {size}}}], attachments: {attachments}, \
             claims: [{{uid: {CLAIM}, namespace: dev, name: db, volume: db, size: 1Gi}}]}}"
        )
    };
    let attached = format!("[{CLAIM}]");
    for (size, attachments) in [("2Gi", "[]"), ("512Mi", attached.as_str())] {
        let world = world(CLOSED, &status(size, attachments));
        assert_eq!(
            plan(&request("db"), &world),
            Ok(Plan::Wait(Waiting::Attachment)),
            "{size}"
        );
    }
    match plan(&request("db"), &world(CLOSED, &status("2Gi", &attached))) {
        Ok(Plan::CreateVolume(volume)) => insta::assert_snapshot!(serde_yaml::to_string(&volume).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dot_in_trouble_is_told_to_those_who_wait_for_it() {
    let status = |reason: &str| {
        format!(
            "{{node: n1, claims: [{{uid: {CLAIM}, namespace: dev, name: db, volume: db, size: 1Gi}}], \
             conditions: [{{type: Ready, status: 'False', reason: {reason}, message: because, lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}"
        )
    };
    assert_eq!(
        told(plan(&request("db"), &world(CLOSED, &status("OutOfSpace")))),
        "NotReady: Dot \"shop\" is not ready: OutOfSpace: because"
    );
    assert_eq!(
        plan(&request("db"), &world(CLOSED, &status("Progressing"))),
        Ok(Plan::Wait(Waiting::Attachment))
    );
}

fn branch(metadata: &str, reason: &str) -> Branch {
    serde_yaml::from_str(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Branch, metadata: {{name: try, namespace: dev{metadata}}}, \
         spec: {{dot: shop, name: feature/x, from: HEAD}}, \
         status: {{conditions: [{{type: Ready, status: 'False', reason: {reason}, message: because, lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}}}"
    ))
    .unwrap()
}

#[test]
fn a_branch_that_will_never_be_gives_no_volume() {
    let mut pinned = request("db");
    pinned.source = Source::Branch {
        name: "try".to_owned(),
        dot: None,
    };
    let mut world = world(CLOSED, PLACED);
    world.branch = Some(branch("", "Progressing"));
    assert_eq!(entered(plan(&pinned, &world)).branch.as_deref(), Some("try"));
    world.branch = Some(branch("", "ReferenceNotFound"));
    assert_eq!(
        told(plan(&pinned, &world)),
        "NotReady: Branch \"try\" is not ready: ReferenceNotFound: because"
    );
    world.branch = Some(branch(", deletionTimestamp: '2026-01-01T00:00:00Z'", "Progressing"));
    assert_eq!(
        told(plan(&pinned, &world)),
        "Deleting: Branch \"try\" is being deleted; use another one"
    );
}

fn of_commit(status: &str) -> (Request, World) {
    let mut request = request("db");
    request.source = Source::Commit("first".to_owned());
    let commit = format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Commit, metadata: {{name: first, namespace: dev}}, spec: {{dot: shop}}, status: {status}}}"
    );
    let mut world = world(CLOSED, PLACED);
    world.origin = Some(serde_yaml::from_str(&commit).unwrap());
    (request, world)
}

fn ready(status: &str, reason: &str) -> String {
    format!(
        "conditions: [{{type: Ready, status: '{status}', reason: {reason}, message: because, lastTransitionTime: '2026-01-01T00:00:00Z'}}]"
    )
}

#[test]
fn a_claim_of_a_commit_gets_a_branch_from_that_very_commit() {
    let (request, world) = of_commit(&format!("{{id: {DOT_ID}, {}}}", ready("True", "Ready")));
    match plan(&request, &world) {
        Ok(Plan::CreateBranch(branch)) => insta::assert_snapshot!(serde_yaml::to_string(&branch).unwrap()),
        other => panic!("{other:?}"),
    }
    let (request, world) = of_commit(&format!("{{{}}}", ready("False", "Progressing")));
    assert_eq!(plan(&request, &world), Ok(Plan::Wait(Waiting::Commit)));
    let (request, world) = of_commit("{}");
    assert_eq!(plan(&request, &world), Ok(Plan::Wait(Waiting::Commit)));
    let (request, world) = of_commit(&format!("{{{}}}", ready("False", "BranchNotFound")));
    assert_eq!(
        told(plan(&request, &world)),
        "NotReady: Commit \"first\" is not ready: BranchNotFound: because"
    );
    let (request, mut world) = of_commit(&format!("{{id: {DOT_ID}, {}}}", ready("True", "Ready")));
    world.origin.as_mut().unwrap().metadata.deletion_timestamp =
        Some(serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap());
    assert_eq!(
        told(plan(&request, &world)),
        "Deleting: Commit \"first\" is being deleted; use another one"
    );
}

#[test]
fn what_a_claim_of_a_commit_gets_is_recorded_before_it_is_handed_out() {
    let status = |provisioned: bool| {
        format!(
            "{{id: {DOT_ID}, node: n1, volumes: [{{name: db, id: {VOLUME_ID}, size: 2Gi}}], attachments: [{CLAIM}], \
             claims: [{{uid: {CLAIM}, namespace: dev, name: db, volume: db, size: 1Gi, branch: pvc-{CLAIM}, provisioned: {provisioned}}}]}}"
        )
    };
    let mut request = request("db");
    request.source = Source::Commit("first".to_owned());
    assert!(entered(plan(&request, &world(CLOSED, &status(false)))).provisioned);
    assert!(matches!(
        plan(&request, &world(CLOSED, &status(true))),
        Ok(Plan::CreateVolume(_))
    ));
}

#[test]
fn a_volume_of_that_name_is_ours_or_a_conflict() {
    let volume = |uid: &str| {
        serde_yaml::from_str(&format!(
            "{{metadata: {{name: pvc-{CLAIM}}}, spec: {{claimRef: {{uid: {uid}}}}}}}"
        ))
        .unwrap()
    };
    let mut world = world(CLOSED, PLACED);
    world.volume = Some(volume(CLAIM));
    assert_eq!(plan(&request("db"), &world), Ok(Plan::Done));
    world.volume = Some(volume("other"));
    assert!(told(plan(&request("db"), &world)).starts_with("Conflict: "));
}

#[test]
fn a_storage_class_that_names_another_pool_class_than_the_dots_is_refused() {
    let fast = "{volumes: [{name: db, size: 2Gi}], placement: {poolClass: fast}}";
    for (spec, asked, is_fine) in [
        (ONE, None, true),
        (fast, None, true),
        (fast, Some("fast"), true),
        (ONE, Some("default"), true),
        (ONE, Some("fast"), false),
        (fast, Some("default"), false),
    ] {
        let request = Request {
            pool_class: asked.map(str::to_owned),
            ..request("db")
        };
        let planned = plan(&request, &world(spec, "{}"));
        let is_refused = matches!(planned, Err(ClaimError::OtherPoolClass { .. }));
        assert_eq!(!is_refused, is_fine, "{spec} {asked:?}: {planned:?}");
    }
}

#[test]
fn a_claim_takes_a_volume_as_what_it_is() {
    let spec = "{volumes: [{name: db, size: 2Gi, fsType: xfs}, {name: raw, size: 1Gi, volumeMode: Block}]}";
    let asked = |volume: &str, format| Request {
        volume: Some(volume.parse().unwrap()),
        format,
        ..request("app")
    };
    for (volume, format, entry) in [
        ("db", None, VolumeFormat::Xfs),
        ("db", Some(VolumeFormat::Xfs), VolumeFormat::Xfs),
        ("raw", Some(VolumeFormat::Block), VolumeFormat::Block),
    ] {
        let entered = entered(plan(&asked(volume, format), &world(spec, PLACED)));
        assert_eq!(entered.format(), entry);
    }
    for (volume, format, part) in [
        ("db", Some(VolumeFormat::Zfs), "is an xfs filesystem"),
        ("db", Some(VolumeFormat::Block), "ask for a block device"),
        ("raw", None, "ask for files"),
        ("raw", Some(VolumeFormat::Ext4), "is a block device"),
    ] {
        let told = told(plan(&asked(volume, format), &world(spec, PLACED)));
        assert!(told.starts_with("Invalid") && told.contains(part), "{told}");
    }
    // A volume that is there is what it is, whatever an open list would add.
    let there =
        format!("{{node: n1, id: {DOT_ID}, volumes: [{{name: app, id: {VOLUME_ID}, size: 2Gi, fsType: ext4}}]}}");
    let entry = entered(plan(&request("app"), &world("{}", &there)));
    assert_eq!(entry.format(), VolumeFormat::Ext4);
    let new = |format, bytes| Request {
        format,
        size_bytes: bytes,
        ..request("new")
    };
    let entry = entered(plan(&new(Some(VolumeFormat::Xfs), 1 << 30), &world("{}", &there)));
    assert_eq!(entry.format(), VolumeFormat::Xfs);
    let small = told(plan(&new(Some(VolumeFormat::Xfs), 1 << 24), &world("{}", &there)));
    assert!(small.contains("300Mi"), "{small}");
}

#[test]
fn a_persistent_volume_says_what_it_is() {
    for (words, mode, fs_type, options) in [
        ("", "Filesystem", None, true),
        (", fsType: ext4", "Filesystem", Some("ext4"), true),
        (", volumeMode: Block", "Block", None, false),
    ] {
        let status = format!(
            "{{id: {DOT_ID}, node: n1, volumes: [{{name: db, id: {VOLUME_ID}, size: 2Gi{words}}}], attachments: [{CLAIM}], \
             claims: [{{uid: {CLAIM}, namespace: dev, name: db, volume: db, size: 1Gi{words}}}]}}"
        );
        let Ok(Plan::CreateVolume(volume)) = plan(&request("db"), &world("{}", &status)) else {
            panic!("no volume of {words:?}");
        };
        let spec = volume.spec.unwrap();
        assert_eq!(spec.volume_mode.as_deref(), Some(mode));
        assert_eq!(spec.csi.unwrap().fs_type.as_deref(), fs_type);
        assert_eq!(spec.mount_options.is_some(), options);
    }
}
