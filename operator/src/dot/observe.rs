//! Everything a Dot's plan looks at.

use std::collections::BTreeSet;
use std::sync::Arc;

use dotmesh_crds::branch::BranchUser;
use dotmesh_crds::dot::DeletionPolicy;
use dotmesh_crds::names::{LABEL_CLAIM_UID, default_branch_object, initial_commit_object};
use dotmesh_crds::remnant::RemnantKind;
use dotmesh_crds::{Branch, Commit, Dot, Pool, Remnant};
use dotmesh_csi_proto::node::VolumeUser;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::import::{self, Imports, clones};
use super::restore::Stored;
use super::takeover::observe_source;
use crate::api::{Api, Key};
use crate::claim::own::{Owner, observe_own_claim};
use crate::context::{Context, ReconcileError};
use crate::loss::Data;
use crate::meta::{belongs_to, dot_id, is_deleting, is_restoring};
use crate::nodes::Nodes;
use crate::pool::pool_for;
use crate::remnant::leave::{Left, has_data};
use crate::remnant::takeover::Source;
use crate::status::Verdict;

/// What there is, and what was done in this pass.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The Dot.
    pub dot: Dot,
    /// The Dot is from a consistent read or from our own write.
    pub is_fresh: bool,
    /// Its Branches.
    pub branches: Vec<Arc<Branch>>,
    /// The object that has the default branch's name, whoever it belongs to.
    pub main: Option<Arc<Branch>>,
    /// The object that has the initial commit's name, whoever it belongs to.
    pub initial: Option<Arc<Commit>>,
    /// The claim it was made for.
    pub owner: Owner,
    /// Who has volumes of it mounted, as far as its node has said, while it is being deleted.
    pub users: Vec<BranchUser>,
    /// What its node said of its dataset.
    pub data: Data,
    /// What it is to take over, until it has.
    pub source: Option<Source>,
    /// What the data that it took over holds, until all objects of it are made.
    pub stored: Option<Stored>,
    /// They are.
    pub is_restored: bool,
    /// It may hold more than objects stand for.
    pub is_incomplete: bool,
    /// What it leaves, while it is being deleted: a consistent read.
    pub left: Left,
    /// The imports of its volumes, until they are over.
    pub imports: Imports,
    /// Where that is which its volumes begin as clones of, until they have; or what is missing of it.
    pub begun_at: Option<Result<clones::Place, Verdict>>,
    /// Now.
    pub now: Timestamp,
    /// The Pool where it lies or will lie.
    pub pool: Option<Arc<Pool>>,
    /// The Pool was looked for by a consistent read in this pass.
    pub is_pool_fresh: bool,
    /// Objects that people made of it, when it was asked whether the Dot can go.
    pub kept_for: Option<Vec<String>>,
    /// The dataset was made in this pass.
    pub is_ensured: bool,
    /// Claims attached in this pass.
    pub attached: BTreeSet<String>,
    /// Claims detached in this pass.
    pub detached: BTreeSet<String>,
    /// The node recorded the tombstone in this pass.
    pub is_tombstoned: bool,
    /// The Remnants of its Branches were asked to go in this pass.
    pub are_branches_ended: bool,
}

/// The node that holds the Dot, or will: recorded, else the one that the scheduler chose for the first claim. Of one that
/// takes data over, or begins with what lies somewhere, no claim chooses.
pub fn node_of(dot: &Dot) -> Option<String> {
    let status = dot.status.as_ref()?;
    if is_restoring(dot) || clones::is_awaited(dot) {
        return status.node.clone();
    }
    let chosen = || status.claims.iter().find_map(|claim| claim.selected_node.clone());
    status.node.clone().or_else(chosen)
}

/// The Pool where a Dot lies or will lie.
pub fn observe_pool<A: Api>(
    api: &A,
    dot: &Dot,
    begun_at: Option<&Result<clones::Place, Verdict>>,
) -> Option<Arc<Pool>> {
    let recorded = dot.status.as_ref().and_then(|status| status.pool.as_ref());
    match begun_at.filter(|_| recorded.is_none()) {
        Some(place) => place.as_ref().ok()?.pool.clone(),
        None => pool_for(api, dot, node_of(dot).as_deref()),
    }
}

