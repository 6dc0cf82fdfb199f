//! Those who judge a history: they look after every write, at the API's log and at the pools, and know the rules that
//! hold always. Nothing here decides anything for the programs.

mod capacities;
mod commits;
mod heads;
mod imports;
mod inline;
mod objects;
mod pools;
mod published;
mod remnants;
pub mod settled;
mod sizes;
mod tuning;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dotmesh_testkit::{Change, FakeApi};
use dotmesh_zfs::{FakeObject, Inventory};
use serde_json::Value;

use crate::machine::Machine;
use crate::names::Names;

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The oracle that saw it.
    pub oracle: &'static str,
    /// What it saw.
    pub what: String,
}

/// The roots of everything of ours in the pools.
const ROOTS: [&str; 2] = ["dotmesh/dotmesh/", "dotmesh-fast/dotmesh/"];

/// The name below the root of its pool; nothing when it is not ours.
#[must_use]
pub fn below(name: &str) -> Option<&str> {
    ROOTS.iter().find_map(|root| name.strip_prefix(root))
}

/// Violations after the first few are echoes.
const KEPT: usize = 5;

/// All of them.
pub struct Oracle {
    server: FakeApi,
    machines: Arc<Vec<Machine>>,
    read: usize,
    /// Names of everything that ever had an id.
    pub names: Names,
    violations: Vec<Violation>,
    /// Uids whose deletion was requested, or that are gone.
    requested: BTreeSet<String>,
    /// Ids of what may be destroyed.
    ends: BTreeSet<String>,
    /// Ids of data by the uids of their objects.
    ids: BTreeMap<String, String>,
    /// Seconds for which deleted data can come back.
    grace: u64,
    commits: BTreeMap<String, commits::Known>,
    heads: BTreeMap<String, String>,
    dots: BTreeMap<String, objects::Known>,
    /// Bytes of volumes, by the uid of their Dot and their names.
    sizes: BTreeMap<(String, String), u64>,
    /// Bytes that PersistentVolumes told of last, by uid.
    capacities: BTreeMap<String, u64>,
    pools: Vec<Inventory>,
    /// A copy stands in for the pool of this machine.
    stands_in: Option<usize>,
    made: BTreeMap<(usize, String), u32>,
    /// Uids of the objects whose data somebody destroyed with other tools.
    lost: BTreeSet<String>,
    /// Uids of objects that somebody removed.
    vanished: BTreeSet<String>,
    /// Uids of pods that were made for imports.
    begun: BTreeSet<String>,
    /// Uids of Dots, and names of pods that have copied what these asked for.
    copied: BTreeSet<(String, String)>,
    turns: usize,
}

impl Oracle {
    /// Over these.
    #[must_use]
    pub fn new(server: FakeApi, machines: Arc<Vec<Machine>>, grace: u64) -> Self {
        Self {
            pools: machines.iter().map(|_| Inventory::default()).collect(),
            server,
            machines,
            read: 0,
            names: Names::default(),
            violations: Vec::new(),
            requested: BTreeSet::new(),
            ends: BTreeSet::new(),
            ids: BTreeMap::new(),
            grace,
            commits: BTreeMap::new(),
            heads: BTreeMap::new(),
            dots: BTreeMap::new(),
            sizes: BTreeMap::new(),
            capacities: BTreeMap::new(),
            stands_in: None,
            made: BTreeMap::new(),
            lost: BTreeSet::new(),
            vanished: BTreeSet::new(),
            begun: BTreeSet::new(),
            copied: BTreeSet::new(),
            turns: 0,
        }
    }

    /// A rule did not hold.
    pub fn violated(&mut self, oracle: &'static str, what: String) {
        if self.violations.len() < KEPT {
            self.violations.push(Violation { oracle, what });
        }
    }

    /// What was violated so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// A reconciler was given a turn.
    pub fn turn_taken(&mut self) {
        self.turns += 1;
    }

    /// Turns so far.
    #[must_use]
    pub fn turns(&self) -> usize {
        self.turns
    }

    /// Something was written; perhaps to a pool.
    pub fn look(&mut self, at_pools: bool) {
        let news = self.server.log_after(self.read);
        self.read += news.len();
        for change in &news {
            self.names.note(change);
            self.note_id(change);
            if change.gone || !change.object["metadata"]["deletionTimestamp"].is_null() {
                let is_first = self.requested.insert(uid(change));
                if is_first && change.kind == "Branch" {
                    self.look_at_branch_that_goes(change);
                    self.look_at_inline_branch_that_goes(change);
                }
                if is_first && !self.vanished.contains(&uid(change)) {
                    self.note_end(change);
                }
            }
        }
        if at_pools {
            self.look_at_pools();
        }
        for change in &news {
            match change.kind {
                "Commit" => self.look_at_commit(change),
                "Branch" => self.look_at_branch(change),
                "Dot" => self.look_at_dot(change),
                "Pod" => self.look_at_pod(change),
                "PersistentVolume" => self.look_at_volume(change),
                _ => {}
            }
            if change.gone && !self.vanished.contains(&uid(change)) {
                self.look_at_what_is_left(change);
            }
        }
    }

    /// Whether the deletion of a uid was requested.
    fn is_requested(&self, uid: &str) -> bool {
        self.requested.contains(uid)
    }

    /// Somebody is about to remove the object of a uid; its data is nobody's to destroy.
    pub fn vanishes(&mut self, uid: &str) {
        self.vanished.insert(uid.to_owned());
    }

    /// Whether somebody destroyed with other tools what is behind the object of a uid.
    fn is_lost(&self, uid: &str) -> bool {
        self.lost.contains(uid)
    }

    /// Everything in any pool, by name below the root.
    fn find(&self, name: &str) -> Option<&FakeObject> {
        self.find_all(name).next()
    }

    /// The same, of each pool that has it.
    fn find_all(&self, name: &str) -> impl Iterator<Item = &FakeObject> {
        let full = ROOTS.map(|root| format!("{root}{name}"));
        let machines = self.pools.iter();
        machines.flat_map(move |pools| full.clone().into_iter().filter_map(|full| pools.get(&full)))
    }
}

fn uid(change: &Change) -> String {
    text(&change.object["metadata"]["uid"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether an object says that it is not Ready because its data is lost.
fn tells_loss(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let tells = |one: &Value| one["type"] == "Ready" && one["status"] == "False" && one["reason"] == "DataLost";
    conditions.is_some_and(|all| all.iter().any(tells))
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| {
        all.iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}
