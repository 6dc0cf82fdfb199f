//! What a volume that shall be larger needs next, from what was read. Pure.

use dotmesh_crds::dot::DotClaim;
use dotmesh_crds::{Branch, Condition, Dot, Reason};
use dotmesh_model::handle::Handle;
use dotmesh_model::id::VolumeId;
use dotmesh_model::size::{format_quantity, parse_quantity};
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;

use super::ExpandVolume;
use crate::claim::entries;
use crate::facade::held::{Step, World, held_volume};
use crate::meta::is_deleting;
use crate::pool::room::{NoRoom, check_growth};
use crate::status::stuck_condition;

/// Why the volume is not made larger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No Dot, claim or volume of the handle.
    #[error("there is no volume {0}")]
    NotFound(Handle),
    /// The volume is, or will be, larger than the caller allows. Volumes do not shrink.
    #[error("the volume has {size}, the caller allows {limit}; a volume does not shrink")]
    AboveLimit {
        /// Its size, as a quantity.
        size: String,
        /// The limit, as a quantity.
        limit: String,
    },
    /// The Dot goes.
    #[error("Dot {0:?} is being deleted")]
    Deleting(String),
    /// What the claim mounted is gone.
    #[error("the claim's branch of Dot {0:?} is gone; make a claim on another one")]
    NoBranch(String),
    /// Not in this pool, or not now.
    #[error("volume {volume:?} of Dot {dot:?} cannot grow: {why}")]
    NoRoom {
        /// The Dot.
        dot: String,
        /// The volume.
        volume: String,
        /// Why.
        why: NoRoom,
    },
    /// Another call asks for another size of the same volume.
    #[error("another request for this volume is under way")]
    Superseded,
    /// The Dot or its Branch says what keeps it.
    #[error("{kind} {name:?} is not ready: {message}")]
    NotReady {
        /// `Dot` or `Branch`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Whether space is what is missing.
        is_full: bool,
        /// For people.
        message: String,
    },
}

/// The next step for the request.
pub fn plan(request: &ExpandVolume, world: &World) -> Result<Step<u64>, Refusal> {
    let not_found = Refusal::NotFound(request.handle);
    let dot = world.dot.as_ref().ok_or(not_found.clone())?;
    let entry = held_volume(dot, request.handle).ok_or(not_found)?;
    let recorded = recorded_size(dot, request.handle.volume);
    let there = world
        .branch
        .as_ref()
        .map_or(0, |branch| size_on(branch, request.handle.volume));
    let largest = recorded.max(there);
    if let Some(limit) = request.limit_bytes.filter(|limit| largest > *limit) {
        return Err(Refusal::AboveLimit {
            size: format_quantity(largest),
            limit: format_quantity(limit),
        });
    }
    if there >= request.size_bytes {
        return Ok(Step::Answer(there));
    }
    let name = dot.name_any();
    if is_deleting(dot) {
        return Err(Refusal::Deleting(name));
    }
    if world.branch.as_ref().is_none_or(is_deleting) {
        return Err(Refusal::NoBranch(name));
    }
    // What is recorded was judged when it was.
    let room = check_growth(world.pool.as_deref(), request.size_bytes);
    if let Err(why) = room
        && (recorded < request.size_bytes || matches!(why, NoRoom::Unknown(_)))
    {
        return Err(Refusal::NoRoom {
            dot: name,
            volume: entry.volume.clone(),
            why,
        });
    }
    if recorded >= request.size_bytes {
        return Ok(Step::Wait);
    }
    let asked = parse_quantity(&entry.size).unwrap_or_default();
    match (asked == request.size_bytes, world.has_asked) {
        (true, _) if is_planted(Mutant::AVolumeIsToldLargerBeforeItIs) => Ok(Step::Answer(asked)),
        (true, _) => Ok(Step::Wait),
        (false, true) => Err(Refusal::Superseded),
        // Also when more was asked for in vain before: the volume has never had that size.
        (false, false) => {
            let wish = DotClaim {
                size: format_quantity(request.size_bytes),
                ..entry.clone()
            };
            Ok(Step::Write(entries::with(dot, wish)))
        }
    }
}

fn recorded_size(dot: &Dot, volume: VolumeId) -> u64 {
    let id = volume.to_string();
    let mut volumes = dot.status.iter().flat_map(|status| &status.volumes);
    let size = volumes.find(|volume| volume.id == id).map(|volume| &volume.size);
    size.and_then(|size| parse_quantity(size).ok()).unwrap_or_default()
}

fn size_on(branch: &Branch, volume: VolumeId) -> u64 {
    let id = volume.to_string();
    let mut volumes = branch.status.iter().flat_map(|status| &status.volumes);
    let size = volumes.find(|volume| volume.id == id).map(|volume| &volume.size);
    size.and_then(|size| parse_quantity(size).ok()).unwrap_or_default()
}

/// What the Branch, else the Dot says that keeps it, when there was not enough time.
pub fn explain(world: &World) -> Option<Refusal> {
    let branch = world.branch.as_ref().and_then(|branch| {
        let conditions = &branch.status.as_ref()?.conditions;
        not_ready("Branch", branch.name_any(), conditions)
    });
    branch.or_else(|| {
        let dot = world.dot.as_ref()?;
        not_ready("Dot", dot.name_any(), &dot.status.as_ref()?.conditions)
    })
}

fn not_ready(kind: &'static str, name: String, conditions: &[Condition]) -> Option<Refusal> {
    let stuck = stuck_condition(conditions)?;
    Some(Refusal::NotReady {
        kind,
        name,
        is_full: stuck.reason == Reason::OutOfSpace.as_str(),
        message: stuck.message.clone(),
    })
}

#[cfg(test)]
mod tests;
