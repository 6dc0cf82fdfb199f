//! What Kubernetes does around us, level-triggered and without faults of its own: the scheduler chooses nodes,
//! csi-provisioner and csi-resizer ask the façade, claims are bound and released, kubelets publish.

mod capability;
pub mod importer;
pub mod inline;
mod kubelet;
mod resizer;
mod scheduler;
mod snapshots;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_crds::names::{
    ANNOTATION_PROVISIONED_BY, ANNOTATION_SELECTED_NODE, DRIVER, GROUP, TOPOLOGY_NODE, volume_object,
};
use dotmesh_csi_proto::csi::controller_server::Controller;
use dotmesh_csi_proto::csi::{CapacityRange, CreateVolumeRequest, DeleteVolumeRequest, Topology, TopologyRequirement};
use dotmesh_model::size::format_quantity;
use dotmesh_operator::api::{Api, Guard, Key};
use dotmesh_operator::claim::volume::FINALIZER_PROVISIONER;
use dotmesh_operator::facade::controller::ControllerService;
use dotmesh_operator::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use dotmesh_testkit::FakeApi;
use futures::FutureExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};
use kube::ResourceExt;
use serde_json::json;
use tokio::sync::Notify;
use tonic::Request;

use crate::machine::Machine;
use crate::replica::{Cluster, Replica};
use crate::stage::Actor;
use capability::capability;
use resizer::asked_by;

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Milliseconds that garbage lies about, at least.
const COLLECTS_AFTER: u64 = 300;
/// More of them, by chance.
const COLLECTS_WITHIN: usize = 5_000;

/// A pod, as far as it matters here.
#[derive(Debug, Clone, Default)]
struct Pod {
    claims: Vec<String>,
    /// The volume that stands in its spec itself, and the Commit that it shows.
    inline: Option<(String, String)>,
    /// The number of its node: the one the scheduler likes best, until its volumes are on another.
    node: u8,
    ends: bool,
    /// Targets by claim or inline volume, with their handles.
    published: BTreeMap<String, String>,
    /// Those that it may have: publishing them was tried. When the pod ends each is unpublished, as kubelets do with
    /// mounts that they are uncertain of.
    tried: BTreeMap<String, String>,
}

impl Pod {
    /// Whether it has all its volumes.
    fn is_running(&self) -> bool {
        !self.ends && self.published.len() == self.claims.len() + usize::from(self.inline.is_some())
    }
}

#[derive(Debug, Default)]
struct State {
    pods: BTreeMap<String, Pod>,
    /// What is being asked of somebody.
    asked: BTreeSet<String>,
    /// Uids of pods that copy a claim's data.
    importers: BTreeSet<String>,
    /// Claims whose copy has failed once.
    torn: BTreeSet<String>,
    /// Claims, by uid, that cannot get so many bytes.
    impossible: BTreeSet<(String, u64)>,
}

/// The replicas of the operator, by number; those that ended too.
pub type Replicas = Arc<Mutex<BTreeMap<u8, Replica>>>;

/// Kubernetes around us; shared by cloning.
#[derive(Clone)]
pub struct Kubernetes {
    cluster: Cluster,
    replicas: Replicas,
    state: Arc<Mutex<State>>,
    poked: Arc<Notify>,
}

/// Everything there is, as it was listed.
#[derive(Default)]
struct World {
    claims: Vec<PersistentVolumeClaim>,
    volumes: Vec<PersistentVolume>,
    capacities: Vec<CSIStorageCapacity>,
    snapshots: Vec<VolumeSnapshot>,
    contents: Vec<VolumeSnapshotContent>,
    /// How many changes of the API it knows of.
    read: usize,
}

