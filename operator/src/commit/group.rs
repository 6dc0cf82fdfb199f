//! Commits of one instant. They wait for one another; then the first by name asks the node for all of them at once, and
//! each of the others finds itself taken. Pure, but for what is read and for the lock.
//!
//! Whoever is in a group is deleted while nobody takes it, and taken while nobody deletes from it: a call that takes a
//! Commit that has gone would make snapshots that no object stands for.

use std::collections::BTreeSet;

use dotmesh_crds::commit::{CommitGroup, Group, GroupMember};
use dotmesh_crds::names::ANNOTATION_HEAD;
use dotmesh_crds::{Commit, Reason};
use dotmesh_csi_proto::node::CommitRequest;
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;
use tokio::sync::OwnedMutexGuard;

use super::observe::{Observed, observe_alone};
use super::plan::{build_request, meant_pool};
use super::validate::{Valid, is_taken, validate};
use crate::api::{Api, Key};
use crate::context::{Context, ReconcileError};
use crate::meta::{is_deleting, is_protected, uid};
use crate::nodes::Nodes;
use crate::status::{Verdict, stuck_condition};

/// What a Commit of a group has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Ask for itself, together with these; nothing when it was taken with others.
    Take(Vec<CommitRequest>),
    /// For another one.
    Wait,
}

/// The group of a Commit that is to be taken.
pub fn wanted(commit: &Commit) -> Option<&Group> {
    let group = commit.spec.group.as_ref()?;
    (!is_deleting(commit) && !commit.status.as_ref().is_some_and(is_taken)).then_some(group)
}

/// Whether both are of one group.
pub fn are_fellows(one: &Commit, other: &Commit) -> bool {
    let name = |commit: &Commit| commit.spec.group.as_ref().map(|group| group.name.clone());
    name(one).is_some() && name(one) == name(other) && one.namespace() == other.namespace() && uid(one) != uid(other)
}

/// The others of its group, as the caches have them.
pub async fn others<A: Api, N: Nodes>(
    context: &Context<A, N>,
    commit: &Commit,
) -> Result<Vec<Observed>, ReconcileError> {
    let mut others = Vec::new();
    if wanted(commit).is_some() {
        let fellows = context
            .api
            .cached_where::<Commit>(|other| are_fellows(commit, other) && !is_deleting(other));
        for other in fellows {
            others.push(observe_alone(context, Commit::clone(&other)).await?);
        }
    }
    Ok(others)
}

/// The same ones by consistent reads; who goes is none of them any more.
pub async fn reread<A: Api, N: Nodes>(context: &Context<A, N>, seen: &mut Observed) -> Result<(), ReconcileError> {
    let mut there = Vec::new();
    for other in seen.others.drain(..) {
        let found: Option<Commit> = context.api.get(&Key::of(&other.commit)).await?;
        if let Some(found) = found.filter(|found| are_fellows(&seen.commit, found) && !is_deleting(found)) {
            there.push(Observed { commit: found, ..other });
        }
    }
    seen.others = there;
    Ok(())
}

/// Held while the group is taken, or a Commit of it is deleted.
pub async fn hold<A: Api, N: Nodes>(context: &Context<A, N>, commit: &Commit) -> Option<OwnedMutexGuard<()>> {
    let group = commit.spec.group.as_ref()?;
    let key = (commit.namespace().unwrap_or_default(), group.name.clone());
    Some(context.memory.group(&key).lock_owned().await)
}

