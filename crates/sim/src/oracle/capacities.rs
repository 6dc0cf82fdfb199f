//! What the scheduler is told is what Pools and StorageClasses say, once each and nothing else.

use std::collections::BTreeMap;

use dotmesh_crds::names::{DEFAULT_CLASS, DRIVER, PARAMETER_POOL_CLASS, TOPOLOGY_NODE};
use serde_json::Value;

use super::sizes::bytes;
use super::{Oracle, is_ready, text};

impl Oracle {
    /// In a settled world.
    pub(super) fn judge_capacities(&mut self) {
        let mut expected: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        for class in self.server.all("StorageClass") {
            let asked = text(&class["parameters"][PARAMETER_POOL_CLASS]);
            let asked = if asked.is_empty() {
                DEFAULT_CLASS.to_owned()
            } else {
                asked
            };
            for pool in self.server.all("Pool") {
                if class["provisioner"] == *DRIVER && pool["spec"]["class"] == *asked && is_ready(&pool) {
                    let about = (text(&class["metadata"]["name"]), text(&pool["spec"]["nodeName"]));
                    let status = &pool["status"];
                    expected.insert(
                        about,
                        (bytes(&text(&status["available"])), bytes(&text(&status["size"]))),
                    );
                }
            }
        }
        let mut told: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        for object in self.server.all("CSIStorageCapacity") {
            let node: &Value = &object["nodeTopology"]["matchLabels"][TOPOLOGY_NODE];
            let about = (text(&object["storageClassName"]), text(node));
            let says = (
                bytes(&text(&object["capacity"])),
                bytes(&text(&object["maximumVolumeSize"])),
            );
            if told.insert(about.clone(), says).is_some() {
                self.violated("the scheduler is told what is", format!("{about:?} is told twice"));
            }
        }
        if told != expected {
            let what = format!("the scheduler is told {told:?} instead of {expected:?}");
            self.violated("the scheduler is told what is", what);
        }
    }
}