impl World {
    /// Lists the kinds anew of which something has changed.
    async fn catch_up(&mut self, server: &FakeApi) {
        let news = server.log_after(self.read);
        self.read += news.len();
        let has_changed = |kind: &str| news.iter().any(|change| change.kind == kind);
        if has_changed("PersistentVolumeClaim") {
            self.claims = server.list(None, None).await.unwrap_or_default();
        }
        if has_changed("PersistentVolume") {
            self.volumes = server.list(None, None).await.unwrap_or_default();
        }
        if has_changed("CSIStorageCapacity") {
            self.capacities = server.list(None, None).await.unwrap_or_default();
        }
        if has_changed("VolumeSnapshot") {
            self.snapshots = server.list(None, None).await.unwrap_or_default();
        }
        if has_changed("VolumeSnapshotContent") {
            self.contents = server.list(None, None).await.unwrap_or_default();
        }
    }
}

impl Kubernetes {
    /// Around these.
    #[must_use]
    pub fn new(cluster: Cluster, replicas: Replicas) -> Self {
        Self {
            cluster,
            replicas,
            state: Arc::default(),
            poked: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod with these claims shall run, best on that node.
    pub fn run_pod(&self, name: &str, claims: &[String], node: u8) {
        let pod = Pod {
            claims: claims.to_vec(),
            node,
            ..Pod::default()
        };
        self.lock().pods.insert(name.to_owned(), pod);
        self.poked.notify_one();
    }

    /// A pod shall end.
    pub fn end_pod(&self, name: &str) {
        if let Some(pod) = self.lock().pods.get_mut(name) {
            pod.ends = true;
        }
        self.poked.notify_one();
    }

    /// Whether a pod has all its volumes.
    #[must_use]
    pub fn is_running(&self, name: &str) -> bool {
        let state = self.lock();
        let pod = state.pods.get(name);
        pod.is_some_and(Pod::is_running)
    }

    /// Whether a pod is gone.
    #[must_use]
    pub fn is_ended(&self, name: &str) -> bool {
        !self.lock().pods.contains_key(name)
    }

    /// Whether nothing is left to do for pods.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let state = self.lock();
        state.asked.is_empty() && state.pods.values().all(Pod::is_running)
    }

    /// A node came up again: its kubelet publishes anew.
    pub fn node_came_up(&self, node: u8) {
        for pod in self.lock().pods.values_mut().filter(|pod| pod.node == node) {
            pod.published.clear();
        }
        self.poked.notify_one();
    }

    /// For ever.
    pub async fn run(self) {
        let mut changes = 0;
        let mut world = World::default();
        loop {
            world.catch_up(&self.cluster.server).await;
            let is_unfinished = self.round(&world).await;
            tokio::select! {
                biased;
                now = self.cluster.server.changes(changes) => changes = now,
                () = self.poked.notified() => {}
                () = tokio::time::sleep(RETRY), if is_unfinished => {}
            }
        }
    }

    /// The garbage collector, for ever: what has lost its owners goes, a while later.
    pub async fn collect_garbage(self) {
        let Cluster { stage, server, .. } = &self.cluster;
        let mut changes = 0;
        loop {
            changes = server.changes(changes).await;
            if !server.has_garbage() {
                continue;
            }
            let more = u64::try_from(stage.choose(COLLECTS_WITHIN)).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(COLLECTS_AFTER + more)).await;
            if server.collect_garbage() {
                stage.say(Actor::Kubernetes, "collects garbage");
                stage.wrote();
            }
        }
    }

    /// One look at everything. Whether something is to be looked at again soon.
    async fn round(&self, world: &World) -> bool {
        let mut unfinished = self.run_importers();
        let pods = self.lock().pods.clone();
        for pod in pods.values().filter(|pod| !pod.ends) {
            self.schedule(world, pod).await;
        }
        for claim in &world.claims {
            unfinished |= self.serve(world, claim).await;
            unfinished |= self.resize(world, claim);
        }
        for volume in &world.volumes {
            unfinished |= self.release(world, volume);
        }
        for (name, pod) in &pods {
            unfinished |= self.publish(world, name, pod);
        }
        self.bind_snapshots(world).await;
        unfinished
    }

    async fn patch(&self, claim: &PersistentVolumeClaim, patch: serde_json::Value) {
        let key = Key::of(claim);
        self.cluster
            .stage
            .say(Actor::Kubernetes, format_args!("patch claim {key} {patch}"));
        let _ = self
            .cluster
            .server
            .patch::<PersistentVolumeClaim>(&key, &Guard::same(claim), patch)
            .await;
        self.cluster.stage.wrote();
    }

