//! Metadata of our objects: finalizer, owner, labels, and which Dot an object belongs to.

use std::sync::Arc;

use dotmesh_crds::Dot;
use dotmesh_crds::condition::Reason;
use dotmesh_crds::names::{FINALIZER, LABEL_CLAIM_UID, LABEL_DOT};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::api::{Api, ApiError, ApiErrorKind, Guard, Key, Kind};
use crate::driver::Plan;
use crate::status::Verdict;

/// `metadata.uid`; never empty for an object that came from the API.
pub fn uid<K: Resource>(object: &K) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

/// What identifies a Dot's data for ever: what it recorded, else its uid. They differ where it took data over.
pub fn dot_id(dot: &Dot) -> &str {
    let recorded = dot.status.as_ref().and_then(|status| status.id.as_deref());
    recorded.unwrap_or_else(|| uid(dot))
}

/// Whether a Dot takes data over, and does not have all that belongs to it yet.
pub fn is_restoring(dot: &Dot) -> bool {
    let is_done = dot.status.as_ref().is_some_and(|status| status.checkout.is_some());
    dot.spec.restore_from.is_some() && !is_done
}

/// The uid of a namespace, and whether it is about to go with all that is in it.
///
/// # Errors
/// Those of the API.
pub async fn namespace_of<A: Api, K: Resource>(api: &A, object: &K) -> Result<Option<(String, bool)>, ApiError> {
    let name = object.namespace().unwrap_or_default();
    let found: Option<Namespace> = api.get(&Key::cluster(name)).await?;
    Ok(found.map(|namespace| (uid(&namespace).to_owned(), is_deleting(&namespace))))
}

/// Whether an object that is being deleted goes with its Dot, and needs no tombstone of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// It goes by itself.
    Alone,
    /// Its Dot is about to go: what becomes of the Dot's data becomes of its own.
    WithItsDot,
    /// Its Dot goes too, and looks what was made of it: the Dot first.
    AfterItsDot,
}

impl Leaves {
    /// What is to be done of an object that does not go by itself; absent: it does.
    pub fn plan<S>(self, dot: &Dot, release: S) -> Option<Plan<S>> {
        match self {
            Self::Alone => None,
            Self::WithItsDot => Some(Plan::Do(release)),
            Self::AfterItsDot => {
                let why = format!("goes after Dot {:?}", dot.name_any());
                Some(Plan::Report(Verdict::new(Reason::Deleting, why)))
            }
        }
    }
}

/// How an object goes that was made of this Dot. A namespace that goes takes its Dots along, in whatever order it asks.
///
/// # Errors
/// Those of the API.
pub async fn leaves<A: Api, K: Kind>(api: &A, object: &K, dot: Option<&Dot>) -> Result<Leaves, ApiError> {
    let Some(dot) = dot.filter(|_| is_deleting(object) && is_protected(object)) else {
        return Ok(Leaves::Alone);
    };
    let is_claims = dot.labels().contains_key(LABEL_CLAIM_UID);
    if is_deleting(dot) {
        return Ok(if is_claims {
            Leaves::AfterItsDot
        } else {
            Leaves::WithItsDot
        });
    }
    match namespace_of(api, object).await? {
        Some((_, true)) => Ok(Leaves::AfterItsDot),
        Some((_, false)) | None => Ok(Leaves::Alone),
    }
}

/// Whether our finalizer is on it.
pub fn is_protected<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|name| name == FINALIZER)
}

/// Whether its deletion was requested.
pub fn is_deleting<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// The uid of the Dot that owns the object, once it was adopted.
pub fn owner_dot<K: Resource>(object: &K) -> Option<&str> {
    object
        .owner_references()
        .iter()
        .find(|owner| owner.kind == Dot::kind(&()) && owner.api_version == Dot::api_version(&()))
        .map(|owner| owner.uid.as_str())
}

