//! I5 and what Ready promises of a Branch: its head never becomes another, and is there with all volumes.

use dotmesh_testkit::Change;

use super::{Oracle, is_ready, tells_loss, text, uid};

impl Oracle {
    /// I2: a Branch that was made for a claim stays for as long as anybody can mount its volume, be it that the claim is
    /// gone and its PersistentVolume is kept.
    pub(super) fn look_at_branch_that_goes(&mut self, change: &Change) {
        let claim = text(&change.object["metadata"]["labels"]["dotmesh.io/claim-uid"]);
        if claim.is_empty() {
            return;
        }
        let dot = &change.object["spec"]["dot"];
        let is_mounted = self.server.all("Dot").iter().any(|found| {
            let entries = found["status"]["claims"].as_array();
            found["metadata"]["name"] == *dot && entries.into_iter().flatten().any(|entry| entry["uid"] == *claim)
        });
        if is_mounted {
            let what = format!("Branch {} goes while its claim's volume is there", change.key);
            self.violated("I2 nothing else is destroyed", what);
        }
    }

    pub(super) fn look_at_branch(&mut self, change: &Change) {
        let (uid, object) = (uid(change), &change.object);
        if change.gone || self.is_requested(&uid) {
            return;
        }
        let status = &object["status"];
        let head = text(&status["head"]);
        if let Some(before) = self.heads.get(&uid).filter(|before| **before != head) {
            let what = format!("Branch {} was at head {before} and is at {head:?}", change.key);
            self.violated("I5 forward only", what);
        }
        if head.is_empty() {
            return;
        }
        self.heads.insert(uid.clone(), head.clone());
        let dot = self.dot_of(change);
        if tells_loss(object) && !self.is_lost(&uid) && !status["volumes"].is_null() {
            self.violated(
                "only losses are told",
                format!("Branch {} has lost nothing", change.key),
            );
        }
        if !is_ready(object) || self.is_lost(&uid) || self.is_dot_requested(&dot) || self.stands_in.is_some() {
            return;
        }
        let is_first = status["origin"].is_null() && object["spec"]["restoreFrom"].is_null();
        for volume in status["volumes"].as_array().into_iter().flatten() {
            let name = format!("{dot}/{head}/{}", text(&volume["id"]));
            let wrong = match self.find(&name) {
                None => format!("Branch {} is Ready without {name}", change.key),
                Some(found) if found.guid.0.to_string() != text(&volume["guid"]) => {
                    format!("Branch {} tells another GUID of {name}", change.key)
                }
                Some(found) => match self.begins_wrongly(&dot, &text(&volume["id"]), found) {
                    Some(wrong) if is_first => wrong,
                    Some(_) | None => continue,
                },
            };
            self.violated("ready before done", wrong);
        }
    }
}
