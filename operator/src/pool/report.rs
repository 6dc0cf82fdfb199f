//! The Pool's status, and events about what is wrong.

use dotmesh_crds::condition::Reason;
use dotmesh_crds::{Pool, PoolStatus};
use dotmesh_csi_proto::node::PoolState;
use dotmesh_model::size::{format_quantity, parse_quantity};
use k8s_openapi::jiff::Timestamp;

use super::health;
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
    let mut conditions = verdict.conditions(&status.conditions, generation, now);
    conditions.extend(health::conditions(&status.conditions, &status, generation, now));
    status.conditions = conditions;
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
    let shown = |before: &Option<String>, bytes| {
        let before = before.as_deref().and_then(|before| parse_quantity(before).ok());
        Some(format_quantity(steady(before, bytes, state.size_bytes)))
    };
    status.allocated = shown(&status.allocated, state.allocated_bytes);
    status.available = shown(&status.available, state.available_bytes);
    let fragmentation = state.fragmentation_percent - state.fragmentation_percent % FRAGMENTATION_STEP;
    status.fragmentation = i32::try_from(fragmentation).ok();
    status.zfs_version = Some(state.zfs_kernel.clone()).filter(|version| !version.is_empty());
}

fn step_of(size: u64) -> u64 {
    (size / 128).next_power_of_two().max(STEP_MIN)
}

fn round_down(bytes: u64, size: u64) -> u64 {
    bytes - bytes % step_of(size)
}

/// Rounded down; or what was shown before, while the bytes are no more than a quarter of a step outside of it: at a border
/// between two steps an idle pool's bookkeeping would show now the one and now the other.
fn steady(before: Option<u64>, bytes: u64, size: u64) -> u64 {
    let (step, now) = (step_of(size), round_down(bytes, size));
    let is_kept = |before: &u64| {
        let low = before.saturating_sub(step / 4);
        before.is_multiple_of(step) && (low..before.saturating_add(step + step / 4)).contains(&bytes)
    };
    // What is used up is never shown as there.
    before.filter(|before| bytes > 0 && is_kept(before)).unwrap_or(now)
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
    health::tell(&context.api, &seen.pool, &before, &after).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_a_border_between_two_steps_nothing_changes() {
        let (size, step) = (20 << 30, 256 << 20);
        assert_eq!(step_of(size), step);
        let mut shown = None;
        let mut show = |bytes| {
            let now = steady(shown, bytes, size);
            shown = Some(now);
            now / step
        };
        assert_eq!([0, 1, 0, 1].map(|more| show(40 * step - 1 + more)), [39, 39, 39, 39]);
        assert_eq!(show(40 * step + step / 4), 40, "it is really more");
        assert_eq!([0, 1, 0, 1].map(|more| show(40 * step - 1 + more)), [40, 40, 40, 40]);
        assert_eq!(show(40 * step - step / 4 - 1), 39, "it is really less");
        assert_eq!(show(10 * step + 5), 10);
        assert_eq!((show(step + 1), show(0)), (1, 0));
        // Of a pool that has grown, steps are others.
        assert_eq!(steady(Some(3 * step), 3 * step + 5, 100 << 30), 0);
    }

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
