//! What an import promises: it begins under no pod, nothing is served before it is done, and it is done when its pod is.

use std::sync::Arc;

use dotmesh_crds::names::{LABEL_CLAIM_UID, LABEL_IMPORT, import_object};
use dotmesh_csi_node::layout::ADOPT;
use dotmesh_model::id::{DotId, VolumeId};
use dotmesh_testkit::{Change, Object};
use dotmesh_zfs::FakeObject;
use serde_json::Value;

use super::{Oracle, below, text, uid};

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
        let asked = asked.filter(|volume| !volume["importFrom"]["persistentVolumeClaim"].is_null());
        let asked = asked.count();
        let done = dot["status"]["imports"].as_array().into_iter().flatten();
        let done = done.filter(|import| import["state"] == "Done").count();
        let claim = text(&change.object["spec"]["claimRef"]["name"]);
        if done < asked && !is_import_claim(&claim) {
            let what = format!("claim {claim} has its volume before the import is done");
            self.violated("imports come first", what);
        }
    }

    /// The volume of a Dot of this id that has an id.
    fn volume_of(&self, dot: &str, id: &str) -> Option<(Arc<Object>, Value)> {
        let dots = self.server.all("Dot").into_iter();
        let object = dots
            .filter(|object| object["metadata"]["uid"] == *dot)
            .find(|object| !object["spec"]["volumes"].is_null())?;
        let dot: DotId = dot.parse().ok()?;
        let volumes = object["spec"]["volumes"].as_array()?.iter();
        let mut volumes = volumes.filter(|volume| VolumeId::derive(dot, &text(&volume["name"])).to_string() == *id);
        let volume = volumes.next()?.clone();
        Some((object, volume))
    }

    /// Something of ours is new in a pool: what is somebody else's is cloned for the volume that it is for.
    pub(super) fn judge_adopted(&mut self, new: &FakeObject) {
        let (Some(name), Some(origin)) = (below(&new.name), &new.origin) else {
            return;
        };
        if let Some(origin) = below(origin) {
            self.judge_copied(name, origin);
            return;
        }
        let mut parts = name.split('/');
        let (dot, volume) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
        let Some((dot, volume)) = self.volume_of(dot, volume) else {
            self.violated("I7 nothing of others", format!("{name} is a clone of {origin}"));
            return;
        };
        let wanted = format!(
            "{}/{}/{}",
            text(&dot["metadata"]["namespace"]),
            text(&dot["metadata"]["name"]),
            text(&volume["name"])
        );
        let snapshot = self.pools.iter().find_map(|pool| pool.get(origin));
        let allowed = snapshot.and_then(|snapshot| snapshot.local.get(&ADOPT));
        if allowed != Some(&wanted) {
            let what = format!("{origin}, for {allowed:?}, was cloned for {wanted}");
            self.violated("I7 nothing of others", what);
        }
    }

    /// A clone of another Dot's commit: one that its own Dot asks for, and of the same namespace.
    fn judge_copied(&mut self, name: &str, origin: &str) {
        let dot_of = |name: &str| text(&Value::from(name.split('/').next().unwrap_or_default()));
        let (own, other) = (dot_of(name), dot_of(origin));
        if own == other {
            return;
        }
        let dots = self.server.all("Dot");
        let namespace = |id: &str| {
            let dot = dots
                .iter()
                .find(|dot| dot["status"]["id"] == *id || dot["metadata"]["uid"] == *id)?;
            Some(text(&dot["metadata"]["namespace"]))
        };
        let volume = self.volume_of(&own, name.split('/').nth(2).unwrap_or_default());
        let asked = volume.and_then(|(_, volume)| volume["importFrom"]["commit"]["name"].as_str().map(str::to_owned));
        let commits = self.server.all("Commit");
        let named = commits
            .iter()
            .find(|commit| Some(text(&commit["metadata"]["name"])) == asked);
        let is_it = named.is_none_or(|commit| origin.ends_with(&text(&commit["status"]["id"])));
        if asked.is_none() || !is_it {
            self.violated(
                "I3 no wrong data",
                format!("{name} is a clone of {origin}, and not of Commit {asked:?}"),
            );
        }
        // A Dot that is gone has no namespace any more.
        if let (Some(own), Some(other)) = (namespace(&own), namespace(&other))
            && own != other
        {
            let what = format!("{name} of namespace {own} is a clone of {origin} of namespace {other}");
            self.violated("I3 no wrong data", what);
        }
    }

    /// A volume of a Branch that is Ready and began with nothing of ours: it is a clone of what the Dot says, if it says
    /// anything.
    pub(super) fn begins_wrongly(&self, dot: &str, id: &str, found: &FakeObject) -> Option<String> {
        let (_, volume) = self.volume_of(dot, id)?;
        if !volume["importFrom"]["commit"].is_null() {
            let other = found.origin.as_deref().and_then(below);
            let is_other = other.is_some_and(|origin| !origin.starts_with(dot));
            return (!is_other).then(|| format!("{} is a clone of {:?}", found.name, found.origin));
        }
        let wanted = volume["importFrom"]["zfsSnapshot"]["name"].as_str()?;
        let is_it = found.origin.as_deref() == Some(wanted);
        (!is_it).then(|| format!("{} is a clone of {:?}, and not of {wanted}", found.name, found.origin))
    }

    /// Nothing is left of an import that is over, nor of a clone that is made.
    pub(super) fn judge_imports(&mut self) {
        for object in self.server.all("Commit") {
            if !object["metadata"]["labels"][LABEL_CLAIM_UID].is_null() {
                let what = format!("Commit {} is still there", text(&object["metadata"]["name"]));
                self.violated("clones leave nothing", what);
            }
        }
        for kind in ["Pod", "PersistentVolumeClaim"] {
            for object in self.server.all(kind).iter().filter(|object| is_import(object)) {
                let what = format!("{kind} {} is still there", text(&object["metadata"]["name"]));
                self.violated("imports leave nothing", what);
            }
        }
    }
}
