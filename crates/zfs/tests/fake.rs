//! Generated sequences on the fake: what must hold of any [`Zfs`], checked after each step, and that the same sequence
//! has the same answers again.

mod generated;

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_zfs::{
    DatasetName, FakeZfs, Guid, Kind, ListRequest, ObjectName, PoolName, PropName, SnapshotName, Txg, Zfs,
};
use generated::around::FakeAround;
use generated::known::known;
use generated::operation::{Operation, Others};
use generated::strategy::sequence;
use generated::world::{Answer, World};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

fn pool() -> PoolName {
    "pool".parse().expect("a legal name")
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(work)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SeenDataset {
    guid: Guid,
    used: u64,
    origin: Option<SnapshotName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SeenSnapshot {
    guid: Guid,
    createtxg: Txg,
    holds: BTreeSet<String>,
    clones: BTreeSet<DatasetName>,
    waits: bool,
}

/// All that is in the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Seen {
    datasets: BTreeMap<DatasetName, SeenDataset>,
    snapshots: BTreeMap<SnapshotName, SeenSnapshot>,
}

impl Seen {
    async fn now(zfs: &FakeZfs) -> Self {
        let columns = ["guid", "createtxg", "used", "origin", "clones", "defer_destroy"].map(PropName::from_static);
        let [guid, createtxg, used, origin, clones, defer_destroy] = &columns;
        let request = ListRequest {
            roots: vec![pool().root().into()],
            depth: None,
            kinds: vec![Kind::Filesystem, Kind::Volume, Kind::Snapshot],
            columns: columns.to_vec(),
        };
        let mut seen = Self::default();
        for row in zfs.list(&request).await.expect("a listing") {
            let guid = Guid(row.number(guid).expect("a guid"));
            match &row.name {
                ObjectName::Dataset(name) => {
                    let dataset = SeenDataset {
                        guid,
                        used: row.number(used).expect("bytes"),
                        origin: row.value(origin).map(|name| name.parse().expect("a snapshot")),
                    };
                    seen.datasets.insert(name.clone(), dataset);
                }
                ObjectName::Snapshot(name) => {
                    let holds = zfs.holds(std::slice::from_ref(name)).await.expect("holds");
                    let clones = row.value(clones).unwrap_or_default().split(',');
                    let snapshot = SeenSnapshot {
                        guid,
                        createtxg: Txg(row.number(createtxg).expect("a transaction group")),
                        holds: holds.into_iter().map(|hold| hold.tag).collect(),
                        clones: clones.filter_map(|name| name.parse().ok()).collect(),
                        waits: row.value(defer_destroy) == Some("on"),
                    };
                    seen.snapshots.insert(name.clone(), snapshot);
                }
            }
        }
        seen
    }

    /// What is wrong with it by itself.
    fn check(&self) -> Result<(), TestCaseError> {
        let mut guids = BTreeSet::new();
        let mut groups = BTreeSet::new();
        for (name, snapshot) in &self.snapshots {
            prop_assert!(guids.insert(snapshot.guid), "{name} has a guid of another");
            let new = groups.insert((name.dataset(), snapshot.createtxg));
            prop_assert!(new, "{name} shares its transaction group");
            let pinned = !snapshot.holds.is_empty() || !snapshot.clones.is_empty();
            prop_assert!(pinned || !snapshot.waits, "{name} waits for nothing");
            for clone in &snapshot.clones {
                let origin = self.datasets.get(clone).and_then(|clone| clone.origin.as_ref());
                prop_assert_eq!(origin, Some(name), "{} is no clone of it", clone);
            }
        }
        for (name, dataset) in &self.datasets {
            prop_assert!(guids.insert(dataset.guid), "{name} has a guid of another");
            if let Some(origin) = &dataset.origin {
                let known = self.snapshots.get(origin);
                prop_assert!(known.is_some_and(|known| known.clones.contains(name)), "{name}");
            }
            let children = self
                .datasets
                .iter()
                .filter(|(child, _)| child.parent().as_ref() == Some(name));
            let below: u64 = children.map(|(_, child)| child.used).sum();
            prop_assert!(dataset.used >= below, "{name} uses less than what is below it");
        }
        Ok(())
    }

    /// What an operation must not have done.
    fn check_step(&self, before: &Self, operation: &Operation, answer: &Answer) -> Result<(), TestCaseError> {
        if matches!(operation, Operation::Others(Others::Rewind)) {
            return Ok(());
        }
        // Missing ancestors are made, and several names released, one by one.
        let in_parts = matches!(operation, Operation::Create { parents: true, .. })
            || matches!(operation, Operation::Release(_, _, snaps) if snaps.len() > 1);
        if !answer.is_empty() && !in_parts {
            prop_assert_eq!(self, before, "it failed or only looked, and yet something changed");
        }
        for (name, snapshot) in &before.snapshots {
            let stays = self.snapshots.get(name).is_some_and(|now| now.guid == snapshot.guid);
            if stays {
                continue;
            }
            let mut holds = snapshot.holds.clone();
            if let Operation::Release(tag, ..) | Operation::Others(Others::Release(tag, _)) = operation {
                holds.remove(*tag);
            }
            prop_assert!(holds.is_empty(), "{name} was held and is gone");
            let clones = snapshot
                .clones
                .iter()
                .filter(|clone| self.datasets.contains_key(*clone));
            prop_assert_eq!(clones.count(), 0, "{} had clones and is gone", name);
            let asked = matches!(
                operation,
                Operation::DestroyRecursive(..)
                    | Operation::DestroySnapshots(..)
                    | Operation::Others(Others::Destroy(_))
            );
            prop_assert!(asked || snapshot.waits, "{name} is gone and nobody asked for it");
        }
        let gone: Vec<_> = before
            .datasets
            .keys()
            .filter(|name| !self.datasets.contains_key(*name))
            .collect();
        let asked = usize::from(matches!(operation, Operation::Destroy(_)));
        prop_assert!(gone.len() <= asked, "{gone:?} went");
        for (name, dataset) in &self.datasets {
            let old = before.datasets.get(name).map(|old| old.guid);
            prop_assert!(old.is_none_or(|old| old == dataset.guid), "{name} is another one now");
        }
        Ok(())
    }
}

/// Runs a sequence, checks each step, and returns the answers.
async fn run(operations: &[Operation]) -> Result<Vec<Answer>, TestCaseError> {
    let zfs = FakeZfs::new();
    let around = FakeAround::new(&zfs);
    let mut world = World::new(&zfs, &around, pool()).await.expect("a pool");
    let mut before = Seen::now(&zfs).await;
    let mut answers = Vec::new();
    for operation in operations {
        let answer = world.perform(operation).await;
        if !world.is_exported() {
            let now = Seen::now(&zfs).await;
            let checked = now.check().and_then(|()| now.check_step(&before, operation, &answer));
            checked.map_err(|error| TestCaseError::fail(format!("after {operation:?} {answer:?}: {error}")))?;
            before = now;
        }
        answers.push(answer);
    }
    answers.push(world.survey().await);
    world.leave();
    Ok(answers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_that_nobody_destroyed(operations in sequence(1..80)) {
        block_on(run(&operations))?;
    }

    #[test]
    fn the_same_sequence_has_the_same_answers(operations in sequence(40)) {
        let first = block_on(run(&operations))?;
        prop_assert_eq!(block_on(run(&operations))?, first);
    }
}

/// Sequences that meet nothing would compare nothing.
#[test]
fn a_third_of_the_operations_finds_what_it_works_on() {
    let mut runner = TestRunner::deterministic();
    let (mut done, mut all) = (0_usize, 0_usize);
    for _ in 0..100 {
        let operations = sequence(40).new_tree(&mut runner).expect("a sequence").current();
        let answers = block_on(run(&operations)).expect("nothing wrong");
        all += operations.len();
        let failed = |answer: &&Answer| {
            answer
                .first()
                .is_some_and(|line| line.starts_with("skipped") || line.contains("NotFound"))
        };
        done += answers.len() - answers.iter().filter(failed).count();
    }
    assert!(done * 3 > all, "{done} of {all}");
}

#[test]
fn the_known_sequences_have_these_answers() {
    let mut text = String::new();
    for (about, operations) in known() {
        text += &format!("# {about}\n");
        let answers = block_on(run(&operations)).expect("nothing wrong");
        for (operation, answer) in operations.iter().zip(&answers) {
            text += &format!("{operation:?}\n");
            let lines = answer.iter().map(|line| format!("    {line}\n"));
            text.extend(lines);
        }
    }
    insta::assert_snapshot!(text);
}