/// Reads it.
pub async fn observe<A: Api, N: Nodes>(context: &Context<A, N>, dot: Dot) -> Result<Observed, ReconcileError> {
    let api = &context.api;
    let (namespace, name) = (dot.namespace().unwrap_or_default(), dot.name_any());
    let branches = api.cached_where::<Branch>(|branch| branch.spec.dot == name && belongs_to(branch, &dot));
    let owner = observe_claim(api, &dot).await?;
    let main = Key::namespaced(&namespace, default_branch_object(&name));
    // "The default branch was deleted" is not concluded from a cache.
    let main = match api.cached::<Branch>(&main) {
        None if dot.status.as_ref().is_some_and(|status| status.checkout.is_some()) => {
            api.get::<Branch>(&main).await?.map(Arc::new)
        }
        cached => cached,
    };
    let users = match is_deleting(&dot) {
        true => observe_users(context, &dot, &branches),
        false => Vec::new(),
    };
    let begun_at = clones::observe(api, &dot).await?;
    Ok(Observed {
        pool: observe_pool(api, &dot, begun_at.as_ref()),
        begun_at,
        data: context
            .memory
            .data(Some(&dot), dot.status.as_ref().and_then(|status| status.id.as_ref())),
        users,
        source: observe_source(api, &dot).await?,
        stored: None,
        is_restored: false,
        is_incomplete: context.memory.is_incomplete(&dot),
        left: Left::NotAsked,
        imports: import::observe::observe(context, &dot).await?,
        now: context.now(),
        main,
        initial: api.cached(&Key::namespaced(&namespace, initial_commit_object(&name))),
        branches,
        owner,
        dot,
        is_fresh: false,
        kept_for: None,
        is_pool_fresh: false,
        is_ensured: false,
        attached: BTreeSet::new(),
        detached: BTreeSet::new(),
        is_tombstoned: false,
        are_branches_ended: false,
    })
}

/// Who has volumes of its branches mounted; by name as their Branches tell.
fn observe_users<A: Api, N: Nodes>(context: &Context<A, N>, dot: &Dot, branches: &[Arc<Branch>]) -> Vec<BranchUser> {
    let Some(node) = node_of(dot) else { return Vec::new() };
    let mut all = Vec::new();
    for status in branches.iter().filter_map(|branch| branch.status.as_ref()) {
        let head = status.head.as_deref().unwrap_or_default();
        let mounted = context.memory.users_of_head(&node, head).unwrap_or_default();
        let is_mounted = |user: &&BranchUser| {
            let (pod, path) = (user.pod_uid.as_deref(), user.path.as_deref());
            let is_it =
                |now: &VolumeUser| now.pod_uid == pod.unwrap_or_default() && now.path == path.unwrap_or_default();
            mounted.iter().any(is_it)
        };
        all.extend(status.users.iter().filter(is_mounted).cloned());
    }
    all
}

/// Whether the claim that a Dot was made for is still there.
pub async fn observe_claim<A: Api>(api: &A, dot: &Dot) -> Result<Owner, ReconcileError> {
    let has_entries = dot.status.as_ref().is_some_and(|status| !status.claims.is_empty());
    if has_entries && dot.labels().contains_key(LABEL_CLAIM_UID) {
        return Ok(Owner::Present);
    }
    Ok(observe_own_claim(api, dot).await?)
}

/// What a Dot leaves that is being deleted. A Remnant of its own that is there counts, whatever the reason for it was.
///
/// # Errors
/// Those of the API.
pub async fn observe_left<A: Api, N: Nodes>(context: &Context<A, N>, dot: &Dot) -> Result<Left, ReconcileError> {
    let api = &context.api;
    if !is_deleting(dot) || !has_data(dot) {
        return Ok(Left::NotAsked);
    }
    let found: Option<Remnant> = api.get(&Key::cluster(RemnantKind::Dot.remnant(dot_id(dot)))).await?;
    if let Some(remnant) = found {
        return Ok(Left::Remnant(Box::new(remnant)));
    }
    match dot.spec.deletion_policy {
        DeletionPolicy::Retain => Ok(Left::ToBeMade),
        DeletionPolicy::Delete if context.config.grace == 0 => Ok(Left::Nothing),
        // The live data of a claim's own Dot goes with the claim; what people made of it they can have back.
        DeletionPolicy::Delete if dot.labels().contains_key(LABEL_CLAIM_UID) => {
            match super::apply::made_by_people(api, dot).await?.is_empty() {
                true => Ok(Left::Nothing),
                false => Ok(Left::ToBeMade),
            }
        }
        DeletionPolicy::Delete => Ok(Left::ToBeMade),
    }
}
