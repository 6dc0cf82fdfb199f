//! The next step for what is published of a Commit. Pure.
//!
//! A pair is whole when the content is for the VolumeSnapshot that is there. snapshot-controller binds a content once and
//! for ever; so when one of the two goes, by whomever, what is left of the pair goes too, and another one is made.

use dotmesh_crds::Dot;
use dotmesh_crds::condition::Reason;
use dotmesh_mutant::{Mutant, is_planted};

use super::build::{
    bound_to, build_content, build_snapshot, content_key, is_loose, is_of, is_of_another, is_pair, snapshot_key,
};
use super::observe::{Observed, Pair};
use super::{is_wanted, published_condition};
use crate::commit::validate::is_taken;
use crate::driver::Plan;
use crate::meta::{is_deleting, uid};
use crate::status::{Verdict, is_ready};
use crate::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};

/// One effect; of a pair, by its place in [`Observed::pairs`].
#[derive(Debug, Clone)]
pub enum Step {
    /// Make the content.
    CreateContent(usize, Box<VolumeSnapshotContent>),
    /// Make the VolumeSnapshot.
    CreateSnapshot(usize, Box<VolumeSnapshot>),
    /// Delete the VolumeSnapshot.
    DeleteSnapshot(usize),
    /// Tell csi-snapshotter that it may let go of the content.
    Loosen(usize),
    /// Delete the content.
    DeleteContent(usize),
    /// Tell no more whether it is published.
    Forget,
}

/// What a pair needs.
#[derive(Debug)]
enum Needs {
    /// Nothing.
    Nothing,
    /// That something goes first; a watch tells of it.
    Patience,
    /// This.
    Step(Step),
    /// That somebody makes room.
    Verdict(Verdict),
}

/// The next step.
pub fn plan(seen: &Observed) -> Plan<Step> {
    let commit = &seen.commit;
    let dot = seen.dot.as_deref();
    match dot.filter(|dot| is_wanted(commit, dot)) {
        Some(dot) => plan_wanted(seen, dot),
        // What a Commit asks for, nobody can say without its Dot; it goes when that is gone.
        None if dot.is_none() && !is_deleting(commit) => Plan::Rest,
        None => plan_unwanted(seen),
    }
}

/// Whether it waits for something that no watch tells of.
pub fn is_untold(seen: &Observed) -> bool {
    let is_taken = || matches!(plan(seen), Plan::Report(verdict) if verdict.reason == Reason::Conflict);
    seen.is_unknown || is_taken()
}

fn plan_wanted(seen: &Observed, dot: &Dot) -> Plan<Step> {
    let status = seen.commit.status.as_ref();
    let status = status.filter(|status| is_taken(status) && is_ready(&status.conditions));
    if status.is_none() || is_deleting(dot) {
        return Plan::Rest;
    }
    if let Some(verdict) = unavailable(seen) {
        return Plan::Report(verdict);
    }
    let mut verdict = Verdict::ready();
    let mut is_whole = true;
    for (place, pair) in seen.pairs.iter().enumerate() {
        match needs(seen, dot, place, pair) {
            Needs::Nothing => {}
            Needs::Patience => is_whole = false,
            Needs::Step(step) => return Plan::Do(step),
            Needs::Verdict(other) => verdict = other,
        }
    }
    match is_whole || !verdict.is_ready() {
        true => Plan::Report(verdict),
        false => Plan::Rest,
    }
}

/// Why there can be none.
fn unavailable(seen: &Observed) -> Option<Verdict> {
    let why = match (seen.is_served, seen.is_unknown) {
        (false, _) => {
            "VolumeSnapshots are not served: install the chart with csiSnapshotter.enabled=true, or take publish back"
        }
        (true, true) => {
            "the cluster does not know VolumeSnapshots: install the CustomResourceDefinitions of snapshot.storage.k8s.io and \
             snapshot-controller"
        }
        (true, false) => return None,
    };
    Some(Verdict::new(Reason::SnapshotsUnavailable, why))
}

fn needs(seen: &Observed, dot: &Dot, place: usize, pair: &Pair) -> Needs {
    let (
        commit,
        Pair {
            volume,
            content,
            snapshot,
        },
    ) = (&seen.commit, pair);
    let (content_key, snapshot_key) = (content_key(commit, volume), snapshot_key(commit, volume));
    if content.as_ref().is_some_and(|content| !is_of(content, uid(commit))) {
        return conflict("VolumeSnapshotContent", &content_key.name);
    }
    let is_left = |snapshot: &VolumeSnapshot| is_of_another(snapshot, uid(commit));
    if snapshot.as_ref().is_some_and(is_left) {
        return Needs::Patience;
    }
    let is_its = |snapshot: &VolumeSnapshot| is_of(snapshot, uid(commit)) && is_pair(snapshot, &content_key);
    if snapshot.as_ref().is_some_and(|snapshot| !is_its(snapshot)) {
        return conflict("VolumeSnapshot", &snapshot_key.name);
    }
    match (content, snapshot) {
        (Some(content), _) if is_deleting(content) => match is_loose(content) {
            true => Needs::Patience,
            false => Needs::Step(Step::Loosen(place)),
        },
        (_, Some(snapshot)) if is_deleting(snapshot) => Needs::Patience,
        (Some(content), snapshot) => match (bound_to(content), snapshot) {
            (Some(bound), Some(snapshot)) if bound == uid(snapshot) => Needs::Nothing,
            (None, Some(_)) => Needs::Nothing,
            (None, None) => Needs::Step(Step::CreateSnapshot(place, Box::new(build_snapshot(commit, volume)))),
            (Some(_), _) => Needs::Step(remove_content(place, content)),
        },
        (None, snapshot) => match build_content(commit, dot, volume, snapshot.as_ref()) {
            Ok(content) => Needs::Step(Step::CreateContent(place, Box::new(content))),
            Err(why) => Needs::Verdict(Verdict::new(Reason::Invalid, why.to_string())),
        },
    }
}

fn conflict(kind: &str, name: &str) -> Needs {
    let why = format!("{kind} {name:?} has the name of what is to be published, and is something else; remove it");
    Needs::Verdict(Verdict::new(Reason::Conflict, why))
}

/// csi-snapshotter lets go only of a content that says that it may, and one that was bound has its finalizer.
fn remove_content(place: usize, content: &VolumeSnapshotContent) -> Step {
    match is_loose(content) {
        true => Step::DeleteContent(place),
        false => Step::Loosen(place),
    }
}

fn plan_unwanted(seen: &Observed) -> Plan<Step> {
    let commit = &seen.commit;
    let ours = uid(commit);
    for (
        place,
        Pair {
            content,
            snapshot,
            volume,
        },
    ) in seen.pairs.iter().enumerate()
    {
        let is_its = |snapshot: &&VolumeSnapshot| {
            is_of(*snapshot, ours) && is_pair(snapshot, &content_key(commit, volume)) && !is_deleting(*snapshot)
        };
        if is_planted(Mutant::WhatIsPublishedStays) {
            break;
        }
        if snapshot.as_ref().filter(is_its).is_some() {
            return Plan::Do(Step::DeleteSnapshot(place));
        }
        let goes = |content: &VolumeSnapshotContent| is_deleting(content) && is_loose(content);
        if let Some(content) = content
            .as_ref()
            .filter(|content| is_of(*content, ours) && !goes(content))
        {
            return Plan::Do(remove_content(place, content));
        }
    }
    match published_condition(commit) {
        Some(_) if !is_deleting(commit) => Plan::Do(Step::Forget),
        Some(_) | None => Plan::Rest,
    }
}

#[cfg(test)]
mod tests;
