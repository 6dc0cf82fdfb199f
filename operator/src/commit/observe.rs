//! Everything a Commit's plan looks at.

use std::sync::Arc;

use dotmesh_crds::{Branch, Commit, Dot, Pool};
use dotmesh_csi_proto::node::CommitResponse;

use super::group;
use crate::api::Api;
use crate::claim::copy::clone::is_done_with;
use crate::context::{Context, ReconcileError};
use crate::loss::Data;
use crate::meta::{Leaves, belongs_to, named_dot, uid};
use crate::nodes::Nodes;
use crate::pool::pool_for;

/// What there is, and what was done in this pass.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The Commit.
    pub commit: Commit,
    /// The Commit is from a consistent read or from our own write.
    pub is_fresh: bool,
    /// The Dot it names. A consistent read when the Commit is being deleted.
    pub dot: Option<Arc<Dot>>,
    /// The Pool where that lies, once it does.
    pub pool: Option<Arc<Pool>>,
    /// Whether it goes with its Dot, while it is being deleted: by consistent reads.
    pub leaves: Leaves,
    /// The Dot is about to be deleted by itself.
    pub is_retiring: bool,
    /// Branches of that Dot.
    pub branches: Vec<Arc<Branch>>,
    /// What its node said of its snapshots.
    pub data: Data,
    /// It was taken for a clone that needs it no more: by consistent reads.
    pub is_done_with: bool,
    /// The others of its group, while it is to be taken.
    pub others: Vec<Self>,
    /// What the node made in this pass.
    pub taken: Option<CommitResponse>,
    /// The node recorded the tombstone in this pass.
    pub is_tombstoned: bool,
}

/// Reads it, and its group.
pub async fn observe<A: Api, N: Nodes>(context: &Context<A, N>, commit: Commit) -> Result<Observed, ReconcileError> {
    let others = group::others(context, &commit).await?;
    let seen = observe_alone(context, commit).await?;
    Ok(Observed { others, ..seen })
}

/// Reads it, without its group.
pub async fn observe_alone<A: Api, N: Nodes>(
    context: &Context<A, N>,
    commit: Commit,
) -> Result<Observed, ReconcileError> {
    let api = &context.api;
    let dot = named_dot(api, &commit, &commit.spec.dot).await?;
    let branches = dot.as_deref().map_or_else(Vec::new, |dot| {
        api.cached_where::<Branch>(|branch| branch.spec.dot == commit.spec.dot && belongs_to(branch, dot))
    });
    let id = commit.status.as_ref().and_then(|status| status.id.as_ref());
    Ok(Observed {
        data: context.memory.data(dot.as_deref(), id),
        pool: dot.as_deref().and_then(|dot| pool_for(api, dot, None)),
        leaves: Leaves::Alone,
        is_retiring: dot.as_deref().is_some_and(|dot| context.memory.is_retiring(uid(dot))),
        is_fresh: false,
        is_done_with: is_done_with(api, &commit).await?,
        commit,
        dot,
        branches,
        others: Vec::new(),
        taken: None,
        is_tombstoned: false,
    })
}
