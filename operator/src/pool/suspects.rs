//! Data that no object stands for: somebody removed its object, finalizer and all, or the API server's own data was taken
//! back to an earlier state.
//!
//! A look at the pool and the caches only says where that may be. Whoever acts on it makes sure: what was in the pool
//! before a consistent read of the objects found nothing for it, and is in the pool without a tombstone afterwards, has
//! no object. Objects go after their tombstones, and come before their data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::DotVolumeStatus;
use dotmesh_crds::format::words_of;
use dotmesh_crds::remnant::{RemnantBranch, RemnantKind, RemnantNamespace};
use dotmesh_crds::zfs::ZfsProperties;
use dotmesh_crds::{Branch, Commit, Dot, Pool, Remnant, RemnantSpec};
use dotmesh_csi_proto::node::{DescribeDotRequest, DescribeDotResponse, DotInPool, StoredBranch, StoredVolume};
use dotmesh_model::size::{format_quantity, parse_quantity};
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::meant;
use super::observe::lies_on;
use crate::api::{Api, Event, EventType, Key, Kind};
use crate::branch::plan::{model_format, model_tuning};
use crate::context::{Context, ReconcileError};
use crate::loss::told;
use crate::meta::{create_or_find, is_deleting, is_restoring, owner_dot, uid};
use crate::nodes::Nodes;
use crate::remnant::leave::protected;
use crate::remnant::observe::holders;
use crate::status::publish;

/// The uid of a namespace that is gone: nobody's, until an administrator writes another one.
const NO_NAMESPACE: &str = "00000000-0000-0000-0000-000000000000";

/// What a look at a Pool made suspect, by ids of Dots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspects {
    /// Dots that no object stands for.
    pub unknown: BTreeSet<String>,
    /// Dots that hold more than objects stand for.
    pub incomplete: BTreeSet<String>,
}

/// Compares what is in a Pool with the objects in the caches.
pub fn find<A: Api>(api: &A, pool: &Pool, found: &[DotInPool]) -> Suspects {
    let mut suspects = Suspects::default();
    if found.is_empty() || is_planted(Mutant::WhatHasNoObjectIsForgotten) {
        return suspects;
    }
    let dots = api.cached_where::<Dot>(|_| true);
    let by_id: BTreeMap<&str, &Arc<Dot>> = dots
        .iter()
        .filter_map(|dot| Some((dot.status.as_ref()?.id.as_deref()?, dot)))
        .collect();
    let remnants = api.cached_where::<Remnant>(|_| true);
    let left: BTreeSet<&str> = remnants.iter().map(|remnant| remnant.spec.id.as_str()).collect();
    let mut branches: BTreeSet<(String, String)> = BTreeSet::new();
    for branch in api.cached_where::<Branch>(|_| true) {
        let recorded = branch.status.as_ref().and_then(|status| status.id.clone());
        branches.extend(owner_dot(&*branch).map(str::to_owned).zip(recorded));
    }
    let mut commits: BTreeMap<String, u64> = BTreeMap::new();
    for commit in api.cached_where::<Commit>(|_| true) {
        let status = commit.status.as_ref();
        let is_there = status.is_some_and(|status| status.id.is_some() && told(&status.conditions).is_none());
        if let Some(owner) = owner_dot(&*commit).filter(|_| is_there) {
            *commits.entry(owner.to_owned()).or_default() += 1;
        }
    }
    for in_pool in found {
        let id = in_pool.dot_id.as_str();
        let Some(dot) = by_id.get(id) else {
            if !left.contains(id) {
                suspects.unknown.insert(id.to_owned());
            }
            continue;
        };
        if is_deleting(&***dot) || is_restoring(dot) || !lies_on(dot, pool, false) {
            continue;
        }
        let owner = uid(&***dot);
        let has_branch = |id: &String| left.contains(id.as_str()) || branches.contains(&(owner.to_owned(), id.clone()));
        let has_more = in_pool.commits > commits.get(owner).copied().unwrap_or_default()
            || !in_pool.branch_ids.iter().all(has_branch)
            || !in_pool.claim_uids.iter().all(|claim| knows_claim(dot, claim));
        if has_more {
            suspects.incomplete.insert(id.to_owned());
        }
    }
    suspects
}

/// Whether a Dot accounts for the attachment of a claim.
pub fn knows_claim(dot: &Dot, claim: &String) -> bool {
    dot.status.as_ref().is_some_and(|status| {
        status.attachments.contains(claim) || status.claims.iter().any(|entry| entry.uid == *claim)
    })
}

