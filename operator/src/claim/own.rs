//! The claim that a Dot or Branch was made for, and goes with.

use std::collections::BTreeMap;

use dotmesh_crds::dot::{DotPlacement, DotVolume, VolumeImport};
use dotmesh_crds::format::words_of;
use dotmesh_crds::names::{ANNOTATION_CLAIM, DEFAULT_CLASS, LABEL_CLAIM_UID, volume_object};
use dotmesh_crds::{Dot, DotSpec};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::ClaimUid;
use dotmesh_model::size::format_quantity;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::api::{Api, ApiError, Key};
use crate::meta::uid;

/// Whether an object goes with a claim or a pod, and whether that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A person made the object.
    None,
    /// The claim is there, or the Dot still has an entry for it.
    Present,
    /// The claim is gone, and so is its entry: by consistent reads.
    Gone,
}

/// Whether an object was made for the claim of this uid and goes with it.
pub fn is_made_for<K: Resource>(object: &K, claim: &str) -> bool {
    object.labels().get(LABEL_CLAIM_UID).is_some_and(|uid| uid == claim)
}

/// Name of the one volume of a claim's own Dot.
pub const VOLUME: &str = "data";

/// The Dot of a claim's own (uid, namespace, name), with one volume of so many bytes, which begins with that. No owner
/// reference to the claim: commits that people make of it outlive the claim.
pub fn build_own_dot(
    claim: (ClaimUid, &str, &str),
    (size_bytes, format): (u64, VolumeFormat),
    import_from: Option<VolumeImport>,
    pool_class: &str,
) -> Dot {
    let (uid, namespace, name) = claim;
    let uid = uid.to_string();
    let (volume_mode, fs_type) = words_of(format);
    let volume = DotVolume {
        name: VOLUME.to_owned(),
        size: format_quantity(size_bytes),
        volume_mode,
        fs_type,
        // In the claim's entry: what is said here, nobody but people can change.
        zfs: None,
        import_from,
    };
    Dot {
        metadata: ObjectMeta {
            name: Some(volume_object(&uid)),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(LABEL_CLAIM_UID.to_owned(), uid)])),
            annotations: Some(BTreeMap::from([(ANNOTATION_CLAIM.to_owned(), name.to_owned())])),
            ..ObjectMeta::default()
        },
        spec: DotSpec {
            volumes: Some(vec![volume]),
            placement: Some(DotPlacement {
                pool_class: pool_class.to_owned(),
            })
            .filter(|placement| placement.pool_class != DEFAULT_CLASS),
            ..DotSpec::default()
        },
        status: None,
    }
}

/// Looks for the claim that an object was made for. Entries are the caller's to look at.
///
/// # Errors
/// Those of the API.
pub async fn observe_own_claim<A: Api, K: Resource>(api: &A, object: &K) -> Result<Owner, ApiError> {
    let (Some(claim_uid), Some(name)) = (
        object.labels().get(LABEL_CLAIM_UID),
        object.annotations().get(ANNOTATION_CLAIM),
    ) else {
        return Ok(Owner::None);
    };
    let key = Key {
        namespace: object.namespace(),
        name: name.clone(),
    };
    let claim: Option<PersistentVolumeClaim> = api.get(&key).await?;
    match claim.is_some_and(|claim| uid(&claim) == claim_uid) {
        true => Ok(Owner::Present),
        false => Ok(Owner::Gone),
    }
}
