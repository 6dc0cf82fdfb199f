//! Controller of Pools: one per node that runs csi-node, known by its GUID for ever.
//!
//! Deleting the object destroys nothing. While a Dot lies on the node the object stays, because it holds the GUID
//! that tells the pool from any other.

pub mod apply;
pub mod discover;
pub mod follow;
pub mod observe;
pub mod plan;
pub mod report;

use std::sync::Arc;

use dotmesh_crds::Pool;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::nodes::Nodes;

/// The zpool's name on every node.
pub const POOL_NAME: &str = "dotmesh";

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
    let mut seen = observe::observe(&context, Arc::unwrap_or_clone(pool));
    loop {
        let verdict = match plan::plan(&seen) {
            plan::Step::Rest => return Ok(Action::await_change()),
            plan::Step::Report(verdict) if seen.is_fresh || !report::is_news(&context, &seen, &verdict) => verdict,
            // A status is never written from a cache: it could take back what an earlier pass recorded.
            plan::Step::Report(_) => match apply::apply(&context, &mut seen, plan::Step::Reread).await? {
                apply::Then::Continue => continue,
                apply::Then::Gone => return Ok(Action::await_change()),
            },
            step => match apply::apply(&context, &mut seen, step).await {
                Ok(apply::Then::Continue) => continue,
                Ok(apply::Then::Gone) => return Ok(Action::await_change()),
                Err(error) => {
                    report::report_error(&context, &seen, &error).await;
                    return Err(error);
                }
            },
        };
        report::report(&context, &seen, &verdict).await?;
        return Ok(Action::await_change());
    }
}
