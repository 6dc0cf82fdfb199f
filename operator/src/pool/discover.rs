//! A Pool of class `default` for every node that runs csi-node, unless a person made one there.

use std::sync::Arc;

use dotmesh_crds::names::DEFAULT_CLASS;
use dotmesh_crds::pool::{PoolFile, default_class};
use dotmesh_crds::{Pool, PoolSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::Action;

use crate::api::{Api, ApiErrorKind};
use crate::context::{Context, ReconcileError};
use crate::meta::is_deleting;
use crate::nodes::Nodes;
use crate::pool::{is_of, pool_of};

/// The node that a csi-node pod serves, once it runs.
pub fn serving_node(pod: &Pod) -> Option<&str> {
    let running = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.filter(|_| running && !is_deleting(pod))
}

/// Looks at one csi-node pod.
///
/// # Errors
/// Those of the API; to be repeated.
pub async fn reconcile<A: Api, N: Nodes>(pod: Arc<Pod>, context: Arc<Context<A, N>>) -> Result<Action, ReconcileError> {
    let Some(node) = serving_node(&pod) else {
        return Ok(Action::await_change());
    };
    let has_pool = |pools: &[Pool]| pools.iter().any(|pool| is_of(pool, node, DEFAULT_CLASS));
    if pool_of(&context.api, node, DEFAULT_CLASS).is_some() || has_pool(&context.api.list::<Pool>(None, None).await?) {
        return Ok(Action::await_change());
    }
    match context.api.create(&build_pool(node, context.config.pool.clone())).await {
        Err(error) if error.kind != ApiErrorKind::AlreadyExists => Err(error.into()),
        Ok(_) | Err(_) => Ok(Action::await_change()),
    }
}

/// Where a node's pool lies that nobody made a Pool object for.
#[derive(Debug, Clone, PartialEq)]
pub enum PoolSource {
    /// In a file.
    File(PoolFile),
    /// On these block devices.
    Devices(Vec<String>),
    /// Somebody made a pool of this name.
    Existing(String),
}

fn build_pool(node: &str, place: PoolSource) -> Pool {
    let (mut file, mut devices, mut existing) = (None, None, None);
    match place {
        PoolSource::File(one) => file = Some(one),
        PoolSource::Devices(paths) => devices = Some(paths),
        PoolSource::Existing(name) => existing = Some(name),
    }
    let spec = PoolSpec {
        node_name: node.to_owned(),
        class: default_class(),
        file,
        devices,
        existing,
    };
    Pool::new(node, spec)
}
