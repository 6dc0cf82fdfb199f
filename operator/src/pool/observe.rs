//! Everything a Pool's plan looks at.

use std::sync::Arc;

use dotmesh_crds::{Dot, Pool, Remnant};
use dotmesh_csi_proto::node::PoolState;

use super::{pool_of, zpool_name};
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
    /// Another Pool of the same node, which is older.
    pub rival: Option<Arc<Pool>>,
    /// Dots that lie on the node, and Remnants.
    pub dots: Vec<String>,
    /// What the node last said of the zpool of that name, or said in this pass.
    pub state: Option<PoolState>,
    /// The node was asked for it in this pass.
    pub is_asked: bool,
}

/// Reads it.
pub fn observe<A: Api, N: Nodes>(context: &Context<A, N>, pool: Pool) -> Observed {
    let node = pool.spec.node_name.clone();
    Observed {
        rival: pool_of(&context.api, &node).filter(|oldest| uid(&**oldest) != uid(&pool)),
        dots: {
            let dots = context.api.cached_where::<Dot>(|dot| lies_on(dot, &node));
            let remnants = context.api.cached_where::<Remnant>(|remnant| remnant.spec.node == node);
            names_of(dots.iter().map(|dot| &**dot), remnants.iter().map(|remnant| &**remnant))
        },
        state: context
            .memory
            .pool(&node)
            .filter(|state| state.name == zpool_name(&pool.spec)),
        is_asked: false,
        is_fresh: false,
        pool,
    }
}

/// Whether a Dot lies on a node.
pub fn lies_on(dot: &Dot, node: &str) -> bool {
    dot.status.as_ref().and_then(|status| status.node.as_deref()) == Some(node)
}

/// Namespaces and names of Dots, and names of Remnants, in order.
pub fn names_of<'a>(dots: impl Iterator<Item = &'a Dot>, remnants: impl Iterator<Item = &'a Remnant>) -> Vec<String> {
    let mut names: Vec<String> = dots.map(|dot| Key::of(dot).to_string()).collect();
    names.extend(remnants.map(|remnant| format!("Remnant {}", Key::of(remnant))));
    names.sort();
    names
}
