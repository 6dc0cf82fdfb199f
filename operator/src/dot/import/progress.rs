//! How far a copy is, asked of its pod now and then. For people: nothing is decided by it.

use std::net::IpAddr;

use dotmesh_model::import::Progress;
use k8s_openapi::api::core::v1::Pod;

use crate::api::Api;
use crate::context::Context;
use crate::meta::uid;
use crate::nodes::Nodes;

/// Seconds between two questions: as often as that the status changes.
pub const INTERVAL: i64 = 5;

/// What the pod last said.
pub async fn progress<A: Api, N: Nodes>(context: &Context<A, N>, pod: &Pod) -> Option<Progress> {
    let address = running_at(pod)?;
    let now = context.now();
    if let Some((at, known)) = context.memory.progress(uid(pod))
        && now.as_second() - at.as_second() < INTERVAL
    {
        return known;
    }
    let told = context.nodes.import_progress(address).await;
    context.memory.set_progress(uid(pod), now, told);
    told
}

fn running_at(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let is_running = status.phase.as_deref() == Some("Running");
    is_running.then_some(status.pod_ip.as_deref()?.parse().ok()?)
}
