//! What a claim needs next, from what was read. Pure.

use dotmesh_crds::condition::{Condition, READY};
use dotmesh_crds::dot::{DotClaim, DotStatus};
use dotmesh_crds::names::volume_object;
use dotmesh_crds::{Branch, Dot, Reason};
use dotmesh_model::handle::Handle;
use dotmesh_model::name::VolumeName;
use dotmesh_model::size::{format_quantity, parse_quantity};
use k8s_openapi::api::core::v1::PersistentVolume;

use super::entries::{self, BranchNames};
use super::error::ClaimError;
use super::validate::{Request, Source};
use super::volume::build_volume;

/// What a claim's plan is made from.
#[derive(Debug, Clone)]
pub struct World {
    /// The Dot, as the API has it now.
    pub dot: Dot,
    /// The Dot is about to be deleted by itself.
    pub retiring: bool,
    /// The Branch that the claim is pinned to.
    pub branch: Option<Branch>,
    /// The branches that entries of the Dot are pinned to.
    pub branch_names: BranchNames,
    /// The PersistentVolume that has the name of the claim's.
    pub volume: Option<PersistentVolume>,
    /// Size of the pool of the node that matters here, in bytes, when it is known.
    pub pool_bytes: Option<u64>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// The claim has its volume.
    Done,
    /// Somebody else's turn.
    Wait(Waiting),
    /// Write the claim into the Dot.
    Enter(DotClaim),
    /// The data is ready: make the PersistentVolume.
    CreateVolume(Box<PersistentVolume>),
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The scheduler's: nobody knows yet on which node the first pod will run.
    FirstPod,
    /// The Dot controller's: the volume is not ready on its node.
    Attachment,
}

/// The next step for the claim.
pub fn plan(request: &Request, world: &World) -> Result<Plan, ClaimError> {
    let uid = request.uid.to_string();
    if let Some(volume) = &world.volume {
        return if is_for(volume, &uid) {
            Ok(Plan::Done)
        } else {
            Err(ClaimError::VolumeConflict {
                volume: volume_object(&uid),
            })
        };
    }
    match entries::entry_of(&world.dot, &uid) {
        None => plan_entry(request, world),
        Some(entry) => plan_volume(request, world, entry),
    }
}

fn is_for(volume: &PersistentVolume, uid: &str) -> bool {
    let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    claim.and_then(|claim| claim.uid.as_deref()) == Some(uid)
}

fn plan_entry(request: &Request, world: &World) -> Result<Plan, ClaimError> {
    let dot = &world.dot;
    if dot.metadata.deletion_timestamp.is_some() || world.retiring {
        return Err(ClaimError::Deleting {
            kind: "Dot",
            name: dot.metadata.name.clone().unwrap_or_default(),
        });
    }
    if let Some(branch) = &world.branch {
        check_branch(branch)?;
    }
    let entry = DotClaim {
        uid: request.uid.to_string(),
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        volume: choose_volume(request, dot)?.as_str().to_owned(),
        size: format_quantity(request.size_bytes),
        branch: match &request.source {
            Source::Dot(_) => None,
            Source::Branch(object) => Some(object.clone()),
        },
        selected_node: request.selected_node.clone(),
        provisioned: false,
    };
    if let Some(holder) = entries::holder(dot, &world.branch_names, &entry) {
        return Err(ClaimError::VolumeHeld {
            dot: dot.metadata.name.clone().unwrap_or_default(),
            branch: entries::branch_of(&entry, dot, &world.branch_names).to_owned(),
            holder: holder.name.clone(),
            volume: entry.volume,
        });
    }
    let placed = dot.status.as_ref().and_then(|status| status.node.as_ref());
    let Some(node) = placed.or(request.selected_node.as_ref()) else {
        return Ok(Plan::Wait(Waiting::FirstPod));
    };
    if let Some(pool) = world.pool_bytes.filter(|pool| request.size_bytes > *pool) {
        return Err(ClaimError::LargerThanPool {
            asked: format_quantity(request.size_bytes),
            node: node.clone(),
            size: format_quantity(pool),
        });
    }
    Ok(Plan::Enter(entry))
}

