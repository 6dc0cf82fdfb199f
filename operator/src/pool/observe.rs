//! Everything a Pool's plan looks at.

use std::sync::Arc;

use dotmesh_crds::{Dot, Pool};
use dotmesh_csi_proto::node::PoolState;
use kube::ResourceExt;

use super::pool_of;
use crate::api::Api;
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
    /// Dots that lie on the node.
    pub dots: Vec<String>,
    /// What the node last said, or said in this pass.
    pub state: Option<PoolState>,
}

/// Reads it.
pub fn observe<A: Api, N: Nodes>(context: &Context<A, N>, pool: Pool) -> Observed {
    let node = pool.spec.node_name.clone();
    let lies_here = |dot: &Dot| dot.status.as_ref().and_then(|status| status.node.as_deref()) == Some(node.as_str());
    let mut dots: Vec<String> = context
        .api
        .cached_where::<Dot>(lies_here)
        .iter()
        .map(|dot| format!("{}/{}", dot.namespace().unwrap_or_default(), dot.name_any()))
        .collect();
    dots.sort();
    Observed {
        rival: pool_of(&context.api, &node).filter(|oldest| uid(&**oldest) != uid(&pool)),
        dots,
        state: context.memory.pool(&node),
        is_fresh: false,
        pool,
    }
}
