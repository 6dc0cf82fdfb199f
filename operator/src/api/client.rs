//! [`Api`] over the kube client; counts its writes.

use std::sync::Arc;
use std::time::Duration;

use dotmesh_crds::names::MANAGER;
use dotmesh_crds::{Branch, Commit, Dot, Pool, Remnant};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};
use kube::Client;
use kube::api::{
    DeleteParams, GetParams, ListParams, ObjectList, Patch, PatchParams, PostParams, Preconditions, Request,
};
use kube::runtime::events::{self, Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Api, ApiError, ApiErrorKind, Event, EventType, Guard, Key, Kind, body};
use crate::metrics::Metrics;
use crate::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};

/// The longest that a call takes. The client repeats what the server refuses for now, which alone could go on for minutes.
const CALL_TIME: Duration = Duration::from_secs(60);

/// The caches, filled by the watches in [`crate::run`].
#[derive(Clone)]
pub struct Caches {
    /// All Dots.
    pub dots: Store<Dot>,
    /// All Branches.
    pub branches: Store<Branch>,
    /// All Commits; what nobody decides on is left out of those that are Ready.
    pub commits: Store<Commit>,
    /// All Pools.
    pub pools: Store<Pool>,
    /// All Remnants.
    pub remnants: Store<Remnant>,
    /// csi-node's pods.
    pub pods: Store<Pod>,
    /// All claims.
    pub claims: Store<PersistentVolumeClaim>,
    /// All PersistentVolumes.
    pub volumes: Store<PersistentVolume>,
    /// All StorageClasses.
    pub classes: Store<StorageClass>,
    /// The CSIStorageCapacities of the installation's namespace.
    pub capacities: Store<CSIStorageCapacity>,
    /// The VolumeSnapshots that are published of Commits, where they are served.
    pub snapshots: Store<VolumeSnapshot>,
    /// Their VolumeSnapshotContents.
    pub contents: Store<VolumeSnapshotContent>,
}

/// A kind that there is a cache of.
pub trait Cached: Kind {
    /// Its cache.
    fn store(caches: &Caches) -> &Store<Self>;
}

macro_rules! cached {
    ($($kind:ty: $field:ident,)*) => {$(
        impl Cached for $kind {
            fn store(caches: &Caches) -> &Store<Self> {
                &caches.$field
            }
        }
    )*};
}

cached! {
    Dot: dots,
    Branch: branches,
    Commit: commits,
    Pool: pools,
    Remnant: remnants,
    Pod: pods,
    PersistentVolumeClaim: claims,
    PersistentVolume: volumes,
    StorageClass: classes,
    CSIStorageCapacity: capacities,
    VolumeSnapshot: snapshots,
    VolumeSnapshotContent: contents,
}

/// The real one. Cheap to clone.
#[derive(Clone)]
pub struct KubeApi {
    client: Client,
    caches: Caches,
    recorder: Recorder,
    metrics: Metrics,
}

impl KubeApi {
    /// Over a client and caches that somebody fills.
    #[must_use]
    pub fn new(client: Client, caches: Caches, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            caches,
            metrics,
        }
    }

    /// The caches.
    #[must_use]
    pub fn caches(&self) -> &Caches {
        &self.caches
    }

    async fn send<T: DeserializeOwned>(&self, request: http::Request<Vec<u8>>) -> Result<T, ApiError> {
        let what = format!("{} {}", request.method(), request.uri().path());
        in_time(&what, self.client.request(request)).await
    }

    fn wrote<K: Kind>(&self, verb: &'static str) {
        self.metrics.api_write(&K::kind(&()), verb);
    }
}

/// One call, with what the client repeats of it by itself, until its deadline.
async fn in_time<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(CALL_TIME, call).await {
        Ok(result) => Ok(result?),
        // Whether it happened, nobody knows; that is true of a lost connection, too.
        Err(_) => Err(ApiError {
            kind: ApiErrorKind::Unavailable,
            message: format!("no answer to {what} within {CALL_TIME:?}"),
        }),
    }
}

fn request<K: Kind>(namespace: Option<&str>) -> Request {
    Request::new(K::url_path(&(), namespace))
}

