//! Sizes: no volume shrinks, none is told to be larger than it is, and in the end each has, on all branches, what was
//! asked for.

use dotmesh_crds::{Branch, Dot};
use dotmesh_model::size::parse_quantity;
use dotmesh_testkit::Change;
use dotmesh_zfs::FakeObject;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::Value;

use super::{Oracle, text, uid};

const REFQUOTA: &str = "refquota";
const REFRESERVATION: &str = "refreservation";
const SHRINKS: &str = "no volume shrinks";

/// Bytes of a quantity; 0 for what is none.
pub(super) fn bytes(quantity: &str) -> u64 {
    parse_quantity(quantity).unwrap_or(0)
}

impl Oracle {
    /// Bytes that a dataset of ours may hold: of a volume of ZFS, those that are reserved, which are to be all.
    fn quota_of(&self, dataset: &str) -> u64 {
        let local = self.find(dataset).map(|object| &object.local);
        let found = local.and_then(|local| local.get(REFQUOTA).or_else(|| local.get(REFRESERVATION)));
        found.map_or(0, |quota| bytes(quota))
    }

    /// What a Dot tells of its volumes.
    pub(super) fn look_at_sizes(&mut self, change: &Change) {
        for volume in change.object["status"]["volumes"].as_array().into_iter().flatten() {
            let (name, now) = (text(&volume["name"]), bytes(&text(&volume["size"])));
            let before = self.sizes.insert((uid(change), name.clone()), now).unwrap_or(0);
            if before > now {
                let what = format!("volume {name} of Dot {} had {before} bytes and has {now}", change.key);
                self.violated(SHRINKS, what);
            }
        }
    }

    /// A dataset that was written to.
    pub(super) fn judge_quota(&mut self, was: &FakeObject, is: &FakeObject) {
        for property in [REFQUOTA, REFRESERVATION] {
            let [was_bytes, is_bytes] =
                [was, is].map(|object| object.local.get(property).map_or(0, |value| bytes(value)));
            if was_bytes > is_bytes {
                let what = format!("{}: {property} {was_bytes} became {is_bytes}", is.name);
                self.violated(SHRINKS, what);
            }
        }
    }

    /// A PersistentVolume has, on the branch that its claim mounts, what the claim asked for when it is made, and what it
    /// says when it grows.
    pub(super) fn look_at_capacity(&mut self, dot: &str, volume: &str, claim: &str, change: &Change) {
        if self.is_requested(claim) || self.is_requested(dot) || self.is_lost(dot) || self.stands_in.is_some() {
            return;
        }
        let Some((head, asked)) = self.head_of_claim(dot, claim) else {
            return;
        };
        let told = bytes(&text(&change.object["spec"]["capacity"]["storage"]));
        let told = match self.capacities.insert(uid(change), told) {
            None => told.min(asked),
            Some(before) if before < told => told,
            Some(_) => return,
        };
        let has = self.quota_of(&format!("{dot}/{head}/{volume}"));
        if told > has {
            let what = format!("PersistentVolume {} tells of {told} bytes, it has {has}", change.key);
            self.violated("larger before it is told", what);
        }
    }

    /// The head that a claim mounts, and how many bytes it asked for.
    fn head_of_claim(&self, dot: &str, claim: &str) -> Option<(String, u64)> {
        let dots = self.server.all("Dot");
        let dot = dots.iter().find(|object| object["status"]["id"] == *dot)?;
        let entries = dot["status"]["claims"].as_array()?;
        let entry = entries.iter().find(|entry| entry["uid"] == *claim)?;
        let is_it = |branch: &Value| {
            if entry["branch"].is_null() {
                branch["spec"]["dot"] == dot["metadata"]["name"] && branch["spec"]["name"] == dot["status"]["checkout"]
            } else {
                branch["metadata"]["name"] == entry["branch"]
            }
        };
        let branches = self.server.all("Branch");
        let branch = branches.iter().find(|branch| is_it(branch))?;
        let is_whole = !self.is_lost(&text(&branch["metadata"]["uid"]));
        is_whole.then(|| (text(&branch["status"]["head"]), bytes(&text(&entry["size"]))))
    }

    /// In a settled world.
    pub(super) fn judge_sizes(&mut self) {
        for dot in self.typed::<Dot>() {
            let (name, uid) = (dot.metadata.name.clone(), dot.metadata.uid.clone().unwrap_or_default());
            let status = dot.status.clone().unwrap_or_default();
            let id = self.id_of(&uid);
            if status.pool.is_none() || self.is_lost(&uid) {
                continue;
            }
            let asked = dot.spec.volumes.iter().flatten();
            let asked = asked.map(|volume| (&volume.name, &volume.size));
            let asked = asked.chain(status.claims.iter().map(|entry| (&entry.volume, &entry.size)));
            for (volume, size) in asked {
                let has = status.volumes.iter().find(|has| has.name == *volume);
                if has.is_none_or(|has| bytes(&has.size) < bytes(size)) {
                    let what = format!("Dot {name:?}: volume {volume} is asked to have {size}, and has {has:?}");
                    self.violated("all grow", what);
                }
            }
            let is_its = |branch: &Branch| Some(&branch.spec.dot) == name.as_ref();
            for branch in self.typed::<Branch>().into_iter().filter(is_its) {
                let head = branch.status.clone().and_then(|status| status.head);
                if self.is_lost(branch.metadata.uid.as_deref().unwrap_or_default()) {
                    continue;
                }
                let head = head.unwrap_or_default();
                for volume in &status.volumes {
                    let has = self.quota_of(&format!("{id}/{head}/{}", volume.id));
                    if has < bytes(&volume.size) {
                        let what = format!(
                            "Branch {:?}: volume {} has {has} bytes instead of {}",
                            branch.metadata.name, volume.name, volume.size
                        );
                        self.violated("all grow", what);
                    }
                }
            }
        }
        self.judge_claims();
    }

    /// Claims have what they ask for.
    fn judge_claims(&mut self) {
        let volumes = self.typed::<PersistentVolume>();
        for claim in self.typed::<PersistentVolumeClaim>() {
            let spec = claim.spec.unwrap_or_default();
            let volume = volumes.iter().find(|volume| volume.metadata.name == spec.volume_name);
            let Some(volume) = volume.filter(|_| spec.volume_name.is_some()) else {
                continue;
            };
            let asked = spec.resources.and_then(|resources| resources.requests);
            let asked = asked.and_then(|all| all.get("storage").map(|size| bytes(&size.0)));
            let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
            let has = capacity.and_then(|all| all.get("storage").map(|size| bytes(&size.0)));
            if asked > has {
                let what = format!("claim {:?} asks for {asked:?} and has {has:?}", claim.metadata.name);
                self.violated("all grow", what);
            }
        }
    }
}
