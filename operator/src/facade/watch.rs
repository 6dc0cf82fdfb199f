//! Waiting for an object to change.

use std::future::Future;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Client, Resource, ResourceExt};

use crate::api::{ApiError, ApiErrorKind, Key, Kind};

/// Changes of one object; absent: it is not there.
pub type Changes<K> = BoxStream<'static, Result<Option<K>, ApiError>>;

/// Where changes of an object in a namespace come from.
pub trait WatchObject: Send + Sync + 'static {
    /// The object as it is, then as it becomes.
    fn watch_object<K: Kind + Resource<Scope = NamespaceResourceScope>>(&self, key: &Key) -> Changes<K>;
}

/// A watch on the API for each object that somebody waits for.
#[derive(Clone)]
pub struct KubeWatch(Client);

impl KubeWatch {
    /// Over a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl WatchObject for KubeWatch {
    fn watch_object<K: Kind + Resource<Scope = NamespaceResourceScope>>(&self, key: &Key) -> Changes<K> {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let api = kube::Api::<K>::namespaced(self.0.clone(), namespace);
        watch_object(api, &key.name)
            .default_backoff()
            .map_err(|error| ApiError {
                kind: ApiErrorKind::Unavailable,
                message: dotmesh_telemetry::Chain(&error).to_string(),
            })
            .boxed()
    }
}

/// Waits until the object is another than `seen`. A stream that ends or fails counts as a change: the caller reads
/// again.
pub fn changed<K: Kind>(stream: &mut Changes<K>, seen: Option<&K>) -> impl Future<Output = ()> + Send {
    let seen = seen.and_then(ResourceExt::resource_version);
    async move {
        while let Some(Ok(now)) = stream.next().await {
            if now.as_ref().and_then(ResourceExt::resource_version) != seen {
                return;
            }
        }
    }
}
