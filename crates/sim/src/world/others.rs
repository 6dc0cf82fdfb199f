//! What other people and tools do on a machine.

use dotmesh_crds::names::DRIVER;
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_csi_node::layout::ADOPT;
use dotmesh_model::handle::SnapshotId;
use dotmesh_model::id::VolumeId;
use dotmesh_operator::api::{ApiError, Key};
use dotmesh_zfs::{CreateKind, CreateRequest, PropValue, Properties, SnapshotName, Zfs};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::World;
use crate::tamper;
use crate::workload::Foreign;

impl World {
    /// Another pool takes the place of ours.
    pub(super) async fn exchange_pool(&self) {
        let machine = &self.cluster.machines[0];
        machine.go_down();
        self.cluster
            .stage
            .with_oracle(|oracle| oracle.pool_is_exchanged(0, || machine.exchange_pool()));
        self.restart_node(1, true).await;
    }

    /// An object goes, whatever holds it. Nobody asked for the end of its data.
    pub(super) fn vanish(&self, kind: &str, name: &str) {
        let (server, key) = (&self.cluster.server, Key::namespaced("dev", name));
        self.cluster.stage.with_oracle(|oracle| {
            let all = server.all(kind);
            let found = all.iter().find(|object| object["metadata"]["name"] == name);
            let uid = found.and_then(|object| object["metadata"]["uid"].as_str());
            oracle.vanishes(uid.unwrap_or_else(|| panic!("no {kind} {name}")));
        });
        match kind {
            "Dot" => server.remove::<Dot>(&key),
            "Branch" => server.remove::<Branch>(&key),
            _ => server.remove::<Commit>(&key),
        }
    }

    /// Claims and pods that we have nothing to do with.
    pub(super) async fn change_foreign(&self, foreign: &Foreign) -> Result<(), ApiError> {
        let server = &self.cluster.server;
        let object = match foreign {
            Foreign::EndPod(name) => {
                server.remove::<Pod>(&Key::namespaced("dev", *name));
                return Ok(());
            }
            Foreign::Snapshot(name, volume) => {
                self.make_adoptable(name, volume).await;
                return Ok(());
            }
            Foreign::VolumeSnapshot(namespace, name, commit, volume) => {
                self.make_volume_snapshot((namespace, name), commit, volume);
                return Ok(());
            }
            Foreign::Claim(name) => json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": { "name": name, "namespace": "dev" },
                "spec": { "storageClassName": "theirs", "volumeName": "theirs" },
            }),
            Foreign::Pod(name, claim) => json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "dev" },
                "spec": {
                    "containers": [],
                    "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
                },
                "status": { "phase": "Running" },
            }),
        };
        server.put_object(object);
        Ok(())
    }

    /// The pair of VolumeSnapshot and VolumeSnapshotContent for a volume in a Commit of Dot `shop`.
    fn make_volume_snapshot(&self, (namespace, name): (&str, &str), commit: &str, volume: &str) {
        let server = &self.cluster.server;
        let commit: Commit = server.must_get(&Key::namespaced("dev", commit));
        let dot: Dot = server.must_get(&Key::namespaced("dev", "shop"));
        let id = |id: Option<String>| id.unwrap_or_default();
        let dot = id(dot.status.and_then(|status| status.id)).parse();
        let commit = id(commit.status.and_then(|status| status.id)).parse();
        let (Ok(dot), Ok(commit)) = (dot, commit) else {
            panic!("the Commit is not Ready");
        };
        let handle = SnapshotId {
            dot,
            volume: VolumeId::derive(dot, volume),
            commit,
        };
        let uid = format!("uid-of-{namespace}-{name}");
        server.put_object(json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": { "name": format!("content-{namespace}-{name}") },
            "spec": { "driver": DRIVER, "volumeSnapshotRef": { "namespace": namespace, "name": name, "uid": uid } },
            "status": { "snapshotHandle": handle.to_string() },
        }));
        server.put_object(json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "metadata": { "name": name, "namespace": namespace, "uid": uid }, "spec": {},
            "status": {
                "boundVolumeSnapshotContentName": format!("content-{namespace}-{name}"), "readyToUse": true,
                "restoreSize": "1Gi",
            },
        }));
    }

    /// A dataset and a snapshot beside ours.
    pub(super) async fn make_foreign(&self) {
        self.make_snapshot("dotmesh/theirs@dotmesh", &Properties::new()).await;
    }

    /// The same, with content that this volume may begin with.
    async fn make_adoptable(&self, name: &str, volume: &str) {
        tamper::pool_is_there(&self.cluster.machines[0]).await;
        let volume: PropValue = volume.parse().unwrap_or_else(|error| panic!("{volume}: {error}"));
        self.make_snapshot(name, &Properties::new().with(ADOPT, volume)).await;
    }

    async fn make_snapshot(&self, name: &str, properties: &Properties) {
        let zfs = &self.cluster.machines[0].zfs;
        let snapshot: SnapshotName = name.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let request = CreateRequest {
            dataset: snapshot.dataset().clone(),
            kind: CreateKind::Filesystem,
            properties: Properties::new(),
            parents: false,
        };
        let _ = zfs.create(&request).await;
        zfs.write(snapshot.dataset(), 1 << 20);
        let _ = zfs.snapshot(&[snapshot], properties).await;
    }
}
