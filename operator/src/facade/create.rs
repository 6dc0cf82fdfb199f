//! CreateVolume: the intent is recorded in a Dot, the controllers do the work, the answer is read from its status.

use std::time::Duration;

use dotmesh_crds::names::{LABEL_AUTOMATIC, LABEL_CLAIM_UID, volume_object};
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_csi_proto::csi::volume_content_source::Type as ContentSource;
use dotmesh_model::handle::Handle;
use dotmesh_model::size::parse_quantity;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Resource, ResourceExt};
use tokio::time::timeout;

use super::delete::find_dot;
use super::held::held_volume;
use super::plan::{Created, PoolState, Refusal, Step, World, attached_volume, build_dot, is_claim, plan};
use super::request::{CreateVolume, RequestError};
use super::snapshot::find_snapshot;
use super::watch::{WatchObject, changed};
use crate::api::{Api, ApiError, ApiErrorKind, Guard, Key, Kind};
use crate::claim::entries;
use crate::claim::own::is_made_for;
use crate::claim::validate::{has_source, is_copy};
use crate::dot::plan::tell_no_pool;
use crate::pool::pool_of;
use crate::status::{is_ready, ready_condition};

/// Why CreateVolume gave no volume.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The request cannot be served by anybody.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Nothing was made, or it was taken back.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The claim is served by the operator itself and is not ready.
    #[error("the claim's volume comes from its Dot, and is not ready yet")]
    ServedElsewhere,
    /// What it is to be a copy of is not there.
    #[error("there is no snapshot or volume {0:?} to make the volume from")]
    NoSource(String),
    /// Work goes on; a repeated call finds it.
    #[error("the volume is not ready within {0:?}: {1}")]
    Deadline(Duration, String),
    /// The API did not do what was needed; what was begun goes on.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Makes the volume, or finds the one an earlier call made.
pub async fn create_volume<A: Api, W: WatchObject>(
    api: &A,
    watches: &W,
    request: &CreateVolume,
    budget: Duration,
) -> Result<Created, CreateError> {
    match timeout(budget, work(api, watches, request)).await {
        Ok(result) => result,
        Err(_) => {
            let dot = api.cached::<Dot>(&dot_key(request));
            let conditions = dot.as_ref().and_then(|dot| dot.status.as_ref());
            let why = conditions
                .and_then(|status| ready_condition(&status.conditions))
                .map_or_else(String::new, |ready| format!("{}: {}", ready.reason, ready.message));
            Err(CreateError::Deadline(budget, why))
        }
    }
}

fn dot_key(request: &CreateVolume) -> Key {
    Key::namespaced(&request.namespace, volume_object(&request.claim.to_string()))
}

