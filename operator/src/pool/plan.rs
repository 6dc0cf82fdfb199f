//! The next step for a Pool. Pure.

use dotmesh_crds::condition::Reason;
use dotmesh_csi_proto::node::{EnsurePoolRequest, PoolFile, PoolState, ensure_pool_request::Source};
use dotmesh_model::size::parse_quantity;
use kube::ResourceExt;

use super::POOL_NAME;
use super::observe::Observed;
use crate::driver::Plan;
use crate::meta::{is_deleting, is_protected};
use crate::status::Verdict;

/// Names that a message lists before it stops.
const NAMED_MAX: usize = 5;

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Protect it: a Dot lies on it.
    Adopt,
    /// Make or import the pool, or make it larger.
    Ensure {
        /// Where.
        node: String,
        /// What; the newest commit is looked for when it is asked.
        request: EnsurePoolRequest,
    },
    /// Let the object go, unless something lies on it after all.
    Release,
}

/// The next step.
pub fn plan(seen: &Observed) -> Plan<Step> {
    let pool = &seen.pool;
    let is_protected = is_protected(pool);
    if is_deleting(pool) {
        return match (is_protected, seen.dots.is_empty()) {
            (false, _) => Plan::Rest,
            (true, true) => Plan::Do(Step::Release),
            // What lies on it can only be deleted on a node that was asked for its pool.
            (true, false) if must_ask(seen) => plan_ensure(seen),
            (true, false) => Plan::Report(in_use(&seen.dots)),
        };
    }
    if let Some(rival) = &seen.rival {
        let why = format!("node {:?} has Pool {:?} already", pool.spec.node_name, rival.name_any());
        return Plan::Report(Verdict::new(Reason::Conflict, why));
    }
    if !is_protected && !seen.dots.is_empty() {
        return Plan::Do(Step::Adopt);
    }
    match &seen.state {
        Some(state) if !must_ask(seen) => Plan::Report(judge(seen, state)),
        Some(_) | None => plan_ensure(seen),
    }
}

/// The node has not been asked for its pool, or has imported it since, or its file is to grow.
fn must_ask(seen: &Observed) -> bool {
    seen.state.as_ref().is_none_or(|state| {
        let is_usable = matches!(state.health.as_str(), "ONLINE" | "DEGRADED");
        is_usable && (!state.compared || must_grow(seen, state))
    })
}

/// More is asked for than the file is known to have.
fn must_grow(seen: &Observed, state: &PoolState) -> bool {
    let wanted = parse_quantity(&seen.pool.spec.file.size);
    state.file_bytes > 0 && wanted.is_ok_and(|wanted| wanted > state.file_bytes)
}

fn in_use(dots: &[String]) -> Verdict {
    let named = dots.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = match dots.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Verdict::new(
        Reason::InUse,
        format!("Dots lie on it: {named}{more}; delete them first"),
    )
}

fn plan_ensure(seen: &Observed) -> Plan<Step> {
    let spec = &seen.pool.spec;
    let invalid = |why: String| Plan::Report(Verdict::new(Reason::Invalid, why));
    let size_bytes = match parse_quantity(&spec.file.size) {
        Ok(bytes) => bytes,
        Err(why) => return invalid(format!("spec.file.size: {why}")),
    };
    let known = seen.pool.status.as_ref().and_then(|status| status.guid.as_deref());
    let known_guid = match known.map(str::parse).transpose() {
        Ok(guid) => guid.unwrap_or_default(),
        Err(_) => return invalid("status.guid is not a number".to_owned()),
    };
    Plan::Do(Step::Ensure {
        node: spec.node_name.clone(),
        request: EnsurePoolRequest {
            name: POOL_NAME.to_owned(),
            known_guid,
            source: Some(Source::File(PoolFile {
                path: spec.file.path.clone(),
                size_bytes,
            })),
            newest: None,
        },
    })
}

fn judge(seen: &Observed, state: &PoolState) -> Verdict {
    let known = seen.pool.status.as_ref().and_then(|status| status.guid.clone());
    if let Some(known) = known.filter(|known| *known != state.guid.to_string()) {
        let why = format!("the pool on the node has GUID {}, the known one is {known}", state.guid);
        return Verdict::new(Reason::PoolForeign, why);
    }
    match state.health.as_str() {
        "ONLINE" => Verdict::ready(),
        "DEGRADED" => Verdict::new(Reason::Ready, "degraded: a device of the pool is away"),
        health => Verdict::new(Reason::PoolUnavailable, format!("ZFS says {health}")),
    }
}
