//! What holds when nothing goes wrong any more and nothing is left to do: each object Ready and answered, pool and
//! objects account for each other, every hold has its commit and every commit its hold (I8), no tombstone of nothing.

use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_model::bijection::{Entry, compare};
use dotmesh_operator::api::Kind;
use dotmesh_testkit::accounts::expected;
use dotmesh_zfs::Inventory;

use super::objects::observes;
use super::{Oracle, ROOT, is_ready, text};

impl Oracle {
    /// Judges a settled world.
    pub fn judge_settled(&mut self) {
        self.look(true);
        self.judge_objects();
        self.judge_bijection();
        self.judge_holds();
        self.judge_tombstones();
        for index in 0..self.machines.len() {
            for dataset in self.machines[index].zfs.destroyed_while_mounted() {
                self.violated("R7 nothing mounted is destroyed", dataset.to_string());
            }
        }
    }

    fn judge_objects(&mut self) {
        for kind in ["Pool", "Dot", "Branch", "Commit"] {
            for object in self.server.all(kind) {
                let name = format!("{kind} {}", text(&object["metadata"]["name"]));
                if !object["metadata"]["deletionTimestamp"].is_null() {
                    self.violated(
                        "deletion ends",
                        format!("{name} is still being deleted: {}", object["status"]),
                    );
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

    fn typed<K: Kind>(&self) -> Vec<K> {
        let all = self.server.all(&K::kind(&()));
        all.iter().map(|object| K::clone(&object.read())).collect()
    }

    fn judge_bijection(&mut self) {
        let (dots, branches, commits) = (self.typed::<Dot>(), self.typed::<Branch>(), self.typed::<Commit>());
        let below = |name: &str| name.strip_prefix(ROOT).map(str::to_owned);
        let found: Vec<Entry> = self
            .pools
            .iter()
            .flat_map(Inventory::iter)
            .filter_map(|object| {
                Some(Entry {
                    name: below(&object.name)?,
                    guid: object.guid.0.to_string(),
                    origin: object.origin.as_deref().and_then(below),
                })
            })
            .collect();
        for what in compare(&expected(&dots, &branches, &commits), &found) {
            self.violated("bijection", what);
        }
    }

    /// I8.
    fn judge_holds(&mut self) {
        let mut wrong = Vec::new();
        for object in self.pools.iter().flat_map(Inventory::iter) {
            let Some((_, snap)) = object.name.split_once('@') else {
                continue;
            };
            let is_living = self.commits.contains_key(snap) && !self.is_requested(snap);
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
                for (property, value) in &*object.local {
                    let property = property.as_str();
                    let left = if let Some(commit) = property.strip_prefix("io.dotmesh:dead.") {
                        let suffix = format!("@{commit}");
                        pool.iter().any(|other| other.name.ends_with(&suffix))
                    } else if property.starts_with("io.dotmesh:branch.") && value.starts_with("1:dead") {
                        let heads = value.split(':').nth(2).unwrap_or_default().split(',');
                        heads
                            .into_iter()
                            .any(|head| pool.get(&format!("{name}/{head}")).is_some())
                    } else {
                        continue;
                    };
                    if !left {
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
