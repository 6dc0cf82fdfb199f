//! Everything a Branch's plan looks at.

use std::sync::Arc;

use dotmesh_crds::names::LABEL_CLAIM_UID;
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_csi_proto::node::EnsureBranchResponse;
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;
use tokio::sync::OwnedMutexGuard;

use crate::api::{Api, Key};
use crate::claim::entries::entry_of;
use crate::claim::own::{OwnClaim, observe_own_claim};
use crate::context::{Context, ReconcileError};
use crate::meta::{belongs_to, is_deleting, is_protected, owner_dot, uid};
use crate::nodes::Nodes;

/// What there is, and what was done in this pass.
#[derive(Debug)]
pub struct Observed {
    /// The Branch.
    pub branch: Branch,
    /// The Branch is from a consistent read or from our own write.
    pub is_fresh: bool,
    /// The Dot it names. A consistent read when the Branch is being deleted.
    pub dot: Option<Arc<Dot>>,
    /// The Dot is about to be deleted by itself.
    pub is_retiring: bool,
    /// The claim it was made for.
    pub own_claim: OwnClaim,
    /// The Dot's other Branches. A consistent read while this one is not accepted.
    pub siblings: Vec<Branch>,
    /// The Dot's Commits, while this Branch is not accepted: a consistent read.
    pub commits: Vec<Commit>,
    /// Held while the branch is not accepted: names are given out one at a time.
    pub naming: Option<OwnedMutexGuard<()>>,
    /// What the node made in this pass.
    pub ensured: Option<EnsureBranchResponse>,
    /// The node recorded the tombstone in this pass.
    pub is_tombstoned: bool,
}

/// Whether the branch has its name and its head for good.
pub fn is_accepted(branch: &Branch) -> bool {
    branch.status.as_ref().is_some_and(|status| status.head.is_some())
}

/// Whether the claim that a Branch was made for is still there. With the claim gone nobody writes an entry for it any
/// more, so that the Dot is read after it.
///
/// # Errors
/// Those of the API.
pub async fn observe_claim<A: Api>(api: &A, branch: &Branch) -> Result<OwnClaim, ReconcileError> {
    let own = observe_own_claim(api, branch).await?;
    if own != OwnClaim::Gone || is_planted(Mutant::ABranchGoesWhileItsVolumeIsThere) {
        return Ok(own);
    }
    let dot = Key {
        namespace: branch.namespace(),
        name: branch.spec.dot.clone(),
    };
    let dot: Option<Dot> = api.get(&dot).await?;
    let claim = branch.labels().get(LABEL_CLAIM_UID).map_or("", String::as_str);
    match dot.is_some_and(|dot| entry_of(&dot, claim).is_some()) {
        true => Ok(OwnClaim::Present),
        false => Ok(OwnClaim::Gone),
    }
}

/// Reads it.
pub async fn observe<A: Api, N: Nodes>(context: &Context<A, N>, branch: Branch) -> Result<Observed, ReconcileError> {
    let api = &context.api;
    let key = Key {
        namespace: branch.namespace(),
        name: branch.spec.dot.clone(),
    };
    let is_ending = is_deleting(&branch) && is_protected(&branch);
    let dot = if is_ending {
        let dot: Option<Dot> = api.get(&key).await?;
        dot.filter(|dot| owner_dot(&branch).is_none_or(|owner| owner == uid(dot)))
            .map(Arc::new)
    } else {
        api.cached::<Dot>(&key)
    };
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
    let own_claim = match is_deleting(&branch) {
        true => OwnClaim::None,
        false => observe_claim(api, &branch).await?,
    };
    Ok(Observed {
        own_claim,
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
