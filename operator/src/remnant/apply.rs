//! One effect per step.

use dotmesh_crds::condition::Reason;
use dotmesh_crds::{Remnant, RemnantStatus};
use kube::ResourceExt;

use super::end_branches;
use super::observe::Observed;
use super::plan::Step;
use super::report::ACTION;
use crate::api::{Api, Event, EventType, Guard, Key};
use crate::context::{Context, ReconcileError};
use crate::driver::Then;
use crate::meta::{adoption, release};
use crate::nodes::{NodeError, Nodes};
use crate::status::{apply_status, publish};

/// Does it, and notes the outcome in `seen`.
pub async fn apply<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &mut Observed,
    step: Step,
) -> Result<Then, ReconcileError> {
    let api = &context.api;
    let key = Key::of(&seen.remnant);
    let unchanged = Guard::unchanged(&seen.remnant);
    match step {
        Step::Adopt => {
            let patch = adoption(&seen.remnant, None);
            seen.remnant = api.patch(&key, &unchanged, patch).await?;
        }
        Step::GiveBack => {
            let status = RemnantStatus {
                taken_by: None,
                ..seen.remnant.status.clone().unwrap_or_default()
            };
            seen.remnant = apply_status(api, &seen.remnant, &unchanged, &status).await?;
        }
        Step::End => {
            api.delete::<Remnant>(&key, &unchanged).await?;
            return Ok(Then::Gone);
        }
        Step::EndEarly => {
            api.delete::<Remnant>(&key, &unchanged).await?;
            let node = &seen.remnant.spec.node;
            if let Some(pool) = seen.pool.as_deref() {
                context.memory.went_early(pool, context.now());
            }
            let spec = &seen.remnant.spec;
            let event = Event {
                event_type: EventType::Warning,
                reason: Reason::SpaceNeeded.as_str(),
                action: ACTION,
                message: format!(
                    "the pool of node {node:?} is nearly full: {} {}/{} goes before its time",
                    spec.kind.as_str(),
                    spec.namespace.name,
                    spec.name
                ),
            };
            publish(api, &seen.remnant, event).await;
            tracing::warn!(
                remnant = seen.remnant.name_any(),
                node,
                "goes before its time: space is short"
            );
            return Ok(Then::Gone);
        }
        Step::DestroyDot { node, request } => {
            seen.is_tombstoned = done(context.nodes.delete_dot(&node, request).await)?;
        }
        Step::DestroyBranch { node, request } => {
            seen.is_tombstoned = done(context.nodes.delete_branch(&node, request).await)?;
        }
        Step::EndBranches => {
            end_branches(api, &seen.remnant.spec.dot).await?;
            seen.are_branches_ended = true;
        }
        Step::Release => {
            release(api, &seen.remnant).await?;
            return Ok(Then::Gone);
        }
    }
    Ok(Then::Continue)
}

/// What is absent, or being destroyed, needs no tombstone.
fn done<T>(result: Result<T, NodeError>) -> Result<bool, ReconcileError> {
    match result {
        Err(error) if !error.kind.is_gone() => Err(error.into()),
        Ok(_) | Err(_) => Ok(true),
    }
}
