//! Deletions of whole namespaces, and what becomes of what they leave.

use dotmesh_crds::{Branch, Commit, Dot, Pool, Remnant};
use dotmesh_operator::api::{Api, ApiError, Guard, Key};
use dotmesh_operator::volume_snapshot::VolumeSnapshot;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::json;

use super::World;
use crate::workload::{Undo, restored, restored_branch};

impl World {
    /// Takes one of the steps that have to do with Remnants and namespaces.
    pub(super) async fn undo_or_delete(&self, step: &Undo) -> Result<(), ApiError> {
        let api = &self.cluster.server;
        match step {
            Undo::DeleteRemnant(of) => match self.remnant_of(of) {
                Some(key) => api.delete::<Remnant>(&key, &Guard::default()).await,
                None => Ok(()),
            },
            Undo::Expire(of, at) => match self.remnant_of(of) {
                Some(key) => {
                    let patch = json!({ "spec": { "expiresAt": at } });
                    api.patch::<Remnant>(&key, &Guard::default(), patch).await.map(drop)
                }
                None => Ok(()),
            },
            Undo::Restore(name, of) => {
                let id = self.id_of("Dot", of);
                api.create::<Dot>(&restored(name, &id)).await.map(drop)
            }
            Undo::RestoreBranch(name, of) => {
                let id = self.id_of("Branch", of);
                api.create::<Branch>(&restored_branch(name, &id)).await.map(drop)
            }
            Undo::DeleteNamespace => {
                self.delete_namespace().await;
                Ok(())
            }
        }
    }

    /// The Remnant of the Dot or Branch that had this name.
    pub(super) fn remnant_of(&self, of: &str) -> Option<Key> {
        let all = self.cluster.server.all("Remnant").into_iter();
        let found = all.into_iter().find(|object| object["spec"]["name"] == of)?;
        Some(Key::cluster(found["metadata"]["name"].as_str()?))
    }

    /// What identifies the data of the first object of this kind that had this name.
    pub(super) fn id_of(&self, kind: &str, name: &str) -> String {
        let log = self.cluster.server.log_after(0);
        let first = log
            .iter()
            .find(|change| change.kind == kind && change.key.name == name && change.object["status"]["id"].is_string());
        let id = first.and_then(|change| change.object["status"]["id"].as_str().map(str::to_owned));
        id.unwrap_or_else(|| panic!("{kind} {name} never had data"))
    }

    /// Namespace `dev` goes with all that is in it, in an order of its own.
    async fn delete_namespace(&self) {
        let server = &self.cluster.server;
        let mut namespace = server.must_get::<Namespace>(&Key::cluster("dev"));
        namespace.metadata.finalizers = Some(vec!["kubernetes".to_owned()]);
        let mut namespace = json!(namespace);
        namespace["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        server.put_object(namespace);
        let mut all = Vec::new();
        for kind in ["Dot", "Branch", "Commit", "PersistentVolumeClaim", "VolumeSnapshot"] {
            let found = server.all(kind).into_iter();
            let names = found.filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned));
            all.extend(names.map(|name| (kind, name)));
        }
        while !all.is_empty() {
            let (kind, name) = all.swap_remove(self.cluster.stage.choose(all.len()));
            self.delete(kind, &name)
                .await
                .unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        }
    }

    pub(super) async fn delete(&self, kind: &str, name: &str) -> Result<(), ApiError> {
        let (api, key, any) = (&self.cluster.server, Key::namespaced("dev", name), Guard::default());
        match kind {
            "Pool" => api.delete::<Pool>(&Key::cluster(name), &any).await,
            "Dot" => api.delete::<Dot>(&key, &any).await,
            "Branch" => api.delete::<Branch>(&key, &any).await,
            "Commit" => api.delete::<Commit>(&key, &any).await,
            "VolumeSnapshot" => api.delete::<VolumeSnapshot>(&key, &any).await,
            "StorageClass" => api.delete::<StorageClass>(&Key::cluster(name), &any).await,
            _ => api.delete::<PersistentVolumeClaim>(&key, &any).await,
        }
    }
}
