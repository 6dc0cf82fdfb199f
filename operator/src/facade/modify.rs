//! ControllerModifyVolume: what a VolumeAttributesClass says of how ZFS keeps a volume's data, on all its branches.

use std::collections::HashMap;
use std::time::Duration;

use dotmesh_crds::Dot;
use dotmesh_crds::dot::DotClaim;
use dotmesh_crds::zfs::ZfsProperties;
use dotmesh_csi_proto::csi::ControllerModifyVolumeRequest;
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::Handle;
use dotmesh_model::tuning::Tuning;
use kube::ResourceExt;
use tokio::time::timeout;

use super::held::{Step, World, held_volume, pursue};
use super::request::RequestError;
use super::watch::WatchObject;
use crate::api::{Api, ApiError};
use crate::claim::entries;
use crate::meta::is_deleting;

/// A volume whose data shall be kept in another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifyVolume {
    /// Its handle.
    pub handle: Handle,
    /// How.
    pub tuning: Tuning,
}

/// Why it is not kept so.
#[derive(Debug, thiserror::Error)]
pub enum ModifyError {
    /// The request cannot be served by anybody.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not a volume of this driver.
    #[error("there is no volume {0:?}")]
    UnknownHandle(String),
    /// It will not be, or not now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Work goes on; a repeated call finds it.
    #[error("the volume is not as the VolumeAttributesClass says within {0:?}")]
    Deadline(Duration),
    /// The API did not do what was needed; what was begun goes on.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Why a volume is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No Dot, claim or volume of the handle.
    #[error("there is no volume {0}")]
    NotFound(Handle),
    /// What was decided when the volume was made.
    #[error(
        "the VolumeAttributesClass has volblocksize, which is decided when a volume is made: say it in a StorageClass or a Dot"
    )]
    Fixed,
    /// It has no such property.
    #[error("volume {volume:?} has format {format}: recordsize is for zfs, thin is for the others")]
    OtherFormat {
        /// The volume.
        volume: String,
        /// What it is.
        format: VolumeFormat,
    },
    /// People said it of the Dot, whose word counts.
    #[error("Dot {dot:?} says in spec.volumes how volume {volume:?} is kept, and says otherwise: change it there")]
    Listed {
        /// The Dot.
        dot: String,
        /// The volume.
        volume: String,
    },
    /// The Dot, or what the claim mounted, goes or is gone.
    #[error("Dot {0:?}, or the claim's branch of it, is gone or being deleted")]
    Going(String),
    /// Another call asks for something else of the same volume.
    #[error("another request for this volume is under way")]
    Superseded,
}

impl TryFrom<ControllerModifyVolumeRequest> for ModifyVolume {
    type Error = ModifyError;

    fn try_from(request: ControllerModifyVolumeRequest) -> Result<Self, ModifyError> {
        let ControllerModifyVolumeRequest {
            volume_id,
            secrets: _,
            mutable_parameters,
        } = request;
        if volume_id.is_empty() {
            return Err(RequestError::NoVolumeId.into());
        }
        let tuning = parse_mutable(&mutable_parameters)?;
        if tuning.volblocksize.is_some() {
            return Err(Refusal::Fixed.into());
        }
        let handle = volume_id
            .parse()
            .map_err(|_| ModifyError::UnknownHandle(volume_id.chars().take(128).collect()))?;
        Ok(Self { handle, tuning })
    }
}

/// What a VolumeAttributesClass says.
///
/// # Errors
/// For what nobody reads, and for values that ZFS would not take.
pub fn parse_mutable(parameters: &HashMap<String, String>) -> Result<Tuning, RequestError> {
    let unknown = parameters
        .keys()
        .filter(|key| !Tuning::PARAMETERS.contains(&key.as_str()));
    if let Some(key) = unknown.min() {
        return Err(RequestError::UnknownAttribute(key.chars().take(128).collect()));
    }
    Ok(Tuning::of_parameters(|name| parameters.get(name).map(String::as_str))?)
}

/// Has the volume's data kept so on all branches, or finds that it is.
///
/// # Errors
/// When it is not within the budget; a repeated call goes on.
pub async fn modify_volume<A: Api, W: WatchObject>(
    api: &A,
    watches: &W,
    request: &ModifyVolume,
    budget: Duration,
) -> Result<(), ModifyError> {
    let mut last = World::default();
    let absent = Refusal::NotFound(request.handle).into();
    let work = pursue((api, watches), request.handle, absent, &mut last, |world| {
        plan(request, world).map_err(ModifyError::from)
    });
    let done = timeout(budget, work).await;
    done.unwrap_or(Err(ModifyError::Deadline(budget)))
}

/// The next step for the request. Pure.
pub fn plan(request: &ModifyVolume, world: &World) -> Result<Step<()>, Refusal> {
    let not_found = Refusal::NotFound(request.handle);
    let dot = world.dot.as_ref().ok_or(not_found.clone())?;
    let entry = held_volume(dot, request.handle).ok_or(not_found)?;
    let (name, volume) = (dot.name_any(), entry.volume.clone());
    let id = request.handle.volume.to_string();
    let mut volumes = dot.status.iter().flat_map(|status| &status.volumes);
    let format = volumes
        .find(|volume| volume.id == id)
        .map_or(entry.format(), |there| there.format());
    if request.tuning != request.tuning.clone().of_format(format) {
        return Err(Refusal::OtherFormat { volume, format });
    }
    if !listed(dot, &volume)
        .or(request.tuning.clone())
        .is_met_by(&request.tuning)
    {
        return Err(Refusal::Listed { dot: name, volume });
    }
    let of_branch = world.branch.iter().filter_map(|branch| branch.status.as_ref());
    let there = of_branch
        .flat_map(|status| &status.volumes)
        .find(|there| there.id == id);
    if there.is_some_and(|there| request.tuning.is_met_by(&ZfsProperties::recorded(there.zfs.as_ref()))) {
        return Ok(Step::Answer(()));
    }
    if is_deleting(dot) || world.branch.as_ref().is_none_or(is_deleting) {
        return Err(Refusal::Going(name));
    }
    let wish = ZfsProperties::of(&request.tuning);
    match (entry.attributes == wish, world.has_asked) {
        (true, _) => Ok(Step::Wait),
        (false, true) => Err(Refusal::Superseded),
        (false, false) => Ok(Step::Write(with_wish(dot, entry, wish))),
    }
}

/// All entries, of which this one alone says it of its volume.
fn with_wish(dot: &Dot, of: &DotClaim, wish: Option<ZfsProperties>) -> Vec<DotClaim> {
    let mut all = entries::entries(dot).to_vec();
    entries::silence_others(&mut all, of);
    let own = all.iter_mut().filter(|entry| entry.uid == of.uid);
    own.for_each(|entry| entry.attributes.clone_from(&wish));
    all
}

/// What the Dot's list of volumes says.
fn listed(dot: &Dot, volume: &str) -> Tuning {
    let listed = dot.spec.volumes.iter().flatten().find(|listed| listed.name == volume);
    ZfsProperties::recorded(listed.and_then(|listed| listed.zfs.as_ref()))
}

#[cfg(test)]
mod tests;
