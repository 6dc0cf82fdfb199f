//! What an import promises: it begins under no pod, nothing is served before it is done, and it is done when its pod is.

use dotmesh_crds::names::{LABEL_IMPORT, import_object};
use dotmesh_testkit::Change;
use serde_json::Value;

use super::{Oracle, text, uid};

fn claims(pod: &Value) -> impl Iterator<Item = &Value> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.map(|volume| &volume["persistentVolumeClaim"]["claimName"])
}

fn is_import(object: &Value) -> bool {
    !object["metadata"]["labels"][LABEL_IMPORT].is_null()
}

impl Oracle {
    pub(super) fn look_at_pod(&mut self, change: &Change) {
        let pod = &change.object;
        if change.gone || !is_import(pod) {
            return;
        }
        if pod["status"]["phase"] == "Succeeded" {
            let dot = text(&pod["metadata"]["labels"][LABEL_IMPORT]);
            self.copied.insert((dot, change.key.name.clone()));
        }
        if !self.begun.insert(uid(change)) {
            return;
        }
        let others = self.server.all("Pod");
        let mut others = others.iter().filter(|other| !is_import(other));
        if others.any(|other| claims(other).any(|claim| claims(pod).any(|own| own == claim))) {
            let what = format!("Pod {} copies what another pod uses", change.key);
            self.violated("imports begin under no pod", what);
        }
    }

    /// A Dot that says that a copy is complete.
    pub(super) fn look_at_imports(&mut self, change: &Change) {
        let (uid, dot) = (uid(change), text(&change.object["metadata"]["name"]));
        let imports = change.object["status"]["imports"].as_array();
        for import in imports.into_iter().flatten().filter(|import| import["state"] == "Done") {
            let pod = import_object(&dot, &text(&import["volume"]));
            if !self.copied.contains(&(uid.clone(), pod)) {
                let what = format!("Dot {}: {import}, and no pod has copied it", change.key);
                self.violated("ready before done", what);
            }
        }
    }

    /// A PersistentVolume of a Dot, of this uid, whose imports may not be over.
    pub(super) fn look_at_served(&mut self, dot: &str, change: &Change) {
        let dots = self.server.all("Dot");
        let Some(dot) = dots.iter().find(|object| object["metadata"]["uid"] == dot) else {
            return;
        };
        let is_import_claim = |name: &str| {
            let volumes = dot["spec"]["volumes"].as_array().into_iter().flatten();
            let of_dot = text(&dot["metadata"]["name"]);
            let mut names = volumes.map(|volume| import_object(&of_dot, &text(&volume["name"])));
            names.any(|own| own == name)
        };
        let asked = dot["spec"]["volumes"].as_array().into_iter().flatten();
        let asked = asked.filter(|volume| !volume["importFrom"].is_null()).count();
        let done = dot["status"]["imports"].as_array().into_iter().flatten();
        let done = done.filter(|import| import["state"] == "Done").count();
        let claim = text(&change.object["spec"]["claimRef"]["name"]);
        if done < asked && !is_import_claim(&claim) {
            let what = format!("claim {claim} has its volume before the import is done");
            self.violated("imports come first", what);
        }
    }

    /// Nothing is left of an import that is over.
    pub(super) fn judge_imports(&mut self) {
        for kind in ["Pod", "PersistentVolumeClaim"] {
            for object in self.server.all(kind).iter().filter(|object| is_import(object)) {
                let what = format!("{kind} {} is still there", text(&object["metadata"]["name"]));
                self.violated("imports leave nothing", what);
            }
        }
    }
}
