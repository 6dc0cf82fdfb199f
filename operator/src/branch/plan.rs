//! The next step for a Branch. Pure.

use std::collections::BTreeMap;

use dotmesh_crds::branch::BranchOrigin;
use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::DotVolumeStatus;
use dotmesh_crds::names::ANNOTATION_RESTORED;
use dotmesh_crds::{Dot, DotStatus};
use dotmesh_csi_proto::node::{DeleteBranchRequest, EnsureBranchRequest, Origin, Volume, VolumeFormat as WireFormat};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{BranchId, HeadId};
use dotmesh_model::name::BranchName;
use dotmesh_model::size::parse_quantity;
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;

use super::observe::{Observed, is_accepted};
use super::validate::{Valid, validate};
use crate::claim::own::OwnClaim;
use crate::driver::Plan;
use crate::loss::{lost, named, what_helps};
use crate::meta::{dot_id, is_deleting, is_protected, uid};
use crate::pool::meant;
use crate::status::{Verdict, in_use};

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Protect it, and make it the Dot's.
    Adopt,
    /// Record id, head and origin: from now on the name is its own.
    Accept {
        /// The first head.
        head: HeadId,
        /// What it is cloned from.
        origin: Option<BranchOrigin>,
    },
    /// Make the head and its volumes.
    Ensure {
        /// Where.
        node: String,
        /// What.
        request: EnsureBranchRequest,
    },
    /// The claim it was made for is gone: delete the Branch.
    Retire,
    /// Record the tombstone.
    Delete {
        /// Where.
        node: String,
        /// Of what.
        request: DeleteBranchRequest,
    },
    /// Let the object go.
    Release,
}

/// The next step.
pub fn plan(seen: &Observed) -> Plan<Step> {
    let branch = &seen.branch;
    if is_deleting(branch) {
        return plan_deletion(seen);
    }
    if seen.own_claim == OwnClaim::Gone && !is_planted(Mutant::ABranchOfAClaimStays) {
        return Plan::Do(Step::Retire);
    }
    if branch.annotations().contains_key(ANNOTATION_RESTORED) && !is_accepted(branch) {
        // Its Dot's controller completes it.
        return Plan::Rest;
    }
    let valid = match validate(seen) {
        Ok(valid) => valid,
        Err(verdict) => return Plan::Report(verdict),
    };
    if !is_protected(branch) {
        return Plan::Do(Step::Adopt);
    }
    if !is_accepted(branch) {
        return match uid(branch).parse::<BranchId>() {
            Ok(id) => Plan::Do(Step::Accept {
                head: HeadId::first_of(id),
                origin: valid.origin,
            }),
            Err(why) => Plan::Report(Verdict::new(Reason::Error, why.to_string())),
        };
    }
    plan_head(seen, &valid)
}

/// The volumes of the head are the Dot's: those of the origin are among them, because a Dot never loses one.
fn plan_head(seen: &Observed, valid: &Valid) -> Plan<Step> {
    let name = valid.dot.name_any();
    let dot = valid.dot.status.clone().unwrap_or_default();
    let Some(node) = &dot.node else {
        let why = format!("Dot {name:?} lies nowhere yet: it is placed with the first pod that uses it");
        return Plan::Report(Verdict::new(Reason::WaitingForFirstPod, why));
    };
    let Some(pool) = &dot.pool else {
        let why = format!("Dot {name:?} is being made on node {node:?}");
        return Plan::Report(Verdict::new(Reason::Progressing, why));
    };
    if dot.volumes.is_empty() {
        let why = format!("Dot {name:?} has no volumes yet: list them in its spec, or make a claim on it");
        return Plan::Report(Verdict::new(Reason::NoVolumes, why));
    }
    if let Some(verdict) = plan_loss(seen, node) {
        return Plan::Report(verdict);
    }
    if seen.ensured.is_some() || has_all(seen, &dot.volumes) {
        return Plan::Report(Verdict::ready());
    }
    let pool_guid = match meant(seen.pool.as_deref(), pool) {
        Ok(guid) => guid,
        Err(verdict) => return Plan::Report(verdict),
    };
    match build_request(seen, valid, &dot, pool_guid) {
        Ok(request) => Plan::Do(Step::Ensure {
            node: node.clone(),
            request,
        }),
        Err(why) => Plan::Report(Verdict::new(Reason::Error, why)),
    }
}

/// Volumes that were lost are not made anew, and nothing is added beside them.
fn plan_loss(seen: &Observed, node: &str) -> Option<Verdict> {
    let status = seen.branch.status.as_ref()?;
    lost(&seen.data, &status.conditions, |volumes| {
        let all = status.volumes.iter();
        let all = all.map(|volume| (volume.id.as_str(), volume.name.as_str()));
        let what = match volumes {
            [] => "what holds its volumes together was".to_owned(),
            some => format!("its volumes {} were", named(some, all)),
        };
        let helps = what_helps("Branch", Some(node));
        format!("{what} destroyed by something else than Dotmesh: {helps}")
    })
}

