//! Follows what a node says of its pool, for as long as it answers.
//!
//! The stream's end makes the Pool be looked at again: it asks the node for its pool, and the node is followed anew.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_csi_proto::node::WatchEvent;
use futures::StreamExt;

use super::losses;
use crate::api::Api;
use crate::context::Context;
use crate::nodes::{NodeError, Nodes, PoolEvents};
use crate::remnant::observe::{first_to_go, is_short};
use crate::wake::{self, Wake};

/// Between two looks at a node that keeps talking: its Pool's status is written at most once in this time.
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
                context.memory.set_pool(&node, None);
                send(look(&context, &node));
            });
        }
    }
}

/// The node's Pools are to be looked at.
pub fn look<A: Api, N: Nodes>(context: &Context<A, N>, node: &str) -> Wake {
    Wake {
        pools: wake::node_changed(&context.api, node),
        remnants: match context.memory.pool(node).is_some_and(|pool| is_short(&pool)) {
            true => first_to_go(&context.api, node).into_iter().collect(),
            false => Vec::new(),
        },
        ..Wake::default()
    }
}

/// Until the node's stream ends, and a moment longer; then nothing is known of its pool, its data and users any more, and a
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
    context.memory.set_pool(node, None);
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
    // A node has one pool.
    let state = pools.into_iter().next();
    if context.memory.pool(node) != state {
        context.memory.set_pool(node, state);
        send(look(context, node));
    }
    if let Some(users) = users {
        let news = context.memory.set_users(node, users.all);
        send(wake::users_changed(&context.api, node, &news));
    }
}
