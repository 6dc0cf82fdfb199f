//! Controller of Branches: a name, and a writable head behind it.
//!
//! A branch is accepted first (protection, its id, its head and what it is cloned from are recorded) and made second,
//! so that nothing is on disk that no object accounts for.

pub mod apply;
pub mod observe;
pub mod plan;
pub mod report;
pub mod validate;

use std::sync::Arc;

use dotmesh_crds::Branch;
use kube::runtime::controller::Action;

use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::nodes::Nodes;

/// Brings one Branch to where it should be.
///
/// # Errors
/// What is to be repeated; the condition tells it.
pub async fn reconcile<A: Api, N: Nodes>(
    branch: Arc<Branch>,
    context: Arc<Context<A, N>>,
) -> Result<Action, ReconcileError> {
    // Names are given out one at a time: held from looking at the siblings to recording the name as taken.
    let mut naming = match observe::is_accepted(&branch) {
        true => None,
        false => Some(context.memory.naming.lock().await),
    };
    let mut seen = observe::observe(&context, Arc::unwrap_or_clone(branch)).await?;
    loop {
        if observe::is_accepted(&seen.branch) {
            naming = None;
        }
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
        drop(naming);
        report::report(&context, &seen, &verdict).await?;
        return Ok(Action::await_change());
    }
}
