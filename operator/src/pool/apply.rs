//! One effect per step.

use dotmesh_crds::{Dot, Remnant};

use super::observe::{Observed, is_left_on, lies_on, names_of};
use super::plan::Step;
use super::{newest, suspects};
use crate::api::{Api, ApiError, Guard, Key};
use crate::context::{Context, ReconcileError, place};
use crate::driver::Then;
use crate::meta::{adoption, release};
use crate::nodes::Nodes;

/// Does it, and notes the outcome in `seen`.
pub async fn apply<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &mut Observed,
    step: Step,
) -> Result<Then, ReconcileError> {
    let api = &context.api;
    match step {
        Step::Adopt => {
            // The cache may show what lay on an earlier Pool of the name.
            look(api, seen).await?;
            if seen.dots.is_empty() {
                return Ok(Then::Continue);
            }
            let patch = adoption(&seen.pool, None);
            seen.pool = api
                .patch(&Key::of(&seen.pool), &Guard::unchanged(&seen.pool), patch)
                .await?;
        }
        Step::Ensure { node, mut request } => {
            request.newest = newest::find(api, &seen.pool).await?;
            let state = context
                .nodes
                .ensure_pool(&node, request)
                .await?
                .pool
                .unwrap_or_default();
            context.memory.set_pool(&node, state.clone());
            context.memory.follow(&node);
            seen.state = Some(state);
            seen.is_asked = true;
        }
        Step::Leave(dot) => {
            suspects::leave_dot(context, &seen.pool, &dot).await?;
            context.memory.clear_suspect(&place(&seen.pool), &dot);
            seen.unknown.remove(&dot);
        }
        Step::Release => {
            // The cache may not show yet what lies there.
            look(api, seen).await?;
            if seen.dots.is_empty() {
                release(api, &seen.pool).await?;
                return Ok(Then::Gone);
            }
        }
    }
    Ok(Then::Continue)
}

/// What lies on it, by consistent reads.
async fn look<A: Api>(api: &A, seen: &mut Observed) -> Result<(), ApiError> {
    let dots: Vec<Dot> = api.list(None, None).await?;
    let remnants: Vec<Remnant> = api.list(None, None).await?;
    let is_chosen = seen.is_chosen();
    seen.dots = names_of(
        dots.iter().filter(|dot| lies_on(dot, &seen.pool, is_chosen)),
        remnants.iter().filter(|remnant| is_left_on(remnant, &seen.pool)),
    );
    Ok(())
}
