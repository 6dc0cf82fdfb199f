//! What a Branch needs: a Dot, a name nobody else has, and a commit to start from.

use std::sync::Arc;

use dotmesh_crds::branch::BranchOrigin;
use dotmesh_crds::condition::Reason;
use dotmesh_crds::{Branch, Commit, Dot, Remnant, RemnantSpec};
use dotmesh_model::history::{BranchTip, History, Node, Unresolved};
use dotmesh_model::id::InvalidId;
use dotmesh_model::name::BranchName;
use dotmesh_model::reference::{Base, Reference};
use kube::ResourceExt;

use super::observe::{Observed, is_accepted};
use super::takeover::start;
use crate::commit::validate::is_taken;
use crate::loss::told;
use crate::meta::{belongs_to, is_deleting, is_restoring, uid};
use crate::status::{Verdict, ready_condition};

/// A branch that can be accepted, or was.
#[derive(Debug, Clone)]
pub struct Valid {
    /// Its Dot.
    pub dot: Arc<Dot>,
    /// Its name.
    pub name: BranchName,
    /// With what it begins.
    pub start: Start,
}

/// With what a branch begins.
#[derive(Debug, Clone)]
pub enum Start {
    /// A commit; absent: empty.
    Origin(Option<BranchOrigin>),
    /// What another one left, which it may take.
    Free(Box<Remnant>),
    /// What another one left, which it takes.
    Taken(Box<RemnantSpec>),
}

impl Start {
    /// The commit that the head is cloned from; absent: empty.
    pub fn origin(&self) -> Option<&BranchOrigin> {
        match self {
            Self::Origin(origin) => origin.as_ref(),
            Self::Free(remnant) => remnant.spec.branch.as_ref()?.origin.as_ref(),
            Self::Taken(remnant) => remnant.branch.as_ref()?.origin.as_ref(),
        }
    }
}

/// Checks a Branch against what there is. What was decided at acceptance is not decided again.
pub fn validate(seen: &Observed) -> Result<Valid, Verdict> {
    let spec = &seen.branch.spec;
    let name: BranchName = spec
        .name
        .parse()
        .map_err(|why| Verdict::new(Reason::Invalid, format!("the name {:?} {why}", spec.name)))?;
    let dot = seen.dot.clone().ok_or_else(|| {
        Verdict::new(
            Reason::DotNotFound,
            format!("there is no Dot {:?} in this namespace", spec.dot),
        )
    })?;
    if !belongs_to(&seen.branch, &dot) {
        return Err(Verdict::new(
            Reason::DotNotFound,
            format!(
                "the Dot {:?} that this Branch belonged to is gone; the one of that name now is another",
                spec.dot
            ),
        ));
    }
    if is_deleting(&*dot) || seen.is_retiring {
        return Err(Verdict::new(
            Reason::Deleting,
            format!("Dot {:?} is being deleted", spec.dot),
        ));
    }
    if is_restoring(&dot) && !is_accepted(&seen.branch) {
        let why = format!("Dot {:?} is being restored", spec.dot);
        return Err(Verdict::new(Reason::NotReady, why));
    }
    if is_accepted(&seen.branch) {
        let origin = seen.branch.status.as_ref().and_then(|status| status.origin.clone());
        let start = Start::Origin(origin);
        return Ok(Valid { dot, name, start });
    }
    if let Some(holder) = name_holder(&seen.branch, &seen.siblings) {
        return Err(Verdict::new(
            Reason::NameTaken,
            format!(
                "branch {:?} of Dot {:?} is Branch {holder:?}; choose another spec.name",
                spec.name, spec.dot
            ),
        ));
    }
    let start = match &seen.branch.spec.restore_from {
        Some(_) => start(seen, &dot)?,
        None => Start::Origin(resolve_origin(seen, &dot)?),
    };
    Ok(Valid { dot, name, start })
}

/// The object that has the name: one that was accepted, else the oldest.
fn name_holder(branch: &Branch, siblings: &[Branch]) -> Option<String> {
    let age = |branch: &Branch| (branch.creation_timestamp().map(|time| time.0), uid(branch).to_owned());
    siblings
        .iter()
        .filter(|other| other.spec.name == branch.spec.name)
        .find(|other| is_accepted(other) || (!is_deleting(*other) && age(other) < age(branch)))
        .map(ResourceExt::name_any)
}

