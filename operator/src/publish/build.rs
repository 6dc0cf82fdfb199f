//! The pair of a VolumeSnapshotContent and a VolumeSnapshot that stands for a volume in a Commit. Pure.
//!
//! Names are made of the Commit's object, so that another one of the same name has a content of its own, and whoever knows
//! Commit and volume knows the VolumeSnapshot's.

use std::collections::BTreeMap;

use dotmesh_crds::commit::CommitVolume;
use dotmesh_crds::names::{ANNOTATION_SNAPSHOT_GOES, DRIVER, LABEL_COMMIT, LABEL_COMMIT_UID};
use dotmesh_crds::{Commit, Dot};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::SnapshotId;
use dotmesh_model::id::InvalidId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use uuid::Uuid;

use crate::api::Key;
use crate::meta::{dot_id, uid};
use crate::volume_snapshot::{
    VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotContentSource, VolumeSnapshotContentSpec, VolumeSnapshotRef,
    VolumeSnapshotSource, VolumeSnapshotSpec,
};

/// Longest name of a VolumeSnapshot: backup programs put it into labels.
const NAME_MAX: usize = 63;
/// Of a name that would be longer: so much of the Commit's, and of the volume's.
const PARTS_MAX: (usize, usize) = (27, 18);
const _: () = assert!(PARTS_MAX.0 + 1 + PARTS_MAX.1 + 1 + 16 <= NAME_MAX);

/// The name of the VolumeSnapshot. Neither part can hold a dot, so no other two make the same one.
pub fn snapshot_name(commit: &str, volume: &str) -> String {
    let whole = format!("{commit}.{volume}");
    if whole.len() <= NAME_MAX {
        return whole;
    }
    let unique = Uuid::new_v5(&Uuid::NAMESPACE_OID, whole.as_bytes());
    let part = |name: &str, max: usize| {
        let cut: String = name.chars().take(max).collect();
        cut.trim_end_matches('-').to_owned()
    };
    let (commit, volume) = (part(commit, PARTS_MAX.0), part(volume, PARTS_MAX.1));
    format!("{commit}.{volume}.{:016x}", unique.as_u64_pair().0)
}

/// Where the VolumeSnapshot is.
pub fn snapshot_key(commit: &Commit, volume: &CommitVolume) -> Key {
    Key {
        namespace: commit.namespace(),
        name: snapshot_name(&commit.name_any(), &volume.name),
    }
}

/// Where its content is.
pub fn content_key(commit: &Commit, volume: &CommitVolume) -> Key {
    let id = Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("{}/{}", uid(commit), volume.id).as_bytes(),
    );
    Key::cluster(format!("dotmesh-{}", id.hyphenated()))
}

/// Whether this is published of the Commit's object with that uid.
pub fn is_of<K: Resource>(object: &K, commit: &str) -> bool {
    object.labels().get(LABEL_COMMIT_UID).is_some_and(|uid| uid == commit)
}

/// Whether it was published of another Commit's object, and goes with that.
pub fn is_of_another(snapshot: &VolumeSnapshot, commit: &str) -> bool {
    let mut owners = snapshot.owner_references().iter();
    snapshot.labels().contains_key(LABEL_COMMIT_UID)
        && owners.any(|owner| owner.kind == Commit::kind(&()) && owner.uid != commit)
}

/// Whether a VolumeSnapshot is the one that belongs to this content.
pub fn is_pair(snapshot: &VolumeSnapshot, content: &Key) -> bool {
    snapshot.spec.source.volume_snapshot_content_name.as_ref() == Some(&content.name)
}

/// Whether csi-snapshotter lets go of a content once it is deleted.
pub fn is_loose(content: &VolumeSnapshotContent) -> bool {
    content.annotations().contains_key(ANNOTATION_SNAPSHOT_GOES)
}

