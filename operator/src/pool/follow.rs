//! Follows what a node says of its pools, for as long as it answers.
//!
//! The stream's end makes its Pools be looked at again: the node is asked for them, and followed anew.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_crds::Pool;
use dotmesh_csi_proto::node::WatchEvent;
use futures::StreamExt;

use super::{losses, zpool_name};
use crate::api::{Api, Key};
use crate::context::Context;
use crate::nodes::{NodeError, Nodes, PoolEvents};
use crate::remnant::observe::{first_to_go, is_short};
use crate::wake::{self, Wake};

/// Between two looks at a node that keeps talking: a Pool's status is written at most once in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Events that wait are read at once, and the newest counts.
const WAITING_MAX: usize = 64;

/// Follows each node whose pool was asked for, one stream per node, for ever.
pub async fn follow_all<A: Api, N: Nodes>(
    context: Arc<Context<A, N>>,
    send: impl Fn(Wake) + Clone + Send + Sync + 'static,
) {
    fn lock(running: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
        running.lock().unwrap_or_else(PoisonError::into_inner)
    }
    let running: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    loop {
        for node in context.memory.next_followed().await {
            if !lock(&running).insert(node.clone()) {
                continue;
            }
            let (context, send, running) = (context.clone(), send.clone(), running.clone());
            tokio::spawn(async move {
                follow(&context, &node, &send).await;
                lock(&running).remove(&node);
                // What was heard since the stream's end nobody follows: it is asked for again.
                context.memory.set_pools(&node, Vec::new());
                send(look(&context, &node));
            });
        }
    }
}

/// The node's Pools are to be looked at.
pub fn look<A: Api, N: Nodes>(context: &Context<A, N>, node: &str) -> Wake {
    Wake {
        pools: wake::node_changed(&context.api, node),
        remnants: going_early(context, node),
        ..Wake::default()
    }
}

/// Of each Pool of the node that is nearly full, the Remnant that goes first.
fn going_early<A: Api, N: Nodes>(context: &Context<A, N>, node: &str) -> Vec<Key> {
    let pools = context.api.cached_where::<Pool>(|pool| pool.spec.node_name == node);
    let is_short = |pool: &&Arc<Pool>| {
        let state = context.memory.pool(node, &zpool_name(&pool.spec));
        state.is_some_and(|state| is_short(&state))
    };
    let first = |pool: &Arc<Pool>| first_to_go(&context.api, pool);
    pools.iter().filter(is_short).filter_map(first).collect()
}

/// Until the node's stream ends, and a moment longer; then nothing is known of its pools, its data and users any more, and a
/// [`look`] is due.
pub async fn follow<A: Api, N: Nodes>(context: &Context<A, N>, node: &str, send: &impl Fn(Wake)) {
    match context.nodes.watch(node).await {
        Ok(events) => tokio::select! {
            biased;
            () = read(context, node, events, send) => {}
            () = losses::keep_looking(context, node, send) => {}
        },
        Err(error) => tracing::info!(%error, "node cannot be followed"),
    }
    context.memory.set_pools(node, Vec::new());
    context.memory.forget_users(node);
    context.memory.forget_data(node);
    tokio::time::sleep(INTERVAL).await;
}

/// Until the stream ends.
async fn read<A: Api, N: Nodes>(context: &Context<A, N>, node: &str, events: PoolEvents, send: &impl Fn(Wake)) {
    let mut events = events.ready_chunks(WAITING_MAX);
    while let Some(waiting) = events.next().await {
        let newest: Result<Vec<WatchEvent>, NodeError> = waiting.into_iter().collect();
        match newest.map(|mut events| events.pop()) {
            Ok(event) => note(context, node, event.unwrap_or_default(), send),
            Err(error) => {
                tracing::info!(%error, "node no longer followed");
                return;
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn note<A: Api, N: Nodes>(context: &Context<A, N>, node: &str, event: WatchEvent, send: &impl Fn(Wake)) {
    let WatchEvent { pools, users } = event;
    if context.memory.set_pools(node, pools) {
        send(look(context, node));
    }
    if let Some(users) = users {
        let news = context.memory.set_users(node, users.all);
        send(wake::users_changed(&context.api, node, &news));
    }
}
