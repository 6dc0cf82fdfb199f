//! snapshot-controller and csi-snapshotter, as far as they have to do with snapshots that were there before: they bind pairs,
//! hold them with finalizers, and let go of a bound content only when its annotation says that its VolumeSnapshot goes.

use dotmesh_crds::names::{ANNOTATION_SNAPSHOT_GOES, DRIVER};
use dotmesh_operator::api::{Api, Guard, Key, Kind};
use dotmesh_operator::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::{Kubernetes, World};
use crate::stage::Actor;

const OF_SNAPSHOT: &str = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection";
const OF_CONTENT: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";

fn uid_of<K: Resource>(object: &K) -> String {
    object.uid().unwrap_or_default()
}

fn holds<K: Resource>(object: &K, finalizer: &str) -> bool {
    object.finalizers().iter().any(|name| name == finalizer)
}

/// The patch that puts a finalizer on, or takes it off.
fn finalizer<K: Resource>(object: &K, finalizer: &str, is_held: bool) -> Value {
    let others = object.finalizers().iter().filter(|name| *name != finalizer);
    let mut all: Vec<&str> = others.map(String::as_str).collect();
    all.extend(is_held.then_some(finalizer));
    json!({ "metadata": { "finalizers": all } })
}

fn bound_to(content: &VolumeSnapshotContent) -> Option<&str> {
    let uid = content.spec.volume_snapshot_ref.uid.as_deref();
    uid.filter(|uid| !uid.is_empty())
}

fn is_loose(content: &VolumeSnapshotContent) -> bool {
    content.annotations().contains_key(ANNOTATION_SNAPSHOT_GOES)
}

fn is_going<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

impl Kubernetes {
    /// One step for each object; what it changes brings the next.
    pub(super) async fn bind_snapshots(&self, world: &World) {
        for snapshot in &world.snapshots {
            let Some(name) = &snapshot.spec.source.volume_snapshot_content_name else {
                continue;
            };
            let content = world.contents.iter().find(|content| content.name_any() == *name);
            if is_going(snapshot) {
                self.let_go(snapshot, content).await;
            } else if !holds(snapshot, OF_SNAPSHOT) {
                self.change(snapshot, finalizer(snapshot, OF_SNAPSHOT, true)).await;
            } else if let Some(content) = content {
                self.bind(snapshot, content).await;
            } else if snapshot
                .status
                .as_ref()
                .is_some_and(|status| status.ready_to_use == Some(true))
            {
                self.tell(snapshot, json!({ "readyToUse": false }));
            }
        }
        for content in &world.contents {
            if content.spec.driver != DRIVER || content.spec.source.snapshot_handle.is_none() {
                continue;
            }
            if is_going(content) {
                if holds(content, OF_CONTENT) && (bound_to(content).is_none() || is_loose(content)) {
                    self.change(content, finalizer(content, OF_CONTENT, false)).await;
                }
            } else if bound_to(content).is_some() && !holds(content, OF_CONTENT) {
                self.change(content, finalizer(content, OF_CONTENT, true)).await;
            } else if content.status.is_none() {
                self.tell(
                    content,
                    json!({ "snapshotHandle": content.spec.source.snapshot_handle }),
                );
            }
        }
    }

    async fn bind(&self, snapshot: &VolumeSnapshot, content: &VolumeSnapshotContent) {
        let of = &content.spec.volume_snapshot_ref;
        if of.name != snapshot.metadata.name || of.namespace != snapshot.namespace() {
            return;
        }
        match bound_to(content) {
            None => {
                let patch = json!({ "spec": { "volumeSnapshotRef": { "uid": uid_of(snapshot) } } });
                self.change(content, patch).await;
            }
            Some(bound) if bound == uid_of(snapshot) => {
                let is_known = snapshot
                    .status
                    .as_ref()
                    .is_some_and(|status| status.ready_to_use == Some(true));
                if content.status.is_some() && !is_known {
                    let name = content.name_any();
                    let status =
                        json!({ "boundVolumeSnapshotContentName": name, "readyToUse": true, "restoreSize": "1Gi" });
                    self.tell(snapshot, status);
                }
            }
            Some(_) => {}
        }
    }

    /// A content that it was never told to be bound to learns nothing of its end.
    async fn let_go(&self, snapshot: &VolumeSnapshot, content: Option<&VolumeSnapshotContent>) {
        let status = snapshot.status.as_ref();
        let known = status.and_then(|status| status.bound_volume_snapshot_content_name.clone());
        let its = content.filter(|content| {
            known == content.metadata.name && bound_to(content) == Some(&uid_of(snapshot)) && !is_loose(content)
        });
        if let Some(content) = its {
            let patch = json!({ "metadata": { "annotations": { ANNOTATION_SNAPSHOT_GOES: "yes" } } });
            self.change(content, patch).await;
        } else if holds(snapshot, OF_SNAPSHOT) {
            self.change(snapshot, finalizer(snapshot, OF_SNAPSHOT, false)).await;
        }
    }

    /// Writes a status.
    fn tell<K: Kind>(&self, object: &K, status: Value) {
        let (stage, server) = (&self.cluster.stage, &self.cluster.server);
        let kind = K::kind(&());
        let mut all = server.all(&kind).into_iter();
        let Some(now) = all.find(|now| now["metadata"]["uid"] == uid_of(object)) else {
            return;
        };
        let mut now = (**now).clone();
        stage.say(
            Actor::Kubernetes,
            format_args!("status of {kind} {} {status}", Key::of(object)),
        );
        now["status"] = status;
        server.put_object(now);
        stage.wrote();
    }

    async fn change<K: Kind>(&self, object: &K, patch: Value) {
        let key = Key::of(object);
        let (stage, server) = (&self.cluster.stage, &self.cluster.server);
        stage.say(Actor::Kubernetes, format_args!("patch {} {key} {patch}", K::kind(&())));
        // What has changed meanwhile is looked at again.
        let _ = server.patch::<K>(&key, &Guard::unchanged(object), patch).await;
        stage.wrote();
    }
}