/// The uid of the VolumeSnapshot that a content is bound to.
pub fn bound_to(content: &VolumeSnapshotContent) -> Option<&str> {
    let uid = content.spec.volume_snapshot_ref.uid.as_deref();
    uid.filter(|uid| !uid.is_empty())
}

fn labels(commit: &Commit) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_COMMIT_UID.to_owned(), uid(commit).to_owned()),
        (LABEL_COMMIT.to_owned(), commit.name_any()),
    ])
}

/// The content, for this VolumeSnapshot if it is there already.
///
/// # Errors
/// An id in a status that is none.
pub fn build_content(
    commit: &Commit,
    dot: &Dot,
    volume: &CommitVolume,
    of: Option<&VolumeSnapshot>,
) -> Result<VolumeSnapshotContent, InvalidId> {
    let id = commit.status.as_ref().and_then(|status| status.id.as_deref());
    let handle = SnapshotId {
        dot: dot_id(dot).parse()?,
        volume: volume.id.parse()?,
        commit: id.unwrap_or_default().parse()?,
    };
    let mut volumes = dot.status.iter().flat_map(|status| &status.volumes);
    let mode = volumes
        .find(|found| found.id == volume.id)
        .map(|found| match found.format() {
            VolumeFormat::Block => "Block",
            VolumeFormat::Zfs | VolumeFormat::Ext4 | VolumeFormat::Xfs => "Filesystem",
        });
    let snapshot = snapshot_key(commit, volume);
    Ok(VolumeSnapshotContent {
        metadata: ObjectMeta {
            name: Some(content_key(commit, volume).name),
            labels: Some(labels(commit)),
            ..ObjectMeta::default()
        },
        spec: VolumeSnapshotContentSpec {
            driver: DRIVER.to_owned(),
            deletion_policy: "Retain".to_owned(),
            source: VolumeSnapshotContentSource {
                snapshot_handle: Some(handle.to_string()),
            },
            source_volume_mode: mode.map(str::to_owned),
            volume_snapshot_ref: VolumeSnapshotRef {
                api_version: Some(VolumeSnapshot::api_version(&()).into_owned()),
                kind: Some(VolumeSnapshot::kind(&()).into_owned()),
                namespace: snapshot.namespace,
                name: Some(snapshot.name),
                uid: of.map(|snapshot| uid(snapshot).to_owned()),
            },
        },
        status: None,
    })
}

/// The VolumeSnapshot. It goes with its Commit, and does not keep that from going.
pub fn build_snapshot(commit: &Commit, volume: &CommitVolume) -> VolumeSnapshot {
    let key = snapshot_key(commit, volume);
    VolumeSnapshot {
        metadata: ObjectMeta {
            name: Some(key.name),
            namespace: key.namespace,
            labels: Some(labels(commit)),
            owner_references: Some(vec![OwnerReference {
                api_version: Commit::api_version(&()).into_owned(),
                kind: Commit::kind(&()).into_owned(),
                name: commit.name_any(),
                uid: uid(commit).to_owned(),
                controller: None,
                block_owner_deletion: Some(false),
            }]),
            ..ObjectMeta::default()
        },
        spec: VolumeSnapshotSpec {
            source: VolumeSnapshotSource {
                volume_snapshot_content_name: Some(content_key(commit, volume).name),
            },
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_is_of_and_is_no_others() {
        assert_eq!(snapshot_name("before-migration", "db"), "before-migration.db");
        assert_ne!(snapshot_name("a-b", "c"), snapshot_name("a", "b-c"));
        let long = |end: &str| snapshot_name(&format!("{}{end}", "c".repeat(62)), &"v".repeat(63));
        assert_eq!(long("a").len(), NAME_MAX);
        assert_ne!(long("a"), long("b"));
        let cut = snapshot_name(&format!("{}-{}", "c".repeat(26), "d".repeat(30)), "some-volume");
        assert!(cut.starts_with(&format!("{}.some-volume.", "c".repeat(26))), "{cut}");
    }
}
