//! What a VolumeSnapshot stands for. csi-provisioner's checks of the pair of VolumeSnapshot and VolumeSnapshotContent, and
//! one of our own: the Commit is of the claim's namespace, whatever an object of the cluster says.

use dotmesh_crds::Commit;
use dotmesh_crds::names::DRIVER;
use dotmesh_model::handle::{SnapshotId, SnapshotRef};
use dotmesh_model::size::parse_quantity;
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;

use super::Original;
use super::error::CopyError;
use crate::api::{Api, Key};
use crate::claim::observe::ObserveError;
use crate::facade::snapshot::find_snapshot;
use crate::meta::{is_deleting, uid};
use crate::status::is_ready;
use crate::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotStatus};

/// Annotation on a VolumeSnapshotContent.
const ANNOTATION_CONVERSION: &str = "snapshot.storage.kubernetes.io/allow-volume-mode-change";

/// Finds it, by consistent reads.
///
/// # Errors
/// Why nothing can be made from it, or not yet.
pub async fn find<A: Api>(api: &A, namespace: &str, name: &str) -> Result<(Original, Commit), ObserveError> {
    let what = format!("VolumeSnapshot {name:?}");
    let snapshot: Option<VolumeSnapshot> = api.get(&Key::namespaced(namespace, name)).await?;
    let snapshot = snapshot.ok_or_else(|| CopyError::NotFound {
        kind: "VolumeSnapshot",
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    })?;
    let status = ready_status(&what, &snapshot)?;
    let bound = status.bound_volume_snapshot_content_name.clone().unwrap_or_default();
    let content: Option<VolumeSnapshotContent> = match bound.as_str() {
        "" => None,
        bound => api.get(&Key::cluster(bound)).await?,
    };
    let content = content.ok_or_else(|| CopyError::NotReady {
        what: what.clone(),
        why: "it is bound to no VolumeSnapshotContent".to_owned(),
    })?;
    let id = check_content(&what, &snapshot, &content)?;
    let found = find_snapshot(api, id).await?;
    let (dot, commit) = found.ok_or_else(|| CopyError::Gone { what: what.clone() })?;
    // It may be a handle that somebody has written there, and it may be that this namespace had another life before.
    if dot.namespace().as_deref() != Some(namespace) && !is_planted(Mutant::WhatIsClonedIsAnybodys) {
        let why = format!(
            "VolumeSnapshotContent {:?} stands for data of another namespace",
            content.name_any()
        );
        return Err(CopyError::NotYours { what, why }.into());
    }
    if is_deleting(&commit) || is_deleting(&dot) {
        return Err(CopyError::Going { what }.into());
    }
    if !is_ready(commit.status.as_ref().map_or(&[], |status| &status.conditions)) {
        let why = format!("Commit {:?} is not", commit.name_any());
        return Err(CopyError::NotReady { what, why }.into());
    }
    let restore_size = status.restore_size.as_deref().map(parse_quantity);
    let original = Original {
        may_convert: allows_conversion(&content),
        what,
        dot,
        volume: id.volume,
        least_bytes: restore_size.and_then(Result::ok).unwrap_or_default(),
    };
    Ok((original, commit))
}

/// Whether who may write such objects of the cluster allows another mode than that of the original (external-provisioner,
/// `--prevent-volume-mode-conversion`).
fn allows_conversion(content: &VolumeSnapshotContent) -> bool {
    content
        .annotations()
        .get(ANNOTATION_CONVERSION)
        .is_some_and(|said| said == "true")
}

/// What became of a VolumeSnapshot from which volumes can be made.
fn ready_status(what: &str, snapshot: &VolumeSnapshot) -> Result<VolumeSnapshotStatus, CopyError> {
    if is_deleting(snapshot) {
        return Err(CopyError::Going { what: what.to_owned() });
    }
    let status = snapshot.status.clone().unwrap_or_default();
    if status.ready_to_use == Some(true) {
        return Ok(status);
    }
    let error = status.error.and_then(|error| error.message);
    Err(CopyError::NotReady {
        what: what.to_owned(),
        why: error.unwrap_or_else(|| "it is being taken".to_owned()),
    })
}

/// The driver's id of it, if both objects mean each other.
fn check_content(
    what: &str,
    snapshot: &VolumeSnapshot,
    content: &VolumeSnapshotContent,
) -> Result<SnapshotId, CopyError> {
    let what = || what.to_owned();
    if content.spec.driver != DRIVER {
        return Err(CopyError::OtherDriver {
            what: what(),
            of: format!("driver {}", content.spec.driver),
        });
    }
    let is_for = &content.spec.volume_snapshot_ref;
    let meant = (is_for.namespace.clone(), is_for.name.as_deref(), is_for.uid.as_deref());
    if meant
        != (
            snapshot.namespace(),
            snapshot.metadata.name.as_deref(),
            Some(uid(snapshot)),
        )
    {
        return Err(CopyError::NotYours {
            what: what(),
            why: format!(
                "VolumeSnapshotContent {:?} is for another VolumeSnapshot",
                content.name_any()
            ),
        });
    }
    if is_deleting(content) {
        return Err(CopyError::Going { what: what() });
    }
    let handle = content
        .status
        .as_ref()
        .and_then(|status| status.snapshot_handle.clone());
    let handle = handle.ok_or_else(|| CopyError::NotReady {
        what: what(),
        why: "csi-snapshotter has not said what it is".to_owned(),
    })?;
    let id: SnapshotRef = handle.parse().map_err(|_| CopyError::Gone { what: what() })?;
    Ok(id.snapshot())
}
