//! The loop that all controllers share: observe, validate and plan, apply one effect, plan again, report.
//!
//! What is seen first comes from a cache, perhaps an old one. It is enough to find that nothing is to be done; before
//! an effect, and before a status is written, the object is read again, because acting on an old one could repeat what
//! was undone or take back what was recorded.

use std::time::Duration;

use dotmesh_mutant::{Mutant, is_planted};
use kube::runtime::controller::Action;

use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::nodes::Nodes;
use crate::status::Verdict;

/// What a plan asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan<S> {
    /// Nothing to do and nothing to say.
    Rest,
    /// Nothing to do; tell how it is.
    Report(Verdict),
    /// One effect.
    Do(S),
    /// One effect that fails when the object is not as it was seen, so that it need not be read again before.
    DoGuarded(S),
}

/// Whether there is still something to decide about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Plan again.
    Continue,
    /// The object is gone.
    Gone,
}

/// What one reconcile saw and did: each kind's five functions, as the loop calls them.
pub trait Pass<A, N>: Send + Sync {
    /// The kind's effects.
    type Step: Send;

    /// Whether the object is from a consistent read or from our own write.
    fn is_fresh(&self) -> bool;

    /// The object as it is now.
    fn reread(&mut self, context: &Context<A, N>) -> impl Future<Output = Result<Then, ReconcileError>> + Send;

    /// Validates and plans. Pure.
    fn plan(&self) -> Plan<Self::Step>;

    /// One effect.
    fn apply(
        &mut self,
        context: &Context<A, N>,
        step: Self::Step,
    ) -> impl Future<Output = Result<Then, ReconcileError>> + Send;

    /// Whether a report would write something.
    fn is_news(&self, context: &Context<A, N>, verdict: &Verdict) -> bool;

    /// Writes the status if it says something new, and events that go with it.
    fn report(
        &self,
        context: &Context<A, N>,
        verdict: &Verdict,
    ) -> impl Future<Output = Result<(), ReconcileError>> + Send;

    /// When it is to be looked at again although nothing changes; absent: never.
    fn again(&self) -> Option<Duration> {
        None
    }
}

/// Effects of one object in one go; far more than any has. A plan that never ends is a defect, and must not spin.
const EFFECTS_MAX: usize = 10_000;

/// Runs one pass to its end.
///
/// # Errors
/// What is to be repeated; the object's condition tells it, where that is of use.
pub async fn drive<A: Api, N: Nodes, P: Pass<A, N>>(
    context: &Context<A, N>,
    mut pass: P,
) -> Result<Action, ReconcileError> {
    for _ in 0..EFFECTS_MAX {
        let result = match pass.plan() {
            Plan::Rest => return Ok(next_look(pass.again())),
            Plan::Report(verdict) if pass.is_fresh() || !pass.is_news(context, &verdict) => {
                context.must_lead()?;
                pass.report(context, &verdict).await?;
                return Ok(next_look(pass.again()));
            }
            Plan::Do(step) if pass.is_fresh() || is_planted(Mutant::EffectsByOldCaches) => {
                context.must_lead()?;
                pass.apply(context, step).await
            }
            Plan::DoGuarded(step) => {
                context.must_lead()?;
                pass.apply(context, step).await
            }
            Plan::Do(_) | Plan::Report(_) => pass.reread(context).await,
        };
        match result {
            Ok(Then::Continue) => {}
            Ok(Then::Gone) => return Ok(Action::await_change()),
            Err(error) => {
                report_error(context, &pass, &error).await;
                return Err(error);
            }
        }
    }
    tracing::error!("a plan that does not end");
    Ok(Action::requeue(Duration::from_secs(60)))
}

fn next_look(again: Option<Duration>) -> Action {
    again.map_or_else(Action::await_change, Action::requeue)
}

/// What cannot be told is logged; the failure itself is logged by the caller.
async fn report_error<A: Api, N: Nodes, P: Pass<A, N>>(context: &Context<A, N>, pass: &P, error: &ReconcileError) {
    if !error.is_for_people() || !pass.is_fresh() {
        return;
    }
    if let Err(untold) = pass.report(context, &Verdict::from(error)).await {
        tracing::warn!(error = %untold, "status not written");
    }
}
