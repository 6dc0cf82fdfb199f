//! The operator's [`Api`] on the stage: the one API state behind it, and caches as late as the schedule has them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_operator::api::{Api, ApiError, ApiErrorKind, Cached, Event, Guard, Key, Kind};
use dotmesh_operator::facade::watch::{Changes, WatchObject};
use dotmesh_testkit::FakeApi;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use serde_json::Value;

use crate::fault::{Class, Failure};
use crate::replica::Cluster;
use crate::stage::{Life, Stage};
use crate::view::View;

/// One replica's way to the API.
#[derive(Clone)]
pub struct SimApi {
    stage: Stage,
    life: Life,
    server: FakeApi,
    leases: FakeApi,
    view: Arc<Mutex<View>>,
}

impl SimApi {
    /// For an incarnation of the operator that begins with these caches.
    #[must_use]
    pub fn new(cluster: &Cluster, life: Life, view: View) -> Self {
        Self {
            stage: cluster.stage.clone(),
            life,
            server: cluster.server.clone(),
            leases: cluster.leases.clone(),
            view: Arc::new(Mutex::new(view)),
        }
    }

    /// The caches.
    pub fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where objects of this kind are.
    fn server<K: Kind>(&self) -> &FakeApi {
        if is_lease::<K>() { &self.leases } else { &self.server }
    }

    async fn call<K: Kind, T, F>(
        &self,
        verb: &'static str,
        about: impl FnOnce() -> String + Send,
        mut perform: impl FnMut() -> F + Send,
    ) -> Result<T, ApiError>
    where
        T: Send,
        F: Future<Output = Result<T, ApiError>> + Send,
    {
        let kind = K::kind(&());
        if is_lease::<K>() {
            self.stage.pause(&self.life).await;
            if self.life.is_cut_off() {
                return Err(ApiError {
                    kind: ApiErrorKind::Unavailable,
                    message: "the connection broke".to_owned(),
                });
            }
            let result = perform().await;
            // Nobody reads what the Lease was like.
            self.leases.compact();
            return result;
        }
        let class = if matches!(verb, "get" | "list") {
            Class::ApiRead
        } else {
            Class::ApiWrite
        };
        let text = || format!("{verb} {kind} {}", about());
        let failed = |failure| ApiError {
            kind: match failure {
                Failure::Conflict => ApiErrorKind::Conflict,
                Failure::NotDone | Failure::Unknown | Failure::Late | Failure::Delayed => ApiErrorKind::Unavailable,
            },
            message: format!("{verb} {kind}: {failure:?}"),
        };
        self.stage.effect(&self.life, class, text, failed, perform).await
    }
}

impl Api for SimApi {
    async fn get<K: Kind>(&self, key: &Key) -> Result<Option<K>, ApiError> {
        self.call::<K, _, _>("get", || key.to_string(), || self.server::<K>().get(key))
            .await
    }

    async fn list<K: Kind>(&self, namespace: Option<&str>, fields: Option<&str>) -> Result<Vec<K>, ApiError> {
        let about = || fields.unwrap_or_default().to_owned();
        self.call::<K, _, _>("list", about, || self.server::<K>().list(namespace, fields))
            .await
    }

    async fn create<K: Kind>(&self, object: &K) -> Result<K, ApiError> {
        let about = || Key::of(object).to_string();
        self.call::<K, _, _>("create", about, || self.server::<K>().create(object))
            .await
    }

    async fn patch<K: Kind>(&self, key: &Key, guard: &Guard, patch: Value) -> Result<K, ApiError> {
        let about = || format!("{key} {patch}");
        self.call::<K, _, _>("patch", about, || self.server::<K>().patch(key, guard, patch.clone()))
            .await
    }

    async fn apply_status<K: Kind>(
        &self,
        key: &Key,
        guard: &Guard,
        manager: &'static str,
        status: Value,
    ) -> Result<K, ApiError> {
        let about = || format!("{key} {}", summary(&status));
        self.call::<K, _, _>("apply_status", about, || {
            self.server::<K>().apply_status(key, guard, manager, status.clone())
        })
        .await
    }

    async fn delete<K: Kind>(&self, key: &Key, guard: &Guard) -> Result<(), ApiError> {
        self.call::<K, _, _>(
            "delete",
            || key.to_string(),
            || self.server::<K>().delete::<K>(key, guard),
        )
        .await
    }

    /// Events are for people; nobody decides on them.
    async fn event(&self, about: ObjectReference, event: Event) -> Result<(), ApiError> {
        let name = about.name.unwrap_or_default();
        let text = format_args!("event on {name}: {} {}", event.reason, event.message);
        self.stage.say(self.life.actor(), text);
        Ok(())
    }

    fn cached<K: Cached>(&self, key: &Key) -> Option<Arc<K>> {
        self.view().get(key)
    }

    fn cached_where<K: Cached>(&self, predicate: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.view().find(predicate)
    }
}

impl WatchObject for SimApi {
    fn watch_object<K: Kind + Resource<Scope = NamespaceResourceScope>>(&self, key: &Key) -> Changes<K> {
        self.server.watch_object(key)
    }
}

/// Who leads is found out all the time, and is no step of anything: freezes and cuts strike it, single faults do not.
fn is_lease<K: Kind>() -> bool {
    K::kind(&()) == "Lease"
}

/// Of a status what a reader of a trace looks for.
fn summary(status: &Value) -> String {
    let conditions = status["conditions"].as_array();
    let ready = conditions.and_then(|all| all.first());
    match ready {
        Some(ready) => {
            let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("reason"), text("message"))
        }
        None => status.to_string(),
    }
}
