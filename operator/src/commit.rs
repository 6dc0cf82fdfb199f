//! Controller of Commits: all volumes of a branch, at one instant, once.
//!
//! Two writes per Commit: protection with the head that will be snapshotted (so that whatever the snapshot's fate, its
//! head is known), and the status when the snapshots are durable. What a Commit that was Ready recorded is never touched
//! again until its deletion is requested (I1); its condition tells when something else has destroyed its snapshots.

pub mod apply;
pub mod group;
pub mod observe;
pub mod plan;
pub mod report;
pub mod validate;

use std::sync::Arc;

use dotmesh_crds::Commit;
use kube::runtime::controller::Action;

use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::driver::{Pass, Plan, Then, drive};
use crate::meta::{dot_now, is_deleting, leaves, named_dot, reread};
use crate::nodes::Nodes;
use crate::status::Verdict;
use observe::Observed;

/// Brings one Commit to its end.
///
/// # Errors
/// What is to be repeated; the condition tells it.
pub async fn reconcile<A: Api, N: Nodes>(
    commit: Arc<Commit>,
    context: Arc<Context<A, N>>,
) -> Result<Action, ReconcileError> {
    let seen = observe::observe(&context, Arc::unwrap_or_clone(commit)).await?;
    drive(&context, seen).await
}

impl<A: Api, N: Nodes> Pass<A, N> for Observed {
    type Step = plan::Step;

    fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    async fn reread(&mut self, context: &Context<A, N>) -> Result<Then, ReconcileError> {
        let Some(found) = reread(&context.api, &self.commit).await? else {
            return Ok(Then::Gone);
        };
        if is_deleting(&found) {
            self.dot = named_dot(&context.api, &found, &found.spec.dot).await?;
            self.leaves = leaves(&context.api, &found, self.dot.as_deref()).await?;
        } else if self.data.is_missing() {
            self.dot = dot_now(&context.api, &found, &found.spec.dot).await?;
        }
        self.commit = found;
        self.is_fresh = true;
        group::reread(context, self).await?;
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
