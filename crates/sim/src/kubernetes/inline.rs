//! Volumes that stand in their pods' specs, and the way of csi-node to the operator for them.

use dotmesh_csi_node::edge::csi::Lend;
use dotmesh_csi_proto::csi::NodePublishVolumeRequest;
use dotmesh_csi_proto::node::{LendRequest, LendResponse};
use dotmesh_operator::api::Key;
use dotmesh_operator::inline::InlineService;
use k8s_openapi::api::core::v1::Pod as PodObject;
use serde_json::json;
use tonic::Status;

use super::{Kubernetes, Pod, capability, target};
use crate::replica::NAMESPACE;

/// The token of the csi-node pod on a node.
pub fn token(node: u8) -> String {
    format!("the token of csi-node on n{node}")
}

/// The uid of a pod, the same in each history.
fn uid_of(pod: &str) -> String {
    format!("uid-{pod}")
}

/// The kubelet's id for the one inline volume of a pod.
fn id_of(pod: &str) -> String {
    let hash: String = pod.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("csi-{hash:0<64}")
}

/// csi-node's way to the operator: any replica serves it.
struct Way {
    kubernetes: Kubernetes,
    node: u8,
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the operator, from n{}", self.node)
    }
}

#[tonic::async_trait]
impl Lend for Way {
    async fn lend(&self, request: LendRequest) -> Result<LendResponse, Status> {
        let Some(replica) = self.kubernetes.facade() else {
            return Err(Status::unavailable("there is no operator"));
        };
        let service = InlineService::new(replica.api.clone(), replica.api.clone(), NAMESPACE);
        let request = LendRequest {
            token: token(self.node),
            ..request
        };
        tokio::select! {
            biased;
            () = replica.life.over() => Err(Status::unavailable("the operator is gone")),
            lent = service.lend(&request) => Ok(lent?),
        }
    }
}

impl Kubernetes {
    /// What csi-node on that node asks.
    pub fn lender(&self, node: u8) -> impl Lend + 'static {
        Way {
            kubernetes: self.clone(),
            node,
        }
    }

    /// A pod shall run on that node whose spec has a volume of this name, of that Commit.
    pub fn run_inline_pod(&self, name: &str, volume: &str, commit: &str, node: u8) {
        self.cluster.server.put_object(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "dev", "uid": uid_of(name) },
            "spec": {
                "nodeName": format!("n{node}"), "containers": [],
                "volumes": [{ "name": volume, "csi": {
                    "driver": "csi.dotmesh.io", "volumeAttributes": { "dotmesh.io/commit": commit },
                } }],
            },
        }));
        let pod = Pod {
            inline: Some((volume.to_owned(), commit.to_owned())),
            node,
            ..Pod::default()
        };
        self.lock().pods.insert(name.to_owned(), pod);
        self.poked.notify_one();
    }

    /// The pod's object goes, after its volumes.
    pub(super) fn remove_pod(&self, name: &str) {
        self.cluster.server.remove::<PodObject>(&Key::namespaced("dev", name));
    }

    /// As for claims. Whether something is under way.
    pub(super) fn publish_inline(&self, name: &str, pod: &Pod) -> bool {
        let Some((volume, commit)) = &pod.inline else {
            return false;
        };
        if pod.published.contains_key(volume) {
            return false;
        }
        let context = [
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("csi.storage.k8s.io/pod.namespace", "dev"),
            ("csi.storage.k8s.io/pod.name", name),
            ("csi.storage.k8s.io/pod.uid", &uid_of(name)),
            ("dotmesh.io/commit", commit),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let request = NodePublishVolumeRequest {
            volume_id: id_of(name),
            target_path: target(name, volume),
            volume_capability: Some(capability()),
            volume_context: context.into(),
            ..NodePublishVolumeRequest::default()
        };
        let publish = self
            .clone()
            .ask_to_publish(name.to_owned(), volume.clone(), request, pod.node);
        self.ask(format!("{volume} in {name}"), publish);
        true
    }
}
