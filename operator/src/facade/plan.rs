//! What a plain claim's volume needs next, from what was read. Pure.

use dotmesh_crds::dot::DotClaim;
use dotmesh_crds::format::words_of;
use dotmesh_crds::zfs::ZfsProperties;
use dotmesh_crds::{Dot, Reason};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::Handle;
use dotmesh_model::size::{format_quantity, parse_quantity};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::request::CreateVolume;
use crate::claim::entries;
use crate::claim::own::{VOLUME, build_own_dot, is_made_for};
use crate::status::ready_condition;

/// What was read.
#[derive(Debug, Clone)]
pub struct World {
    /// Whether the claim of the request still exists, by uid.
    pub claim_exists: bool,
    /// The Dot of the claim's own.
    pub dot: Option<Dot>,
    /// The Pool of the class and on the node that were asked for.
    pub pool: PoolState,
}

/// A node's pool, as its object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolState {
    /// Usable; its size in bytes.
    Ready(u64),
    /// None, or not usable, and why.
    Unavailable(String),
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Record the intent.
    CreateDot,
    /// Make these all entries of the Dot.
    Write(Vec<DotClaim>),
    /// Until the Dot changes.
    Wait,
    /// Take the intent back, then refuse.
    Withdraw(Refusal),
    /// Done.
    Answer(Created),
}

/// A volume that can be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its handle.
    pub handle: Handle,
    /// Its size.
    pub size_bytes: u64,
    /// The node it can be mounted on.
    pub node: String,
}

/// Why there will be no volume for this request. Final: nothing is under way any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The claim went meanwhile.
    #[error("the claim does not exist any more")]
    ClaimGone,
    /// The Dot that has this name was not made for this claim.
    #[error("Dot {0:?} exists and does not belong to this claim")]
    ForeignDot(String),
    /// Made before with a size that does not fit this request.
    #[error("the volume exists with {0} bytes, which this request does not allow")]
    OtherSize(u64),
    /// Made before for a Pool of another class.
    #[error("the volume was begun on a Pool of class {0:?}; it is taken back and can then be made on another")]
    OtherClass(String),
    /// Made before as something else.
    #[error(
        "the volume was begun with format {0}, and format {1} is asked for; delete the claim, or correct its StorageClass"
    )]
    OtherFormat(VolumeFormat, VolumeFormat),
    /// Made before on a node that does not fit this request.
    #[error("the volume was begun on node {0}; it is taken back and can then be made elsewhere")]
    OtherNode(String),
    /// The node has no usable pool.
    #[error("the pool of node {node} cannot be used: {why}")]
    PoolUnavailable {
        /// The node.
        node: String,
        /// For people.
        why: String,
    },
    /// More than the pool holds.
    #[error("the claim asks for {asked}, the pool of node {node} has {size} in all")]
    LargerThanPool {
        /// What is asked for, as a quantity.
        asked: String,
        /// The node.
        node: String,
        /// The pool's size, as a quantity.
        size: String,
    },
    /// The pool is full.
    #[error("no space on node {node}: {message}")]
    OutOfSpace {
        /// The node.
        node: String,
        /// For people.
        message: String,
    },
}

/// The next step for the request.
pub fn plan(request: &CreateVolume, world: &World) -> Result<Step, Refusal> {
    let uid = request.claim.to_string();
    let Some(dot) = &world.dot else {
        return plan_dot(request, world);
    };
    if !is_made_for(dot, &uid) {
        return Err(Refusal::ForeignDot(dot.metadata.name.clone().unwrap_or_default()));
    }
    let entry = entries::entry_of(dot, &uid);
    if dot.metadata.deletion_timestamp.is_some() {
        // Its deletion waits for the claim: what nobody has seen gives way, and can then be made anew.
        return Ok(match entry {
            Some(entry) if !entry.provisioned => Step::Write(entries::without(dot, &uid)),
            Some(_) | None => Step::Wait,
        });
    }
    let Some(entry) = entry else {
        return Ok(if world.claim_exists {
            Step::Write(entries::with(dot, new_entry(request)))
        } else {
            Step::Withdraw(Refusal::ClaimGone)
        });
    };
    let size = parse_quantity(&entry.size).unwrap_or_default();
    if size < request.size_bytes || request.limit_bytes.is_some_and(|limit| size > limit) {
        return Err(Refusal::OtherSize(size));
    }
    if entry.format() != request.format {
        return Err(Refusal::OtherFormat(entry.format(), request.format));
    }
    let created = attached_volume(dot, entry, request);
    // Once the handle was given out, the volume is answered with for ever: the answer may have been lost.
    if entry.provisioned {
        return Ok(created.map_or(Step::Wait, Step::Answer));
    }
    if let Some(refusal) = obstacle(request, world, dot) {
        return Ok(Step::Withdraw(refusal));
    }
    let placed = dot.status.as_ref().is_some_and(|status| status.node.is_some());
    if created.is_some() {
        let given_out = DotClaim {
            provisioned: true,
            ..entry.clone()
        };
        return Ok(Step::Write(entries::with(dot, given_out)));
    }
    if !placed && entry.selected_node.as_ref() != Some(&request.node) {
        return Ok(Step::Write(entries::with(dot, new_entry(request))));
    }
    Ok(Step::Wait)
}

