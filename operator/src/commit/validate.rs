//! What a new Commit needs: a Dot that lies somewhere, and a branch with volumes.

use std::collections::BTreeMap;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::names::{ANNOTATION_HEAD, initial_commit_object};
use dotmesh_crds::{Branch, CommitStatus, Dot};
use dotmesh_model::id::{BranchId, CommitId, DotId, HeadId, VolumeId};
use dotmesh_model::name::BranchName;
use kube::ResourceExt;

use super::observe::Observed;
use crate::dot::import::is_importing;
use crate::meta::{belongs_to, is_deleting, is_restoring, uid};
use crate::status::{Verdict, is_ready, ready_condition};

/// A Commit that can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Valid {
    /// Its Dot.
    pub dot: DotId,
    /// Where that lies.
    pub node: String,
    /// Its branch.
    pub branch: BranchId,
    /// That branch's name.
    pub branch_name: BranchName,
    /// The head to snapshot: the recorded one, else the branch's.
    pub head: HeadId,
    /// The Commit's own id.
    pub commit: CommitId,
    /// Names of the head's volumes.
    pub volumes: BTreeMap<VolumeId, String>,
}

/// Whether its snapshots were made and recorded; whether they still are there is another matter.
pub fn is_taken(status: &CommitStatus) -> bool {
    status.id.is_some()
}

/// Checks a Commit against what there is.
pub fn validate(seen: &Observed) -> Result<Valid, Verdict> {
    let (commit, spec) = (&seen.commit, &seen.commit.spec);
    let recorded = commit.annotations().get(ANNOTATION_HEAD);
    let dot = validate_dot(seen)?;
    let name = spec.branch.clone().or_else(|| dot.status.as_ref()?.checkout.clone());
    let name = name.ok_or_else(|| Verdict::new(Reason::NotReady, format!("Dot {:?} has no branch yet", spec.dot)))?;
    let branch_name: BranchName = name
        .parse()
        .map_err(|why| Verdict::new(Reason::Invalid, format!("spec.branch {why}")))?;
    let status = dot.status.clone().unwrap_or_default();
    if status.volumes.is_empty() {
        return Err(Verdict::new(
            Reason::NoVolumes,
            format!(
                "Dot {:?} has no volumes yet: list them in its spec, or make a claim on it",
                spec.dot
            ),
        ));
    }
    let node = status.node.ok_or_else(|| {
        Verdict::new(
            Reason::WaitingForFirstPod,
            format!(
                "Dot {:?} lies nowhere yet: it is placed with the first pod that uses it",
                spec.dot
            ),
        )
    })?;
    let branch = validate_branch(seen, &dot, &name, recorded.is_some())?;
    let branch_status = branch.status.clone().unwrap_or_default();
    let head = recorded.or(branch_status.head.as_ref());
    let volumes: Result<BTreeMap<VolumeId, String>, _> = branch_status
        .volumes
        .iter()
        .map(|volume| Ok((volume.id.parse()?, volume.name.clone())))
        .collect();
    let ids = (|| {
        Ok::<_, dotmesh_model::id::InvalidId>(Valid {
            dot: status.id.as_deref().unwrap_or(uid(&*dot)).parse()?,
            node,
            branch: branch_status.id.as_deref().unwrap_or(uid(&*branch)).parse()?,
            branch_name,
            head: head.map_or("", String::as_str).parse()?,
            commit: uid(commit).parse()?,
            volumes: volumes?,
        })
    })();
    let valid = ids.map_err(|why| Verdict::new(Reason::Invalid, why.to_string()))?;
    if valid.volumes.is_empty() {
        return Err(Verdict::new(
            Reason::NoVolumes,
            format!("branch {name:?} of Dot {:?} has no volumes yet", spec.dot),
        ));
    }
    Ok(valid)
}

fn validate_dot(seen: &Observed) -> Result<std::sync::Arc<Dot>, Verdict> {
    let name = &seen.commit.spec.dot;
    let dot = seen.dot.clone().ok_or_else(|| {
        Verdict::new(
            Reason::DotNotFound,
            format!("there is no Dot {name:?} in this namespace"),
        )
    })?;
    if !belongs_to(&seen.commit, &dot) {
        return Err(Verdict::new(
            Reason::DotNotFound,
            format!("the Dot {name:?} that this Commit belonged to is gone; the one of that name now is another"),
        ));
    }
    if is_deleting(&*dot) || seen.is_retiring {
        return Err(Verdict::new(Reason::Deleting, format!("Dot {name:?} is being deleted")));
    }
    if is_restoring(&dot) {
        return Err(Verdict::new(
            Reason::NotReady,
            format!("Dot {name:?} is being restored"),
        ));
    }
    if is_importing(&dot) && seen.commit.name_any() != initial_commit_object(name) {
        let why = format!("an import into Dot {name:?} is under way");
        return Err(Verdict::new(Reason::NotReady, why));
    }
    Ok(dot)
}

/// The branch of that name that was accepted. One that is being deleted takes no new commits; a commit that may have
/// happened already goes on.
fn validate_branch(seen: &Observed, dot: &Dot, name: &str, begun: bool) -> Result<std::sync::Arc<Branch>, Verdict> {
    let of = dot.name_any();
    let named = || seen.branches.iter().filter(|branch| branch.spec.name == name);
    let accepted =
        |branch: &&std::sync::Arc<Branch>| branch.status.as_ref().is_some_and(|status| status.head.is_some());
    let branch = named()
        .find(accepted)
        .or_else(|| named().next())
        .cloned()
        .ok_or_else(|| Verdict::new(Reason::BranchNotFound, format!("Dot {of:?} has no branch {name:?}")))?;
    let object = branch.name_any();
    if is_deleting(&*branch) && !begun {
        return Err(Verdict::new(
            Reason::Deleting,
            format!("Branch {object:?} is being deleted"),
        ));
    }
    let conditions = branch
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    if !is_ready(conditions) && !begun {
        let why = ready_condition(conditions)
            .map(|ready| ready.message.clone())
            .unwrap_or_default();
        return Err(Verdict::new(
            Reason::NotReady,
            format!("Branch {object:?} is not ready: {why}"),
        ));
    }
    Ok(branch)
}
