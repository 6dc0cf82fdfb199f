//! What the scheduler is to be told, and what is to be written for that. Pure.
//!
//! `kube-scheduler` (plugin VolumeBinding, `hasEnoughCapacity`) puts a pod whose claims have no volume yet only where, for
//! each of them, an object of the claim's StorageClass and the node has a `maximumVolumeSize` that is large enough.
//! Claims that have a volume it does not ask about.

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_crds::Pool;
use dotmesh_crds::names::{
    DEFAULT_CLASS, DRIVER, LABEL_CAPACITY_DRIVER, LABEL_CAPACITY_MANAGER, MANAGER, PARAMETER_POOL_CLASS, TOPOLOGY_NODE,
};
use dotmesh_model::size::{format_quantity, parse_quantity};
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity, StorageClass};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Observed;
use crate::meta::is_deleting;
use crate::status::is_ready;

/// What one object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// The StorageClass.
    pub class: String,
    /// The node of the Pool.
    pub node: String,
    /// Bytes that new data can use, as the Pool's status has them.
    pub available: u64,
    /// Bytes that one volume can have: all of the pool, because a volume's size is a limit and reserves nothing, and what
    /// is free today is no reason to send a pod elsewhere.
    pub largest: u64,
}

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// There is none of that name.
    Create {
        /// The object's name.
        name: String,
        /// What it says.
        capacity: Capacity,
    },
    /// It says something else.
    Write {
        /// As it is.
        object: Arc<CSIStorageCapacity>,
        /// What it is to say.
        capacity: Capacity,
    },
    /// It is of no StorageClass and Pool any more, or of others than its name says, which can only be made anew.
    Delete(Arc<CSIStorageCapacity>),
}

/// What is missing, wrong and too much.
pub fn plan(seen: &Observed) -> Vec<Step> {
    let mut missing = desired(&seen.classes, &seen.pools);
    let mut steps = Vec::new();
    for object in seen.capacities.iter().cloned() {
        match missing.get(&object.name_any()) {
            // Its name is free when it is gone, and that is told.
            _ if is_deleting(&*object) => {
                missing.remove(&object.name_any());
            }
            Some(wanted) if is_of(&object, wanted) => {
                let (is_right, name) = (says(&object, wanted), object.name_any());
                if let Some(capacity) = missing.remove(&name).filter(|_| !is_right) {
                    steps.push(Step::Write { object, capacity });
                }
            }
            Some(_) => steps.push(Step::Delete(object)),
            // One mark is enough: others may have taken the other off.
            None if (is_labelled(&object) || is_owned(&object)) && !is_planted(Mutant::ACapacityStays) => {
                steps.push(Step::Delete(object));
            }
            None => {}
        }
    }
    let create = |(name, capacity)| Step::Create { name, capacity };
    steps.extend(missing.into_iter().map(create));
    steps
}

/// Everything that is to be told, by the objects' names.
fn desired(classes: &[Arc<StorageClass>], pools: &[Arc<Pool>]) -> BTreeMap<String, Capacity> {
    let ours = classes.iter().filter(|class| class.provisioner == DRIVER);
    let pairs = ours.flat_map(|class| pools.iter().map(move |pool| (class, pool)));
    pairs
        .filter(|(class, pool)| is_for(class, pool))
        .filter_map(|(class, pool)| Some((object_name(&class.name_any(), &pool.name_any()), told(class, pool)?)))
        .collect()
}

/// Whether plain claims of a StorageClass get their Dots on such Pools.
fn is_for(class: &StorageClass, pool: &Pool) -> bool {
    let asked = class.parameters.as_ref().and_then(|all| all.get(PARAMETER_POOL_CLASS));
    let asked = asked.map_or(DEFAULT_CLASS, String::as_str);
    asked == pool.spec.class || is_planted(Mutant::ACapacityOfAnyClass)
}

