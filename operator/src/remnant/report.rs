//! The Remnant's status, and events about what is wrong.

use dotmesh_crds::{Remnant, RemnantStatus};
use k8s_openapi::jiff::Timestamp;

use super::observe::Observed;
use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::nodes::Nodes;
use crate::status::{Verdict, tell, write_status};

/// What events say was being done.
pub const ACTION: &str = "Remnant";

/// The status after this pass. Who takes it over is written by who does.
pub fn build_status(seen: &Observed, verdict: &Verdict, now: Timestamp) -> RemnantStatus {
    let before = seen.remnant.status.clone().unwrap_or_default();
    let generation = seen.remnant.metadata.generation;
    RemnantStatus {
        observed_generation: generation,
        conditions: verdict.conditions(&before.conditions, generation, now),
        taken_by: before.taken_by,
    }
}

/// Whether the status would change.
pub fn is_news<A: Api, N: Nodes>(context: &Context<A, N>, seen: &Observed, verdict: &Verdict) -> bool {
    seen.remnant.status.clone().unwrap_or_default() != build_status(seen, verdict, context.now())
}

/// Writes the status if it says something new, and the event that goes with it.
pub async fn report<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &Observed,
    verdict: &Verdict,
) -> Result<(), ReconcileError> {
    let before = seen.remnant.status.clone().unwrap_or_default();
    let after = build_status(seen, verdict, context.now());
    write_status::<_, Remnant, _>(&context.api, &seen.remnant, &before, &after).await?;
    tell(&context.api, &seen.remnant, verdict, &before.conditions, ACTION).await;
    Ok(())
}
