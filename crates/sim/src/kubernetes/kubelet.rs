//! The kubelets: they publish the volumes of pods that shall run, and take those of pods away that end.

use dotmesh_csi_proto::csi::node_server::Node;
use dotmesh_csi_proto::csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt;
use tonic::Request;

use super::capability::capability_of;
use super::{Kubernetes, Pod, World, claim_of, handle_of, is_bound, node_of, target};
use crate::stage::Actor;

impl Kubernetes {
    /// The kubelet: volumes of pods that shall run, and of those that end. Whether something is under way.
    pub(super) fn publish(&self, world: &World, name: &str, pod: &Pod) -> bool {
        if pod.ends {
            return self.unpublish(name, pod);
        }
        let mut unfinished = self.publish_inline(name, pod);
        for claim in pod.claims.iter().filter(|claim| !pod.published.contains_key(*claim)) {
            let bound = world
                .claims
                .iter()
                .find(|found| found.name_any() == *claim && is_bound(found));
            let uid = bound.and_then(ResourceExt::uid).unwrap_or_default();
            let volume = world.volumes.iter().find(|volume| claim_of(volume) == uid);
            if let Some(volume) = volume.filter(|volume| self.is_placed(name, volume)) {
                let publish = self
                    .clone()
                    .publish_one(name.to_owned(), claim.clone(), volume.clone(), pod.node);
                self.ask(format!("{claim} in {name}"), publish);
                unfinished = true;
            }
        }
        unfinished
    }

    /// A pod goes after all that it may have mounted.
    fn unpublish(&self, name: &str, pod: &Pod) -> bool {
        for (volume, handle) in &pod.tried {
            let unpublish = self
                .clone()
                .unpublish_one(name.to_owned(), volume.clone(), handle.clone(), pod.node);
            self.ask(format!("{volume} in {name}"), unpublish);
        }
        if !pod.tried.is_empty() {
            return true;
        }
        self.lock().pods.remove(name);
        if pod.inline.is_some() {
            self.remove_pod(name);
        }
        self.cluster.stage.wrote();
        false
    }

    /// Whether a volume can be used where the pod is. A pod that uses none yet goes where its volume is.
    pub(super) fn is_placed(&self, pod: &str, volume: &PersistentVolume) -> bool {
        let mut state = self.lock();
        let (Some(pod), Some(node)) = (state.pods.get_mut(pod), node_of(volume)) else {
            return false;
        };
        if pod.published.is_empty() && pod.node != node {
            pod.node = node;
            drop(state);
            self.poked.notify_one();
            return false;
        }
        pod.node == node
    }

    pub(super) async fn publish_one(self, pod: String, claim: String, volume: PersistentVolume, node: u8) {
        let request = NodePublishVolumeRequest {
            volume_id: handle_of(&volume).to_owned(),
            target_path: target(&pod, &claim),
            volume_capability: Some(capability_of(&volume)),
            ..NodePublishVolumeRequest::default()
        };
        self.ask_to_publish(pod, claim, request, node).await;
    }

    pub(super) async fn ask_to_publish(self, pod: String, volume: String, request: NodePublishVolumeRequest, node: u8) {
        let Some(running) = self.machine(node).running() else {
            return;
        };
        let handle = request.volume_id.clone();
        match self.lock().pods.get_mut(&pod).filter(|pod| !pod.ends) {
            Some(pod) => pod.tried.insert(volume.clone(), handle.clone()),
            None => return,
        };
        self.cluster
            .stage
            .say(Actor::Kubelet(node), format_args!("publish {volume} in {pod}"));
        let answer = tokio::select! {
            biased;
            () = running.life.over() => return,
            answer = running.csi.node_publish_volume(Request::new(request)) => answer,
        };
        match answer {
            Ok(_) => {
                if let Some(pod) = self.lock().pods.get_mut(&pod) {
                    pod.published.insert(volume, handle);
                }
                self.cluster.stage.wrote();
            }
            Err(status) => self.cluster.stage.say(
                Actor::Kubelet(node),
                format_args!("  not published: {}", status.message()),
            ),
        }
    }

    pub(super) async fn unpublish_one(self, pod: String, claim: String, handle: String, node: u8) {
        let Some(running) = self.machine(node).running() else {
            return;
        };
        let request = NodeUnpublishVolumeRequest {
            volume_id: handle,
            target_path: target(&pod, &claim),
        };
        self.cluster
            .stage
            .say(Actor::Kubelet(node), format_args!("unpublish {claim} in {pod}"));
        let answer = tokio::select! {
            biased;
            () = running.life.over() => return,
            answer = running.csi.node_unpublish_volume(Request::new(request)) => answer,
        };
        match answer {
            Ok(_) => {
                if let Some(pod) = self.lock().pods.get_mut(&pod) {
                    pod.published.remove(&claim);
                    pod.tried.remove(&claim);
                }
                self.cluster.stage.wrote();
            }
            Err(status) => self.cluster.stage.say(
                Actor::Kubelet(node),
                format_args!("  not unpublished: {}", status.message()),
            ),
        }
    }
}