/// Whether the head has these volumes already, each at least as large.
fn has_all(seen: &Observed, wanted: &[DotVolumeStatus]) -> bool {
    let sizes: BTreeMap<&str, Option<u64>> = seen
        .branch
        .status
        .iter()
        .flat_map(|status| &status.volumes)
        .map(|volume| (volume.id.as_str(), parse_quantity(&volume.size).ok()))
        .collect();
    wanted.iter().all(|volume| {
        let size = parse_quantity(&volume.size).ok();
        sizes.get(volume.id.as_str()).is_some_and(|has| {
            let is_as_it_was = seen.branch.spec.name != BranchName::DEFAULT && has.is_some();
            *has >= size || (is_as_it_was && is_planted(Mutant::OtherBranchesStayAsTheyWere))
        })
    })
}

fn wire_format(format: VolumeFormat) -> WireFormat {
    match format {
        VolumeFormat::Zfs => WireFormat::Zfs,
        VolumeFormat::Ext4 => WireFormat::Ext4,
        VolumeFormat::Xfs => WireFormat::Xfs,
        VolumeFormat::Block => WireFormat::Block,
    }
}

fn build_request(
    seen: &Observed,
    valid: &Valid,
    dot: &DotStatus,
    pool_guid: u64,
) -> Result<EnsureBranchRequest, String> {
    let status = seen.branch.status.clone().unwrap_or_default();
    let known = status.volumes.iter();
    let known = known.filter_map(|volume| Some((volume.id.as_str(), volume.guid.parse::<u64>().ok()?)));
    let known: BTreeMap<&str, u64> = known.collect();
    let mut volumes = Vec::new();
    for volume in &dot.volumes {
        volumes.push(Volume {
            id: volume.id.clone(),
            name: volume.name.clone(),
            size_bytes: parse_quantity(&volume.size).map_err(|why| format!("volume {:?}: size {why}", volume.name))?,
            known_guid: known.get(volume.id.as_str()).copied().unwrap_or_default(),
            format: wire_format(volume.format()).into(),
        });
    }
    let origin = match &valid.origin {
        None => None,
        Some(origin) => {
            let guids: Result<_, _> = origin
                .guids
                .iter()
                .map(|(id, guid)| Ok((id.clone(), guid.parse::<u64>()?)))
                .collect();
            Some(Origin {
                commit_id: origin.commit.clone(),
                head_id: origin.head.clone(),
                snapshot_guids: guids.map_err(|why: std::num::ParseIntError| format!("status.origin.guids: {why}"))?,
            })
        }
    };
    Ok(EnsureBranchRequest {
        dot_id: dot_id(&valid.dot).to_owned(),
        branch_id: status.id.unwrap_or_default(),
        branch_name: valid.name.to_string(),
        head_id: status.head.unwrap_or_default(),
        volumes,
        origin,
        checkout: dot.checkout.as_deref() == Some(valid.name.as_str()),
        pool_guid,
        object_name: seen.branch.name_any(),
    })
}

/// A branch that was never accepted has nothing on disk, nor has one of a Dot that was not made yet; with the Dot gone, its tombstone covers the branch.
fn plan_deletion(seen: &Observed) -> Plan<Step> {
    let branch = &seen.branch;
    if !is_protected(branch) {
        return Plan::Rest;
    }
    let status = branch.status.clone().unwrap_or_default();
    let (Some(head), Some(dot)) = (status.head, seen.dot.as_deref()) else {
        return Plan::Do(Step::Release);
    };
    if let Some(verdict) = in_use(&claims_on(branch, dot), seen.users.as_deref().unwrap_or_default()) {
        return Plan::Report(verdict);
    }
    let place = dot
        .status
        .as_ref()
        .and_then(|status| status.node.clone().zip(status.pool.as_ref()));
    let Some((node, pool)) = place else {
        return Plan::Do(Step::Release);
    };
    if let Some(plan) = seen.leaves.plan(dot, Step::Release) {
        return plan;
    }
    if seen.is_tombstoned || is_planted(Mutant::BranchGoesBeforeItsHead) {
        return Plan::Do(Step::Release);
    }
    match meant(seen.pool.as_deref(), pool) {
        Ok(pool_guid) => Plan::Do(Step::Delete {
            node,
            request: DeleteBranchRequest {
                dot_id: dot_id(dot).to_owned(),
                branch_id: status.id.unwrap_or_else(|| uid(branch).to_owned()),
                head_ids: vec![head],
                pool_guid,
            },
        }),
        Err(verdict) => Plan::Report(verdict),
    }
}

/// The claims that mount this branch: pinned to it, or following the checkout while that is this branch.
fn claims_on(branch: &dotmesh_crds::Branch, dot: &Dot) -> Vec<String> {
    let status = dot.status.clone().unwrap_or_default();
    let is_checkout = status.checkout.as_deref() == Some(branch.spec.name.as_str());
    status
        .claims
        .iter()
        .filter(|claim| match &claim.branch {
            Some(object) => *object == branch.name_any(),
            None => is_checkout,
        })
        .map(|claim| format!("{}/{}", claim.namespace, claim.name))
        .collect()
}
