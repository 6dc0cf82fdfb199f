//! StorageClasses, and what others do to what the scheduler is told of them.

use std::collections::BTreeMap;

use dotmesh_crds::names::{DRIVER, PARAMETER_POOL_CLASS};
use dotmesh_operator::api::{Api, ApiError, Guard, Key};
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};
use serde_json::{Value, json};

use super::World;

/// The CSIDriver, and StorageClasses: `dotmesh`, `keep` which retains volumes, and `fast` for Pools of that class.
pub(super) fn installed() -> [Value; 4] {
    let driver =
        json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": DRIVER }, "spec": {} });
    [
        driver,
        storage_class("dotmesh", "Delete", None),
        storage_class("keep", "Retain", None),
        storage_class("fast", "Delete", Some("fast")),
    ]
}

fn storage_class(name: &str, policy: &str, class: Option<&str>) -> Value {
    let parameters: BTreeMap<&str, &str> = class.map(|class| (PARAMETER_POOL_CLASS, class)).into_iter().collect();
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": { "name": name }, "provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": policy, "parameters": parameters,
    })
}

impl World {
    /// A StorageClass for Pools of a class.
    pub(super) async fn make_class(&self, name: &str, class: &str) -> Result<(), ApiError> {
        let class = storage_class(name, "Delete", Some(class));
        let class: StorageClass = serde_json::from_value(class).unwrap_or_else(|error| panic!("{error}"));
        self.cluster.server.create(&class).await.map(drop)
    }

    /// Of what the scheduler is told, others change each second object and remove the rest.
    pub(super) async fn spoil_capacities(&self) -> Result<(), ApiError> {
        let server = &self.cluster.server;
        let all: Vec<CSIStorageCapacity> = server.list(None, None).await?;
        for (number, object) in all.iter().enumerate() {
            let key = Key::of(object);
            if number % 2 == 0 {
                let patch = json!({ "maximumVolumeSize": "1Pi", "metadata": { "labels": null } });
                server
                    .patch::<CSIStorageCapacity>(&key, &Guard::default(), patch)
                    .await?;
            } else {
                server.remove::<CSIStorageCapacity>(&key);
            }
        }
        Ok(())
    }
}