/// Makes a Remnant of a Dot that no object stands for, if that is so. Nobody asked for its end: it does not expire.
///
/// # Errors
/// Those of API and node.
pub async fn leave_dot<A: Api, N: Nodes>(context: &Context<A, N>, pool: &Pool, id: &str) -> Result<(), ReconcileError> {
    let api = &context.api;
    // The Remnant first: whoever takes it over has recorded the id before it goes.
    let remnant: Option<Remnant> = api.get(&Key::cluster(RemnantKind::Dot.remnant(id))).await?;
    if remnant.is_some() || !holders(api, RemnantKind::Dot, id).await?.is_empty() {
        return Ok(());
    }
    let Ok(pool_guid) = meant(Some(pool), "") else {
        return Ok(());
    };
    let request = DescribeDotRequest {
        dot_id: id.to_owned(),
        after_commit_id: String::new(),
        pool_guid,
    };
    let found = match context.nodes.describe_dot(&pool.spec.node_name, request).await {
        Ok(found) => found,
        Err(error) if error.kind.is_gone() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let namespace: Option<Namespace> = api.get(&Key::cluster(&found.namespace)).await?;
    let namespace = RemnantNamespace {
        name: found.namespace.clone(),
        uid: namespace.map_or_else(|| NO_NAMESPACE.to_owned(), |namespace| uid(&namespace).to_owned()),
    };
    let what = format!("Dot {}/{}", found.namespace, found.name);
    let remnant = protected(RemnantSpec {
        kind: RemnantKind::Dot,
        id: id.to_owned(),
        dot: id.to_owned(),
        name: found.name.clone(),
        uid: id.to_owned(),
        namespace,
        branch: None,
        volumes: volumes_of(&found),
        ..place(pool, context.now())
    });
    let made = create_or_find(api, &remnant).await?;
    tell(api, pool, &what, &made).await;
    Ok(())
}

/// Makes a Remnant of a branch of a Dot that no object stands for.
///
/// # Errors
/// Those of the API.
pub async fn leave_branch<A: Api, N: Nodes>(
    context: &Context<A, N>,
    dot: &Dot,
    pool: &Pool,
    namespace: &str,
    branch: &StoredBranch,
    origin: Option<dotmesh_crds::branch::BranchOrigin>,
) -> Result<(), ReconcileError> {
    let states = branch.volumes.iter().filter_map(|volume| volume.state.as_ref());
    let guids = states.map(|state| (state.id.clone(), state.guid.to_string()));
    let dot_name = dot.name_any();
    let name = Some(branch.object_name.clone()).filter(|name| !name.is_empty());
    let remnant = protected(RemnantSpec {
        kind: RemnantKind::Branch,
        id: branch.branch_id.clone(),
        dot: crate::meta::dot_id(dot).to_owned(),
        name: name.unwrap_or_else(|| dot_name.clone()),
        uid: branch.branch_id.clone(),
        namespace: RemnantNamespace {
            name: dot.namespace().unwrap_or_default(),
            uid: namespace.to_owned(),
        },
        branch: Some(RemnantBranch {
            name: branch.name.clone(),
            head: branch.head_id.clone(),
            origin,
            guids: guids.collect(),
        }),
        volumes: branch.volumes.iter().filter_map(volume_of).collect(),
        ..place(pool, context.now())
    });
    let made = create_or_find(&context.api, &remnant).await?;
    tell(
        &context.api,
        dot,
        &format!("branch {:?} of Dot {dot_name:?}", branch.name),
        &made,
    )
    .await;
    Ok(())
}

/// What a Remnant's spec says of the place of the data, and of its time.
fn place(pool: &Pool, now: Timestamp) -> RemnantSpec {
    RemnantSpec {
        kind: RemnantKind::Dot,
        id: String::new(),
        dot: String::new(),
        name: String::new(),
        uid: String::new(),
        namespace: RemnantNamespace::default(),
        node: pool.spec.node_name.clone(),
        pool: Some(pool.name_any()),
        pool_class: pool.spec.class.clone(),
        branch: None,
        volumes: Vec::new(),
        deleted_at: now.to_string(),
        // Nobody asked for its end.
        expires_at: None,
    }
}

/// Of each volume the largest that a branch has.
fn volumes_of(found: &DescribeDotResponse) -> Vec<DotVolumeStatus> {
    let mut all: BTreeMap<String, DotVolumeStatus> = BTreeMap::new();
    let volumes = found.branches.iter().flat_map(|branch| &branch.volumes);
    for volume in volumes.filter_map(volume_of) {
        let bytes = |volume: &DotVolumeStatus| parse_quantity(&volume.size).unwrap_or_default();
        if all.get(&volume.name).is_none_or(|known| bytes(known) < bytes(&volume)) {
            all.insert(volume.name.clone(), volume);
        }
    }
    all.into_values().collect()
}

fn volume_of(volume: &StoredVolume) -> Option<DotVolumeStatus> {
    let state = volume.state.as_ref()?;
    let (volume_mode, fs_type) = words_of(model_format(state.format()));
    Some(DotVolumeStatus {
        name: volume.name.clone(),
        id: state.id.clone(),
        size: format_quantity(state.size_bytes),
        volume_mode,
        fs_type,
        zfs: ZfsProperties::of(&model_tuning(state.tuning.as_ref())),
        origin: None,
    })
}

async fn tell<A: Api, K: Kind>(api: &A, on: &K, what: &str, remnant: &Remnant) {
    let name = remnant.name_any();
    tracing::warn!(what, remnant = name, "its object is gone without its data");
    let event = Event {
        event_type: EventType::Warning,
        reason: Reason::ObjectMissing.as_str(),
        action: "Pool",
        message: format!("{what} has no object, and nobody asked for its deletion: the data stays as Remnant {name:?}"),
    };
    publish(api, on, event).await;
}
