//! What a Dot and a PersistentVolume promise, and what is left when an object of ours is gone.

use std::collections::BTreeMap;

use dotmesh_testkit::Change;
use dotmesh_zfs::{FakeObject, Inventory};
use serde_json::Value;

use super::{Oracle, below, is_ready, tells_loss, text, uid};

/// A Dot as it was last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    id: String,
    node: String,
    volumes: BTreeMap<String, String>,
}

impl Oracle {
    pub(super) fn look_at_dot(&mut self, change: &Change) {
        let (uid, object) = (uid(change), &change.object);
        if change.gone || self.is_requested(&uid) {
            return;
        }
        let status = &object["status"];
        let volumes = status["volumes"].as_array().into_iter().flatten();
        let now = Known {
            id: text(&status["id"]),
            node: text(&status["node"]),
            volumes: volumes
                .map(|volume| (text(&volume["name"]), text(&volume["id"])))
                .collect(),
        };
        if let Some(before) = self.dots.get(&uid) {
            let stays = |before: &str, now: &str| before.is_empty() || before == now;
            let kept = before
                .volumes
                .iter()
                .all(|(name, id)| now.volumes.get(name) == Some(id));
            if !(stays(&before.id, &now.id) && stays(&before.node, &now.node) && kept) {
                let what = format!("Dot {}: {before:?} became {now:?}", change.key);
                self.violated("a Dot stays where it is", what);
            }
        }
        self.dots.insert(uid.clone(), now);
        self.look_at_holders(change);
        self.look_at_sizes(change);
        self.look_at_imports(change);
        if self.is_lost(&uid) {
            return;
        }
        if tells_loss(object) {
            self.violated("only losses are told", format!("Dot {} has lost nothing", change.key));
        }
        let id = self.id_of(&uid);
        let is_placed = !status["pool"].is_null();
        if is_ready(object) && is_placed && self.find(&id).is_none() {
            let what = format!("Dot {} is Ready without its dataset", change.key);
            self.violated("ready before done", what);
        }
        // An entry that went is detached first and taken off the list afterwards.
        let entries = status["claims"].as_array();
        let has_entry = |claim: &&Value| entries.into_iter().flatten().any(|entry| entry["uid"] == **claim);
        for claim in status["attachments"].as_array().into_iter().flatten().filter(has_entry) {
            let property = format!("io.dotmesh:claim.{}", text(claim));
            if self.property(&id, &property).is_none() {
                let what = format!(
                    "Dot {} tells of an attachment that its dataset lacks: {property}",
                    change.key
                );
                self.violated("ready before done", what);
            }
        }
    }

    /// A volume of a branch has one holder, or several of which each says that it shares.
    fn look_at_holders(&mut self, change: &Change) {
        let entries = change.object["status"]["claims"].as_array();
        let entries: Vec<&Value> = entries.into_iter().flatten().collect();
        for (index, one) in entries.iter().enumerate() {
            let is_same = |other: &&&Value| other["volume"] == one["volume"] && other["branch"] == one["branch"];
            let shares = |entry: &Value| entry["shared"] == true;
            if let Some(other) = entries[index + 1..].iter().find(is_same)
                && !(shares(one) && shares(other))
            {
                let what = format!("Dot {}: {one} and {other} hold one volume", change.key);
                self.violated("one holder", what);
            }
        }
    }

    /// I2, for claims: a volume is handed out only when a pod can mount it.
    pub(super) fn look_at_volume(&mut self, change: &Change) {
        if change.gone {
            return;
        }
        let handle = text(&change.object["spec"]["csi"]["volumeHandle"]);
        let parts: Vec<&str> = handle.split('.').collect();
        let &[_, dot, volume, claim] = parts.as_slice() else {
            return;
        };
        self.look_at_capacity(dot, volume, claim, change);
        self.look_at_served(dot, change);
        let attached = self.property(dot, &format!("io.dotmesh:claim.{claim}")).is_some();
        let claim_is_there = !self.is_requested(claim);
        if !attached && claim_is_there && !self.is_dot_requested(dot) {
            let what = format!("PersistentVolume {} was made before its claim was attached", change.key);
            self.violated("ready before done", what);
        }
    }

    fn property(&self, dataset: &str, property: &str) -> Option<String> {
        self.find(dataset)?.local.get(property).cloned()
    }

    /// An object with data behind it goes only when a tombstone, or nothing, is left.
    pub(super) fn look_at_what_is_left(&mut self, change: &Change) {
        let (uid, object) = (uid(change), &change.object);
        let id = self.id_of(&uid);
        let (dot, found, is_dead) = match change.kind {
            // Its own tombstone covers all that was in it, and so does its Remnant.
            "Dot" => (id.clone(), self.find(&id).is_some() && !self.is_left(&id), false),
            "Branch" => {
                let head = text(&object["status"]["head"]);
                let dot = self.dot_of(change);
                let is_there = !head.is_empty() && self.find(&format!("{dot}/{head}")).is_some();
                let found = is_there && !self.is_left(&id);
                let record = self.property(&dot, &format!("io.dotmesh:branch.{id}"));
                (dot, found, record.is_some_and(|record| record.starts_with("1:dead")))
            }
            "Commit" => {
                let dot = self.dot_of(change);
                let (prefix, suffix) = (format!("{dot}/"), format!("@{id}"));
                let is_its = |object: &FakeObject| {
                    below(&object.name).is_some_and(|name| name.starts_with(&prefix) && name.ends_with(&suffix))
                };
                let found = self.pools.iter().flat_map(Inventory::iter).any(is_its);
                let is_dead = self
                    .find(&dot)
                    .is_some_and(|dot| dead_commits(dot).any(|(_, dead)| dead == id));
                (dot, found, is_dead)
            }
            _ => return,
        };
        if !found {
            return;
        }
        let owners = change.object["metadata"]["ownerReferences"].as_array();
        let owner = owners.and_then(|all| all.first());
        let goes_with_its_dot = owner.is_some_and(|owner| self.is_requested(&text(&owner["uid"])));
        let whole = self.property(&dot, "io.dotmesh:deleted").is_some() || goes_with_its_dot;
        if !is_dead && !whole {
            let what = format!(
                "{} {} is gone, its data is not, and no tombstone names it",
                change.kind, change.key
            );
            self.violated("gone before deleted", what);
        }
    }
}

/// The commits that tombstones of a Dot's dataset name, with the tombstone's name.
pub(super) fn dead_commits(dot: &FakeObject) -> impl Iterator<Item = (&str, &str)> {
    let local = dot
        .local
        .iter()
        .map(|(property, value)| (property.as_str(), value.as_str()));
    let tombstones = local.filter(|(property, _)| property.starts_with("io.dotmesh:dead."));
    tombstones.flat_map(|(property, value)| {
        let commits = value.rsplit(':').next().unwrap_or_default().split(',');
        commits.map(move |commit| (property, commit))
    })
}

/// Whether a status answers the newest spec.
pub(super) fn observes(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}
