//! ControllerExpandVolume: the wish is recorded in the claim's entry, the controllers make the volume larger on all
//! branches, the answer is read from the status of the claim's branch.

pub mod plan;

use std::time::Duration;

use dotmesh_crds::{Branch, Dot};
use dotmesh_csi_proto::csi::ControllerExpandVolumeRequest;
use dotmesh_model::handle::Handle;
use dotmesh_model::size::MIN_VOLUME_BYTES;
use futures::future::{Either, select};
use kube::ResourceExt;
use tokio::time::timeout;

use super::delete::find_dot;
use super::request::{RequestError, parse_bytes, parse_capability};
use super::watch::{Changes, WatchObject, changed};
use crate::api::{Api, ApiError, ApiErrorKind, Key};
use crate::claim::entries;
use crate::meta::{belongs_to, is_deleting};
use crate::pool::pool_for;
use plan::{Refusal, Step, World, explain, plan};

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
    match timeout(budget, work(api, watches, request, &mut last)).await {
        Ok(result) => result,
        Err(_) => Err(explain(&last).map_or(ExpandError::Deadline(budget), ExpandError::Refused)),
    }
}

async fn work<A: Api, W: WatchObject>(
    api: &A,
    watches: &W,
    request: &ExpandVolume,
    world: &mut World,
) -> Result<u64, ExpandError> {
    let found = find_dot(api, &request.handle).await?;
    let key = Key::of(&found.ok_or(Refusal::NotFound(request.handle))?);
    let mut dots = watches.watch_object::<Dot>(&key);
    let mut branches: Option<(Key, Changes<Branch>)> = None;
    loop {
        observe(api, &key, request, world).await?;
        match (plan(request, world)?, &world.dot) {
            (Step::Answer(bytes), _) => return Ok(bytes),
            (Step::Write(all), Some(dot)) => match entries::write(api, dot, &all).await {
                Ok(_) => world.has_asked = true,
                // Another call or controller was faster: look again.
                Err(error) if error.kind == ApiErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            },
            // Entries are only planned for a Dot that was read.
            (Step::Write(_), None) => {}
            (Step::Wait, dot) => {
                let branch = world.branch.as_ref().map(Key::of);
                if branches.as_ref().map(|(key, _)| key) != branch.as_ref() {
                    branches = branch.map(|key| (key.clone(), watches.watch_object(&key)));
                }
                let dot = changed(&mut dots, dot.as_ref());
                match &mut branches {
                    Some((_, changes)) => either(dot, changed(changes, world.branch.as_ref())).await,
                    None => dot.await,
                }
            }
        }
    }
}

/// Until one of both is done.
async fn either(one: impl Future<Output = ()> + Send, other: impl Future<Output = ()> + Send) {
    match select(Box::pin(one), Box::pin(other)).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}

/// The Dot and the claim's branch by consistent reads; the Pool as the cache has it.
async fn observe<A: Api>(api: &A, key: &Key, request: &ExpandVolume, world: &mut World) -> Result<(), ApiError> {
    world.dot = api.get(key).await?;
    world.branch = None;
    let Some(dot) = &world.dot else { return Ok(()) };
    let node = dot.status.as_ref().and_then(|status| status.node.as_ref());
    world.pool = pool_for(api, dot, node.map(String::as_str));
    let Some(entry) = entries::entry_of(dot, &request.handle.claim.to_string()) else {
        return Ok(());
    };
    let branch: Option<Branch> = match &entry.branch {
        Some(object) => {
            let beside = Key {
                name: object.clone(),
                ..key.clone()
            };
            api.get(&beside).await?
        }
        None => {
            let fields = format!("spec.dot={}", dot.name_any());
            let all: Vec<Branch> = api.list(dot.namespace().as_deref(), Some(&fields)).await?;
            let checkout = entries::checkout(dot);
            all.into_iter()
                .find(|branch| branch.spec.name == checkout && belongs_to(branch, dot) && !is_deleting(branch))
        }
    };
    world.branch = branch.filter(|branch| branch.spec.dot == dot.name_any() && belongs_to(branch, dot));
    Ok(())
}
