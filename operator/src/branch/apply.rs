//! One effect per step.

use dotmesh_crds::Branch;
use dotmesh_crds::condition::Reason;

use super::observe::Observed;
use super::plan::Step;
use super::report::build_accepted;
use crate::api::{Api, Guard, Key};
use crate::context::{Context, ReconcileError};
use crate::driver::Then;
use crate::meta::{adoption, release};
use crate::nodes::Nodes;
use crate::remnant::leave::{build_branch, leave};
use crate::remnant::takeover::take;
use crate::status::{Verdict, apply_status};

/// Does it, and notes the outcome in `seen`.
pub async fn apply<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &mut Observed,
    step: Step,
) -> Result<Then, ReconcileError> {
    let api = &context.api;
    let key = Key::of(&seen.branch);
    match step {
        Step::Adopt => {
            let patch = adoption(&seen.branch, seen.dot.as_deref());
            seen.branch = api.patch(&key, &Guard::unchanged(&seen.branch), patch).await?;
        }
        Step::Take(remnant) => {
            let taken = take(api, &seen.branch, &remnant).await?;
            if let Some(source) = &mut seen.source {
                source.remnant = Some(taken);
            }
        }
        Step::Leave => {
            let (now, grace) = (context.now(), context.config.grace);
            let Some(dot) = seen.dot.clone() else {
                return Ok(Then::Continue);
            };
            let build = |namespace| build_branch(&seen.branch, &dot, namespace, now, grace);
            seen.left = leave(context, &seen.branch, build).await?;
        }
        Step::Accept(accepted) => {
            let progress = Verdict::new(Reason::Progressing, "the head is being made");
            let status = build_accepted(seen, *accepted, &progress, context.now());
            let guard = Guard::unchanged(&seen.branch);
            seen.branch = apply_status(api, &seen.branch, &guard, &status).await?;
            seen.naming = None;
        }
        Step::Ensure { node, request } => seen.ensured = Some(context.nodes.ensure_branch(&node, request).await?),
        Step::Retire => {
            api.delete::<Branch>(&key, &Guard::unchanged(&seen.branch)).await?;
            return Ok(Then::Gone);
        }
        Step::Delete { node, request } => match context.nodes.delete_branch(&node, request).await {
            Err(error) if !error.kind.is_gone() => {
                return Err(error.into());
            }
            Ok(_) | Err(_) => seen.is_tombstoned = true,
        },
        Step::Release => {
            release(api, &seen.branch).await?;
            return Ok(Then::Gone);
        }
    }
    Ok(Then::Continue)
}