/// What a valid Commit has to do.
///
/// # Errors
/// What it waits for, or what is wrong with its group.
pub fn part(seen: &Observed, group: &Group, valid: &Valid, pool_guid: u64) -> Result<Part, Verdict> {
    let Group { name, members } = group;
    let not_ready = |why: String| Err(Verdict::new(Reason::NotReady, why));
    let invalid = |why: String| Err(Verdict::new(Reason::Invalid, why));
    let commits = || seen.others.iter().map(|other| &other.commit);
    if let Some(taken) = commits().find(|other| other.status.as_ref().is_some_and(is_taken)) {
        return match was_taken_with(seen, taken) {
            true => Ok(Part::Take(Vec::new())),
            false => invalid(format!("group {name:?} was taken without it; choose another name")),
        };
    }
    let of_other_size = |other: &&Commit| other.spec.group.as_ref().is_some_and(|other| other.members != *members);
    if let Some(other) = commits().find(of_other_size) {
        let other = other.name_any();
        return invalid(format!(
            "group {name:?} has {members} members here and another number in Commit {other:?}"
        ));
    }
    let count = seen.others.len() + 1;
    match count.cmp(&usize::try_from(*members).unwrap_or(usize::MAX)) {
        std::cmp::Ordering::Less => {
            let why = format!("group {name:?} has {count} of its {members} Commits");
            return Err(Verdict::new(Reason::Progressing, why));
        }
        std::cmp::Ordering::Greater => {
            return invalid(format!("group {name:?} is of {members} Commits, and there are {count}"));
        }
        std::cmp::Ordering::Equal => {}
    }
    let first = commits().min_by_key(|other| other.name_any());
    if let Some(first) = first.filter(|first| first.name_any() < seen.commit.name_any()) {
        let conditions = first.status.as_ref().map(|status| status.conditions.as_slice());
        return match stuck_condition(conditions.unwrap_or_default()) {
            Some(ready) => not_ready(format!("Commit {:?} of its group: {}", first.name_any(), ready.message)),
            None => Ok(Part::Wait),
        };
    }
    let mut heads = BTreeSet::from([valid.head]);
    let mut requests = Vec::new();
    for other in &seen.others {
        let object = other.commit.name_any();
        let of_it = |verdict: Verdict| {
            let why = format!("Commit {object:?} of its group: {}", verdict.message);
            Verdict::new(Reason::NotReady, why)
        };
        let other_valid = validate(other).map_err(of_it)?;
        if !is_protected(&other.commit) || !other.commit.annotations().contains_key(ANNOTATION_HEAD) {
            // Its own turn comes first.
            return Ok(Part::Wait);
        }
        let pool = meant_pool(other).map_err(of_it)?;
        if (&other_valid.node, pool) != (&valid.node, pool_guid) {
            return invalid(format!(
                "Commit {object:?} of its group lies on another pool (node {:?}, this one {:?}): only those of one pool can be of one instant",
                other_valid.node, valid.node
            ));
        }
        if !heads.insert(other_valid.head) {
            return invalid(format!(
                "Commit {object:?} of its group is of a branch that the group has already"
            ));
        }
        requests.push(build_request(other, other_valid, pool));
    }
    if is_planted(Mutant::AGroupIsTakenOneByOne) {
        requests.clear();
    }
    Ok(Part::Take(requests))
}

fn was_taken_with(seen: &Observed, taken: &Commit) -> bool {
    let group = taken.status.as_ref().and_then(|status| status.group.as_ref());
    group.is_some_and(|group| group.commits.iter().any(|member| member.id == uid(&seen.commit)))
}

/// What is recorded of the group of a Commit that was taken in this pass.
pub fn record(seen: &Observed) -> Option<CommitGroup> {
    let name = seen.commit.spec.group.as_ref()?.name.clone();
    let taken = seen.others.iter().map(|other| &other.commit);
    let mut told = taken.filter(|other| was_taken_with(seen, other));
    if let Some(told) = told.next() {
        return told.status.as_ref()?.group.clone();
    }
    let all = std::iter::once(&seen.commit).chain(seen.others.iter().map(|other| &other.commit));
    let mut commits: Vec<GroupMember> = all
        .map(|commit| GroupMember {
            name: commit.name_any(),
            id: uid(commit).to_owned(),
            dot: commit.spec.dot.clone(),
        })
        .collect();
    commits.sort_by(|a, b| a.name.cmp(&b.name));
    Some(CommitGroup { name, commits })
}
