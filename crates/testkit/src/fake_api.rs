//! [`FakeApi`]: the operator's [`Api`] over objects in memory.
//!
//! One state with two skins: this trait, and requests over HTTP ([`FakeApi::client`]), so that clients, caches and
//! watches run against it as well.
//!
//! Holds what the API server guarantees and controllers rely on: uids, resourceVersions and generations, guards,
//! status as a subresource with fields owned by managers, finalizers, and dependents that go with their owners.
//! Has switches for what goes wrong: calls that fail, calls that succeed but whose answer is lost, stale caches.

mod objects;
mod service;
mod switches;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_operator::api::{Api, ApiError, ApiErrorKind, Cached, Event, Guard, Key, Kind, body};
use dotmesh_operator::facade::watch::{Changes, WatchObject};
use futures::{StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::sync::Notify;

use objects::list::Selection;
use objects::refusal::Refusal;
use objects::resources::Resource;
use objects::{Deleted, Objects};
use switches::Switches;

pub use objects::log::Change;
pub use objects::stored::Object;
pub use switches::Answer;

/// A call that goes wrong once.
#[derive(Debug, Clone)]
pub struct Fault {
    /// `get`, `list`, `create`, `patch`, `apply_status` or `delete`.
    pub verb: &'static str,
    /// As in manifests.
    pub kind: &'static str,
    /// What the caller sees.
    pub error: ApiErrorKind,
    /// The call happened all the same: its answer was lost.
    pub after: bool,
}

#[derive(Debug, Default)]
struct State {
    objects: Objects,
    /// What caches show while they lag behind.
    stale: Option<Objects>,
    faults: VecDeque<Fault>,
    /// Writes until the one that fails, and whether it happens all the same.
    failing_write: Option<(usize, bool)>,
    events: Vec<(ObjectReference, Event)>,
    writes: Vec<(&'static str, &'static str)>,
    tokens: BTreeMap<String, Value>,
    /// Of the skin over HTTP alone.
    switches: Switches,
}

impl State {
    /// Creates an object; a TokenReview is answered and not kept.
    fn create(&mut self, resource: &'static Resource, mut object: Value) -> Result<Arc<Object>, Refusal> {
        if resource.kind != "TokenReview" {
            return self.objects.create(resource, object);
        }
        let known = object["spec"]["token"]
            .as_str()
            .and_then(|token| self.tokens.get(token));
        object["status"] = known.cloned().unwrap_or_else(|| json!({"authenticated": false}));
        Ok(Object::new(object))
    }
}

/// How often something changed, and who waits for the next time; those are woken in the order in which they came,
/// which a `watch` channel does not promise.
#[derive(Debug, Default)]
struct Changed {
    count: AtomicU64,
    next: Notify,
}

/// The API in memory; shared by cloning.
#[derive(Debug, Clone, Default)]
pub struct FakeApi {
    state: Arc<Mutex<State>>,
    changed: Arc<Changed>,
}

impl FakeApi {
    /// Puts objects there as they are, from YAML documents; uid and resourceVersion are added where missing.
    ///
    /// # Panics
    /// When the text is no YAML of objects.
    pub fn put(&self, yaml: &str) {
        for document in yaml.split("\n---\n") {
            let object: Value = serde_yaml::from_str(document).unwrap_or_else(|error| panic!("{error}:\n{document}"));
            self.put_object(object);
        }
    }

    /// Puts an object there as it is; uid and resourceVersion are added where missing.
    pub fn put_object(&self, object: Value) {
        self.lock().objects.put(object);
        self.notify();
    }

    /// Removes an object at once, whatever holds it.
    pub fn remove<K: Kind>(&self, key: &Key) {
        self.lock().objects.remove(Resource::of_kind(&K::kind(&())), key);
        self.notify();
    }

    /// The object as stored.
    ///
    /// # Panics
    /// When it is not there.
    pub fn must_get<K: Kind>(&self, key: &Key) -> K {
        let state = self.lock();
        let object = state.objects.get(&K::kind(&()), key);
        parse(object.unwrap_or_else(|| panic!("no {} {key}", K::kind(&()))))
    }

    /// Whether the object is there.
    pub fn exists<K: Kind>(&self, key: &Key) -> bool {
        self.lock().objects.get(&K::kind(&()), key).is_some()
    }

    /// The next call that fits goes wrong.
    pub fn fail(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// The write after the next `skip` ones fails; `after`: it happens all the same.
    pub fn fail_write(&self, skip: usize, after: bool) {
        self.lock().failing_write = Some((skip, after));
    }

    /// Whether the write that was to fail has not come yet.
    pub fn is_failure_due(&self) -> bool {
        self.lock().failing_write.is_some()
    }

    /// From now on caches show what is there now, until [`Self::thaw_caches`].
    pub fn freeze_caches(&self) {
        let mut state = self.lock();
        state.stale = Some(state.objects.clone());
    }

    /// Caches are up to date again.
    pub fn thaw_caches(&self) {
        self.lock().stale = None;
    }

    /// A token that TokenReview knows, with the status it answers from now on.
    pub fn put_token(&self, token: &str, status: Value) {
        self.lock().tokens.insert(token.to_owned(), status);
    }

    /// What TokenReview says of a token that is bound to a pod of csi-node in the installation's namespace.
    #[must_use]
    pub fn review_of_csi_node(pod: &str, uid: &str, node: &str) -> Value {
        json!({
            "authenticated": true, "audiences": ["dotmesh.io/enroll"],
            "user": {
                "username": "system:serviceaccount:dotmesh-system:dotmesh-csi-node",
                "extra": {
                    "authentication.kubernetes.io/pod-name": [pod],
                    "authentication.kubernetes.io/pod-uid": [uid],
                    "authentication.kubernetes.io/node-name": [node],
                },
            },
        })
    }

    /// Events so far, as `Reason: message`.
    pub fn events(&self) -> Vec<String> {
        let state = self.lock();
        let line = |(_, event): &(ObjectReference, Event)| format!("{}: {}", event.reason, event.message);
        state.events.iter().map(line).collect()
    }

    /// Writes so far that reached the API, as `verb Kind`; empties the list.
    pub fn take_writes(&self) -> Vec<String> {
        let writes = std::mem::take(&mut self.lock().writes);
        writes
            .into_iter()
            .map(|(verb, kind)| format!("{verb} {kind}"))
            .collect()
    }

    /// All objects of a kind, as stored.
    pub fn all(&self, kind: &str) -> Vec<Arc<Object>> {
        self.lock().objects.list(kind).cloned().collect()
    }

    /// The changes after the first `seen` ones.
    pub fn log_after(&self, seen: usize) -> Vec<Arc<Change>> {
        self.lock().objects.log().after(seen).to_vec()
    }

    /// How often something has changed.
    fn changes_so_far(&self) -> u64 {
        self.changed.count.load(Ordering::SeqCst)
    }

    /// Waits until something changed since `seen` (0: since the beginning) and tells how often it has changed so far.
    pub async fn changes(&self, seen: u64) -> u64 {
        loop {
            let next = self.changed.next.notified();
            let count = self.changes_so_far();
            if count > seen {
                return count;
            }
            next.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changed.count.fetch_add(1, Ordering::SeqCst);
        self.changed.next.notify_waiters();
    }

    fn call<K: Kind, T>(
        &self,
        verb: &'static str,
        effect: impl FnOnce(&mut State, &'static Resource) -> Result<T, Refusal>,
    ) -> Result<T, ApiError> {
        let resource = Resource::of_kind(&K::kind(&()));
        let result = self.perform(verb, resource.kind, |state| effect(state, resource))?;
        result.map_err(|refusal| ApiError::from(kube::Error::Api(refusal)))
    }

    /// One call: its fault, if one is due, and its effect.
    fn perform<T>(
        &self,
        verb: &'static str,
        kind: &'static str,
        effect: impl FnOnce(&mut State) -> T,
    ) -> Result<T, ApiError> {
        let mut state = self.lock();
        let due = |fault: &Fault| fault.verb == verb && fault.kind == kind;
        let mut fault = state.faults.iter().position(due).and_then(|at| state.faults.remove(at));
        if !matches!(verb, "get" | "list") {
            match state.failing_write.take() {
                Some((0, after)) => {
                    fault = Some(Fault {
                        verb,
                        kind: "",
                        error: ApiErrorKind::Unavailable,
                        after,
                    });
                }
                Some((skip, after)) => state.failing_write = Some((skip - 1, after)),
                None => {}
            }
        }
        let lost = |fault: &Fault| ApiError {
            kind: fault.error,
            message: format!("{verb} {kind} failed on purpose"),
        };
        if let Some(fault) = fault.as_ref().filter(|fault| !fault.after) {
            return Err(lost(fault));
        }
        let before = state.objects.version();
        let result = effect(&mut state);
        if !matches!(verb, "get" | "list") {
            state.writes.push((verb, kind));
        }
        let changed = state.objects.version() != before;
        drop(state);
        if changed {
            self.notify();
        }
        match fault {
            Some(fault) => Err(lost(&fault)),
            None => Ok(result),
        }
    }
}

fn parse<K: Kind>(object: &Object) -> K {
    K::clone(&object.read())
}

impl Api for FakeApi {
    async fn get<K: Kind>(&self, key: &Key) -> Result<Option<K>, ApiError> {
        self.call::<K, _>("get", |state, resource| {
            Ok(state.objects.get(resource.kind, key).map(|object| parse(object)))
        })
    }

    async fn list<K: Kind>(&self, namespace: Option<&str>, fields: Option<&str>) -> Result<Vec<K>, ApiError> {
        self.call::<K, _>("list", |state, resource| {
            let selection = Selection::new(resource, namespace, "", fields.unwrap_or_default())?;
            Ok(state.objects.select(&selection).map(|object| parse(object)).collect())
        })
    }

    async fn create<K: Kind>(&self, object: &K) -> Result<K, ApiError> {
        let mut object = serde_json::to_value(object).unwrap_or_else(|error| panic!("{error}: {object:?}"));
        object["kind"] = json!(K::kind(&()));
        object["apiVersion"] = json!(K::api_version(&()));
        self.call::<K, _>("create", |state, resource| {
            state.create(resource, object).map(|created| parse(&created))
        })
    }

    async fn patch<K: Kind>(&self, key: &Key, guard: &Guard, patch: Value) -> Result<K, ApiError> {
        let body = body::of_patch(guard, patch);
        self.call::<K, _>("patch", |state, resource| {
            state.objects.patch(resource, key, &body).map(|patched| parse(&patched))
        })
    }

    async fn apply_status<K: Kind>(
        &self,
        key: &Key,
        guard: &Guard,
        manager: &'static str,
        status: Value,
    ) -> Result<K, ApiError> {
        let body = body::of_status::<K>(key, guard, status);
        self.call::<K, _>("apply_status", |state, resource| {
            let applied = state.objects.apply_status(resource, key, manager, &body)?;
            Ok(parse(&applied))
        })
    }

    async fn delete<K: Kind>(&self, key: &Key, guard: &Guard) -> Result<(), ApiError> {
        let deleted: Result<Deleted, _> =
            self.call::<K, _>("delete", |state, resource| state.objects.delete(resource, key, guard));
        match deleted {
            Err(error) if error.kind != ApiErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn event(&self, about: ObjectReference, event: Event) -> Result<(), ApiError> {
        self.lock().events.push((about, event));
        Ok(())
    }

    fn cached<K: Cached>(&self, key: &Key) -> Option<Arc<K>> {
        let state = self.lock();
        let objects = state.stale.as_ref().unwrap_or(&state.objects);
        objects.get(&K::kind(&()), key).map(|object| object.read())
    }

    fn cached_where<K: Cached>(&self, predicate: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let state = self.lock();
        let objects = state.stale.as_ref().unwrap_or(&state.objects);
        let kind = K::kind(&());
        let all = objects.list(&kind).map(|object| object.read::<K>());
        all.filter(|object| predicate(object)).collect()
    }
}

impl WatchObject for FakeApi {
    fn watch_object<K: Kind + kube::Resource<Scope = NamespaceResourceScope>>(&self, key: &Key) -> Changes<K> {
        let (api, key) = (self.clone(), key.clone());
        let first = (api, key, None, None);
        stream::unfold(first, async |(api, key, mut changes, mut last)| {
            loop {
                changes = Some(match changes {
                    None => api.changes_so_far(),
                    Some(seen) => api.changes(seen).await,
                });
                let now = api
                    .lock()
                    .objects
                    .get(&K::kind(&()), &key)
                    .map(|object| parse::<K>(object));
                let version = now.as_ref().and_then(ResourceExt::resource_version);
                if last.as_ref() != Some(&version) {
                    last = Some(version);
                    return Some((Ok(now), (api, key, changes, last)));
                }
            }
        })
        .boxed()
    }
}
