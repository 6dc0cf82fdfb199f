//! Volumes, their snapshots and their clones are deleted in every order: what is left works, and in the end nothing is.

use std::collections::BTreeSet;

use dotmesh_csi_proto::csi;
use tonic::Code;

use super::story::{
    POOL, Step, VOLUMES, clone, create, delete, delete_snapshot, publish, restore, take, target, told_id, unpublish,
};
use super::{Call, Program, World, quiet};
use crate::edge::csi::first;

/// What is made, in the order of making, each with what it is made of.
const THINGS: [(&str, &str); 5] = [
    ("volume", ""),
    ("snapshot", "volume"),
    ("restored", "snapshot"),
    ("clone", "volume"),
    ("snapshot-of-restored", "restored"),
];

fn is_snapshot(name: &str) -> bool {
    name.starts_with("snapshot")
}

fn id(name: &str) -> String {
    match is_snapshot(name) {
        true => first::snapshot(name, "volume"),
        false => first::volume(name, "volume"),
    }
}

fn make((name, of): (&str, &str), format: usize) -> Call {
    match (is_snapshot(name), of) {
        (true, of) => Call::Snapshot(take(name, &id(of))),
        (false, "") => Call::Create(create(name, format, 1)),
        (false, of) if is_snapshot(of) => Call::Create(restore(name, format, &id(of))),
        (false, of) => Call::Create(clone(name, format, &id(of))),
    }
}

fn destroy(name: &str) -> Call {
    match is_snapshot(name) {
        true => Call::DeleteSnapshot(delete_snapshot(&id(name))),
        false => Call::Delete(delete(&id(name))),
    }
}

async fn with_all(format: usize) -> (World, Program) {
    let (world, program) = World::after(&[Step::EnsurePool]).await;
    for thing in THINGS {
        let told = program.call(make(thing, format)).await.unwrap();
        assert!(told.contains(&id(thing.0)), "{thing:?}: {told}");
    }
    (world, program)
}

/// The ids in an answer.
fn listed(told: &str, field: &str) -> BTreeSet<String> {
    let parts = told.split(field).skip(1);
    parts
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect()
}

/// What is listed is what is left, and its volumes can be published.
async fn check(program: &Program, left: &[&str], format: usize) {
    let volumes = Call::ListVolumes(csi::ListVolumesRequest::default());
    let volumes = program.call(volumes).await.unwrap();
    let mut told: BTreeSet<String> = volumes.split("Entry {").skip(1).map(told_id).collect();
    let snapshots = Call::ListSnapshots(csi::ListSnapshotsRequest::default());
    told.append(&mut listed(&program.call(snapshots).await.unwrap(), " snapshot_id: \""));
    let wanted: BTreeSet<String> = left.iter().map(|name| id(name)).collect();
    assert_eq!(told, wanted, "{left:?}");
    for name in left.iter().filter(|name| !is_snapshot(name)) {
        let target = target(name);
        let shown = Call::Publish(publish(&id(name), &target, VOLUMES[format].1));
        program.call(shown).await.unwrap();
        let hidden = Call::Unpublish(unpublish(&id(name), &target));
        program.call(hidden).await.unwrap();
    }
}

fn orders(names: &[&'static str]) -> Vec<Vec<&'static str>> {
    if names.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for first in names {
        let rest: Vec<&str> = names.iter().filter(|name| *name != first).copied().collect();
        all.extend(orders(&rest).into_iter().map(|order| [vec![*first], order].concat()));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn in_every_order_of_deletion_the_rest_works_and_nothing_is_left() {
    let names = THINGS.map(|(name, _)| name);
    for format in [0, 1] {
        for order in orders(&names) {
            let (world, program) = with_all(format).await;
            check(&program, &names, format).await;
            for (number, name) in order.iter().enumerate() {
                program.call(destroy(name)).await.unwrap();
                program.call(destroy(name)).await.unwrap();
                check(&program, &order[number + 1..], format).await;
            }
            quiet().await;
            let inventory = world.zfs.inventory();
            let left: Vec<&str> = inventory.iter().map(|object| object.name.as_str()).collect();
            assert_eq!(left, [POOL, &format!("{POOL}/dotmesh")], "{order:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_used_is_used_anew_while_something_of_the_first_is_left() {
    for format in [0, 1] {
        let (_world, program) = with_all(format).await;
        let keep = ["restored", "snapshot-of-restored"];
        for (name, _) in THINGS.iter().rev().filter(|(name, _)| !keep.contains(name)) {
            program.call(destroy(name)).await.unwrap();
        }
        check(&program, &keep, format).await;
        let made = told_id(&program.call(make(THINGS[0], format)).await.unwrap());
        let again = told_id(&program.call(make(THINGS[0], format)).await.unwrap());
        assert_eq!(made, again);
        assert_ne!(made, id("volume"));
        let taken = program.call(Call::Snapshot(take("snapshot", &made))).await.unwrap();
        assert!(!taken.contains(&id("snapshot")), "{taken}");
        let again = program.call(Call::Snapshot(take("snapshot", &made))).await.unwrap();
        assert_eq!(taken, again);
        // The id of the first names nothing.
        let gone = program.call(make(("late", "snapshot"), format)).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound, "{gone}");
    }
}

#[tokio::test(start_paused = true)]
async fn volumes_of_two_pools_are_no_group_and_nothing_is_taken() {
    let world = World::new();
    let program = world.start();
    let mut volumes = Vec::new();
    // New volumes lie in the first pool by name.
    for (pool, name) in [("second", "one"), (POOL, "other")] {
        let ensure = Call::EnsurePool(world.pool_request(pool));
        program.call(ensure).await.unwrap();
        volumes.push(told_id(&program.call(Call::Create(create(name, 0, 1))).await.unwrap()));
    }
    let before = world.state();
    let group = csi::CreateVolumeGroupSnapshotRequest {
        name: "group".to_owned(),
        source_volume_ids: volumes,
        ..csi::CreateVolumeGroupSnapshotRequest::default()
    };
    let refused = program.call(Call::Group(group.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(world.state(), before);
    for volume in group.source_volume_ids.clone() {
        let alone = csi::CreateVolumeGroupSnapshotRequest {
            name: format!("of-{volume}"),
            source_volume_ids: vec![volume],
            ..group.clone()
        };
        program.call(Call::Group(alone)).await.unwrap();
    }
}
