//! I2, where deleted data can come back: what may be destroyed, and when. Deleting an object whose data stays as a
//! Remnant allows nothing; the Remnant's own end does, unless somebody took the data over.

use dotmesh_testkit::Change;
use serde_json::Value;

use super::{Oracle, text, uid};

impl Oracle {
    /// Learns which data an object stands for.
    pub(super) fn note_id(&mut self, change: &Change) {
        if matches!(change.kind, "Dot" | "Branch" | "Commit") {
            let uid = uid(change);
            let id = change.object["status"]["id"].as_str().unwrap_or(&uid).to_owned();
            self.ids.insert(uid, id);
        }
    }

    /// What identifies the data of an object, on disk.
    pub(super) fn id_of(&self, uid: &str) -> String {
        self.ids.get(uid).cloned().unwrap_or_else(|| uid.to_owned())
    }

    /// The deletion of an object was requested, or it is gone: what may be destroyed because of that.
    pub(super) fn note_end(&mut self, change: &Change) {
        let (uid, object) = (uid(change), &change.object);
        match change.kind {
            "Dot" if !self.leaves_remnant(object) => {
                let id = self.id_of(&uid);
                self.ends.insert(id);
            }
            "Branch" | "Commit" if !self.goes_with_its_dot(change) && !self.branch_leaves_remnant(change) => {
                let id = self.id_of(&uid);
                self.ends.insert(id);
                self.ends.insert(text(&object["status"]["head"]));
            }
            "Remnant" if self.is_its_end(object) => {
                self.ends.insert(text(&object["spec"]["id"]));
                self.ends.insert(text(&object["spec"]["branch"]["head"]));
            }
            _ => {}
        }
    }

    fn leaves_remnant(&self, dot: &Value) -> bool {
        let is_claims = dot["metadata"]["labels"]["dotmesh.io/claim-uid"].is_string();
        let is_there = dot["status"]["pool"].is_string() || dot["spec"]["restoreFrom"].is_string();
        let stays = self.grace > 0 && !is_claims || dot["spec"]["deletionPolicy"] == "Retain";
        is_there && stays
    }

    /// Of a Branch that people made of a Dot and that has volumes, the data stays.
    fn branch_leaves_remnant(&self, change: &Change) -> bool {
        let (object, of_claim) = (&change.object, "dotmesh.io/claim-uid");
        let (spec, status) = (&object["spec"], &object["status"]);
        if change.kind != "Branch" || status["head"].is_null() || status["volumes"].is_null() {
            return false;
        }
        let dots = self.server.all("Dot");
        let namespace = &object["metadata"]["namespace"];
        let is_its = |dot: &&std::sync::Arc<dotmesh_testkit::Object>| {
            dot["metadata"]["name"] == spec["dot"] && dot["metadata"]["namespace"] == *namespace
        };
        let Some(dot) = dots.iter().find(is_its) else {
            return false;
        };
        let is_claims = object["metadata"]["labels"][of_claim].is_string()
            || spec["name"] == "main" && dot["metadata"]["labels"][of_claim].is_string();
        !is_claims && (self.grace > 0 || dot["spec"]["deletionPolicy"] == "Retain")
    }

    /// Its Dot was deleted before: then its data is the Dot's.
    fn goes_with_its_dot(&self, change: &Change) -> bool {
        let owners = change.object["metadata"]["ownerReferences"].as_array();
        let owner = owners.and_then(|all| all.iter().find(|owner| owner["kind"] == "Dot"));
        let is_going = self.server.all("Namespace").iter().any(|namespace| {
            let is_its = namespace["metadata"]["name"] == change.object["metadata"]["namespace"];
            is_its && namespace["metadata"]["deletionTimestamp"].is_string()
        });
        is_going || owner.is_some_and(|owner| self.is_requested(&text(&owner["uid"])))
    }

    /// Nobody has what it stands for, and nobody takes it over.
    fn is_its_end(&self, remnant: &Value) -> bool {
        let (id, taker) = (&remnant["spec"]["id"], &remnant["status"]["takenBy"]["uid"]);
        let all = self.server.all(match remnant["spec"]["branch"].is_null() {
            true => "Dot",
            false => "Branch",
        });
        !all.iter().any(|object| {
            let uid = text(&object["metadata"]["uid"]);
            let has_it = object["status"]["id"] == *id && uid != text(&remnant["spec"]["uid"]);
            has_it || *taker == uid && !self.is_requested(&uid)
        })
    }

    /// Whether data of this id, a Dot's or a head's, may be destroyed.
    pub(super) fn may_end(&self, id: &str) -> bool {
        let is_meant = |remnant: &&std::sync::Arc<dotmesh_testkit::Object>| {
            let is_of_it = remnant["spec"]["id"] == id || remnant["spec"]["branch"]["head"] == id;
            is_of_it && remnant["metadata"]["deletionTimestamp"].is_string()
        };
        self.ends.contains(id)
            || self
                .server
                .all("Remnant")
                .iter()
                .filter(is_meant)
                .any(|remnant| self.is_its_end(remnant))
    }

    /// Whether no Dot that stays has data of this id.
    pub(super) fn is_dot_requested(&self, id: &str) -> bool {
        let dots = self.server.all("Dot");
        !dots.iter().any(|dot| {
            let uid = text(&dot["metadata"]["uid"]);
            self.id_of(&uid) == id && !self.is_requested(&uid)
        })
    }

    /// Whether a Remnant stands for data of this id.
    pub(super) fn is_left(&self, id: &str) -> bool {
        self.server
            .all("Remnant")
            .iter()
            .any(|remnant| remnant["spec"]["id"] == id)
    }
}