/// A branch that will not get a head without somebody's help gives no volume; one that is only not ready yet may.
fn check_branch(branch: &Branch) -> Result<(), ClaimError> {
    let name = branch.metadata.name.clone().unwrap_or_default();
    if branch.metadata.deletion_timestamp.is_some() {
        return Err(ClaimError::Deleting { kind: "Branch", name });
    }
    let conditions = branch.status.as_ref().map_or(&[][..], |status| &status.conditions);
    refuse_when(
        "Branch",
        name,
        conditions,
        &[
            Reason::Invalid,
            Reason::NameTaken,
            Reason::ReferenceNotFound,
            Reason::DotNotFound,
            Reason::Conflict,
            Reason::DataMissing,
        ],
    )
}

fn refuse_when(
    kind: &'static str,
    name: String,
    conditions: &[Condition],
    reasons: &[Reason],
) -> Result<(), ClaimError> {
    let stuck = conditions.iter().find(|condition| {
        condition.type_ == READY
            && condition.status != "True"
            && reasons.iter().any(|reason| reason.as_str() == condition.reason)
    });
    match stuck {
        None => Ok(()),
        Some(condition) => Err(ClaimError::NotReady {
            kind,
            name,
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        }),
    }
}

/// The annotation's, else the claim's namesake, else (closed list) the only one, else (open list) a new one.
fn choose_volume(request: &Request, dot: &Dot) -> Result<VolumeName, ClaimError> {
    let dot_name = || dot.metadata.name.clone().unwrap_or_default();
    let by_claim = request.name.parse::<VolumeName>();
    let Some(closed) = &dot.spec.volumes else {
        return match &request.volume {
            Some(volume) => Ok(volume.clone()),
            None => by_claim.map_err(|source| ClaimError::ClaimName {
                dot: dot_name(),
                source,
            }),
        };
    };
    let listed: Vec<VolumeName> = closed.iter().filter_map(|volume| volume.name.parse().ok()).collect();
    let not_found = |volume: &str| ClaimError::VolumeNotFound {
        dot: dot_name(),
        volume: volume.to_owned(),
        offered: listed.iter().map(VolumeName::as_str).collect::<Vec<_>>().join(", "),
    };
    if let Some(volume) = &request.volume {
        return listed
            .iter()
            .find(|name| *name == volume)
            .cloned()
            .ok_or_else(|| not_found(volume.as_str()));
    }
    match (by_claim.ok().filter(|name| listed.contains(name)), listed.as_slice()) {
        (Some(namesake), _) => Ok(namesake),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(not_found(&request.name)),
    }
}

fn plan_volume(request: &Request, world: &World, entry: &DotClaim) -> Result<Plan, ClaimError> {
    let dot = &world.dot;
    let status = dot.status.clone().unwrap_or_default();
    if let Some((handle, node, bytes)) = ready_volume(&status, entry, request) {
        return Ok(Plan::CreateVolume(Box::new(build_volume(request, handle, node, bytes))));
    }
    // The scheduler changed its mind before anything was placed.
    if status.node.is_none() && request.selected_node.is_some() && entry.selected_node != request.selected_node {
        return Ok(Plan::Enter(DotClaim {
            selected_node: request.selected_node.clone(),
            ..entry.clone()
        }));
    }
    refuse_when(
        "Dot",
        dot.metadata.name.clone().unwrap_or_default(),
        &status.conditions,
        &[
            Reason::Invalid,
            Reason::PoolUnavailable,
            Reason::PoolForeign,
            Reason::Rewound,
            Reason::OutOfSpace,
            Reason::ZfsUnsupported,
            Reason::NodeUnreachable,
            Reason::DataMissing,
            Reason::Conflict,
        ],
    )?;
    Ok(Plan::Wait(Waiting::Attachment))
}

/// Handle, node and size of the entry's volume, once it can be mounted and is as large as the claim asks.
fn ready_volume<'a>(status: &'a DotStatus, entry: &DotClaim, request: &Request) -> Option<(Handle, &'a str, u64)> {
    let attached = status.attachments.contains(&entry.uid);
    let volume = status.volumes.iter().find(|volume| volume.name == entry.volume)?;
    let bytes = parse_quantity(&volume.size).ok()?;
    let handle = Handle {
        dot: status.id.as_deref()?.parse().ok()?,
        volume: volume.id.parse().ok()?,
        claim: request.uid,
    };
    let node = status.node.as_deref()?;
    (attached && bytes >= request.size_bytes).then_some((handle, node, bytes))
}

#[cfg(test)]
mod tests;
