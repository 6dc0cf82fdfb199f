//! Controller of Dots: placement, the default branch, the initial commit, attachments of claims, and the end.
//!
//! Where the data lies is recorded before anything lies there. `status.claims` belongs to another writer.

pub mod apply;
pub mod observe;
pub mod plan;
pub mod report;
pub mod validate;

use std::sync::Arc;

use dotmesh_crds::Dot;
use kube::runtime::controller::Action;

use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::nodes::Nodes;

/// Brings one Dot to where it should be.
///
/// # Errors
/// What is to be repeated; the condition tells it.
pub async fn reconcile<A: Api, N: Nodes>(dot: Arc<Dot>, context: Arc<Context<A, N>>) -> Result<Action, ReconcileError> {
    let mut seen = observe::observe(&context, Arc::unwrap_or_clone(dot)).await?;
    loop {
        let verdict = match plan::plan(&seen) {
            plan::Step::Rest => return Ok(Action::await_change()),
            plan::Step::Report(verdict) if seen.is_fresh || !report::is_news(&context, &seen, &verdict) => verdict,
            // Neither an effect nor a status comes from a cache: it could take back what an earlier pass recorded.
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
