//! What the controllers ask of the Kubernetes API: few verbs, over any kind, failures as types.
//!
//! The caches are part of it, so that a simulator can hand out stale ones. A decision that could destroy something
//! is made on a consistent read ([`Api::get`], [`Api::list`]) or guarded by a resourceVersion, never on a cache alone.

pub mod body;
mod client;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use client::{Cached, Caches, KubeApi};

/// A kind of Kubernetes object.
pub trait Kind:
    Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static
{
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Absent for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// An object in a namespace.
    pub fn namespaced(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: Some(namespace.into()),
            name: name.into(),
        }
    }

    /// A cluster-scoped object.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self {
            namespace: None,
            name: name.into(),
        }
    }

    /// Where this object is.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self {
            namespace: object.namespace(),
            name: object.name_any(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What must still be true of an object for a write to happen; otherwise it fails with [`ApiErrorKind::Conflict`].
///
/// Only [`Api::delete`] believes a uid alone: the server takes another uid in a patch for an attempt to change it
/// ([`ApiErrorKind::Invalid`]), and in a status it does not look at it at all. There, a resourceVersion must be given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// `metadata.uid`: it is the same object, not another one of that name.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`: it has not changed.
    pub resource_version: Option<String>,
}

impl Guard {
    /// The same object, whatever became of it. For [`Api::delete`].
    pub fn same<K: Resource>(object: &K) -> Self {
        Self {
            uid: object.uid(),
            resource_version: None,
        }
    }

    /// The same object in the same version.
    pub fn unchanged<K: Resource>(object: &K) -> Self {
        Self {
            uid: object.uid(),
            resource_version: object.resource_version(),
        }
    }
}

/// How loud an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// Good to know.
    Normal,
    /// Somebody should look.
    Warning,
}

/// An event on an object, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// How loud.
    pub event_type: EventType,
    /// CamelCase, from [`dotmesh_crds::Reason`].
    pub reason: &'static str,
    /// What was being done, CamelCase.
    pub action: &'static str,
    /// Names the object and what would help.
    pub message: String,
}

/// The Kubernetes API as the controllers use it.
pub trait Api: Send + Sync + 'static {
    /// Consistent read of one object.
    fn get<K: Kind>(&self, key: &Key) -> impl Future<Output = Result<Option<K>, ApiError>> + Send;

    /// Consistent read of all objects of a kind, in one namespace or in all, with `fields` such as `spec.dot=shop`.
    fn list<K: Kind>(
        &self,
        namespace: Option<&str>,
        fields: Option<&str>,
    ) -> impl Future<Output = Result<Vec<K>, ApiError>> + Send;

    /// Creates an object; [`ApiErrorKind::AlreadyExists`] when there is one of that name.
    fn create<K: Kind>(&self, object: &K) -> impl Future<Output = Result<K, ApiError>> + Send;

    /// Merges `patch` (RFC 7386, without the guard's fields) into an object.
    fn patch<K: Kind>(
        &self,
        key: &Key,
        guard: &Guard,
        patch: Value,
    ) -> impl Future<Output = Result<K, ApiError>> + Send;

    /// Server-side apply of `status`, taking ownership of all fields in it; fields that `manager` applied before
    /// and that are missing now are removed.
    fn apply_status<K: Kind>(
        &self,
        key: &Key,
        guard: &Guard,
        manager: &'static str,
        status: Value,
    ) -> impl Future<Output = Result<K, ApiError>> + Send;

    /// Requests deletion in the background; an object that is not there is a success.
    fn delete<K: Kind>(&self, key: &Key, guard: &Guard) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Tells people. Repeating is the caller's matter: see [`crate::status`].
    fn event(&self, about: ObjectReference, event: Event) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// An object from the cache: perhaps old.
    fn cached<K: Cached>(&self, key: &Key) -> Option<Arc<K>>;

    /// All objects in the cache that a predicate wants: perhaps old.
    fn cached_where<K: Cached>(&self, predicate: impl Fn(&K) -> bool) -> Vec<Arc<K>>;
}

/// Why the API did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Kubernetes API: {message}")]
pub struct ApiError {
    /// What kind of failure.
    pub kind: ApiErrorKind,
    /// For people.
    pub message: String,
}

/// Failures that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiErrorKind {
    /// The guard did not hold: read again.
    Conflict,
    /// Another object has this name.
    AlreadyExists,
    /// The object to be written is not there.
    NotFound,
    /// The API refuses the content.
    Invalid,
    /// Not allowed: the installation's roles are incomplete.
    Forbidden,
    /// Everything else; whether the call had an effect is not known.
    Unavailable,
}

impl ApiErrorKind {
    /// As in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "api_conflict",
            Self::AlreadyExists => "api_already_exists",
            Self::NotFound => "api_not_found",
            Self::Invalid => "api_invalid",
            Self::Forbidden => "api_forbidden",
            Self::Unavailable => "api_unavailable",
        }
    }
}
