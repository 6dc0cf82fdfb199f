//! What people do with what is published of Commits.

use dotmesh_crds::{Commit, Dot};
use dotmesh_operator::api::{Api, ApiError, Guard, Key};
use dotmesh_operator::volume_snapshot::VolumeSnapshotContent;
use serde_json::json;

use super::World;
use crate::workload::Publish;

impl World {
    pub(super) async fn publish(&self, step: &Publish) -> Result<(), ApiError> {
        let (api, any) = (&self.cluster.server, Guard::default());
        let patch = |is_published: &bool| json!({ "spec": { "publish": is_published } });
        match step {
            Publish::Commit(name, is_published) => {
                let key = Key::namespaced("dev", *name);
                api.patch::<Commit>(&key, &any, patch(is_published)).await.map(drop)
            }
            Publish::Dot(name, is_published) => {
                let key = Key::namespaced("dev", *name);
                api.patch::<Dot>(&key, &any, patch(is_published)).await.map(drop)
            }
            Publish::DeleteContentOf(snapshot) => {
                let all: Vec<VolumeSnapshotContent> = api.list(None, None).await?;
                let is_its = |content: &&VolumeSnapshotContent| {
                    content.spec.volume_snapshot_ref.name.as_deref() == Some(*snapshot)
                };
                match all.iter().find(is_its) {
                    Some(content) => api.delete::<VolumeSnapshotContent>(&Key::of(content), &any).await,
                    None => Ok(()),
                }
            }
            Publish::Other(name) => {
                api.put_object(json!({
                    "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
                    "metadata": { "name": name, "namespace": "dev" }, "spec": { "source": {} },
                }));
                Ok(())
            }
        }
    }
}
