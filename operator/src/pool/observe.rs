//! Everything a Pool's plan looks at.

use std::collections::BTreeSet;
use std::sync::Arc;

use dotmesh_crds::{Dot, Pool, PoolSpec, Remnant};
use dotmesh_csi_proto::node::PoolState;
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;

use super::{precedence, zpool_name};
use crate::api::{Api, Key};
use crate::context::Context;
use crate::meta::uid;
use crate::nodes::Nodes;

/// What there is, and what was done in this pass.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The Pool.
    pub pool: Pool,
    /// The Pool is from a consistent read or from our own write.
    pub is_fresh: bool,
    /// Another Pool of the same node that this one cannot be beside, and that was there before.
    pub rival: Option<Rival>,
    /// Dots that lie on it, and Remnants.
    pub dots: Vec<String>,
    /// What the node last said of the zpool of that name, or said in this pass.
    pub state: Option<PoolState>,
    /// The node was asked for it in this pass.
    pub is_asked: bool,
    /// Dots on it that may have no object.
    pub unknown: BTreeSet<String>,
}

/// Reads it.
pub fn observe<A: Api, N: Nodes>(context: &Context<A, N>, pool: Pool) -> Observed {
    let node = pool.spec.node_name.clone();
    let rival = observe_rival(&context.api, &pool);
    let is_chosen = !is_of_same_class(rival.as_ref());
    let dots = context.api.cached_where::<Dot>(|dot| lies_on(dot, &pool, is_chosen));
    let remnants = context
        .api
        .cached_where::<Remnant>(|remnant| is_left_on(remnant, &pool));
    Observed {
        dots: names_of(dots.iter().map(|dot| &**dot), remnants.iter().map(|remnant| &**remnant)),
        state: context.memory.pool(&node, &zpool_name(&pool.spec)),
        rival,
        unknown: context.memory.unknown_on(&pool),
        is_asked: false,
        is_fresh: false,
        pool,
    }
}

/// What another Pool has that this one needs, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// The class.
    Class,
    /// The zpool.
    Zpool,
    /// A file or device.
    Place,
}

/// Another Pool that was there before.
#[derive(Debug, Clone)]
pub struct Rival {
    /// It.
    pub pool: Arc<Pool>,
    /// Why both cannot be.
    pub shared: Shared,
}

impl Observed {
    /// Whether Dots of its class on its node are put here.
    pub fn is_chosen(&self) -> bool {
        !is_of_same_class(self.rival.as_ref())
    }
}

fn is_of_same_class(rival: Option<&Rival>) -> bool {
    rival.is_some_and(|rival| rival.shared == Shared::Class)
}

fn observe_rival<A: Api>(api: &A, pool: &Pool) -> Option<Rival> {
    let key = precedence(pool);
    let rivals = api.cached_where::<Pool>(|other| {
        uid(other) != uid(pool) && shared(&other.spec, &pool.spec).is_some() && precedence(other) < key
    });
    let rival = rivals.into_iter().min_by_key(|other| precedence(other))?;
    let shared = shared(&rival.spec, &pool.spec)?;
    Some(Rival { pool: rival, shared })
}

fn shared(one: &PoolSpec, other: &PoolSpec) -> Option<Shared> {
    let has_both = |path: &&str| places(other).any(|place| place == *path);
    if one.node_name != other.node_name {
        None
    } else if one.class == other.class {
        Some(Shared::Class)
    } else if zpool_name(one) == zpool_name(other) {
        Some(Shared::Zpool)
    } else if places(one).any(|path| has_both(&path)) {
        Some(Shared::Place)
    } else {
        None
    }
}

fn places(spec: &PoolSpec) -> impl Iterator<Item = &str> {
    let file = spec.file.iter().map(|file| file.path.as_str());
    file.chain(spec.devices.iter().flatten().map(String::as_str))
}

/// Whether a Dot lies on a Pool. One that is about to be made lies where it was last asked for: on the Pool that is
/// `chosen` among those of its class on its node.
pub fn lies_on(dot: &Dot, pool: &Pool, chosen: bool) -> bool {
    let Some(status) = &dot.status else { return false };
    let is_here = status.node.as_ref() == Some(&pool.spec.node_name);
    match &status.pool {
        Some(name) => is_here && (*name == pool.name_any() || is_planted(Mutant::EveryDotOfTheNodeIsInEachPool)),
        None => is_here && chosen && dot.spec.pool_class() == pool.spec.class,
    }
}

/// Whether the data of a Remnant lies on a Pool.
pub fn is_left_on(remnant: &Remnant, pool: &Pool) -> bool {
    let of = &remnant.spec;
    let is_it = match &of.pool {
        Some(name) => *name == pool.name_any(),
        None => of.pool_class == pool.spec.class,
    };
    is_it && of.node == pool.spec.node_name
}

/// Namespaces and names of Dots, and names of Remnants, in order.
pub fn names_of<'a>(dots: impl Iterator<Item = &'a Dot>, remnants: impl Iterator<Item = &'a Remnant>) -> Vec<String> {
    let mut names: Vec<String> = dots.map(|dot| Key::of(dot).to_string()).collect();
    names.extend(remnants.map(|remnant| format!("Remnant {}", Key::of(remnant))));
    names.sort();
    names
}
