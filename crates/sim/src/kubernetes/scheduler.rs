//! The scheduler: our classes wait for the first consumer, and it for word that the volumes fit on the pod's node.

use dotmesh_crds::names::{ANNOTATION_SELECTED_NODE, TOPOLOGY_NODE};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use kube::ResourceExt;
use serde_json::json;

use super::resizer::{asked_by, size};
use super::{Kubernetes, Pod, World, is_bound};

impl Kubernetes {
    /// Chooses the pod's node for those of its claims that have none, once all of them fit there.
    pub(super) async fn schedule(&self, world: &World, pod: &Pod) {
        let of_pod = |claim: &&PersistentVolumeClaim| pod.claims.contains(&claim.name_any());
        let claims = world.claims.iter().filter(of_pod).filter(|claim| is_open(claim));
        let (node, open): (_, Vec<_>) = (self.machine(pod.node).name(), claims.collect());
        if !open.iter().all(|claim| fits(world, claim, &node)) {
            return;
        }
        for claim in open {
            let patch = json!({ "metadata": { "annotations": { ANNOTATION_SELECTED_NODE: node } } });
            self.patch(claim, patch).await;
        }
    }
}

fn is_open(claim: &PersistentVolumeClaim) -> bool {
    !is_bound(claim) && !claim.annotations().contains_key(ANNOTATION_SELECTED_NODE)
}

/// As `hasEnoughCapacity` of its plugin VolumeBinding.
fn fits(world: &World, claim: &PersistentVolumeClaim, node: &str) -> bool {
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    let is_of = |capacity: &&CSIStorageCapacity| {
        let topology = capacity.node_topology.as_ref();
        let labels = topology.and_then(|topology| topology.match_labels.as_ref());
        Some(&capacity.storage_class_name) == class
            && labels
                .and_then(|labels| labels.get(TOPOLOGY_NODE))
                .is_some_and(|name| name == node)
    };
    let mut of_node = world.capacities.iter().filter(is_of);
    of_node.any(|capacity| size(capacity.maximum_volume_size.as_ref()) >= asked_by(claim))
}
