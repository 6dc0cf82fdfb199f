//! The next step for a Branch. Pure.

use std::collections::BTreeMap;

use dotmesh_crds::branch::{BranchOrigin, BranchVolume};
use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::{DotVolumeOrigin, DotVolumeStatus};
use dotmesh_crds::names::ANNOTATION_RESTORED;
use dotmesh_crds::zfs::ZfsProperties;
use dotmesh_crds::{Branch, Dot, DotStatus, Remnant};
use dotmesh_csi_proto::node::{
    DeleteBranchRequest, EnsureBranchRequest, Origin, Tuning as WireTuning, Volume, VolumeFormat as WireFormat,
    VolumeOrigin,
};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{BranchId, HeadId};
use dotmesh_model::name::BranchName;
use dotmesh_model::size::parse_quantity;
use dotmesh_model::tuning::{BlockSize, Tuning};
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;

use super::observe::{Observed, is_accepted};
use super::takeover::volumes_of;
use super::validate::{Start, Valid, validate};
use crate::claim::own::Owner;
use crate::dot::import::clones;
use crate::driver::Plan;
use crate::inline::own::is_pods;
use crate::loss::{lost, named, what_helps};
use crate::meta::{dot_id, is_deleting, is_protected, uid};
use crate::pool::meant;
use crate::remnant::leave::{Left, waits_for};
use crate::status::{Verdict, in_use, is_ready};

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Protect it, and make it the Dot's.
    Adopt,
    /// Say in the Remnant that this Branch takes its data.
    Take(Box<Remnant>),
    /// Record id, head and origin: from now on the name is its own.
    Accept(Box<Accepted>),
    /// Make the head and its volumes.
    Ensure {
        /// Where.
        node: String,
        /// What.
        request: EnsureBranchRequest,
    },
    /// The claim or pod it was made for is gone: delete the Branch.
    Retire,
    /// Make a Remnant of the data, which stays.
    Leave,
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

/// What makes the name and the head the branch's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// What identifies it for ever.
    pub id: String,
    /// What it points at.
    pub head: String,
    /// What that is cloned from.
    pub origin: Option<BranchOrigin>,
    /// The volumes that are there already.
    pub volumes: Vec<BranchVolume>,
}

/// The next step.
pub fn plan(seen: &Observed) -> Plan<Step> {
    let branch = &seen.branch;
    if is_deleting(branch) {
        return plan_deletion(seen);
    }
    let stays = match is_pods(branch) {
        true => is_planted(Mutant::ABranchOfAPodStays),
        false => is_planted(Mutant::ABranchOfAClaimStays),
    };
    if seen.owner == Owner::Gone && !stays {
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
        return plan_acceptance(branch, valid.start);
    }
    plan_head(seen, &valid)
}

