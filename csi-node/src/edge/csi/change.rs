//! ControllerExpandVolume and ControllerModifyVolume: what changes of a volume that is there.

use dotmesh_csi_proto::csi as proto;
use dotmesh_model::handle::Handle;
use dotmesh_model::tuning::Tuning;
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::Status;

use super::alone::{Alone, no_volume, volume_of};
use super::capability::parse_capability;
use super::controller::parse_bounds;
use super::create::{check_changes, parse_changes};
use super::invalid;
use super::node::parse_handle;
use crate::ops::Error;

/// A volume to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub handle: Handle,
    /// Bytes it has at least, afterwards.
    size: u64,
    /// Bytes it may have at most.
    pub limit: u64,
    /// How data is kept that is written from now on; what it does not say stays.
    tuning: Tuning,
}

pub(super) fn parse_expand(request: proto::ControllerExpandVolumeRequest) -> Result<Change, Status> {
    let handle = parse_handle(&request.volume_id)?;
    let range = request
        .capacity_range
        .ok_or_else(|| invalid("capacity_range is missing"))?;
    if let Some(capability) = &request.volume_capability {
        parse_capability(Some(capability)).map_err(invalid)?;
    }
    let (size, limit) = parse_bounds(range)?;
    Ok(Change {
        handle,
        size,
        limit,
        tuning: Tuning::default(),
    })
}

pub(super) fn parse_modify(request: &proto::ControllerModifyVolumeRequest) -> Result<Change, Status> {
    let handle = parse_handle(&request.volume_id)?;
    Ok(Change {
        handle,
        size: 0,
        limit: u64::MAX,
        tuning: parse_changes(&request.mutable_parameters)?,
    })
}

impl<Z: Zfs, M: Mount> Alone<Z, M> {
    /// The volume is as it is asked for. It only grows. Returns its size, in bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] of one that the operator made, and of what its format has not;
    /// [`Error::OutOfSpace`].
    pub(super) async fn change(&self, change: &Change) -> Result<u64, Error> {
        let Change {
            handle, size, tuning, ..
        } = change;
        let _alone = self.lock_dot(handle.dot).await;
        let (ops, described) = self.dot_of(*handle).await?;
        let volume =
            volume_of(*handle, &described).map_err(|error| match described.claims.contains(&handle.claim) {
                true => Error::Invalid("the volume was not made here; it is changed where it was made".to_owned()),
                false => error,
            })?;
        check_changes(tuning, volume.state.format).map_err(Error::Invalid)?;
        let mut request = volume.request()?;
        let wanted = request.volumes.first_mut().ok_or_else(|| no_volume(*handle))?;
        // Also when it has the size: the filesystem on it may not, after an attempt that was interrupted.
        wanted.size = wanted.size.max(*size);
        wanted.tuning = tuning.clone().or(wanted.tuning.clone());
        let made = ops.ensure_branch(&request).await?;
        Ok(made.first().map_or(volume.state.size, |made| made.size))
    }
}