/// What is told of a Pool; nothing while volumes cannot be made there.
fn told(class: &StorageClass, pool: &Pool) -> Option<Capacity> {
    let status = pool.status.as_ref()?;
    if is_deleting(pool) || !is_ready(&status.conditions) {
        return None;
    }
    let bytes = |quantity: &Option<String>| parse_quantity(quantity.as_deref()?).ok();
    Some(Capacity {
        class: class.name_any(),
        node: pool.spec.node_name.clone(),
        available: bytes(&status.available)?,
        largest: bytes(&status.size)?,
    })
}

/// Longest part of an object's name that a StorageClass or a Pool gives: a name has at most 253 characters.
const PART_MAX: usize = 110;

/// The object's name: for people those of StorageClass and Pool, as far as they fit, and what makes it the only one.
fn object_name(class: &str, pool: &str) -> String {
    // Neither name can hold a slash.
    let unique = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{class}/{pool}").as_bytes());
    let part = |name: &str| {
        let cut: String = name.chars().take(PART_MAX).collect();
        cut.trim_end_matches(['.', '-']).to_owned()
    };
    format!("{}-{}-{:016x}", part(class), part(pool), unique.as_u64_pair().0)
}

fn is_labelled(object: &CSIStorageCapacity) -> bool {
    labels()
        .iter()
        .all(|(label, value)| object.labels().get(label) == Some(value))
}

fn is_owned(object: &CSIStorageCapacity) -> bool {
    let is_driver = |owner: &OwnerReference| owner.kind == CSIDriver::kind(&()) && owner.name == DRIVER;
    object.owner_references().iter().any(is_driver)
}

/// Labels by which such objects are told from those of other drivers; external-provisioner has the same ones.
fn labels() -> BTreeMap<String, String> {
    let labels = [(LABEL_CAPACITY_DRIVER, DRIVER), (LABEL_CAPACITY_MANAGER, MANAGER)];
    labels.map(|(label, value)| (label.to_owned(), value.to_owned())).into()
}

/// Whether what nobody can change is right.
fn is_of(object: &CSIStorageCapacity, wanted: &Capacity) -> bool {
    object.storage_class_name == wanted.class && object.node_topology == Some(topology(&wanted.node))
}

fn topology(node: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(TOPOLOGY_NODE.to_owned(), node.to_owned())])),
        match_expressions: None,
    }
}

/// Whether the rest is.
fn says(object: &CSIStorageCapacity, wanted: &Capacity) -> bool {
    let bytes = |quantity: &Option<Quantity>| parse_quantity(&quantity.as_ref()?.0).ok();
    let is_current =
        bytes(&object.capacity) == Some(wanted.available) && bytes(&object.maximum_volume_size) == Some(wanted.largest);
    (is_current || is_planted(Mutant::ACapacityIsToldOnce)) && is_labelled(object) && is_owned(object)
}

/// The object of that name that says it, owned by the CSIDriver of this uid.
pub fn build(namespace: &str, name: &str, capacity: &Capacity, driver: &str) -> CSIStorageCapacity {
    let Capacity {
        class,
        node,
        available,
        largest,
    } = capacity;
    let quantity = |bytes: &u64| Some(Quantity(format_quantity(*bytes)));
    CSIStorageCapacity {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels()),
            owner_references: Some(vec![OwnerReference {
                api_version: CSIDriver::api_version(&()).into_owned(),
                kind: CSIDriver::kind(&()).into_owned(),
                name: DRIVER.to_owned(),
                uid: driver.to_owned(),
                controller: None,
                block_owner_deletion: Some(false),
            }]),
            ..ObjectMeta::default()
        },
        storage_class_name: class.clone(),
        node_topology: Some(topology(node)),
        capacity: quantity(available),
        maximum_volume_size: quantity(largest),
    }
}

/// The merge patch that makes an object say what this one does.
pub fn patch(wanted: &CSIStorageCapacity) -> Value {
    let CSIStorageCapacity {
        metadata,
        storage_class_name: _,
        node_topology: _,
        capacity,
        maximum_volume_size,
    } = wanted;
    json!({
        "metadata": { "labels": metadata.labels, "ownerReferences": metadata.owner_references },
        "capacity": capacity,
        "maximumVolumeSize": maximum_volume_size,
    })
}

#[cfg(test)]
mod tests;
