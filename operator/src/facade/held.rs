//! Calls about a volume that a claim holds: what is wished for is recorded in the claim's entry, the controllers do it on
//! all branches, the answer is read from the status of the claim's branch.

use std::sync::Arc;

use dotmesh_crds::dot::DotClaim;
use dotmesh_crds::{Branch, Dot, Pool};
use dotmesh_model::handle::Handle;
use dotmesh_model::id::VolumeId;
use futures::future::{Either, select};
use kube::ResourceExt;

use super::delete::find_dot;
use super::watch::{Changes, WatchObject, changed};
use crate::api::{Api, ApiError, ApiErrorKind, Key};
use crate::claim::entries;
use crate::meta::{belongs_to, is_deleting};
use crate::pool::pool_for;

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The handle's Dot.
    pub dot: Option<Dot>,
    /// The Branch whose volume the claim mounts.
    pub branch: Option<Branch>,
    /// The Pool of the Dot's node.
    pub pool: Option<Arc<Pool>>,
    /// This call has written its wish.
    pub has_asked: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step<T> {
    /// Make these all entries of the Dot.
    Write(Vec<DotClaim>),
    /// Until the Dot or the Branch changes.
    Wait,
    /// It is so on the claim's branch.
    Answer(T),
}

/// The claim's entry, if it holds the volume of the handle.
pub fn held_volume(dot: &Dot, handle: Handle) -> Option<&DotClaim> {
    let entry = entries::entry_of(dot, &handle.claim.to_string())?;
    (VolumeId::derive(handle.dot, &entry.volume) == handle.volume).then_some(entry)
}

/// Takes the steps of a plan, until it has an answer. What was read last stands in `world`.
///
/// # Errors
/// `absent` when the handle has no Dot; those of the plan and of the API.
pub async fn pursue<A, W, T, E>(
    (api, watches): (&A, &W),
    handle: Handle,
    absent: E,
    world: &mut World,
    plan: impl Fn(&World) -> Result<Step<T>, E>,
) -> Result<T, E>
where
    A: Api,
    W: WatchObject,
    E: From<ApiError>,
{
    let key = Key::of(&find_dot(api, handle.dot).await?.ok_or(absent)?);
    let mut dots = watches.watch_object::<Dot>(&key);
    let mut branches: Option<(Key, Changes<Branch>)> = None;
    loop {
        observe(api, &key, handle, world).await?;
        match (plan(world)?, &world.dot) {
            (Step::Answer(answer), _) => return Ok(answer),
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
pub async fn observe<A: Api>(api: &A, key: &Key, handle: Handle, world: &mut World) -> Result<(), ApiError> {
    world.dot = api.get(key).await?;
    world.branch = None;
    let Some(dot) = &world.dot else { return Ok(()) };
    let node = dot.status.as_ref().and_then(|status| status.node.as_ref());
    world.pool = pool_for(api, dot, node.map(String::as_str));
    let Some(entry) = entries::entry_of(dot, &handle.claim.to_string()) else {
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
