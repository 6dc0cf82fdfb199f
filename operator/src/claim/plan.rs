//! What a claim needs next, from what was read. Pure.

use dotmesh_crds::condition::{Condition, READY};
use dotmesh_crds::dot::{DotClaim, DotStatus};
use dotmesh_crds::format::{format_of, words_of};
use dotmesh_crds::names::{ANNOTATION_CLAIM, LABEL_CLAIM_UID, LABEL_DOT, volume_object};
use dotmesh_crds::zfs::ZfsProperties;
use dotmesh_crds::{Branch, BranchSpec, Commit, Dot, Reason};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::Handle;
use dotmesh_model::name::VolumeName;
use dotmesh_model::size::{format_quantity, parse_quantity};
use dotmesh_model::tuning::Tuning;
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::entries::{self, BranchNames};
use super::error::ClaimError;
use super::own::is_made_for;
use super::validate::{Request, Source};
use super::volume::build_volume;
use crate::dot::import::is_importing;
use crate::meta::{belongs_to, is_deleting, uid};
use crate::status::is_ready;

/// What a claim's plan is made from.
#[derive(Debug, Clone)]
pub struct World {
    /// The Dot, as the API has it now.
    pub dot: Dot,
    /// The Dot is about to be deleted by itself.
    pub retiring: bool,
    /// The Branch that the claim is pinned to.
    pub branch: Option<Branch>,
    /// The Commit that a Branch of the claim's own is to be made from, while there is none.
    pub origin: Option<Commit>,
    /// The branches that entries of the Dot are pinned to.
    pub branch_names: BranchNames,
    /// How the claim's VolumeAttributesClass wants the data to be kept.
    pub attributes: Tuning,
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
    /// Make the Branch that goes with the claim.
    CreateBranch(Box<Branch>),
    /// Write the claim into the Dot.
    Enter(Box<DotClaim>),
    /// The data is ready: make the PersistentVolume.
    CreateVolume(Box<PersistentVolume>),
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The scheduler's: nobody knows yet on which node the first pod will run.
    FirstPod,
    /// The Commit controller's: it is not Ready.
    Commit,
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
            Err(ClaimError::Conflict {
                kind: "PersistentVolume",
                name: volume_object(&uid),
            })
        };
    }
    if request.source.is_copy() && !is_made_for(&world.dot, &uid) {
        let name = world.dot.name_any();
        return Err(ClaimError::Conflict { kind: "Dot", name });
    }
    check_pool_class(request, &world.dot)?;
    if let Some(commit) = &world.origin {
        return plan_branch(request, world, commit);
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

/// A StorageClass that says nothing of it takes every Dot; one that does would promise what its data is not.
fn check_pool_class(request: &Request, dot: &Dot) -> Result<(), ClaimError> {
    let has = dot.spec.pool_class();
    match request.pool_class.as_deref().filter(|asked| *asked != has) {
        None => Ok(()),
        Some(asked) => Err(ClaimError::OtherPoolClass {
            class: request.class.name.clone(),
            asked: asked.chars().take(64).collect(),
            dot: dot.name_any(),
            has: has.to_owned(),
        }),
    }
}

/// A Dot that goes gives nothing out any more.
fn check_dot(world: &World) -> Result<(), ClaimError> {
    if is_deleting(&world.dot) || world.retiring {
        return Err(ClaimError::Deleting {
            kind: "Dot",
            name: world.dot.name_any(),
        });
    }
    Ok(())
}

/// Before volumes have been filled, only the claims by which that is done get them.
fn check_import(request: &Request, dot: &Dot) -> Result<(), ClaimError> {
    let is_its = request.import.as_deref() == Some(uid(dot)) || request.source.is_copy();
    if is_importing(dot) && !is_its && !is_planted(Mutant::ClaimsAreServedBeforeTheImport) {
        return Err(ClaimError::Importing { dot: dot.name_any() });
    }
    Ok(())
}

fn plan_branch(request: &Request, world: &World, commit: &Commit) -> Result<Plan, ClaimError> {
    check_dot(world)?;
    let name = commit.name_any();
    if !belongs_to(commit, &world.dot) {
        return Err(ClaimError::CommitNotFound {
            commit: name,
            namespace: request.namespace.clone(),
        });
    }
    if is_deleting(commit) {
        return Err(ClaimError::Deleting { kind: "Commit", name });
    }
    let status = commit.status.clone().unwrap_or_default();
    refuse_when(
        "Commit",
        name,
        &status.conditions,
        &[
            Reason::Invalid,
            Reason::DotNotFound,
            Reason::BranchNotFound,
            Reason::NoVolumes,
            Reason::OutOfSpace,
            Reason::Conflict,
            Reason::DataMissing,
            Reason::DataLost,
        ],
    )?;
    match status.id.filter(|_| is_ready(&status.conditions)) {
        Some(id) => Ok(Plan::CreateBranch(Box::new(build_branch(request, world, id)))),
        None => Ok(Plan::Wait(Waiting::Commit)),
    }
}

/// The Branch of a claim's own. From the commit's id, because another commit may get its name.
fn build_branch(request: &Request, world: &World, commit: String) -> Branch {
    let uid = request.uid.to_string();
    let dot = world.dot.name_any();
    Branch {
        metadata: ObjectMeta {
            name: Some(volume_object(&uid)),
            namespace: Some(request.namespace.clone()),
            labels: Some(
                [
                    (LABEL_CLAIM_UID.to_owned(), uid.clone()),
                    (LABEL_DOT.to_owned(), dot.clone()),
                ]
                .into(),
            ),
            annotations: Some([(ANNOTATION_CLAIM.to_owned(), request.name.clone())].into()),
            ..ObjectMeta::default()
        },
        spec: BranchSpec {
            dot,
            name: volume_object(&uid),
            from: commit,
            restore_from: None,
        },
        status: None,
    }
}

fn plan_entry(request: &Request, world: &World) -> Result<Plan, ClaimError> {
    let dot = &world.dot;
    check_dot(world)?;
    check_import(request, dot)?;
    if let Some(branch) = &world.branch {
        check_branch(branch)?;
    }
    let volume = choose_volume(request, dot)?.as_str().to_owned();
    let format = choose_format(request, dot, &volume)?;
    let (volume_mode, fs_type) = words_of(format);
    let entry = DotClaim {
        uid: request.uid.to_string(),
        namespace: request.namespace.clone(),
        name: request.name.clone(),
        volume,
        volume_mode,
        fs_type,
        attributes: ZfsProperties::of(&world.attributes.clone().of_format(format)),
        zfs: ZfsProperties::of(&request.tuning.clone().of_format(format)),
        size: format_quantity(request.size_bytes),
        branch: world.branch.as_ref().map(ResourceExt::name_any),
        selected_node: request.selected_node.clone(),
        provisioned: false,
        shared: request.shared,
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
    // A copy lies where its original does.
    if request.source.is_copy() {
        let selected_node = None;
        return Ok(Plan::Enter(Box::new(DotClaim { selected_node, ..entry })));
    }
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
    Ok(Plan::Enter(Box::new(entry)))
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
            Reason::DataLost,
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

/// The volume's, when it is what the claim asks for; of a new one what that is.
fn choose_format(request: &Request, dot: &Dot, volume: &str) -> Result<VolumeFormat, ClaimError> {
    let Some(has) = entries::format_of(dot, volume) else {
        let format = request.format.unwrap_or_default();
        if request.size_bytes < format.min_bytes() {
            return Err(ClaimError::TooSmall {
                asked: format_quantity(request.size_bytes),
                what: describe(format),
                least: format_quantity(format.min_bytes()),
            });
        }
        return Ok(format);
    };
    let is_block = has == VolumeFormat::Block;
    match request.format {
        None if !is_block => Ok(has),
        Some(asked) if asked == has => Ok(has),
        asked => Err(ClaimError::OtherFormat {
            dot: dot.name_any(),
            volume: volume.to_owned(),
            has: describe(has),
            asked: asked.map_or("files", describe),
        }),
    }
}

/// A format for people.
pub fn describe(format: VolumeFormat) -> &'static str {
    match format {
        VolumeFormat::Zfs => "a zfs filesystem",
        VolumeFormat::Ext4 => "an ext4 filesystem",
        VolumeFormat::Xfs => "an xfs filesystem",
        VolumeFormat::Block => "a block device",
    }
}

fn plan_volume(request: &Request, world: &World, entry: &DotClaim) -> Result<Plan, ClaimError> {
    let dot = &world.dot;
    let status = dot.status.clone().unwrap_or_default();
    let attributes = ZfsProperties::of(
        &world
            .attributes
            .clone()
            .of_format(format_of(entry.volume_mode, entry.fs_type)),
    );
    // The claim names another class than it did. What says nothing was silenced by a later word on its volume.
    if entry.attributes.is_some() && entry.attributes != attributes {
        return Ok(Plan::Enter(Box::new(DotClaim {
            attributes,
            ..entry.clone()
        })));
    }
    if let Some((handle, node, (bytes, format))) = ready_volume(&status, entry, request) {
        // Recorded before anybody can write: what was handed out and goes without being deleted is kept.
        let is_own = matches!(request.source, Source::Commit(_)) || request.source.is_copy();
        if is_own && !entry.provisioned && !is_planted(Mutant::WhatWasHandedOutIsNotRecorded) {
            return Ok(Plan::Enter(Box::new(DotClaim {
                provisioned: true,
                ..entry.clone()
            })));
        }
        return Ok(Plan::CreateVolume(Box::new(build_volume(
            request,
            handle,
            node,
            (bytes, format),
        ))));
    }
    // The scheduler changed its mind before anything was placed.
    let may_move = status.node.is_none() && !request.source.is_copy();
    if may_move && request.selected_node.is_some() && entry.selected_node != request.selected_node {
        return Ok(Plan::Enter(Box::new(DotClaim {
            selected_node: request.selected_node.clone(),
            ..entry.clone()
        })));
    }
    refuse_when(
        "Dot",
        dot.metadata.name.clone().unwrap_or_default(),
        &status.conditions,
        &[
            Reason::Invalid,
            Reason::CommitNotFound,
            Reason::RemnantNotFound,
            Reason::RemnantTaken,
            Reason::PoolUnavailable,
            Reason::PoolForeign,
            Reason::Rewound,
            Reason::OutOfSpace,
            Reason::ZfsUnsupported,
            Reason::NodeUnreachable,
            Reason::DataMissing,
            Reason::DataLost,
            Reason::Conflict,
        ],
    )?;
    Ok(Plan::Wait(Waiting::Attachment))
}

/// Handle, node, size and format of the entry's volume, once it can be mounted and is as large as the claim asks.
fn ready_volume<'a>(
    status: &'a DotStatus,
    entry: &DotClaim,
    request: &Request,
) -> Option<(Handle, &'a str, (u64, VolumeFormat))> {
    let attached = status.attachments.contains(&entry.uid);
    let volume = status.volumes.iter().find(|volume| volume.name == entry.volume)?;
    let bytes = parse_quantity(&volume.size).ok()?;
    let handle = Handle {
        dot: status.id.as_deref()?.parse().ok()?,
        volume: volume.id.parse().ok()?,
        claim: request.uid,
    };
    let node = status.node.as_deref()?;
    (attached && bytes >= request.size_bytes).then_some((handle, node, (bytes, volume.format())))
}

#[cfg(test)]
mod tests;