/// Whether an object that names this Dot belongs to it, and not to an earlier one of the same name.
pub fn belongs_to<K: Resource>(object: &K, dot: &Dot) -> bool {
    object.namespace() == dot.namespace() && owner_dot(object).is_none_or(|owner| owner == uid(dot))
}

/// The Dot that an object names and belongs to. For one that is about to go it is read now: what the Dot says decides
/// whether anything of the object is left on disk. Otherwise it is the cache's, whichever that is.
///
/// # Errors
/// Those of the API.
pub async fn named_dot<A: Api, K: Kind>(api: &A, object: &K, name: &str) -> Result<Option<Arc<Dot>>, ApiError> {
    let key = Key {
        namespace: object.meta().namespace.clone(),
        name: name.to_owned(),
    };
    if !(is_deleting(object) && is_protected(object)) {
        return Ok(api.cached::<Dot>(&key));
    }
    dot_now(api, object, name).await
}

/// The Dot that an object names and belongs to, as it is now.
///
/// # Errors
/// Those of the API.
pub async fn dot_now<A: Api, K: Kind>(api: &A, object: &K, name: &str) -> Result<Option<Arc<Dot>>, ApiError> {
    let key = Key {
        namespace: object.meta().namespace.clone(),
        name: name.to_owned(),
    };
    let dot: Option<Dot> = api.get(&key).await?;
    Ok(dot.filter(|dot| belongs_to(object, dot)).map(Arc::new))
}

/// The reference by which a Dot owns an object. It neither blocks the Dot's deletion nor claims to be the only
/// controller, which somebody else's tool may be.
pub fn owned_by(dot: &Dot) -> OwnerReference {
    OwnerReference {
        api_version: Dot::api_version(&()).into_owned(),
        kind: Dot::kind(&()).into_owned(),
        name: dot.name_any(),
        uid: uid(dot).to_owned(),
        controller: None,
        block_owner_deletion: Some(false),
    }
}

/// Merge patch that protects an object, and makes it the Dot's where one is given.
pub fn adoption<K: Resource>(object: &K, dot: Option<&Dot>) -> Value {
    let mut finalizers = object.finalizers().to_vec();
    if !is_protected(object) {
        finalizers.push(FINALIZER.to_owned());
    }
    let mut patch = json!({ "metadata": { "finalizers": finalizers } });
    if let Some(dot) = dot {
        let mut owners = object.owner_references().to_vec();
        if owner_dot(object).is_none() {
            owners.push(owned_by(dot));
        }
        patch["metadata"]["ownerReferences"] = json!(owners);
        patch["metadata"]["labels"] = json!({ LABEL_DOT: dot.name_any() });
    }
    patch
}

/// Takes our finalizer off: the object goes. Guarded by its version; an object that is gone already is a success.
///
/// # Errors
/// Those of the API.
pub async fn release<A: Api, K: Kind>(api: &A, object: &K) -> Result<(), ApiError> {
    let finalizers: Vec<&String> = object.finalizers().iter().filter(|name| *name != FINALIZER).collect();
    let patch = json!({ "metadata": { "finalizers": finalizers } });
    match api.patch::<K>(&Key::of(object), &Guard::unchanged(object), patch).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind == ApiErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes an object, or finds another one of that name, which the caller judges.
///
/// # Errors
/// Those of the API.
pub async fn create_or_find<A: Api, K: Kind>(api: &A, object: &K) -> Result<K, ApiError> {
    match api.create(object).await {
        Err(error) if error.kind == ApiErrorKind::AlreadyExists => api.get(&Key::of(object)).await?.ok_or(error),
        result => result,
    }
}

/// The object as it is now; absent when it, or the one of this uid, is gone.
///
/// # Errors
/// Those of the API.
pub async fn reread<A: Api, K: Kind>(api: &A, object: &K) -> Result<Option<K>, ApiError> {
    let found: Option<K> = api.get(&Key::of(object)).await?;
    Ok(found.filter(|found| uid(found) == uid(object)))
}
