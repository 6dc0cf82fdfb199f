//! The next step for a Pool. Pure.

use dotmesh_crds::condition::Reason;
use dotmesh_crds::{Pool, PoolSpec};
use dotmesh_csi_proto::node::{
    EnsurePoolRequest, PoolDevices, PoolExisting, PoolFile, PoolState, ensure_pool_request::Source,
};
use dotmesh_model::size::parse_quantity;
use kube::ResourceExt;

use super::observe::{Observed, Rival, Shared};
use super::{guid_of as known, is_usable, zpool_name};
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
    /// Make sure that a Dot has no object, and then a Remnant of it.
    Leave(String),
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
        return Plan::Report(Verdict::new(Reason::Conflict, tell_rival(pool, rival)));
    }
    if !is_protected && !seen.dots.is_empty() {
        return Plan::Do(Step::Adopt);
    }
    match &seen.state {
        Some(state) if !must_ask(seen) => match seen.unknown.first() {
            Some(dot) if judge(seen, state).is_ready() => Plan::Do(Step::Leave(dot.clone())),
            Some(_) | None => Plan::Report(judge(seen, state)),
        },
        Some(_) | None => plan_ensure(seen),
    }
}

/// The node has not been asked for this Pool's zpool, or has imported it since, or its file is to grow.
fn must_ask(seen: &Observed) -> bool {
    let is_known = seen.is_asked || known(&seen.pool).is_some();
    !is_known
        || seen
            .state
            .as_ref()
            .is_none_or(|state| is_usable(state) && (!state.compared || must_grow(seen, state)))
}

fn tell_rival(pool: &Pool, rival: &Rival) -> String {
    let (node, other) = (&pool.spec.node_name, rival.pool.name_any());
    match rival.shared {
        Shared::Class => format!(
            "node {node:?} has Pool {other:?} of class {:?} already; make this one with another spec.class",
            pool.spec.class
        ),
        Shared::Zpool => format!(
            "Pool {other:?} of node {node:?} is zpool {:?} already; a zpool is one Pool",
            zpool_name(&pool.spec)
        ),
        Shared::Place => {
            format!("Pool {other:?} of node {node:?} lies on the same file or device; make this one with another")
        }
    }
}

/// More is asked for than the file is known to have.
fn must_grow(seen: &Observed, state: &PoolState) -> bool {
    let file = seen.pool.spec.file.as_ref();
    let wanted = file.and_then(|file| parse_quantity(&file.size).ok());
    state.file_bytes > 0 && wanted.is_some_and(|wanted| wanted > state.file_bytes)
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
    let source = match source(spec) {
        Ok(source) => source,
        Err(why) => return invalid(why),
    };
    let known_guid = match known(&seen.pool).map(str::parse).transpose() {
        Ok(guid) => guid.unwrap_or_default(),
        Err(_) => return invalid("status.guid is not a number".to_owned()),
    };
    Plan::Do(Step::Ensure {
        node: spec.node_name.clone(),
        request: EnsurePoolRequest {
            name: zpool_name(spec),
            known_guid,
            source: Some(source),
            newest: None,
        },
    })
}

/// Where the pool lies.
fn source(spec: &PoolSpec) -> Result<Source, String> {
    match (&spec.file, &spec.devices, &spec.existing) {
        (Some(file), None, None) => Ok(Source::File(PoolFile {
            path: file.path.clone(),
            size_bytes: parse_quantity(&file.size).map_err(|why| format!("spec.file.size: {why}"))?,
        })),
        (None, Some(paths), None) => Ok(Source::Devices(PoolDevices { paths: paths.clone() })),
        (None, None, Some(_)) => Ok(Source::Existing(PoolExisting {})),
        _ => Err("a Pool has exactly one of file, devices and existing".to_owned()),
    }
}

fn judge(seen: &Observed, state: &PoolState) -> Verdict {
    if let Some(known) = known(&seen.pool).filter(|known| *known != state.guid.to_string()) {
        let why = format!("the pool on the node has GUID {}, the known one is {known}", state.guid);
        return Verdict::new(Reason::PoolForeign, why);
    }
    match state.health.as_str() {
        "ONLINE" => Verdict::ready(),
        "DEGRADED" => Verdict::new(Reason::Ready, "degraded: a device of the pool is away"),
        health => Verdict::new(Reason::PoolUnavailable, format!("ZFS says {health}")),
    }
}