    /// Binds a claim to its volume, or has csi-provisioner ask for one.
    async fn serve(&self, world: &World, claim: &PersistentVolumeClaim) -> bool {
        if is_bound(claim) {
            return false;
        }
        let uid = claim.uid().unwrap_or_default();
        if let Some(volume) = world.volumes.iter().find(|volume| claim_of(volume) == uid) {
            self.patch(claim, json!({ "spec": { "volumeName": volume.name_any() } }))
                .await;
            return false;
        }
        let source = claim.spec.as_ref().and_then(|spec| spec.data_source_ref.as_ref());
        let is_ours = source.is_some_and(|source| source.api_group.as_deref() == Some(GROUP));
        let node = claim.annotations().get(ANNOTATION_SELECTED_NODE);
        if let (false, Some(node)) = (is_ours, node) {
            self.ask(
                format!("volume of {uid}"),
                self.clone().provision(claim.clone(), node.clone()),
            );
            return true;
        }
        false
    }

    /// Begins something that takes its time, unless it is under way.
    fn ask(&self, what: String, work: impl Future<Output = ()> + Send + 'static) {
        if !self.lock().asked.insert(what.clone()) {
            return;
        }
        let (kubernetes, work) = (self.clone(), work.boxed());
        tokio::spawn(async move {
            work.await;
            tokio::time::sleep(RETRY).await;
            kubernetes.lock().asked.remove(&what);
            kubernetes.poked.notify_one();
        });
    }

    fn machine(&self, node: u8) -> &Machine {
        &self.cluster.machines[usize::from(node) - 1]
    }

    /// Any replica serves it.
    fn facade(&self) -> Option<Replica> {
        let replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        replicas.values().find(|replica| replica.is_reachable()).cloned()
    }

