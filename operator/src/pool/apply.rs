//! One effect per step.

use super::observe::Observed;
use super::plan::Step;
use crate::api::{Api, Guard, Key};
use crate::context::{Context, ReconcileError};
use crate::meta::{adoption, release, reread};
use crate::nodes::Nodes;

/// Whether there is still something to decide about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Plan again.
    Continue,
    /// The object is gone, or no longer ours.
    Gone,
}

/// Does it, and notes the outcome in `seen`.
pub async fn apply<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &mut Observed,
    step: Step,
) -> Result<Then, ReconcileError> {
    let api = &context.api;
    match step {
        Step::Rest | Step::Report(_) => {}
        Step::Reread => match reread(api, &seen.pool).await? {
            Some(found) => {
                seen.pool = found;
                seen.is_fresh = true;
            }
            None => return Ok(Then::Gone),
        },
        Step::Adopt => {
            let patch = adoption(&seen.pool, None);
            seen.pool = api
                .patch(&Key::of(&seen.pool), &Guard::unchanged(&seen.pool), patch)
                .await?;
        }
        Step::Ensure { node, request } => {
            let state = context
                .nodes
                .ensure_pool(&node, request)
                .await?
                .pool
                .unwrap_or_default();
            context.memory.set_pool(&node, Some(state.clone()));
            context.memory.follow(&node);
            seen.state = Some(state);
        }
        Step::Release => {
            release(api, &seen.pool).await?;
            return Ok(Then::Gone);
        }
    }
    Ok(Then::Continue)
}
