//! The Pool's status, and events about what is wrong.

use dotmesh_crds::condition::Reason;
use dotmesh_crds::{Pool, PoolStatus};
use dotmesh_csi_proto::node::PoolState;
use dotmesh_model::size::format_quantity;
use k8s_openapi::jiff::Timestamp;

use super::observe::Observed;
use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::nodes::Nodes;
use crate::status::{Verdict, tell, write_status};

const ACTION: &str = "Pool";

/// Available space is shown in steps of at least this many bytes, and of about a hundredth of the pool, so that an
/// idle pool's bookkeeping causes no writes.
const STEP_MIN: u64 = 16 << 20;

/// The status after this pass.
pub fn build_status(seen: &Observed, verdict: &Verdict, now: Timestamp) -> PoolStatus {
    let mut status = seen.pool.status.clone().unwrap_or_default();
    let generation = seen.pool.metadata.generation;
    if let Some(state) = &seen.state {
        describe(&mut status, state, verdict);
    }
    status.observed_generation = generation;
    status.conditions = verdict.conditions(&status.conditions, generation, now);
    status
}

/// A GUID is recorded once; a foreign pool's size is not this pool's.
fn describe(status: &mut PoolStatus, state: &PoolState, verdict: &Verdict) {
    if verdict.reason == Reason::PoolForeign || verdict.reason == Reason::Conflict {
        return;
    }
    status.guid.get_or_insert_with(|| state.guid.to_string());
    status.health = Some(state.health.clone());
    // A pool that could not be read has no size; the one that is known is still its own.
    if state.size_bytes == 0 {
        return;
    }
    status.size = Some(format_quantity(state.size_bytes));
    status.available = Some(format_quantity(round_down(state.available_bytes, state.size_bytes)));
    status.zfs_version = Some(state.zfs_kernel.clone()).filter(|version| !version.is_empty());
}

fn round_down(available: u64, size: u64) -> u64 {
    let step = (size / 128).next_power_of_two().max(STEP_MIN);
    available - available % step
}

/// Whether the status would change.
pub fn is_news<A: Api, N: Nodes>(context: &Context<A, N>, seen: &Observed, verdict: &Verdict) -> bool {
    seen.pool.status.clone().unwrap_or_default() != build_status(seen, verdict, context.now())
}

/// Writes the status if it says something new, and the event that goes with it.
pub async fn report<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &Observed,
    verdict: &Verdict,
) -> Result<(), ReconcileError> {
    let before = seen.pool.status.clone().unwrap_or_default();
    let after = build_status(seen, verdict, context.now());
    write_status::<_, Pool, _>(&context.api, &seen.pool, &before, &after).await?;
    tell(&context.api, &seen.pool, verdict, &before.conditions, ACTION).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_pool_looks_the_same_from_second_to_second() {
        let size = 20 << 30;
        assert_eq!(
            round_down((10 << 30) + 5000, size),
            round_down((10 << 30) + 900_000, size)
        );
        assert_eq!(round_down(0, size), 0);
        assert_eq!(round_down(size, size), size);
    }
}