    async fn provision(self, claim: PersistentVolumeClaim, node: String) {
        let Some(replica) = self.facade() else { return };
        let (uid, size) = (claim.uid().unwrap_or_default(), asked_by(&claim));
        let topology = Topology {
            segments: [(TOPOLOGY_NODE.to_owned(), node.clone())].into(),
        };
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
        let found: Option<StorageClass> = match &class {
            Some(class) => self.cluster.server.get(&Key::cluster(class)).await.unwrap_or_default(),
            None => None,
        };
        let parameters = found.and_then(|class| class.parameters).unwrap_or_default();
        let request = CreateVolumeRequest {
            name: volume_object(&uid),
            capacity_range: Some(CapacityRange {
                required_bytes: i64::try_from(size).unwrap_or(i64::MAX),
                limit_bytes: 0,
            }),
            volume_capabilities: vec![capability()],
            parameters: parameters
                .into_iter()
                .chain([
                    ("csi.storage.k8s.io/pvc/name".to_owned(), claim.name_any()),
                    (
                        "csi.storage.k8s.io/pvc/namespace".to_owned(),
                        claim.namespace().unwrap_or_default(),
                    ),
                    ("csi.storage.k8s.io/pv/name".to_owned(), volume_object(&uid)),
                ])
                .collect(),
            accessibility_requirements: Some(TopologyRequirement {
                requisite: vec![topology.clone()],
                preferred: vec![topology],
            }),
            ..CreateVolumeRequest::default()
        };
        self.cluster
            .stage
            .say(Actor::Kubernetes, format_args!("CreateVolume for {}", claim.name_any()));
        let service = ControllerService::new(replica.api.clone(), replica.api.clone(), false);
        let answer = tokio::select! {
            biased;
            () = replica.life.over() => return,
            answer = service.create_volume(Request::new(request)) => answer,
        };
        let volume = match answer.map(|response| response.into_inner().volume) {
            Ok(Some(volume)) => volume,
            Ok(None) => return,
            Err(status) => {
                self.cluster
                    .stage
                    .say(Actor::Kubernetes, format_args!("  no volume: {}", status.message()));
                return;
            }
        };
        let volume: PersistentVolume = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {
                "name": volume_object(&uid), "finalizers": [FINALIZER_PROVISIONER],
                "annotations": { ANNOTATION_PROVISIONED_BY: DRIVER },
            },
            "spec": {
                "accessModes": claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref()),
                "capacity": {"storage": format_quantity(u64::try_from(volume.capacity_bytes).unwrap_or(0))},
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace(), "name": claim.name_any(),
                    "uid": uid,
                },
                "csi": {"driver": DRIVER, "volumeHandle": volume.volume_id},
                "nodeAffinity": affinity(&volume.accessible_topology),
                "persistentVolumeReclaimPolicy": "Delete", "storageClassName": class, "volumeMode": "Filesystem",
            },
        }))
        .unwrap_or_default();
        self.cluster.stage.say(
            Actor::Kubernetes,
            format_args!("create PersistentVolume {}", volume.name_any()),
        );
        let _ = self.cluster.server.create(&volume).await;
        self.cluster.stage.wrote();
    }

    /// csi-provisioner deletes what no claim has any more.
    fn release(&self, world: &World, volume: &PersistentVolume) -> bool {
        let uid = claim_of(volume);
        if world.claims.iter().any(|claim| claim.uid().as_deref() == Some(uid)) {
            return false;
        }
        let policy = volume
            .spec
            .as_ref()
            .and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
        if policy != Some("Delete") {
            return false;
        }
        self.ask(format!("deletion of {uid}"), self.clone().delete(volume.clone()));
        true
    }

    async fn delete(self, volume: PersistentVolume) {
        let Some(replica) = self.facade() else { return };
        let request = DeleteVolumeRequest {
            volume_id: handle_of(&volume).to_owned(),
            ..DeleteVolumeRequest::default()
        };
        self.cluster
            .stage
            .say(Actor::Kubernetes, format_args!("DeleteVolume {}", request.volume_id));
        let service = ControllerService::new(replica.api.clone(), replica.api.clone(), false);
        let answer = tokio::select! {
            biased;
            () = replica.life.over() => return,
            answer = service.delete_volume(Request::new(request)) => answer,
        };
        match answer {
            Ok(_) => {
                let key = Key::of(&volume);
                self.cluster
                    .stage
                    .say(Actor::Kubernetes, format_args!("remove PersistentVolume {key}"));
                self.cluster.server.remove::<PersistentVolume>(&key);
                self.cluster.stage.wrote();
            }
            Err(status) => self
                .cluster
                .stage
                .say(Actor::Kubernetes, format_args!("  not deleted: {}", status.message())),
        }
    }
}

fn target(pod: &str, claim: &str) -> String {
    format!("/var/lib/kubelet/pods/{pod}/volumes/{claim}/mount")
}

/// As csi-provisioner writes it.
fn affinity(topologies: &[Topology]) -> serde_json::Value {
    let terms: Vec<serde_json::Value> = topologies
        .iter()
        .map(|topology| {
            let expressions = topology.segments.iter();
            let expressions: Vec<serde_json::Value> = expressions
                .map(|(key, value)| json!({ "key": key, "operator": "In", "values": [value] }))
                .collect();
            json!({ "matchExpressions": expressions })
        })
        .collect();
    json!({ "required": { "nodeSelectorTerms": terms } })
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume.is_some_and(|name| !name.is_empty())
}

fn claim_of(volume: &PersistentVolume) -> &str {
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    claim.and_then(|claim| claim.uid.as_deref()).unwrap_or_default()
}

/// The number of the node that a volume is on, by its affinity; ours are on one node each.
fn node_of(volume: &PersistentVolume) -> Option<u8> {
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let expressions = required.node_selector_terms.first()?.match_expressions.as_ref()?;
    let topology = expressions.iter().find(|expression| expression.key == TOPOLOGY_NODE)?;
    topology.values.as_ref()?.first()?.strip_prefix('n')?.parse().ok()
}

fn handle_of(volume: &PersistentVolume) -> &str {
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    csi.map_or("", |csi| csi.volume_handle.as_str())
}
