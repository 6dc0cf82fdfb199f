//! One effect per step.

use dotmesh_crds::Commit;
use dotmesh_crds::names::ANNOTATION_HEAD;
use dotmesh_mutant::{Mutant, is_planted};
use serde_json::json;

use super::group;
use super::observe::Observed;
use super::plan::{Step, plan};
use crate::api::{Api, Guard, Key};
use crate::context::{Context, ReconcileError};
use crate::driver::{Plan, Then};
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
        Step::Adopt { head } => {
            let mut patch = adoption(&seen.commit, seen.dot.as_deref());
            patch["metadata"]["annotations"] = json!({ ANNOTATION_HEAD: head.to_string() });
            seen.commit = api
                .patch(&Key::of(&seen.commit), &Guard::unchanged(&seen.commit), patch)
                .await?;
            seen.is_fresh = true;
        }
        Step::Take { node, request } => {
            let _held = group::hold(context, &seen.commit).await;
            if !request.together.is_empty() {
                group::reread(context, seen).await?;
                if plan(seen)
                    != Plan::Do(Step::Take {
                        node: node.clone(),
                        request: request.clone(),
                    })
                {
                    return Ok(Then::Continue);
                }
            }
            seen.taken = Some(context.nodes.commit(&node, *request).await?);
        }
        Step::Delete { node, request } => {
            let _held = group::hold(context, &seen.commit).await;
            match context.nodes.delete_commit(&node, request).await {
                Err(error) if !error.kind.is_gone() && !is_planted(Mutant::AnyErrorMeansTheCommitIsAbsent) => {
                    return Err(error.into());
                }
                Ok(_) | Err(_) => seen.is_tombstoned = true,
            }
        }
        Step::Discard => {
            api.delete::<Commit>(&Key::of(&seen.commit), &Guard::same(&seen.commit))
                .await?;
            return Ok(Then::Gone);
        }
        Step::Release => {
            release(api, &seen.commit).await?;
            return Ok(Then::Gone);
        }
    }
    Ok(Then::Continue)
}
