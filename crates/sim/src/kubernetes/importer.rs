//! Pods that copy a claim's data into a volume, as Kubernetes runs them: scheduled and mounted like others, done when they
//! have written.

use std::collections::BTreeMap;

use dotmesh_crds::names::LABEL_IMPORT;
use serde_json::{Value, json};

use super::Kubernetes;
use crate::stage::Actor;

/// The claim whose copy fails once.
pub const TORN: &str = "torn";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The claim that a pod mounts by this name.
fn claim(pod: &Value, name: &str) -> String {
    let volumes = pod["spec"]["volumes"].as_array();
    let volume = volumes.into_iter().flatten().find(|volume| volume["name"] == name);
    volume.map_or_else(String::new, |volume| {
        text(&volume["persistentVolumeClaim"]["claimName"])
    })
}

impl Kubernetes {
    /// Runs those that shall run, and ends those that are gone or done. Whether one is at work.
    pub(super) fn run_importers(&self) -> bool {
        let pods = self.cluster.server.all("Pod").into_iter();
        let pods = pods.filter(|pod| !pod["metadata"]["labels"][LABEL_IMPORT].is_null());
        let pods: BTreeMap<String, Value> = pods
            .map(|pod| (text(&pod["metadata"]["uid"]), (**pod).clone()))
            .collect();
        let is_over = |uid: &String| pods.get(uid).is_none_or(is_ended);
        let over: Vec<String> = self
            .lock()
            .importers
            .iter()
            .filter(|uid| is_over(uid))
            .cloned()
            .collect();
        for uid in over {
            self.lock().importers.remove(&uid);
            self.end_pod(&uid);
        }
        let mut is_at_work = false;
        for (uid, pod) in pods.into_iter().filter(|(_, pod)| !is_ended(pod)) {
            is_at_work = true;
            if self.lock().importers.insert(uid.clone()) {
                self.run_pod(&uid, &[claim(&pod, "target")], 1);
            } else if self.is_running(&uid) {
                self.copy(&uid, pod);
            }
        }
        is_at_work
    }

    fn copy(&self, uid: &str, mut pod: Value) {
        let source = claim(&pod, "source");
        let is_torn = source == TORN && self.lock().torn.insert(source);
        let phase = if is_torn { "Failed" } else { "Succeeded" };
        self.write(uid);
        let stage = &self.cluster.stage;
        stage.say(Actor::Kubelet(1), format_args!("importer {uid}: {phase}"));
        pod["status"]["phase"] = json!(phase);
        self.cluster.server.put_object(pod);
        stage.wrote();
    }
}

fn is_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}
