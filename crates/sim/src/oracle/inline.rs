//! A Branch that was made for a pod is there as long as the pod, and no longer.

use dotmesh_crds::names::LABEL_POD_UID;
use dotmesh_testkit::Change;
use serde_json::Value;

use super::{Oracle, text};

const RULE: &str = "an inline volume lives as long as its pod";

impl Oracle {
    /// The pod that a Branch was made for, if it was made for one: its uid, and whether it is there.
    fn pod_of(&self, branch: &Value) -> Option<(String, bool)> {
        let uid = text(branch["metadata"]["labels"].get(LABEL_POD_UID)?);
        let pods = self.server.all("Pod");
        let is_there = pods
            .iter()
            .any(|pod| pod["metadata"]["uid"] == *uid && pod["metadata"]["deletionTimestamp"].is_null());
        Some((uid, is_there))
    }

    /// Its deletion was asked for.
    pub(super) fn look_at_inline_branch_that_goes(&mut self, change: &Change) {
        let Some((pod, true)) = self.pod_of(&change.object) else {
            return;
        };
        let dots = self.server.all("Dot");
        let mut of = dots
            .iter()
            .filter(|dot| dot["metadata"]["name"] == change.object["spec"]["dot"]);
        // It goes with its Dot, too.
        if of.any(|dot| dot["metadata"]["deletionTimestamp"].is_null()) {
            self.violated(RULE, format!("Branch {} goes while pod {pod} is there", change.key));
        }
    }

    /// In a settled world.
    pub(super) fn judge_inline(&mut self) {
        for branch in self.server.all("Branch") {
            if let Some((pod, false)) = self.pod_of(&branch) {
                let name = text(&branch["metadata"]["name"]);
                self.violated(RULE, format!("Branch {name} is there, and pod {pod} is gone"));
            }
        }
    }
}
