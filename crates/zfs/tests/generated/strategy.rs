//! Sequences by chance: few names, so that operations meet; each kind as often as it is worth.

use proptest::collection::{SizeRange, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::operation::{By, Object, OfPool, Operation, Others, Outside, Place, Read, Setting, Snap};
use dotmesh_zfs::{Kind, SourceKind};

/// The same one several times is met more often.
const PLACES: &[&str] = &["a", "a", "a", "a", "a/x", "a/x", "a/x", "b", "b", "v", "v/z", "."];
const SNAPS: &[&str] = &["s", "s", "s", "t"];
const TAGS: &[&str] = &["keep", "mine"];
const NOTES: &[Setting] = &[Setting("org.example:note", "one"), Setting("org.example:note", "two")];
/// Sizes and what is wrong with a property stand among legal ones. What a write adds is more than 4 MiB.
const SETTINGS: &[Setting] = &[
    Setting("org.example:note", "one"),
    Setting("org.example:id", "two"),
    Setting("compression", "lz4"),
    Setting("refquota", "4M"),
    Setting("refquota", "1G"),
    Setting("refquota", "none"),
    Setting("refquota", "lots"),
    Setting("recordsizes", "two"),
];
const VOLSIZES: &[Setting] = &[Setting("volsize", "32M"), Setting("volsize", "1000")];
const PROPERTIES: &[&str] = &[
    "org.example:note",
    "org.example:id",
    "compression",
    "refquota",
    "origin",
    "recordsizes",
];

fn place() -> impl Strategy<Value = Place> {
    select(PLACES).prop_map(Place)
}

fn snap() -> impl Strategy<Value = Snap> {
    (place(), select(SNAPS)).prop_map(|(place, snap)| Snap(place, snap))
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![3 => place().prop_map(Object::Place), 1 => snap().prop_map(Object::Snap)]
}

fn settings(of: &'static [Setting], at_most: usize) -> impl Strategy<Value = Vec<Setting>> {
    vec(select(of), 0..=at_most)
}

fn create() -> impl Strategy<Value = Operation> {
    let any = (
        place(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        settings(SETTINGS, 1),
    );
    any.prop_map(|(place, volume, parents, settings)| Operation::Create {
        place,
        volume,
        parents,
        settings,
    })
}

fn clone() -> impl Strategy<Value = Operation> {
    (snap(), place(), settings(SETTINGS, 1)).prop_map(|(from, to, settings)| Operation::Clone { from, to, settings })
}

fn set() -> impl Strategy<Value = Operation> {
    let settings = prop_oneof![4 => settings(SETTINGS, 2), 1 => settings(VOLSIZES, 1)];
    (place(), settings).prop_map(|(place, settings)| Operation::Set(place, settings))
}

fn list() -> impl Strategy<Value = Read> {
    let kinds = subsequence(vec![Kind::Filesystem, Kind::Volume, Kind::Snapshot], 1..=3);
    let depth = prop_oneof![Just(None), (0..3_u32).prop_map(Some)];
    (vec(object(), 1..=2), depth, kinds).prop_map(|(roots, depth, kinds)| Read::List { roots, depth, kinds })
}

fn get() -> impl Strategy<Value = Read> {
    let sources = prop_oneof![Just(Vec::new()), Just(vec![SourceKind::Local])];
    let any = (vec(object(), 1..=2), subsequence(PROPERTIES, 1..=3), sources);
    any.prop_map(|(targets, properties, sources)| Read::Get {
        targets,
        properties,
        sources,
    })
}

fn of_datasets() -> impl Strategy<Value = Operation> {
    let newest = proptest::option::of(select(SNAPS));
    prop_oneof![
        6 => create(),
        4 => clone(),
        4 => place().prop_map(Operation::Destroy),
        3 => set(),
        1 => (place(), select(PROPERTIES)).prop_map(|(place, property)| Operation::Inherit(place, property)),
        2 => list().prop_map(Operation::Read),
        2 => get().prop_map(Operation::Read),
        1 => (place(), newest).prop_map(|(place, snap)| Operation::Read(Read::Written(place, snap))),
    ]
}

fn of_snapshots() -> impl Strategy<Value = Operation> {
    let tagged = || (select(TAGS), snap());
    let some = || vec(select(SNAPS), 1..=2);
    prop_oneof![
        6 => (vec(snap(), 1..=3), settings(NOTES, 1)).prop_map(|(all, notes)| Operation::Snapshot(all, notes)),
        3 => tagged().prop_map(|(tag, snap)| Operation::Hold(tag, snap)),
        3 => (select(TAGS), place(), some()).prop_map(|(tag, place, snaps)| Operation::Release(tag, place, snaps)),
        2 => (place(), some()).prop_map(|(place, snaps)| Operation::DestroySnapshots(place, snaps)),
        3 => (place(), some()).prop_map(|(place, snaps)| Operation::DestroyRecursive(place, snaps)),
        2 => snap().prop_map(Operation::Rollback),
        1 => vec(snap(), 1..=2).prop_map(|snaps| Operation::Read(Read::Holds(snaps))),
    ]
}

fn from_outside() -> impl Strategy<Value = Operation> {
    let outside = prop_oneof![
        4 => place().prop_map(Outside::Write),
        4 => object().prop_map(Outside::Mount),
        4 => object().prop_map(Outside::Unmount),
        1 => any::<bool>().prop_map(Outside::Fill),
    ];
    let tagged = || (select(TAGS), snap());
    let others = prop_oneof![
        2 => tagged().prop_map(|(tag, snap)| Others::Hold(tag, snap)),
        2 => tagged().prop_map(|(tag, snap)| Others::Release(tag, snap)),
        2 => snap().prop_map(Others::Destroy),
        1 => Just(Others::Checkpoint),
        1 => Just(Others::Rewind),
        1 => Just(Others::Reguid),
    ];
    prop_oneof![outside.prop_map(Operation::Outside), others.prop_map(Operation::Others)]
}

/// An export is followed by an import soon: without the pool, every answer is the same.
fn of_the_pool() -> impl Strategy<Value = Vec<Operation>> {
    let import = prop_oneof![Just(OfPool::Import(By::Name)), Just(OfPool::Import(By::Guid))];
    let between = prop_oneof![Just(Operation::Pool(OfPool::Importable)), of_datasets(), of_snapshots()];
    let away = (between, import).prop_map(|(between, import)| {
        let [export, import, again] = [OfPool::Export, import, OfPool::Import(By::Name)].map(Operation::Pool);
        vec![export, between, import, again]
    });
    prop_oneof![1 => Just(vec![Operation::Pool(OfPool::Status)]), 2 => away]
}

/// What most sequences begin with, so that the rest meets something.
fn beginning() -> impl Strategy<Value = Vec<Operation>> {
    let made = |text, volume| Operation::Create {
        place: Place(text),
        volume,
        parents: false,
        settings: Vec::new(),
    };
    let taken = vec![Snap(Place("a"), "s"), Snap(Place("a/x"), "s")];
    let all = [
        made("a", false),
        made("a/x", false),
        Operation::Snapshot(taken, Vec::new()),
        made("v", true),
    ];
    (0..=all.len()).prop_map(move |length| all[..length].to_vec())
}

/// A sequence of about so many operations.
pub(crate) fn sequence(length: impl Into<SizeRange>) -> impl Strategy<Value = Vec<Operation>> {
    let one = prop_oneof![12 => of_datasets(), 12 => of_snapshots(), 6 => from_outside()];
    let some = prop_oneof![30 => one.prop_map(|operation| vec![operation]), 1 => of_the_pool()];
    (beginning(), vec(some, length)).prop_map(|(beginning, rest)| [beginning, rest.concat()].concat())
}
