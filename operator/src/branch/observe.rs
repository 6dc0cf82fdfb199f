//! Everything a Branch's plan looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_crds::branch::BranchUser;
use dotmesh_crds::names::LABEL_CLAIM_UID;
use dotmesh_crds::{Branch, Commit, Dot, Pool};
use dotmesh_csi_proto::node::{EnsureBranchResponse, VolumeUser};
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::sync::OwnedMutexGuard;

use super::takeover::observe_source;
use crate::api::{Api, Key};
use crate::claim::entries::entry_of;
use crate::claim::own::{Owner, observe_own_claim};
use crate::context::{Context, ReconcileError};
use crate::inline::own::{is_pods, observe_own_pod};
use crate::loss::Data;
use crate::meta::{Leaves, belongs_to, is_deleting, named_dot, uid};
use crate::nodes::Nodes;
use crate::pool::pool_for;
use crate::remnant::leave::Left;
use crate::remnant::takeover::Source;

/// What there is, and what was done in this pass.
#[derive(Debug)]
pub struct Observed {
    /// The Branch.
    pub branch: Branch,
    /// The Branch is from a consistent read or from our own write.
    pub is_fresh: bool,
    /// The Dot it names. A consistent read when the Branch is being deleted.
    pub dot: Option<Arc<Dot>>,
    /// The Pool where that lies, once it does.
    pub pool: Option<Arc<Pool>>,
    /// Whether it goes with its Dot, while it is being deleted: by consistent reads.
    pub leaves: Leaves,
    /// The Dot is about to be deleted by itself.
    pub is_retiring: bool,
    /// The claim or pod it was made for.
    pub owner: Owner,
    /// The Dot's other Branches. A consistent read while this one is not accepted.
    pub siblings: Vec<Branch>,
    /// The Dot's Commits, while this Branch is not accepted: a consistent read.
    pub commits: Vec<Commit>,
    /// Held while the branch is not accepted: names are given out one at a time.
    pub naming: Option<OwnedMutexGuard<()>>,
    /// What it is to take over, until it has: by consistent reads.
    pub source: Option<Source>,
    /// What it leaves, while it is being deleted: a consistent read.
    pub left: Left,
    /// What its node said of the head.
    pub data: Data,
    /// What the node made in this pass.
    pub ensured: Option<EnsureBranchResponse>,
    /// The node recorded the tombstone in this pass.
    pub is_tombstoned: bool,
    /// Who has volumes of the head mounted; absent: the node has not said.
    pub users: Option<Vec<BranchUser>>,
}

/// Whether the branch has its name and its head for good.
pub fn is_accepted(branch: &Branch) -> bool {
    branch.status.as_ref().is_some_and(|status| status.head.is_some())
}

/// Whether the claim or pod that a Branch was made for is still there.
///
/// # Errors
/// Those of the API.
pub async fn observe_owner<A: Api>(
    api: &A,
    branch: &Branch,
    users: Option<&[BranchUser]>,
) -> Result<Owner, ReconcileError> {
    match is_pods(branch) {
        true => Ok(observe_own_pod(api, branch, users).await?),
        false => observe_claim(api, branch).await,
    }
}

/// Whether the claim that a Branch was made for is still there. With the claim gone nobody writes an entry for it any
/// more, so that the Dot is read after it.
///
/// # Errors
/// Those of the API.
async fn observe_claim<A: Api>(api: &A, branch: &Branch) -> Result<Owner, ReconcileError> {
    let own = observe_own_claim(api, branch).await?;
    if own != Owner::Gone || is_planted(Mutant::ABranchGoesWhileItsVolumeIsThere) {
        return Ok(own);
    }
    let dot = Key {
        namespace: branch.namespace(),
        name: branch.spec.dot.clone(),
    };
    let dot: Option<Dot> = api.get(&dot).await?;
    let claim = branch.labels().get(LABEL_CLAIM_UID).map_or("", String::as_str);
    match dot.is_some_and(|dot| entry_of(&dot, claim).is_some()) {
        true => Ok(Owner::Present),
        false => Ok(Owner::Gone),
    }
}

