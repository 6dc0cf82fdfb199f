//! What holds when nothing goes wrong any more and nothing is left to do: each object Ready and answered, pool and
//! objects account for each other, every hold has its commit and every commit its hold (I8), no tombstone of nothing.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_crds::{Branch, Commit, Dot, Remnant};
use dotmesh_model::bijection::{Entry, compare};
use dotmesh_operator::api::Kind;
use dotmesh_testkit::accounts::expected;
use dotmesh_zfs::Inventory;

use super::objects::{dead_commits, observes};
use super::{Oracle, below, is_ready, tells_loss, text};

impl Oracle {
    /// Judges a settled world.
    pub fn judge_settled(&mut self) {
        self.look(true);
        self.judge_objects();
        self.check_all_commits();
        self.judge_bijection();
        self.judge_sizes();
        self.judge_tuning();
        self.judge_capacities();
        self.judge_imports();
        self.judge_inline();
        self.judge_published();
        self.judge_users();
        self.judge_holds();
        self.judge_tombstones();
        for index in 0..self.machines.len() {
            for dataset in self.machines[index].zfs.destroyed_while_mounted() {
                self.violated("R7 nothing mounted is destroyed", dataset.to_string());
            }
        }
    }

    fn judge_objects(&mut self) {
        for kind in ["Pool", "Dot", "Branch", "Commit", "Remnant"] {
            for object in self.server.all(kind) {
                let name = format!("{kind} {}", text(&object["metadata"]["name"]));
                if !object["metadata"]["deletionTimestamp"].is_null() {
                    self.violated(
                        "deletion ends",
                        format!("{name} is still being deleted: {}", object["status"]),
                    );
                } else if self.is_lost(&text(&object["metadata"]["uid"])) {
                    if !tells_loss(&object) {
                        self.violated("losses are told", format!("{name}: {}", object["status"]["conditions"]));
                    }
                } else if !is_ready(&object) {
                    self.violated("all is ready", format!("{name}: {}", object["status"]["conditions"]));
                } else if !observes(&object) {
                    self.violated(
                        "observedGeneration",
                        format!("{name}: the status is of an older generation"),
                    );
                }
            }
        }
    }

    pub(super) fn typed<K: Kind>(&self) -> Vec<K> {
        let all = self.server.all(&K::kind(&()));
        all.iter().map(|object| K::clone(&object.read())).collect()
    }

    fn judge_bijection(&mut self) {
        let (dots, branches, commits) = (self.typed::<Dot>(), self.typed::<Branch>(), self.typed::<Commit>());
        let remnants = self.typed::<Remnant>();
        let found: Vec<Entry> = self
            .pools
            .iter()
            .flat_map(Inventory::iter)
            .filter_map(|object| {
                Some(Entry {
                    name: below(&object.name)?.to_owned(),
                    guid: object.guid.0.to_string(),
                    origin: object.origin.as_deref().and_then(below).map(str::to_owned),
                })
            })
            .collect();
        for what in compare(&expected(&dots, &branches, &commits, &remnants), &found) {
            self.violated("bijection", what);
        }
    }

    /// A Branch's status tells of the pods that have its volumes mounted, and of no other.
    fn judge_users(&mut self) {
        let mut mounted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for machine in self.machines.iter() {
            for entry in machine.mount.table().iter() {
                let volume = machine.mount.volume_at(&entry.target);
                let names =
                    below(volume.as_ref().unwrap_or(&entry.source)).map(|name| name.split('/').collect::<Vec<_>>());
                let parts: Vec<_> = entry.target.iter().filter_map(|part| part.to_str()).collect();
                let pod = parts
                    .iter()
                    .position(|part| *part == "pods")
                    .and_then(|at| parts.get(at + 1));
                if let (Some(&[_, head, volume]), Some(pod)) = (names.as_deref(), pod) {
                    let users = mounted.entry(head.to_owned()).or_default();
                    users.insert(format!("{volume} in {pod}"));
                }
            }
        }
        for branch in self.typed::<Branch>() {
            let Some(status) = &branch.status else { continue };
            let head = status.head.clone().unwrap_or_default();
            let id_of = |name: &str| {
                let volume = status.volumes.iter().find(|volume| volume.name == name);
                volume.map_or_else(|| name.to_owned(), |volume| volume.id.clone())
            };
            let told: BTreeSet<String> = status
                .users
                .iter()
                .map(|user| {
                    format!(
                        "{} in {}",
                        id_of(&user.volume),
                        user.pod_uid.clone().unwrap_or_default()
                    )
                })
                .collect();
            let there = mounted.remove(&head).unwrap_or_default();
            if told != there {
                let name = branch.metadata.name.unwrap_or_default();
                let what = format!("Branch {name} tells of users {told:?}, mounted are {there:?}");
                self.violated("users are told", what);
            }
        }
    }

    /// I8.
    fn judge_holds(&mut self) {
        let mut wrong = Vec::new();
        for object in self.pools.iter().flat_map(Inventory::iter) {
            let Some((_, snap)) = object.name.split_once('@') else {
                continue;
            };
            let is_living = self.commits.contains_key(snap) && !self.ends.contains(snap);
            match (is_living, object.holds.as_slice()) {
                (true, [tag]) if tag == "dotmesh" => {}
                (true, holds) => wrong.push(format!("{} has holds {holds:?}", object.name)),
                (false, []) => {}
                (false, holds) => wrong.push(format!("{} is of no commit and has holds {holds:?}", object.name)),
            }
        }
        for what in wrong {
            self.violated("I8 holds", what);
        }
    }

    fn judge_tombstones(&mut self) {
        let mut wrong = Vec::new();
        for pool in &self.pools {
            for object in pool.iter() {
                let name = &object.name;
                for (property, commit) in dead_commits(object) {
                    let suffix = format!("@{commit}");
                    if !pool.iter().any(|other| other.name.ends_with(&suffix)) {
                        wrong.push(format!("{name} has a tombstone of nothing: {commit} in {property}"));
                    }
                }
                for (property, value) in &*object.local {
                    let property = property.as_str();
                    if !(property.starts_with("io.dotmesh:branch.") && value.starts_with("1:dead")) {
                        continue;
                    }
                    let mut heads = value.split(':').nth(2).unwrap_or_default().split(',');
                    if !heads.any(|head| pool.get(&format!("{name}/{head}")).is_some()) {
                        wrong.push(format!("{name} has a tombstone of nothing: {property}"));
                    }
                }
            }
        }
        for what in wrong {
            self.violated("tombstones end", what);
        }
    }
}
