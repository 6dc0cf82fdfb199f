//! Controller of Remnants: deleted data waits for somebody who wants it back, and goes at its time.
//!
//! A Remnant's data is destroyed only when the Remnant is being deleted, no object has recorded its id, and nobody takes it
//! over: the first excludes everybody who comes later, because taking over is a write of the Remnant in the version in
//! which it was not being deleted.

pub mod apply;
pub mod leave;
pub mod observe;
pub mod plan;
pub mod report;
pub mod takeover;

use std::sync::Arc;
use std::time::Duration;

use dotmesh_crds::Remnant;
use dotmesh_crds::remnant::RemnantKind;
use kube::runtime::controller::Action;

use crate::api::{Api, ApiError, ApiErrorKind, Guard, Key};
use crate::context::{Context, ReconcileError};
use crate::driver::{Pass, Plan, Then, drive};
use crate::meta::reread;
use crate::nodes::Nodes;
use crate::status::Verdict;
use observe::Observed;

/// Remnants of Branches of the Dot of this id, by a consistent read.
///
/// # Errors
/// Those of the API.
pub async fn branches_of<A: Api>(api: &A, dot: &str) -> Result<Vec<Remnant>, ApiError> {
    let mut found: Vec<Remnant> = api.list(None, Some(&format!("spec.dot={dot}"))).await?;
    found.retain(|remnant| remnant.spec.kind == RemnantKind::Branch);
    Ok(found)
}

/// Asks for the end of the Remnants of a Dot's Branches: the Dot's tombstone covers what they stand for.
///
/// # Errors
/// Those of the API.
pub async fn end_branches<A: Api>(api: &A, dot: &str) -> Result<(), ApiError> {
    for remnant in branches_of(api, dot).await? {
        match api.delete::<Remnant>(&Key::of(&remnant), &Guard::same(&remnant)).await {
            Err(error) if error.kind != ApiErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// Brings one Remnant to where it should be.
///
/// # Errors
/// What is to be repeated; the condition tells it.
pub async fn reconcile<A: Api, N: Nodes>(
    remnant: Arc<Remnant>,
    context: Arc<Context<A, N>>,
) -> Result<Action, ReconcileError> {
    let seen = observe::observe(&context, Arc::unwrap_or_clone(remnant));
    drive(&context, seen).await
}

impl<A: Api, N: Nodes> Pass<A, N> for Observed {
    type Step = plan::Step;

    fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    async fn reread(&mut self, context: &Context<A, N>) -> Result<Then, ReconcileError> {
        let Some(found) = reread(&context.api, &self.remnant).await? else {
            return Ok(Then::Gone);
        };
        observe::observe_owners(&context.api, self, found).await?;
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
        plan::again(self)
    }
}
