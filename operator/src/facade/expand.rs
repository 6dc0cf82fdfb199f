//! ControllerExpandVolume: the controllers make the volume larger on all branches.

pub mod plan;

use std::time::Duration;

use dotmesh_csi_proto::csi::ControllerExpandVolumeRequest;
use dotmesh_model::handle::Handle;
use dotmesh_model::size::MIN_VOLUME_BYTES;
use tokio::time::timeout;

use super::held::{World, pursue};
use super::request::{RequestError, parse_bytes, parse_capability};
use super::watch::WatchObject;
use crate::api::{Api, ApiError};
use plan::{Refusal, explain, plan};

/// A volume that shall be larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpandVolume {
    /// Its handle.
    pub handle: Handle,
    /// Bytes that it has at least.
    pub size_bytes: u64,
    /// Bytes that it has at most; absent: any.
    pub limit_bytes: Option<u64>,
}

/// Why the volume is not as large as asked for.
#[derive(Debug, thiserror::Error)]
pub enum ExpandError {
    /// The request cannot be served by anybody.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not a volume of this driver.
    #[error("there is no volume {0:?}")]
    UnknownHandle(String),
    /// It will not become larger, or not now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Work goes on; a repeated call finds it.
    #[error("the volume is not larger within {0:?}")]
    Deadline(Duration),
    /// The API did not do what was needed; what was begun goes on.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl TryFrom<ControllerExpandVolumeRequest> for ExpandVolume {
    type Error = ExpandError;

    fn try_from(request: ControllerExpandVolumeRequest) -> Result<Self, ExpandError> {
        let ControllerExpandVolumeRequest {
            volume_id,
            capacity_range,
            secrets: _,
            volume_capability,
        } = request;
        if volume_id.is_empty() {
            return Err(RequestError::NoVolumeId.into());
        }
        volume_capability.as_ref().map(parse_capability).transpose()?;
        let range = capacity_range.ok_or(RequestError::Capacity)?;
        let (size_bytes, limit_bytes) = parse_bytes(range.required_bytes, range.limit_bytes)?;
        if size_bytes == 0 && limit_bytes.is_none() {
            return Err(RequestError::Capacity.into());
        }
        let handle = volume_id
            .parse()
            .map_err(|_| ExpandError::UnknownHandle(volume_id.chars().take(128).collect()))?;
        Ok(Self {
            handle,
            size_bytes: size_bytes.max(MIN_VOLUME_BYTES),
            limit_bytes,
        })
    }
}

/// Makes the volume larger, or finds that it is. Returns its size in bytes: that of the claim's branch.
pub async fn expand_volume<A: Api, W: WatchObject>(
    api: &A,
    watches: &W,
    request: &ExpandVolume,
    budget: Duration,
) -> Result<u64, ExpandError> {
    let mut last = World::default();
    let absent = Refusal::NotFound(request.handle).into();
    let work = pursue((api, watches), request.handle, absent, &mut last, |world| {
        plan(request, world).map_err(ExpandError::from)
    });
    let done = timeout(budget, work).await;
    match done {
        Ok(result) => result,
        Err(_) => Err(explain(&last).map_or(ExpandError::Deadline(budget), ExpandError::Refused)),
    }
}
