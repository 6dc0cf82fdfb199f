//! What a Branch leaves when it goes, and taking over what another one left.

use dotmesh_crds::branch::BranchVolume;
use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::DeletionPolicy;
use dotmesh_crds::names::LABEL_CLAIM_UID;
use dotmesh_crds::remnant::RemnantKind;
use dotmesh_crds::{Branch, Dot, Remnant, RemnantSpec};
use dotmesh_model::name::BranchName;
use kube::ResourceExt;

use super::observe::{Observed, is_accepted};
use super::validate::Start;
use crate::api::{Api, ApiError, Key};
use crate::context::{Context, ReconcileError};
use crate::inline::own::is_pods;
use crate::meta::{Leaves, dot_id, is_deleting, is_protected};
use crate::nodes::Nodes;
use crate::remnant::leave::{Left, has_data};
use crate::remnant::takeover::{self, Source, Standing};
use crate::status::Verdict;

/// Reads what the Branch wants to take over; absent when that is nothing, or recorded.
///
/// # Errors
/// Those of the API.
pub async fn observe_source<A: Api>(api: &A, branch: &Branch) -> Result<Option<Source>, ApiError> {
    let wanted = branch.spec.restore_from.as_ref().filter(|_| !is_accepted(branch));
    takeover::observe_source(api, RemnantKind::Branch, branch, wanted).await
}

/// Where a Branch begins that takes data over, or why it cannot.
pub fn start(seen: &Observed, dot: &Dot) -> Result<Start, Verdict> {
    let Some(source) = &seen.source else {
        return Err(Verdict::new(Reason::Progressing, "being taken over"));
    };
    match takeover::standing(&seen.branch, source, |remnant| contradiction(dot, remnant)) {
        Standing::Refused(verdict) => Err(verdict),
        Standing::Free(remnant) => Ok(Start::Free(Box::new(remnant.clone()))),
        Standing::Taken(remnant) => Ok(Start::Taken(Box::new(remnant.clone()))),
    }
}

fn contradiction(dot: &Dot, remnant: &RemnantSpec) -> Option<String> {
    (remnant.dot != dot_id(dot)).then(|| {
        format!(
            "spec.dot: the data is of the Dot with status.id {}, which {:?} is not",
            remnant.dot,
            dot.name_any()
        )
    })
}

/// The volumes of the head that a Remnant stands for, as they were recorded.
pub fn volumes_of(remnant: &RemnantSpec) -> Vec<BranchVolume> {
    let Some(branch) = &remnant.branch else {
        return Vec::new();
    };
    let is_cloned = |id: &String| {
        branch
            .origin
            .as_ref()
            .is_some_and(|origin| origin.guids.contains_key(id))
    };
    let volumes = remnant.volumes.iter().map(|volume| BranchVolume {
        name: volume.name.clone(),
        id: volume.id.clone(),
        guid: branch.guids.get(&volume.id).cloned().unwrap_or_default(),
        size: volume.size.clone(),
        cloned: is_cloned(&volume.id),
        zfs: volume.zfs.clone(),
    });
    volumes.collect()
}

/// What a Branch leaves that is being deleted, and does not go with its Dot. A Remnant of its own that is there counts,
/// whatever the reason for it was.
///
/// # Errors
/// Those of the API.
pub async fn observe_left<A: Api, N: Nodes>(
    context: &Context<A, N>,
    branch: &Branch,
    dot: Option<&Dot>,
    leaves: Leaves,
) -> Result<Left, ReconcileError> {
    let status = branch.status.as_ref();
    // Without volumes nobody ever wrote to it.
    let id = status.filter(|status| status.head.is_some() && !status.volumes.is_empty());
    let id = id.and_then(|status| status.id.as_ref());
    let is_going = is_deleting(branch) && is_protected(branch) && leaves == Leaves::Alone;
    let (Some(id), Some(dot), true) = (id, dot.filter(|dot| has_data(dot)), is_going) else {
        return Ok(Left::NotAsked);
    };
    let name = Key::cluster(RemnantKind::Branch.remnant(id));
    if let Some(remnant) = context.api.get::<Remnant>(&name).await? {
        return Ok(Left::Remnant(Box::new(remnant)));
    }
    Ok(match dot.spec.deletion_policy {
        _ if is_pods(branch) || is_a_claims(branch, dot) => Left::Nothing,
        DeletionPolicy::Retain => Left::ToBeMade,
        DeletionPolicy::Delete if context.config.grace == 0 => Left::Nothing,
        DeletionPolicy::Delete => Left::ToBeMade,
    })
}

/// Whether it holds nothing but what a claim was made for, which goes with the claim.
fn is_a_claims(branch: &Branch, dot: &Dot) -> bool {
    let is_main = branch.spec.name == BranchName::DEFAULT;
    branch.labels().contains_key(LABEL_CLAIM_UID) || is_main && dot.labels().contains_key(LABEL_CLAIM_UID)
}