fn plan_dot(request: &CreateVolume, world: &World) -> Result<Step, Refusal> {
    if !world.claim_exists {
        return Err(Refusal::ClaimGone);
    }
    match &world.pool {
        PoolState::Unavailable(why) => Err(Refusal::PoolUnavailable {
            node: request.node.clone(),
            why: why.clone(),
        }),
        PoolState::Ready(bytes) if request.size_bytes > *bytes => Err(Refusal::LargerThanPool {
            asked: format_quantity(request.size_bytes),
            node: request.node.clone(),
            size: format_quantity(*bytes),
        }),
        PoolState::Ready(_) => Ok(Step::CreateDot),
    }
}

/// What speaks against going on with a volume that nobody has seen yet.
fn obstacle(request: &CreateVolume, world: &World, dot: &Dot) -> Option<Refusal> {
    if !world.claim_exists {
        return Some(Refusal::ClaimGone);
    }
    if dot.spec.pool_class() != request.pool_class {
        return Some(Refusal::OtherClass(dot.spec.pool_class().to_owned()));
    }
    let status = dot.status.as_ref()?;
    let node = status.node.as_ref()?;
    if *node != request.node {
        return Some(Refusal::OtherNode(node.clone()));
    }
    let full = ready_condition(&status.conditions)
        .filter(|condition| condition.status != "True" && condition.reason == Reason::OutOfSpace.as_str())?;
    Some(Refusal::OutOfSpace {
        node: node.clone(),
        message: full.message.clone(),
    })
}

/// The volume behind an entry, once it can be mounted.
pub fn attached_volume(dot: &Dot, entry: &DotClaim, request: &CreateVolume) -> Option<Created> {
    let status = dot.status.as_ref()?;
    if !entries::is_attached(dot, &entry.uid) {
        return None;
    }
    let volume = status.volumes.iter().find(|volume| volume.name == entry.volume)?;
    // The caller writes what it asked for into the PersistentVolume.
    if volume.format() != request.format {
        return None;
    }
    Some(Created {
        handle: Handle {
            dot: status.id.as_deref()?.parse().ok()?,
            volume: volume.id.parse().ok()?,
            claim: request.claim,
        },
        size_bytes: parse_quantity(&volume.size).ok()?,
        node: status.node.clone()?,
    })
}

fn new_entry(request: &CreateVolume) -> DotClaim {
    let (volume_mode, fs_type) = words_of(request.format);
    DotClaim {
        volume_mode,
        fs_type,
        zfs: ZfsProperties::of(&request.tuning),
        attributes: None,
        uid: request.claim.to_string(),
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        volume: VOLUME.to_owned(),
        size: format_quantity(request.size_bytes),
        branch: None,
        selected_node: Some(request.node.clone()),
        provisioned: false,
        shared: false,
    }
}

/// The Dot of a plain claim.
pub fn build_dot(request: &CreateVolume) -> Dot {
    let claim = (request.claim, request.namespace.as_str(), request.name.as_str());
    build_own_dot(claim, (request.size_bytes, request.format), None, &request.pool_class)
}

/// Whether the claim that was read is the one of the request.
pub fn is_claim(claim: Option<&PersistentVolumeClaim>, request: &CreateVolume) -> bool {
    claim.is_some_and(|claim| claim.metadata.uid == Some(request.claim.to_string()))
}

#[cfg(test)]
mod tests;
