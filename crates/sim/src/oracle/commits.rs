//! I1 and I4: a Commit that was Ready keeps its snapshots, and they cover all volumes of its head.

use std::collections::BTreeMap;

use dotmesh_testkit::Change;
use dotmesh_zfs::Inventory;

use super::{Oracle, below, is_ready, tells_loss, text, uid};

/// A Commit that was Ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    dot: String,
    head: String,
    guids: BTreeMap<String, String>,
    parent: String,
    createtxg: i64,
}

impl Oracle {
    pub(super) fn look_at_commit(&mut self, change: &Change) {
        let (uid, object) = (uid(change), &change.object);
        if change.gone || self.is_requested(&uid) {
            return;
        }
        let id = self.id_of(&uid);
        let status = &object["status"];
        if !is_ready(object) {
            if self.commits.contains_key(&id) && !status["id"].is_null() && !(self.is_lost(&uid) && tells_loss(object))
            {
                self.violated("I1 ready stays", format!("Commit {} was Ready and is not", change.key));
            }
            return;
        }
        let volumes = status["volumes"].as_array().into_iter().flatten();
        let now = Known {
            dot: self.dot_of(change),
            head: text(&status["head"]),
            guids: volumes
                .map(|volume| (text(&volume["id"]), text(&volume["guid"])))
                .collect(),
            parent: text(&status["parent"]),
            createtxg: status["createtxg"].as_i64().unwrap_or(0),
        };
        match self.commits.get(&id) {
            Some(before) if *before == now => {}
            Some(before) => {
                let what = format!("Commit {}: {before:?} became {now:?}", change.key);
                self.violated("I1 never changes", what);
            }
            None => {
                self.commits.insert(id.clone(), now);
                self.check_snapshots("ready before durable", &id);
                self.check_covers_all(&id);
                self.check_order(&id);
                self.check_group(&id, object);
            }
        }
    }

    /// Those of a group are of one instant, and all there when the first of them is told of.
    fn check_group(&mut self, id: &str, object: &serde_json::Value) {
        if object["spec"]["group"].is_null() {
            return;
        }
        let members = object["status"]["group"]["commits"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut wrong = Vec::new();
        if i64::try_from(members.len()).ok() != object["spec"]["group"]["members"].as_i64() {
            wrong.push(format!("commit {id} tells of {} members", members.len()));
        }
        let instant = |id: &str| self.commits.get(id).map(|known| known.createtxg);
        for other in members.iter().map(|member| text(&member["id"])) {
            let is_there = || {
                let suffix = format!("@{other}");
                let mut all = self.pools.iter().flat_map(Inventory::iter);
                all.any(|dataset| dataset.name.ends_with(&suffix))
            };
            if instant(&other).is_some_and(|other| Some(other) != instant(id)) {
                wrong.push(format!(
                    "commits {id} and {other} are of one group, and of two instants"
                ));
            }
            if !self.is_requested(&other) && !is_there() {
                wrong.push(format!("commit {id} is there, and {other} of its group is not"));
            }
        }
        for what in wrong {
            self.violated("I4 groups", what);
        }
    }

    /// The id of the Dot that a commit or branch belongs to.
    pub(super) fn dot_of(&self, change: &Change) -> String {
        let owners = change.object["metadata"]["ownerReferences"].as_array();
        let owner = owners.and_then(|all| all.iter().find(|owner| owner["kind"] == "Dot"));
        owner.map_or_else(String::new, |owner| self.id_of(&text(&owner["uid"])))
    }

    /// Every snapshot that a Ready Commit tells of is there.
    pub(super) fn check_snapshots(&mut self, oracle: &'static str, uid: &str) {
        let Some(known) = self.commits.get(uid) else { return };
        let (dot, head) = (&known.dot, &known.head);
        let mut wrong = Vec::new();
        if self.find(&format!("{dot}/{head}@{uid}")).is_none() {
            wrong.push(format!("{dot}/{head}@{uid} is not there"));
        }
        for (volume, guid) in &known.guids {
            let name = format!("{dot}/{head}/{volume}@{uid}");
            match self.find(&name) {
                None => wrong.push(format!("{name} is not there")),
                Some(found) if found.guid.0.to_string() != *guid => wrong.push(format!("{name} has another GUID")),
                Some(found) if found.is_deferred => wrong.push(format!("{name} is marked to go")),
                Some(_) => {}
            }
        }
        for what in wrong {
            self.violated(oracle, what);
        }
    }

    /// I4: no volume that was there when it was taken is missing.
    fn check_covers_all(&mut self, uid: &str) {
        let Some(known) = self.commits.get(uid) else { return };
        let prefix = format!("{}/{}/", known.dot, known.head);
        let mut wrong = Vec::new();
        for dataset in self.pools.iter().flat_map(Inventory::iter) {
            let volume = below(&dataset.name)
                .and_then(|name| name.strip_prefix(&prefix))
                .filter(|rest| !rest.contains(['@', '/']));
            let is_older = i64::try_from(dataset.createtxg.0).is_ok_and(|txg| txg < known.createtxg);
            if let Some(volume) = volume.filter(|volume| is_older && !known.guids.contains_key(*volume)) {
                wrong.push(format!("commit {uid} leaves out volume {volume}"));
            }
        }
        for what in wrong {
            self.violated("I4 all or none", what);
        }
    }

    /// I5: a commit's parent on its head is older.
    fn check_order(&mut self, uid: &str) {
        let Some(known) = self.commits.get(uid) else { return };
        let wrong = self
            .commits
            .get(&known.parent)
            .is_some_and(|parent| parent.head == known.head && parent.createtxg >= known.createtxg);
        if wrong || known.parent == uid {
            self.violated("I5 forward only", format!("commit {uid} is older than its parent"));
        }
    }

    /// I1, after something went from a pool. What somebody else destroyed is told instead.
    pub(super) fn check_all_commits(&mut self) {
        let all = self.commits.keys().filter(|uid| !self.is_lost(uid));
        let all: Vec<String> = all.cloned().collect();
        for uid in all {
            if self.ends.contains(&uid) || self.commits.get(&uid).is_some_and(|known| self.may_end(&known.dot)) {
                self.commits.remove(&uid);
            } else {
                self.check_snapshots("I1 snapshots stay", &uid);
            }
        }
    }
}