fn plan_acceptance(branch: &Branch, start: Start) -> Plan<Step> {
    let accepted = match start {
        Start::Free(remnant) => return Plan::Do(Step::Take(remnant)),
        Start::Taken(remnant) => {
            let volumes = volumes_of(&remnant);
            let Some(of) = remnant.branch else {
                let why = format!("Remnant {:?} does not say what the Branch was", remnant.id);
                return Plan::Report(Verdict::new(Reason::Error, why));
            };
            Accepted {
                id: remnant.id,
                head: of.head,
                origin: of.origin,
                volumes,
            }
        }
        Start::Origin(origin) => match uid(branch).parse::<BranchId>() {
            Ok(id) => Accepted {
                id: id.to_string(),
                head: HeadId::first_of(id).to_string(),
                origin,
                volumes: Vec::new(),
            },
            Err(why) => return Plan::Report(Verdict::new(Reason::Error, why.to_string())),
        },
    };
    Plan::Do(Step::Accept(Box::new(accepted)))
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
    if seen.ensured.is_some() || is_as_recorded(seen) && has_all(seen, &dot.volumes) {
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

/// Whether the node has confirmed what the status says; it has not yet of one that was taken over.
fn is_as_recorded(seen: &Observed) -> bool {
    let status = seen.branch.status.as_ref();
    seen.branch.spec.restore_from.is_none() || status.is_some_and(|status| is_ready(&status.conditions))
}

/// Whether the head has these volumes already, each at least as large, with its data kept as it shall be.
fn has_all(seen: &Observed, wanted: &[DotVolumeStatus]) -> bool {
    let status = seen.branch.status.iter();
    let there: BTreeMap<&str, &BranchVolume> = status
        .flat_map(|status| &status.volumes)
        .map(|volume| (volume.id.as_str(), volume))
        .collect();
    wanted.iter().all(|volume| {
        there.get(volume.id.as_str()).is_some_and(|has| {
            let size = parse_quantity(&has.size).ok();
            let is_as_it_was = seen.branch.spec.name != BranchName::DEFAULT && size.is_some();
            let is_as_large = size >= parse_quantity(&volume.size).ok()
                || (is_as_it_was && is_planted(Mutant::OtherBranchesStayAsTheyWere));
            let is_kept_so =
                ZfsProperties::recorded(volume.zfs.as_ref()).is_met_by(&ZfsProperties::recorded(has.zfs.as_ref()));
            is_as_large && (is_kept_so || is_planted(Mutant::DataIsKeptAsItWas))
        })
    })
}

fn wire_tuning(tuning: &Tuning) -> WireTuning {
    let Tuning {
        compression,
        recordsize,
        volblocksize,
        thin,
        sync,
    } = tuning;
    WireTuning {
        compression: compression.as_ref().map(ToString::to_string).unwrap_or_default(),
        recordsize: recordsize.map(BlockSize::bytes).unwrap_or_default(),
        volblocksize: volblocksize.map(BlockSize::bytes).unwrap_or_default(),
        thin: thin.unwrap_or_default(),
        sync: sync.map(|sync| sync.to_string()).unwrap_or_default(),
    }
}

/// What a node says of how a volume's data is kept.
pub fn model_tuning(tuning: Option<&WireTuning>) -> Tuning {
    let Some(WireTuning {
        compression,
        recordsize,
        volblocksize,
        thin,
        sync,
    }) = tuning
    else {
        return Tuning::default();
    };
    Tuning {
        compression: compression.parse().ok(),
        recordsize: BlockSize::new(*recordsize, BlockSize::RECORD),
        volblocksize: BlockSize::new(*volblocksize, BlockSize::VOLUME),
        thin: thin.then_some(true),
        sync: sync.parse().ok(),
    }
}

/// What a volume is, on the wire.
pub fn wire_format(format: VolumeFormat) -> WireFormat {
    match format {
        VolumeFormat::Zfs => WireFormat::Zfs,
        VolumeFormat::Ext4 => WireFormat::Ext4,
        VolumeFormat::Xfs => WireFormat::Xfs,
        VolumeFormat::Block => WireFormat::Block,
    }
}

/// What a node says a volume is; nothing said is a filesystem of ZFS.
pub fn model_format(format: WireFormat) -> VolumeFormat {
    match format {
        WireFormat::Unspecified | WireFormat::Zfs => VolumeFormat::Zfs,
        WireFormat::Ext4 => VolumeFormat::Ext4,
        WireFormat::Xfs => VolumeFormat::Xfs,
        WireFormat::Block => VolumeFormat::Block,
    }
}

/// Whether a volume of this branch may begin as a clone although the branch does not: one of the default branch, until it
/// is made.
fn may_begin(seen: &Observed, valid: &Valid, known: Option<&u64>) -> bool {
    known.is_none() && valid.start.origin().is_none() && seen.branch.spec.restore_from.is_none()
}

fn wire_origin(origin: &DotVolumeOrigin) -> Result<VolumeOrigin, String> {
    let guid = origin.guid.parse();
    Ok(VolumeOrigin {
        dot_id: origin.dot_id.clone(),
        head_id: origin.head.clone(),
        volume_id: origin.volume_id.clone(),
        commit_id: origin.commit_id.clone(),
        snapshot_guid: guid.map_err(|why| format!("status.volumes.origin.guid: {why}"))?,
        convert: origin.converted,
    })
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
        let begins = may_begin(seen, valid, known.get(volume.id.as_str()));
        let snapshot = clones::snapshot_of(&valid.dot, &volume.name).filter(|_| begins);
        let origin = clones::origin_of(&valid.dot, volume).filter(|_| begins);
        volumes.push(Volume {
            id: volume.id.clone(),
            name: volume.name.clone(),
            size_bytes: parse_quantity(&volume.size).map_err(|why| format!("volume {:?}: size {why}", volume.name))?,
            known_guid: known.get(volume.id.as_str()).copied().unwrap_or_default(),
            format: wire_format(volume.format()).into(),
            tuning: volume
                .zfs
                .as_ref()
                .map(|zfs| wire_tuning(&ZfsProperties::recorded(Some(zfs)))),
            adopted_snapshot: snapshot.unwrap_or_default().to_owned(),
            origin: origin.map(wire_origin).transpose()?,
        });
    }
    let origin = match valid.start.origin() {
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
    match &seen.left {
        Left::ToBeMade if is_planted(Mutant::BranchGoesBeforeItsRemnant) => return Plan::Do(Step::Release),
        Left::ToBeMade => return Plan::Do(Step::Leave),
        Left::Remnant(remnant) if remnant.spec.uid == uid(branch) => return Plan::Do(Step::Release),
        // The one that its data was taken from: its end comes first, and destroys nothing.
        Left::Remnant(remnant) => return Plan::Report(waits_for(remnant)),
        // What it leaves is looked at anew before anything is done.
        Left::NotAsked | Left::Nothing => {}
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
fn claims_on(branch: &Branch, dot: &Dot) -> Vec<String> {
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
