//! All that [`super::FakeZfs`] holds, for those who judge it from outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::FakeZfs;
use super::state::State;
use crate::{Guid, PropName, Txg};

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

impl FakeZfs {
    /// Every dataset and snapshot of all pools, imported or not, each dataset before its snapshots.
    #[must_use]
    pub fn inventory(&self) -> Vec<FakeObject> {
        self.locked(|state| inventory(state))
    }
}

fn inventory(state: &State) -> Vec<FakeObject> {
    let mut objects = Vec::new();
    for (name, dataset) in state.pools.iter().flat_map(|pool| &pool.contents.datasets) {
        objects.push(FakeObject {
            name: name.to_string(),
            guid: dataset.guid,
            createtxg: dataset.createtxg,
            origin: dataset.origin.as_ref().map(ToString::to_string),
            holds: Vec::new(),
            local: Arc::clone(&dataset.local),
            written: dataset.written,
            is_deferred: false,
        });
        for (snap, snapshot) in &dataset.snapshots {
            objects.push(FakeObject {
                name: format!("{name}@{snap}"),
                guid: snapshot.guid,
                createtxg: snapshot.createtxg,
                origin: None,
                holds: snapshot.holds.iter().cloned().collect(),
                local: Arc::clone(&snapshot.local),
                written: snapshot.written,
                is_deferred: snapshot.defer_destroy,
            });
        }
    }
    objects
}
