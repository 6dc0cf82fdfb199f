//! Somebody destroys what is behind an object, with ZFS' own tools: our holds are released before.

use std::time::Duration;

use dotmesh_testkit::FakeApi;
use dotmesh_zfs::{FakeZfs, Tampering, Zfs};
use serde_json::Value;

use crate::machine::{Machine, POOL};
use crate::oracle::Oracle;

/// Until the pool of a machine is imported and works: then people can do something with it.
pub async fn pool_is_there(machine: &Machine) {
    let name = POOL.parse().unwrap_or_else(|error| panic!("{POOL}: {error}"));
    while !machine
        .zfs
        .pool_get(&name)
        .await
        .is_ok_and(|pool| pool.health.is_usable())
    {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Destroys all of a Dot, the head of a Branch, or the snapshots of a Commit, in pool `dotmesh` of the first machine.
///
/// # Panics
/// When it is not there, or others need it.
pub fn destroy(server: &FakeApi, machine: &Machine, oracle: &mut Oracle, kind: &str, name: &str) {
    let found = server.all(kind).into_iter();
    let found = found.into_iter().find(|object| object["metadata"]["name"] == name);
    let object = found.unwrap_or_else(|| panic!("there is no {kind} {name}"));
    let id = text(&object["status"]["id"]);
    let dot = server
        .all("Dot")
        .into_iter()
        .find(|dot| dot["metadata"]["name"] == object["spec"]["dot"]);
    let dot = dot.map_or_else(|| id.clone(), |dot| text(&dot["status"]["id"]));
    let uids = match kind {
        "Dot" => all_of(server, name).chain([id.clone()]).collect(),
        _ => vec![id.clone()],
    };
    let zfs = &machine.zfs;
    oracle.is_destroyed(0, uids, || match kind {
        "Dot" => destroy_dataset(zfs, &format!("{POOL}/dotmesh/{dot}")),
        "Branch" => destroy_dataset(
            zfs,
            &format!("{POOL}/dotmesh/{dot}/{}", text(&object["status"]["head"])),
        ),
        _ => destroy_snapshots(zfs, &id),
    });
}

/// Uids of everything that lies in a Dot.
fn all_of(server: &FakeApi, dot: &str) -> impl Iterator<Item = String> {
    let all = ["Branch", "Commit"].into_iter().flat_map(|kind| server.all(kind));
    let its: Vec<String> = all
        .filter(|object| object["spec"]["dot"] == dot)
        .map(|object| text(&object["metadata"]["uid"]))
        .collect();
    its.into_iter()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn tamper(zfs: &FakeZfs, tampering: &Tampering) {
    if let Err(error) = zfs.tamper(tampering) {
        panic!("{tampering:?}: {error:?}");
    }
}

/// Names of snapshots that this is so of; their holds are gone.
fn released(zfs: &FakeZfs, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let all = zfs.inventory();
    let meant: Vec<_> = all
        .iter()
        .filter(|object| object.name.contains('@') && is_meant(&object.name))
        .collect();
    for object in &meant {
        for tag in &object.holds {
            let (tag, name) = (tag.parse(), object.name.parse());
            let (Ok(tag), Ok(name)) = (tag, name) else {
                panic!("{object:?}")
            };
            tamper(zfs, &Tampering::Release(tag, name));
        }
    }
    meant.iter().map(|object| object.name.clone()).collect()
}

fn destroy_snapshots(zfs: &FakeZfs, commit: &str) {
    for name in released(zfs, |name| name.ends_with(&format!("@{commit}"))) {
        let name = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        tamper(zfs, &Tampering::DestroySnapshot(name));
    }
}

fn destroy_dataset(zfs: &FakeZfs, name: &str) {
    released(zfs, |snapshot| snapshot.starts_with(name));
    let name = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
    tamper(zfs, &Tampering::DestroyAll(name));
}