fn resolve_origin(seen: &Observed, dot: &Dot) -> Result<Option<BranchOrigin>, Verdict> {
    let from = &seen.branch.spec.from;
    if from.is_empty() {
        return Ok(None);
    }
    let reference: Reference = from
        .parse()
        .map_err(|why| Verdict::new(Reason::Invalid, format!("spec.from {why}")))?;
    let checked_out = dot
        .status
        .as_ref()
        .and_then(|status| status.checkout.clone())
        .unwrap_or_default();
    let invalid = |why: InvalidId| Verdict::new(Reason::Error, format!("a recorded id cannot be read: {why}"));
    let history = build_history(&seen.commits, &seen.siblings).map_err(invalid)?;
    let node = history
        .resolve(&reference, &checked_out)
        .map_err(|why| explain(&reference, &why, &seen.commits, dot))?;
    let commit = seen
        .commits
        .iter()
        .find(|commit| commit_id(commit) == Some(node.id.to_string()));
    let status = commit.and_then(|commit| commit.status.as_ref());
    if let Some(told) = status.and_then(|status| told(&status.conditions)) {
        let why = format!(
            "Commit {:?}, where it would begin, is lost: {}",
            node.name, told.message
        );
        return Err(Verdict::new(Reason::DataLost, why));
    }
    Ok(status.map(|status| BranchOrigin {
        commit: node.id.to_string(),
        commit_name: node.name.clone(),
        head: node.head.to_string(),
        guids: status
            .volumes
            .iter()
            .map(|volume| (volume.id.clone(), volume.guid.clone()))
            .collect(),
    }))
}

fn commit_id(commit: &Commit) -> Option<String> {
    commit.status.as_ref().and_then(|status| status.id.clone())
}

/// Commits that were taken and stay, also those that have lost their snapshots, and branches that have a head.
fn build_history(commits: &[Commit], branches: &[Branch]) -> Result<History, InvalidId> {
    let mut nodes = Vec::new();
    for commit in commits.iter().filter(|commit| !is_deleting(*commit)) {
        let Some(status) = commit.status.as_ref().filter(|status| is_taken(status)) else {
            continue;
        };
        nodes.push(Node {
            id: status.id.as_deref().unwrap_or_default().parse()?,
            name: commit.name_any(),
            head: status.head.as_deref().unwrap_or_default().parse()?,
            createtxg: status
                .createtxg
                .and_then(|txg| u64::try_from(txg).ok())
                .unwrap_or_default(),
            parent: status.parent.as_deref().map(str::parse).transpose()?,
        });
    }
    let mut tips = Vec::new();
    for branch in branches {
        let Some((status, head)) = branch
            .status
            .as_ref()
            .and_then(|status| Some((status, status.head.as_ref()?)))
        else {
            continue;
        };
        let origin = status.origin.as_ref().map(|origin| origin.commit.parse()).transpose()?;
        let tip = BranchTip {
            head: head.parse()?,
            origin,
        };
        tips.push((branch.spec.name.clone(), tip));
    }
    Ok(History::new(nodes, tips))
}

/// A reference to a commit that exists but is not Ready yet is told from one to nothing.
fn explain(reference: &Reference, why: &Unresolved, commits: &[Commit], dot: &Dot) -> Verdict {
    if let (Base::Name(name), Unresolved::Unknown { .. }) = (&reference.base, why)
        && let Some(commit) = commits.iter().find(|commit| commit.name_any() == *name)
    {
        if is_deleting(commit) {
            return Verdict::new(Reason::ReferenceNotFound, format!("Commit {name:?} is being deleted"));
        }
        let conditions = commit
            .status
            .as_ref()
            .map(|status| status.conditions.as_slice())
            .unwrap_or_default();
        let because = ready_condition(conditions)
            .map(|ready| ready.message.clone())
            .unwrap_or_default();
        return Verdict::new(Reason::NotReady, format!("Commit {name:?} is not ready: {because}"));
    }
    Verdict::new(
        Reason::ReferenceNotFound,
        format!("spec.from {reference}: {why} (Dot {:?})", dot.name_any()),
    )
}
