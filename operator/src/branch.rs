//! Controller of Branches: a name, and a writable head behind it.
//!
//! A branch is accepted first (protection, its id, its head and what it is cloned from are recorded) and made second,
//! so that nothing is on disk that no object accounts for.

pub mod apply;
pub mod observe;
pub mod plan;
pub mod report;
pub mod takeover;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use dotmesh_crds::Branch;
use kube::runtime::controller::Action;

use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::driver::{Pass, Plan, Then, drive};
use crate::inline::own::is_pods;
use crate::meta::{dot_now, is_deleting, leaves, named_dot, reread};
use crate::nodes::Nodes;
use crate::status::Verdict;
use observe::Observed;

/// Between two looks at whether the pod that a Branch was made for has ended.
pub const POD_CHECK: Duration = Duration::from_secs(60);

/// Brings one Branch to where it should be.
///
/// # Errors
/// What is to be repeated; the condition tells it.
pub async fn reconcile<A: Api, N: Nodes>(
    branch: Arc<Branch>,
    context: Arc<Context<A, N>>,
) -> Result<Action, ReconcileError> {
    let seen = observe::observe(&context, Arc::unwrap_or_clone(branch)).await?;
    drive(&context, seen).await
}

impl<A: Api, N: Nodes> Pass<A, N> for Observed {
    type Step = plan::Step;

    fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    async fn reread(&mut self, context: &Context<A, N>) -> Result<Then, ReconcileError> {
        let Some(found) = reread(&context.api, &self.branch).await? else {
            return Ok(Then::Gone);
        };
        self.owner = observe::observe_owner(&context.api, &found, self.users.as_deref()).await?;
        if is_deleting(&found) {
            self.dot = named_dot(&context.api, &found, &found.spec.dot).await?;
            self.leaves = leaves(&context.api, &found, self.dot.as_deref()).await?;
            self.left = takeover::observe_left(context, &found, self.dot.as_deref(), self.leaves).await?;
        } else if self.data.is_missing() {
            self.dot = dot_now(&context.api, &found, &found.spec.dot).await?;
        }
        self.source = takeover::observe_source(&context.api, &found).await?;
        self.branch = found;
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

    /// That a pod has ended which never had the volume mounted, nobody tells.
    fn again(&self) -> Option<Duration> {
        (is_pods(&self.branch) && !is_deleting(&self.branch)).then_some(POD_CHECK)
    }

    async fn report(&self, context: &Context<A, N>, verdict: &Verdict) -> Result<(), ReconcileError> {
        report::report(context, self, verdict).await
    }
}
