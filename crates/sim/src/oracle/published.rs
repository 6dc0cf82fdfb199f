//! What is published: of each volume of each Commit that is to be one VolumeSnapshot with its content, which stands for that
//! very snapshot, and of no other anything.

use std::collections::BTreeSet;

use dotmesh_crds::names::{LABEL_CLAIM_UID, LABEL_COMMIT_UID, LABEL_SNAPSHOT};
use serde_json::Value;

use super::{Oracle, is_ready, text};

const RULE: &str = "what is published is what is asked for";

/// Whether an object is ours.
fn is_published(object: &Value) -> bool {
    !object["metadata"]["labels"][LABEL_COMMIT_UID].is_null()
}

/// Whether a Commit says that it is published.
fn tells(commit: &Value) -> Option<bool> {
    let conditions = commit["status"]["conditions"].as_array()?;
    let published = conditions.iter().find(|one| one["type"] == "Published")?;
    Some(published["status"] == "True")
}

impl Oracle {
    /// In a settled world.
    pub(super) fn judge_published(&mut self) {
        let dots = self.server.all("Dot");
        let mut expected = BTreeSet::new();
        for commit in self.server.all("Commit") {
            let (namespace, name) = (&commit["metadata"]["namespace"], text(&commit["metadata"]["name"]));
            let labels = &commit["metadata"]["labels"];
            let is_own = labels[LABEL_SNAPSHOT].is_null() && labels[LABEL_CLAIM_UID].is_null();
            let mut of = dots.iter().filter(|dot| {
                dot["metadata"]["namespace"] == *namespace && dot["metadata"]["name"] == commit["spec"]["dot"]
            });
            let Some(dot) = of.next() else { continue };
            let is_asked = commit["spec"]["publish"] == true || (dot["spec"]["publish"] == true && is_own);
            if is_asked != tells(&commit).unwrap_or(false) || (!is_asked && tells(&commit).is_some()) {
                self.violated(
                    RULE,
                    format!("Commit {name} says of being published: {:?}", tells(&commit)),
                );
            }
            if !is_asked || !is_ready(&commit) {
                continue;
            }
            for volume in commit["status"]["volumes"].as_array().into_iter().flatten() {
                let parts = [&dot["status"]["id"], &volume["id"], &commit["status"]["id"]].map(text);
                let snapshot = format!("{name}.{}", text(&volume["name"]));
                expected.insert((text(namespace), snapshot, format!("s1.{}", parts.join("."))));
            }
        }
        let mut there = BTreeSet::new();
        let snapshots = self.server.all("VolumeSnapshot");
        for content in self.server.all("VolumeSnapshotContent") {
            let of = &content["spec"]["volumeSnapshotRef"];
            let mut bound = snapshots
                .iter()
                .filter(|snapshot| snapshot["metadata"]["uid"] == of["uid"] && is_published(snapshot));
            if !is_published(&content) {
                continue;
            }
            let is_bound = bound.any(|snapshot| {
                snapshot["metadata"]["name"] == of["name"]
                    && snapshot["status"]["boundVolumeSnapshotContentName"] == content["metadata"]["name"]
                    && snapshot["status"]["readyToUse"] == true
                    && snapshot["metadata"]["deletionTimestamp"].is_null()
            });
            let is_kept =
                content["metadata"]["deletionTimestamp"].is_null() && content["spec"]["deletionPolicy"] == "Retain";
            if !is_bound || !is_kept {
                self.violated(
                    RULE,
                    format!("{} is no half of a pair: {}", content["metadata"]["name"], of),
                );
            }
            let handle = text(&content["spec"]["source"]["snapshotHandle"]);
            there.insert((text(&of["namespace"]), text(&of["name"]), handle));
        }
        if there != expected {
            self.violated(RULE, format!("{there:?} is there instead of {expected:?}"));
        }
        let published = snapshots.iter().filter(|snapshot| is_published(snapshot)).count();
        if published != expected.len() {
            self.violated(
                RULE,
                format!("{published} VolumeSnapshots instead of {}", expected.len()),
            );
        }
    }
}
