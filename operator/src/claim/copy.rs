//! Claims with a `dataSource` of kind VolumeSnapshot or PersistentVolumeClaim: each gets a Dot of its own, as a plain claim
//! does, whose volume begins as a clone of what it names. So it lies where that does, whatever node anybody thinks of, and
//! what csi-provisioner would check of the source is checked here.
//!
//! A VolumeSnapshot stands for a volume in a Commit. Of a claim a Commit is taken, which goes when the clone is there: ZFS
//! keeps the one snapshot that the clone needs.

pub mod clone;
pub mod error;
pub mod restore;

use dotmesh_crds::dot::{CommitVolumeRef, DotVolumeStatus, VolumeImport};
use dotmesh_crds::names::volume_object;
use dotmesh_crds::{Commit, Dot};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::VolumeId;
use dotmesh_model::size::format_quantity;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use super::apply::made;
use super::error::ClaimError;
use super::is_still_there;
use super::observe::ObserveError;
use super::own::build_own_dot;
use super::plan::describe;
use super::validate::{Request, Source};
use crate::api::{Api, Key};
use error::CopyError;

/// What a claim is to be a copy of, as it is there.
#[derive(Debug, Clone)]
pub struct Original {
    /// What the claim names, for people.
    pub what: String,
    /// Its Dot.
    pub dot: Dot,
    /// The volume of that.
    pub volume: VolumeId,
    /// Bytes that a copy has at least.
    pub least_bytes: u64,
    /// Whether a device may become one of another format: an administrator says so.
    pub may_convert: bool,
}

/// The key of the Dot of a claim's own.
fn own_key(request: &Request) -> Key {
    Key::namespaced(&request.namespace, volume_object(&request.uid.to_string()))
}

/// Whether the claim still needs a Dot of its own, as a copy of something.
///
/// # Errors
/// Those of the API.
pub async fn is_needed<A: Api>(api: &A, request: &Request) -> Result<bool, ObserveError> {
    Ok(request.source.is_copy() && api.get::<Dot>(&own_key(request)).await?.is_none())
}

/// Makes the Dot of a claim's own, or what is needed before.
///
/// # Errors
/// Why what the claim names cannot be copied, or not yet.
pub async fn begin<A: Api>(api: &A, claim: &PersistentVolumeClaim, request: &Request) -> Result<(), ObserveError> {
    let found = match &request.source {
        Source::Snapshot(name) => Some(restore::find(api, &request.namespace, name).await?),
        Source::Claim(name) => clone::find(api, claim, request, name).await?,
        Source::Dot(_) | Source::Branch { .. } | Source::Commit(_) => None,
    };
    let Some((original, commit)) = found else { return Ok(()) };
    let dot = build(request, &original, &commit)?;
    if is_still_there(api, claim).await? {
        made(api.create(&dot).await)?;
    }
    Ok(())
}

/// Whether a copy can be what the claim asks for: the volume that it is of, and what that is.
fn check<'a>(request: &Request, original: &'a Original) -> Result<(&'a DotVolumeStatus, VolumeFormat), ClaimError> {
    let what = || original.what.clone();
    let id = original.volume.to_string();
    let mut volumes = original.dot.status.iter().flat_map(|status| &status.volumes);
    let volume = volumes
        .find(|volume| volume.id == id)
        .ok_or_else(|| CopyError::Gone { what: what() })?;
    let format = choose_format(request, volume, original)?;
    if request.size_bytes < original.least_bytes {
        return Err(CopyError::TooSmall {
            what: what(),
            asked: format_quantity(request.size_bytes),
            least: format_quantity(original.least_bytes),
        }
        .into());
    }
    let class = original.dot.spec.pool_class();
    match request.pool_class.as_deref().filter(|asked| *asked != class) {
        None => Ok((volume, format)),
        Some(asked) => Err(ClaimError::OtherPoolClass {
            class: request.class.name.clone(),
            asked: asked.chars().take(64).collect(),
            dot: original.dot.name_any(),
            has: class.to_owned(),
        }),
    }
}

/// The Dot of the claim's own.
fn build(request: &Request, original: &Original, commit: &Commit) -> Result<Dot, ClaimError> {
    let (of, format) = check(request, original)?;
    let begins = VolumeImport {
        commit: Some(CommitVolumeRef {
            name: commit.name_any(),
            volume: Some(of.name.clone()),
        }),
        ..VolumeImport::default()
    };
    Ok(build_own_dot(
        (request.uid, &request.namespace, &request.name),
        (request.size_bytes, format),
        Some(begins),
        original.dot.spec.pool_class(),
    ))
}

/// Whether one can be made of the other: of devices, whatever is on them. Files of ZFS are on none.
pub fn can_convert(has: VolumeFormat, asked: VolumeFormat) -> bool {
    ![has, asked].contains(&VolumeFormat::Zfs)
}

/// What the original is, if that is what the claim asks for, or what it may become.
fn choose_format(request: &Request, volume: &DotVolumeStatus, original: &Original) -> Result<VolumeFormat, CopyError> {
    let has = volume.format();
    match request.format {
        None if has != VolumeFormat::Block => Ok(has),
        Some(asked) if asked == has => Ok(has),
        Some(asked) if original.may_convert && can_convert(has, asked) => Ok(asked),
        None | Some(_) => Err(CopyError::OtherFormat {
            what: original.what.clone(),
            has: describe(has),
            asked: request.format.map_or("files", describe),
        }),
    }
}