/// Who has volumes of the Branch's head mounted, by what its node last said; pods by their names, which are looked up
/// once.
async fn observe_users<A: Api, N: Nodes>(
    context: &Context<A, N>,
    branch: &Branch,
    dot: Option<&Dot>,
) -> Result<Option<Vec<BranchUser>>, ReconcileError> {
    let node = dot.and_then(|dot| dot.status.as_ref()?.node.as_ref());
    let status = branch.status.as_ref();
    let (Some(node), Some(status), Some(head)) = (node, status, status.and_then(|status| status.head.as_ref())) else {
        return Ok(None);
    };
    let Some(users) = context.memory.users_of_head(node, head) else {
        return Ok(None);
    };
    let mut pods: Vec<Pod> = Vec::new();
    let mut names: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for known in &status.users {
        names.extend(known.pod_uid.as_deref().map(|uid| (uid, known.pod.clone())));
    }
    let is_new = |user: &VolumeUser| !user.pod_uid.is_empty() && !names.contains_key(user.pod_uid.as_str());
    if users.iter().any(is_new) {
        let on_node = format!("spec.nodeName={node}");
        pods = context.api.list(branch.namespace().as_deref(), Some(&on_node)).await?;
    }
    names.extend(pods.iter().map(|pod| (uid(pod), Some(pod.name_any()))));
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let volume_name = |id: &String| {
        let volume = status.volumes.iter().find(|volume| volume.id == *id);
        volume.map_or_else(|| id.clone(), |volume| volume.name.clone())
    };
    let users = users.iter().map(|user| BranchUser {
        volume: volume_name(&user.volume_id),
        pod: names.get(user.pod_uid.as_str()).cloned().flatten(),
        pod_uid: text(&user.pod_uid),
        path: text(&user.path),
    });
    let mut users: Vec<BranchUser> = users.collect();
    users.sort();
    Ok(Some(users))
}

/// Reads it.
pub async fn observe<A: Api, N: Nodes>(context: &Context<A, N>, branch: Branch) -> Result<Observed, ReconcileError> {
    let api = &context.api;
    let dot = named_dot(api, &branch, &branch.spec.dot).await?;
    let naming = match is_accepted(&branch) || is_deleting(&branch) {
        true => None,
        false => Some(context.memory.naming.clone().lock_owned().await),
    };
    let (mut siblings, mut commits) = (Vec::new(), Vec::new());
    if let Some(dot) = dot
        .as_deref()
        .filter(|_| !is_deleting(&branch) && !is_accepted(&branch))
    {
        let fields = format!("spec.dot={}", branch.spec.dot);
        siblings = api.list::<Branch>(branch.namespace().as_deref(), Some(&fields)).await?;
        siblings.retain(|other| uid(other) != uid(&branch) && belongs_to(other, dot));
        // A cache may not know yet what the person who made the branch saw: that a commit is Ready.
        commits = api.list::<Commit>(branch.namespace().as_deref(), Some(&fields)).await?;
        commits.retain(|commit| belongs_to(commit, dot));
    }
    let users = observe_users(context, &branch, dot.as_deref()).await?;
    let owner = match is_deleting(&branch) {
        true => Owner::None,
        false => observe_owner(api, &branch, users.as_deref()).await?,
    };
    let head = branch.status.as_ref().and_then(|status| status.head.as_ref());
    Ok(Observed {
        data: context.memory.data(dot.as_deref(), head),
        users,
        owner,
        pool: dot.as_deref().and_then(|dot| pool_for(api, dot, None)),
        leaves: Leaves::Alone,
        source: observe_source(api, &branch).await?,
        left: Left::NotAsked,
        is_retiring: dot.as_deref().is_some_and(|dot| context.memory.is_retiring(uid(dot))),
        branch,
        is_fresh: false,
        dot,
        siblings,
        commits,
        naming,
        ensured: None,
        is_tombstoned: false,
    })
}
