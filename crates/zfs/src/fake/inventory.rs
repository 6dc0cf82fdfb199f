//! All that [`super::FakeZfs`] holds, for those who judge it from outside.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use super::FakeZfs;
use super::state::{Dataset, State};
use crate::{DatasetName, Guid, PropName, Txg};

/// A dataset or snapshot as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeObject {
    /// Its full name.
    pub name: String,
    /// Its identity.
    pub guid: Guid,
    /// When it was made.
    pub createtxg: Txg,
    /// The snapshot that it is a clone of.
    pub origin: Option<String>,
    /// Tags of its holds.
    pub holds: Vec<String>,
    /// Properties set on itself.
    pub local: Arc<BTreeMap<PropName, String>>,
    /// All bytes ever written to it, or until it was taken.
    pub written: u64,
    /// A snapshot that goes with the last of what needs it.
    pub is_deferred: bool,
}

/// Everything that a host's pools hold at one moment.
#[derive(Debug, Clone, Default)]
pub struct Inventory(BTreeMap<DatasetName, Shelf>);

/// A dataset and its snapshots; shared by the inventories between which nothing of it changed.
#[derive(Debug, Clone)]
struct Shelf {
    dataset: Arc<Dataset>,
    /// By name, the dataset first.
    objects: Arc<[FakeObject]>,
}

impl Shelf {
    fn new(name: &DatasetName, dataset: &Arc<Dataset>) -> Self {
        let itself = FakeObject {
            name: name.to_string(),
            guid: dataset.guid,
            createtxg: dataset.createtxg,
            origin: dataset.origin.as_ref().map(ToString::to_string),
            holds: Vec::new(),
            local: Arc::clone(&dataset.local),
            written: dataset.written,
            is_deferred: false,
        };
        let snapshots = dataset.snapshots.iter().map(|(snap, snapshot)| FakeObject {
            name: format!("{name}@{snap}"),
            guid: snapshot.guid,
            createtxg: snapshot.createtxg,
            origin: None,
            holds: snapshot.holds.iter().cloned().collect(),
            local: Arc::clone(&snapshot.local),
            written: snapshot.written,
            is_deferred: snapshot.defer_destroy,
        });
        Self {
            objects: std::iter::once(itself).chain(snapshots).collect(),
            dataset: Arc::clone(dataset),
        }
    }
}

impl Inventory {
    /// Each dataset before its snapshots.
    pub fn iter(&self) -> impl Iterator<Item = &FakeObject> {
        self.0.values().flat_map(|shelf| &*shelf.objects)
    }

    /// What has this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&FakeObject> {
        let dataset = name.split_once('@').map_or(name, |(dataset, _)| dataset);
        let objects = &self.0.get(dataset)?.objects;
        objects.iter().find(|object| object.name == name)
    }

    /// What is not as it was before: as it was, and as it is.
    pub fn changes<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (Option<&'a FakeObject>, Option<&'a FakeObject>)> {
        let shelves = Pairs::new(before.0.iter(), self.0.iter(), |was, is| was.0.cmp(is.0));
        let changed = shelves.filter(|pair| match pair {
            (Some((_, was)), Some((_, is))) => !Arc::ptr_eq(&was.objects, &is.objects),
            _ => true,
        });
        let objects = |shelf: Option<(&'a DatasetName, &'a Shelf)>| {
            let objects = shelf.map(|(_, shelf)| &*shelf.objects);
            objects.unwrap_or_default().iter()
        };
        let pairs = move |(was, is)| {
            Pairs::new(objects(was), objects(is), |was: &&FakeObject, is| {
                was.name.cmp(&is.name)
            })
        };
        changed.flat_map(pairs).filter(|(was, is)| was != is)
    }
}

/// What two sorted sequences have in common, and what one of them has alone.
struct Pairs<A: Iterator, B: Iterator, C> {
    left: Peekable<A>,
    right: Peekable<B>,
    compare: C,
}

impl<A: Iterator, B: Iterator, C: Fn(&A::Item, &B::Item) -> Ordering> Pairs<A, B, C> {
    fn new(left: A, right: B, compare: C) -> Self {
        Self {
            left: left.peekable(),
            right: right.peekable(),
            compare,
        }
    }
}

impl<A: Iterator, B: Iterator, C: Fn(&A::Item, &B::Item) -> Ordering> Iterator for Pairs<A, B, C> {
    type Item = (Option<A::Item>, Option<B::Item>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.left.peek(), self.right.peek()) {
            (Some(left), Some(right)) => (self.compare)(left, right),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        Some((
            if order.is_le() { self.left.next() } else { None },
            if order.is_ge() { self.right.next() } else { None },
        ))
    }
}

impl FakeZfs {
    /// Every dataset and snapshot of all pools, imported or not.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        self.inventory_after(&Inventory::default())
    }

    /// The same, when it is known how it was before: what did not change is not looked at again.
    #[must_use]
    pub fn inventory_after(&self, before: &Inventory) -> Inventory {
        self.locked(|state| inventory(state, before))
    }
}

fn inventory(state: &State, before: &Inventory) -> Inventory {
    let datasets = state.pools.iter().flat_map(|pool| &pool.contents.datasets);
    let shelf = |(name, dataset): (&DatasetName, &Arc<Dataset>)| {
        let known = before.0.get(name).filter(|shelf| Arc::ptr_eq(&shelf.dataset, dataset));
        (
            name.clone(),
            known.cloned().unwrap_or_else(|| Shelf::new(name, dataset)),
        )
    };
    Inventory(datasets.map(shelf).collect())
}
