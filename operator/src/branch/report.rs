//! The Branch's status, and events about what is wrong.

use std::collections::BTreeSet;

use dotmesh_crds::branch::BranchVolume;
use dotmesh_crds::condition::Reason;
use dotmesh_crds::zfs::ZfsProperties;
use dotmesh_crds::{Branch, BranchStatus};
use dotmesh_csi_proto::node::VolumeState;
use dotmesh_model::size::format_quantity;
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::jiff::Timestamp;

use super::observe::Observed;
use super::plan::{Accepted, model_tuning};
use crate::api::{Api, Event, EventType};
use crate::context::{Context, ReconcileError};
use crate::nodes::Nodes;
use crate::status::{Verdict, publish, tell, write_status};

const ACTION: &str = "Branch";

/// The status that makes the name and the head the branch's own.
pub fn build_accepted(seen: &Observed, accepted: Accepted, verdict: &Verdict, now: Timestamp) -> BranchStatus {
    BranchStatus {
        id: Some(accepted.id),
        head: Some(accepted.head),
        origin: accepted.origin,
        volumes: accepted.volumes,
        ..build_status(seen, verdict, now)
    }
}

/// The status after this pass.
pub fn build_status(seen: &Observed, verdict: &Verdict, now: Timestamp) -> BranchStatus {
    let mut status = seen.branch.status.clone().unwrap_or_default();
    let generation = seen.branch.metadata.generation;
    if let Some(ensured) = &seen.ensured {
        let names = |id: &str| {
            let dot = seen.dot.as_deref().and_then(|dot| dot.status.as_ref());
            let volume = dot.and_then(|dot| dot.volumes.iter().find(|volume| volume.id == id));
            volume.map_or_else(|| id.to_owned(), |volume| volume.name.clone())
        };
        status.volumes = build_volumes(ensured.volumes.iter().map(|volume| (names(&volume.id), volume)));
    }
    if let Some(users) = seen
        .users
        .as_ref()
        .filter(|_| !is_planted(Mutant::UsersAreToldOnce) || status.users.is_empty())
    {
        status.users.clone_from(users);
    }
    status.observed_generation = generation;
    status.conditions = verdict.conditions(&status.conditions, generation, now);
    status
}

/// What a node says of a head's volumes, with their names.
pub fn build_volumes<'a>(states: impl Iterator<Item = (String, &'a VolumeState)>) -> Vec<BranchVolume> {
    let volumes = states.map(|(name, state)| BranchVolume {
        name,
        id: state.id.clone(),
        guid: state.guid.to_string(),
        size: format_quantity(state.size_bytes),
        cloned: state.cloned,
        zfs: ZfsProperties::of(&model_tuning(state.tuning.as_ref())),
    });
    let mut volumes: Vec<BranchVolume> = volumes.collect();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    volumes
}

/// Whether the status would change.
pub fn is_news<A: Api, N: Nodes>(context: &Context<A, N>, seen: &Observed, verdict: &Verdict) -> bool {
    seen.branch.status.clone().unwrap_or_default() != build_status(seen, verdict, context.now())
}

/// Writes the status if it says something new, and the events that go with it.
pub async fn report<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &Observed,
    verdict: &Verdict,
) -> Result<(), ReconcileError> {
    let before = seen.branch.status.clone().unwrap_or_default();
    let after = build_status(seen, verdict, context.now());
    write_status::<_, Branch, _>(&context.api, &seen.branch, &before, &after).await?;
    tell(&context.api, &seen.branch, verdict, &before.conditions, ACTION).await;
    if let Some(event) = empty_volumes(&before, &after) {
        publish(&context.api, &seen.branch, event).await;
    }
    Ok(())
}

/// Volumes that began empty although the branch comes from a commit.
fn empty_volumes(before: &BranchStatus, after: &BranchStatus) -> Option<Event> {
    let origin = after.origin.as_ref()?;
    let known: BTreeSet<&str> = before.volumes.iter().map(|volume| volume.id.as_str()).collect();
    let new: Vec<&str> = after
        .volumes
        .iter()
        .filter(|volume| !volume.cloned && !known.contains(volume.id.as_str()))
        .map(|volume| volume.name.as_str())
        .collect();
    (!new.is_empty()).then(|| Event {
        event_type: EventType::Normal,
        reason: Reason::VolumeEmpty.as_str(),
        action: ACTION,
        message: format!(
            "not in Commit {:?} and so empty on this branch: {}",
            origin.commit_name,
            new.join(", ")
        ),
    })
}
