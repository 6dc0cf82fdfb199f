//! One object's turn, whoever runs it: what is done, what is noted of it, and when it is repeated.
//!
//! The queues and their runners are in [`crate::run`]; nothing here knows of them.

use std::sync::Arc;
use std::time::Duration;

use dotmesh_crds::Dot;
use dotmesh_telemetry::Chain;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use kube::Resource;
use kube::runtime::controller::Action;

use crate::api::{Api, ApiErrorKind, Key, Kind};
use crate::capacity;
use crate::claim::{self, report::Said};
use crate::context::{Context, ReconcileError};
use crate::dot;
use crate::meta::uid;
use crate::nodes::Nodes;

/// Wait after a guard that did not hold: the watch is about to bring what changed.
const CONFLICT_RETRY: Duration = Duration::from_millis(100);

/// A Dot's turn: entries of claims that are gone, then the Dot itself.
///
/// # Errors
/// What is to be repeated.
pub async fn take_dot<A: Api, N: Nodes>(dot: Arc<Dot>, context: Arc<Context<A, N>>) -> Result<Action, ReconcileError> {
    context.must_lead()?;
    claim::release::release(&context.api, &Key::of(&*dot)).await?;
    dot::reconcile(dot, context).await
}

/// A claim's turn.
///
/// # Errors
/// What is to be repeated.
pub async fn take_claim<A: Api, N: Nodes>(
    claim: Arc<PersistentVolumeClaim>,
    context: Arc<Context<A, N>>,
    said: Arc<Said>,
) -> Result<Action, ReconcileError> {
    context.must_lead()?;
    let again = claim::reconcile(&context.api, &context.memory, &said, claim).await?;
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// The turn of all that the scheduler is told of the Pools. How long until it is to be repeated; absent: not before
/// something changes.
pub async fn take_capacities<A: Api, N: Nodes>(context: &Context<A, N>) -> Option<Duration> {
    let kind = CSIStorageCapacity::kind(&());
    let Err(error) = capacity::reconcile(context).await else {
        context.metrics.reconciled(&kind, "ok");
        context.memory.succeeded(&kind);
        return None;
    };
    context.metrics.reconciled(&kind, error.category());
    if let ReconcileError::Api(api) = &error
        && matches!(
            api.kind,
            ApiErrorKind::Conflict | ApiErrorKind::AlreadyExists | ApiErrorKind::NotFound
        )
    {
        // The caches are about to show what there is.
        return Some(CONFLICT_RETRY);
    }
    tracing::warn!(%kind, error = %Chain(&error), "the scheduler is not told; trying again");
    Some(context.memory.failed(&kind))
}

/// Counts and logs how a turn ended.
pub fn note<K: Kind, A: Api, N: Nodes>(context: &Context<A, N>, object: &K, result: &Result<Action, ReconcileError>) {
    let kind = K::kind(&());
    match result {
        Ok(_) => {
            context.metrics.reconciled(&kind, "ok");
            context.memory.succeeded(uid(object));
        }
        Err(error @ ReconcileError::Api(api)) if api.kind == ApiErrorKind::Conflict => {
            context.metrics.reconciled(&kind, error.category());
            tracing::debug!(%kind, object = %Key::of(object), %error, "changed meanwhile; looking again");
        }
        Err(error) => {
            context.metrics.reconciled(&kind, error.category());
            tracing::warn!(%kind, object = %Key::of(object), error = %Chain(error), "reconcile failed; trying again");
        }
    }
}

/// How long after a failed turn the next one comes.
pub fn retry_after<K: Kind, A: Api, N: Nodes>(context: &Context<A, N>, object: &K, error: &ReconcileError) -> Duration {
    match error {
        ReconcileError::Api(error) if error.kind == ApiErrorKind::Conflict => CONFLICT_RETRY,
        ReconcileError::Api(_) | ReconcileError::Node(_) | ReconcileError::NotLeading => {
            context.memory.failed(uid(object))
        }
    }
}
