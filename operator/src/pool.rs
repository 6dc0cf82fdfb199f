//! Controller of Pools: one per class and node, known by its GUID for ever. The one of class `default` is made on each
//! node that runs csi-node.
//!
//! Deleting the object destroys nothing. While a Dot lies on it the object stays, because it holds the GUID that tells
//! the pool from any other.

pub mod apply;
pub mod discover;
pub mod follow;
pub mod health;
pub mod losses;
pub mod newest;
pub mod observe;
pub mod plan;
pub mod report;
pub mod room;
pub mod suspects;

use std::sync::Arc;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::names::DEFAULT_CLASS;
use dotmesh_crds::{Dot, Pool, PoolSpec};
use dotmesh_csi_proto::node::PoolState;
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::api::{Api, Key};
use crate::context::{Context, ReconcileError};
use crate::driver::{Pass, Plan, Then, drive};
use crate::meta::reread;
use crate::nodes::Nodes;
use crate::status::Verdict;
use observe::Observed;

/// The zpool's name of class `default`, unless somebody else made it; those of other classes begin so.
pub const POOL_NAME: &str = "dotmesh";

/// The name of a Pool's zpool.
pub fn zpool_name(spec: &PoolSpec) -> String {
    match (&spec.existing, spec.class.as_str()) {
        (Some(existing), _) => existing.clone(),
        (None, DEFAULT_CLASS) => POOL_NAME.to_owned(),
        (None, class) => format!("{POOL_NAME}-{class}"),
    }
}

/// Whether a zpool works, with or without all of its devices.
pub fn is_usable(state: &PoolState) -> bool {
    matches!(state.health.as_str(), "ONLINE" | "DEGRADED")
}

/// The GUID that was recorded when the pool was first seen.
pub fn guid_of(pool: &Pool) -> Option<&str> {
    pool.status.as_ref()?.guid.as_deref()
}

/// Of two Pools that cannot both be, the one with the lesser key: one that was seen already, else the older one.
pub(crate) fn precedence(pool: &Pool) -> impl Ord + use<> {
    let age = pool.creation_timestamp().map(|time| time.0);
    (guid_of(pool).is_none(), age, pool.name_any())
}

/// The Pool of a class on a node, if there is one.
pub fn pool_of<A: Api>(api: &A, node: &str, class: &str) -> Option<Arc<Pool>> {
    let pools = api.cached_where::<Pool>(|pool| is_of(pool, node, class));
    pools.into_iter().min_by_key(|pool| precedence(pool))
}

/// Whether a Pool is on that node and of that class.
pub fn is_of(pool: &Pool, node: &str, class: &str) -> bool {
    pool.spec.node_name == node && (pool.spec.class == class || is_planted(Mutant::APoolOfAnyClass))
}

/// The Pool where a Dot lies: the recorded one, else the one of its class on that node.
pub fn pool_for<A: Api>(api: &A, dot: &Dot, node: Option<&str>) -> Option<Arc<Pool>> {
    match dot.status.as_ref().and_then(|status| status.pool.as_deref()) {
        Some(name) => api.cached::<Pool>(&Key::cluster(name)),
        None => pool_of(api, node?, dot.spec.pool_class()),
    }
}

/// The GUID by which a node is told which of its pools is meant.
///
/// # Errors
/// Nobody has seen that pool, or its object is gone: `name` says which it was.
pub fn meant(pool: Option<&Pool>, name: &str) -> Result<u64, Verdict> {
    let Some(pool) = pool else {
        let why = format!("Pool {name:?} is not there; it is needed to tell its zpool from any other: make it again");
        return Err(Verdict::new(Reason::PoolUnavailable, why));
    };
    let guid = guid_of(pool).and_then(|guid| guid.parse().ok());
    guid.ok_or_else(|| {
        let why = format!("Pool {:?} was not seen on its node yet", pool.name_any());
        Verdict::new(Reason::PoolUnavailable, why)
    })
}

/// Brings one Pool to where it should be.
///
/// # Errors
/// What is to be repeated; the condition tells it.
pub async fn reconcile<A: Api, N: Nodes>(
    pool: Arc<Pool>,
    context: Arc<Context<A, N>>,
) -> Result<Action, ReconcileError> {
    let seen = observe::observe(&context, Arc::unwrap_or_clone(pool));
    drive(&context, seen).await
}

impl<A: Api, N: Nodes> Pass<A, N> for Observed {
    type Step = plan::Step;

    fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    async fn reread(&mut self, context: &Context<A, N>) -> Result<Then, ReconcileError> {
        let Some(found) = reread(&context.api, &self.pool).await? else {
            return Ok(Then::Gone);
        };
        self.pool = found;
        self.is_fresh = true;
        Ok(Then::Continue)
    }

    fn plan(&self) -> Plan<plan::Step> {
        plan::plan(self)
    }

    async fn apply(&mut self, context: &Context<A, N>, step: plan::Step) -> Result<Then, ReconcileError> {
        apply::apply(context, self, step).await
    }

    fn is_news(&self, context: &Context<A, N>, verdict: &Verdict) -> bool {
        report::is_news(context, self, verdict)
    }

    async fn report(&self, context: &Context<A, N>, verdict: &Verdict) -> Result<(), ReconcileError> {
        report::report(context, self, verdict).await
    }
}
