//! Waiting for a Dot to change.

use std::future::Future;

use dotmesh_crds::Dot;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Client, ResourceExt};

use crate::api::{ApiError, Key};

/// Changes of one Dot; absent: it is not there.
pub type DotStream = BoxStream<'static, Result<Option<Dot>, ApiError>>;

/// Where changes of a Dot come from.
pub trait WatchDot: Send + Sync + 'static {
    /// The Dot as it is, then as it becomes.
    fn watch_dot(&self, key: &Key) -> DotStream;
}

/// A watch on the API for each Dot that somebody waits for.
#[derive(Clone)]
pub struct KubeDots(Client);

impl KubeDots {
    /// Over a client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl WatchDot for KubeDots {
    fn watch_dot(&self, key: &Key) -> DotStream {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let api = kube::Api::<Dot>::namespaced(self.0.clone(), namespace);
        watch_object(api, &key.name)
            .default_backoff()
            .map_err(|error| ApiError {
                kind: crate::api::ApiErrorKind::Unavailable,
                message: dotmesh_telemetry::Chain(&error).to_string(),
            })
            .boxed()
    }
}

/// Waits until the Dot is another than `seen`. A stream that ends or fails counts as a change: the caller reads again.
pub fn changed(stream: &mut DotStream, seen: Option<&Dot>) -> impl Future<Output = ()> + Send {
    let seen = seen.and_then(ResourceExt::resource_version);
    async move {
        while let Some(Ok(now)) = stream.next().await {
            if now.as_ref().and_then(ResourceExt::resource_version) != seen {
                return;
            }
        }
    }
}