fn build<E: std::fmt::Display>(error: E) -> ApiError {
    ApiError {
        kind: ApiErrorKind::Invalid,
        message: error.to_string(),
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = &error else {
            return Self {
                kind: ApiErrorKind::Unavailable,
                message: dotmesh_telemetry::Chain(&error).to_string(),
            };
        };
        let kind = match (status.code, status.reason.as_str()) {
            (_, "AlreadyExists") => ApiErrorKind::AlreadyExists,
            (409, _) => ApiErrorKind::Conflict,
            (404, _) => ApiErrorKind::NotFound,
            (403, _) => ApiErrorKind::Forbidden,
            (400 | 422, _) => ApiErrorKind::Invalid,
            _ => ApiErrorKind::Unavailable,
        };
        Self {
            kind,
            message: status.message.clone(),
        }
    }
}

fn absent_is_none<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind == ApiErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Api for KubeApi {
    async fn get<K: Kind>(&self, key: &Key) -> Result<Option<K>, ApiError> {
        let request = request::<K>(key.namespace.as_deref())
            .get(&key.name, &GetParams::default())
            .map_err(build)?;
        absent_is_none(self.send(request).await)
    }

    async fn list<K: Kind>(&self, namespace: Option<&str>, fields: Option<&str>) -> Result<Vec<K>, ApiError> {
        let mut params = ListParams::default();
        if let Some(fields) = fields {
            params = params.fields(fields);
        }
        let request = request::<K>(namespace).list(&params).map_err(build)?;
        let list: ObjectList<K> = self.send(request).await?;
        Ok(list.items)
    }

    async fn create<K: Kind>(&self, object: &K) -> Result<K, ApiError> {
        self.wrote::<K>("create");
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        let data = serde_json::to_vec(object).map_err(build)?;
        let request = request::<K>(object.meta().namespace.as_deref())
            .create(&params, data)
            .map_err(build)?;
        self.send(request).await
    }

    async fn patch<K: Kind>(&self, key: &Key, guard: &Guard, patch: Value) -> Result<K, ApiError> {
        self.wrote::<K>("patch");
        let body = body::of_patch(guard, patch);
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let request = request::<K>(key.namespace.as_deref())
            .patch(&key.name, &params, &Patch::Merge(&body))
            .map_err(build)?;
        self.send(request).await
    }

    async fn apply_status<K: Kind>(
        &self,
        key: &Key,
        guard: &Guard,
        manager: &'static str,
        status: Value,
    ) -> Result<K, ApiError> {
        self.wrote::<K>("apply_status");
        let body = body::of_status::<K>(key, guard, status);
        let request = request::<K>(key.namespace.as_deref())
            .patch_subresource(
                "status",
                &key.name,
                &PatchParams::apply(manager).force(),
                &Patch::Apply(&body),
            )
            .map_err(build)?;
        self.send(request).await
    }

    async fn delete<K: Kind>(&self, key: &Key, guard: &Guard) -> Result<(), ApiError> {
        self.wrote::<K>("delete");
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: guard.uid.clone(),
            resource_version: guard.resource_version.clone(),
        });
        let request = request::<K>(key.namespace.as_deref())
            .delete(&key.name, &params)
            .map_err(build)?;
        absent_is_none(self.send::<Value>(request).await).map(|_| ())
    }

    async fn event(&self, about: ObjectReference, event: Event) -> Result<(), ApiError> {
        self.metrics.api_write("Event", "create");
        let Event {
            event_type,
            reason,
            action,
            message,
        } = event;
        let event = events::Event {
            type_: match event_type {
                EventType::Normal => events::EventType::Normal,
                EventType::Warning => events::EventType::Warning,
            },
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: Some(message.chars().take(NOTE_MAX).collect()),
            secondary: None,
        };
        in_time("an event", self.recorder.publish(&event, &about)).await
    }

    fn cached<K: Cached>(&self, key: &Key) -> Option<Arc<K>> {
        let reference = ObjectRef::<K>::new(&key.name);
        let reference = match &key.namespace {
            Some(namespace) => reference.within(namespace),
            None => reference,
        };
        K::store(&self.caches).get(&reference)
    }

    fn cached_where<K: Cached>(&self, predicate: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        K::store(&self.caches).state_filter(predicate)
    }
}

/// An event's note has at most 1 KiB (`events.k8s.io/v1`); characters of up to four bytes.
const NOTE_MAX: usize = 250;