async fn work<A: Api, W: WatchObject>(api: &A, watches: &W, request: &CreateVolume) -> Result<Created, CreateError> {
    let key = dot_key(request);
    let mut changes = watches.watch_object::<Dot>(&key);
    loop {
        let claim: Option<PersistentVolumeClaim> = api.get(&Key::namespaced(&request.namespace, &request.name)).await?;
        let claim_exists = is_claim(claim.as_ref(), request);
        if claim_exists && claim.as_ref().is_some_and(has_source) {
            check_source(api, request).await?;
            if !claim.as_ref().is_some_and(is_copy) {
                return served_elsewhere(api, request);
            }
            let dot: Option<Dot> = api.get(&key).await?;
            if let Some(created) = dot.as_ref().and_then(|dot| handed_out(dot, request)) {
                return Ok(created);
            }
            changed(&mut changes, dot.as_ref()).await;
            continue;
        }
        if request.source.is_some() {
            return Err(RequestError::NoDataSource.into());
        }
        let world = World {
            claim_exists,
            dot: api.get(&key).await?,
            pool: observe_pool(api, request),
        };
        let step = plan(request, &world)?;
        match apply(api, request, &world, step).await {
            Ok(Effect::Answer(created)) => return Ok(created),
            Ok(Effect::Refuse(refusal)) => return Err(refusal.into()),
            Ok(Effect::Look) => {}
            Ok(Effect::Wait) => changed(&mut changes, world.dot.as_ref()).await,
            // Another call or controller was faster: look again.
            Err(error) if matches!(error.kind, ApiErrorKind::Conflict | ApiErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What came of a step.
enum Effect {
    Look,
    Wait,
    Answer(Created),
    Refuse(Refusal),
}

async fn apply<A: Api>(api: &A, request: &CreateVolume, world: &World, step: Step) -> Result<Effect, ApiError> {
    match (step, &world.dot) {
        (Step::CreateDot, _) => api.create(&build_dot(request)).await.map(|_| Effect::Look),
        (Step::Write(all), Some(dot)) => entries::write(api, dot, &all).await.map(|_| Effect::Look),
        (Step::Withdraw(refusal), Some(dot)) => withdraw(api, dot).await.map(|()| Effect::Refuse(refusal)),
        (Step::Withdraw(refusal), None) => Ok(Effect::Refuse(refusal)),
        (Step::Answer(created), _) => Ok(Effect::Answer(created)),
        (Step::Wait, _) => Ok(Effect::Wait),
        // Entries are only planned for a Dot that was read.
        (Step::Write(_), None) => Ok(Effect::Look),
    }
}

/// Takes a volume back that nobody has seen: first its Dot, if that is still as it was when this was decided, then its
/// entry, which the Dot's deletion waits for. Whoever branched or committed it meanwhile keeps that: then only the
/// entry goes, as with the claim's deletion.
async fn withdraw<A: Api>(api: &A, dot: &Dot) -> Result<(), ApiError> {
    let uid = dot.labels().get(LABEL_CLAIM_UID).cloned().unwrap_or_default();
    let wanted = has_peoples::<A, Branch>(api, dot, |branch| &branch.spec.dot).await?
        || has_peoples::<A, Commit>(api, dot, |commit| &commit.spec.dot).await?
        || entries::entries(dot).iter().any(|entry| entry.uid != uid);
    let mut current = Some(dot.clone());
    if !wanted {
        api.delete::<Dot>(&Key::of(dot), &Guard::unchanged(dot)).await?;
        current = api
            .get::<Dot>(&Key::of(dot))
            .await?
            .filter(|now| now.uid() == dot.uid());
    }
    match current.filter(|dot| entries::entry_of(dot, &uid).is_some()) {
        Some(dot) => entries::write(api, &dot, &entries::without(&dot, &uid))
            .await
            .map(|_| ()),
        None => Ok(()),
    }
}

async fn has_peoples<A: Api, K: Kind + Resource>(
    api: &A,
    dot: &Dot,
    dot_of: fn(&K) -> &String,
) -> Result<bool, ApiError> {
    let name = dot.name_any();
    let fields = format!("spec.dot={name}");
    let found: Vec<K> = api.list(dot.namespace().as_deref(), Some(&fields)).await?;
    Ok(found
        .iter()
        .any(|object| *dot_of(object) == name && !object.labels().contains_key(LABEL_AUTOMATIC)))
}

/// What the volume is to be a copy of is there: the claim controller finds out all the rest, and tells it.
async fn check_source<A: Api>(api: &A, request: &CreateVolume) -> Result<(), CreateError> {
    let (id, is_there) = match &request.source {
        None => return Ok(()),
        Some(ContentSource::Snapshot(snapshot)) => {
            let id = &snapshot.snapshot_id;
            let found = match id.parse() {
                Ok(id) => find_snapshot(api, id).await?.is_some(),
                Err(_) => false,
            };
            (id, found)
        }
        Some(ContentSource::Volume(volume)) => {
            let id = &volume.volume_id;
            let found = match id.parse::<Handle>() {
                Ok(handle) => {
                    let dot = find_dot(api, handle.dot).await?;
                    dot.is_some_and(|dot| held_volume(&dot, handle).is_some())
                }
                Err(_) => false,
            };
            (id, found)
        }
    };
    match is_there {
        true => Ok(()),
        false => Err(CreateError::NoSource(id.chars().take(128).collect())),
    }
}

/// A claim with a source of ours is served by the claim controller; should it come here all the same (csi-provisioner
/// does not know annotations, and asks for copies), it gets the same handle, never a second volume.
fn served_elsewhere<A: Api>(api: &A, request: &CreateVolume) -> Result<Created, CreateError> {
    let uid = request.claim.to_string();
    let holders = api.cached_where::<Dot>(|dot| {
        dot.namespace().as_deref() == Some(&request.namespace) && entries::entry_of(dot, &uid).is_some()
    });
    let mut created = holders.iter().filter_map(|dot| handed_out(dot, request));
    created.next().ok_or(CreateError::ServedElsewhere)
}

/// What the claim controller hands out of a Dot. What it hands out of a Dot of the claim's own it records first; and a
/// volume that is too small would be deleted by the caller.
fn handed_out(dot: &Dot, request: &CreateVolume) -> Option<Created> {
    let uid = request.claim.to_string();
    let entry = entries::entry_of(dot, &uid).filter(|entry| entry.provisioned || !is_made_for(dot, &uid))?;
    attached_volume(dot, entry, request).filter(|created| created.size_bytes >= request.size_bytes)
}

fn observe_pool<A: Api>(api: &A, request: &CreateVolume) -> PoolState {
    let CreateVolume { node, pool_class, .. } = request;
    let Some(pool) = pool_of(api, node, pool_class) else {
        return PoolState::Unavailable(tell_no_pool(node, pool_class));
    };
    let status = pool.status.clone().unwrap_or_default();
    match status.size.as_deref().map(parse_quantity) {
        Some(Ok(bytes)) if is_ready(&status.conditions) => PoolState::Ready(bytes),
        _ => PoolState::Unavailable(
            ready_condition(&status.conditions)
                .map_or_else(|| "it is not ready yet".to_owned(), |ready| ready.message.clone()),
        ),
    }
}
