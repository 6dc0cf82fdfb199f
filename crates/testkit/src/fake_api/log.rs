//! What happened to the objects, in order: what watches tell, each as late as its replica is.

use std::sync::Arc;

use dotmesh_operator::api::Key;
use serde_json::Value;

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Change {
    /// The resourceVersion that it made.
    pub revision: u64,
    /// As in manifests.
    pub kind: String,
    /// Which object.
    pub key: Key,
    /// The object as it became; when it went, as it was last.
    pub object: Arc<Value>,
    /// It went.
    pub is_gone: bool,
}
