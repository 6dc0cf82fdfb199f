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

/// Space is shown in steps of at least this many bytes, and of about a hundredth of the pool, so that an idle pool's
/// bookkeeping causes no writes.
const STEP_MIN: u64 = 16 << 20;

/// Fragmentation is shown in steps of so many percent, for the same reason.
const FRAGMENTATION_STEP: u32 = 5;

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
    if state.file_bytes > 0 {
        status.file_size = Some(format_quantity(state.file_bytes));
    }
    // A pool that could not be read has no size; the one that is known is still its own.
    if state.size_bytes == 0 {
        return;
    }
    status.size = Some(format_quantity(state.size_bytes));
    let shown = |bytes| Some(format_quantity(round_down(bytes, state.size_bytes)));
    status.allocated = shown(state.allocated_bytes);
    status.available = shown(state.available_bytes);
    let fragmentation = state.fragmentation_percent - state.fragmentation_percent % FRAGMENTATION_STEP;
    status.fragmentation = i32::try_from(fragmentation).ok();
    status.zfs_version = Some(state.zfs_kernel.clone()).filter(|version| !version.is_empty());
}

fn round_down(bytes: u64, size: u64) -> u64 {
    let step = (size / 128).next_power_of_two().max(STEP_MIN);
    bytes - bytes % step
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
        let shown = |fragmentation_percent, more: u64| {
            let state = PoolState {
                size_bytes: size,
                allocated_bytes: (3 << 30) + more,
                available_bytes: (16 << 30) + more,
                fragmentation_percent,
                health: "ONLINE".to_owned(),
                ..PoolState::default()
            };
            let mut status = PoolStatus::default();
            describe(&mut status, &state, &Verdict::ready());
            status
        };
        assert_eq!(shown(6, 1000), shown(9, 2000));
        let status = shown(17, 5);
        assert_eq!(status.fragmentation, Some(15));
        assert_eq!(status.allocated.as_deref(), Some("3Gi"));
    }
}
