//! Controller of Pools: one per node that runs csi-node, known by its GUID for ever.
//!
//! Deleting the object destroys nothing. While a Dot lies on the node the object stays, because it holds the GUID
//! that tells the pool from any other.

pub mod apply;
pub mod discover;
pub mod follow;
pub mod losses;
pub mod newest;
pub mod observe;
pub mod plan;
pub mod report;

use std::sync::Arc;

use dotmesh_crds::{Pool, PoolSpec};
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::driver::{Pass, Plan, Then, drive};
use crate::meta::reread;
use crate::nodes::Nodes;
use crate::status::Verdict;
use observe::Observed;

/// The zpool's name, unless somebody else made it.
pub const POOL_NAME: &str = "dotmesh";

/// The name of a Pool's zpool.
pub fn zpool_name(spec: &PoolSpec) -> &str {
    spec.existing.as_deref().unwrap_or(POOL_NAME)
}

/// The Pool of a node: the oldest, if there is more than one.
pub fn pool_of<A: Api>(api: &A, node: &str) -> Option<Arc<Pool>> {
    let mut pools = api.cached_where::<Pool>(|pool| pool.spec.node_name == node);
    pools.sort_by_key(|pool| (pool.creation_timestamp().map(|time| time.0), pool.name_any()));
    pools.into_iter().next()
}

/// Brings one Pool to where it should be.
///
/// # Errors
/// What is to be repeated; the condition tells it.
pub async fn reconcile<A: Api, N: Nodes>(
    pool: Arc<Pool>,
    context: Arc<Context<A, N>>,
) -> Result<Action, ReconcileError> {
    let seen = observe::observe(&context, Arc::unwrap_or_clone(pool));
    drive(&context, seen).await
}

impl<A: Api, N: Nodes> Pass<A, N> for Observed {
    type Step = plan::Step;

    fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    async fn reread(&mut self, context: &Context<A, N>) -> Result<Then, ReconcileError> {
        let Some(found) = reread(&context.api, &self.pool).await? else {
            return Ok(Then::Gone);
        };
        self.pool = found;
        self.is_fresh = true;
        Ok(Then::Continue)
    }

    fn plan(&self) -> Plan<plan::Step> {
        plan::plan(self)
    }

    async fn apply(&mut self, context: &Context<A, N>, step: plan::Step) -> Result<Then, ReconcileError> {
        apply::apply(context, self, step).await
    }

    fn is_news(&self, context: &Context<A, N>, verdict: &Verdict) -> bool {
        report::is_news(context, self, verdict)
    }

    async fn report(&self, context: &Context<A, N>, verdict: &Verdict) -> Result<(), ReconcileError> {
        report::report(context, self, verdict).await
    }
}
