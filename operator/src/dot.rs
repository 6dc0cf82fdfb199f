//! Controller of Dots: placement, the default branch, the initial commit, attachments of claims, and the end.
//!
//! Where the data lies is recorded before anything lies there. `status.claims` belongs to another writer.

pub mod apply;
pub mod import;
pub mod observe;
pub mod plan;
pub mod report;
pub mod restore;
pub mod takeover;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use dotmesh_crds::Dot;
use kube::runtime::controller::Action;

use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::driver::{Pass, Plan, Then, drive};
use crate::meta::reread;
use crate::nodes::Nodes;
use crate::status::Verdict;
use observe::Observed;

/// Brings one Dot to where it should be.
///
/// # Errors
/// What is to be repeated; the condition tells it.
pub async fn reconcile<A: Api, N: Nodes>(dot: Arc<Dot>, context: Arc<Context<A, N>>) -> Result<Action, ReconcileError> {
    let seen = observe::observe(&context, Arc::unwrap_or_clone(dot)).await?;
    drive(&context, seen).await
}

impl<A: Api, N: Nodes> Pass<A, N> for Observed {
    type Step = plan::Step;

    fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    async fn reread(&mut self, context: &Context<A, N>) -> Result<Then, ReconcileError> {
        let Some(found) = reread(&context.api, &self.dot).await? else {
            return Ok(Then::Gone);
        };
        self.owner = observe::observe_claim(&context.api, &found).await?;
        self.source = takeover::observe_source(&context.api, &found).await?;
        self.left = observe::observe_left(context, &found).await?;
        self.begun_at = import::clones::observe(&context.api, &found).await?;
        self.pool = observe::observe_pool(&context.api, &found, self.begun_at.as_ref());
        self.imports = import::observe::observe(context, &found).await?;
        self.dot = found;
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

    fn again(&self) -> Option<Duration> {
        import::plan::again(&self.imports)
    }
}
