//! Performs operations through the operator's client and hears what the server says.

mod end;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dotmesh_crds::Dot;
use dotmesh_crds::names::{MANAGER, MANAGER_CLAIMS};
use dotmesh_operator::api::{Api, ApiError, ApiErrorKind, Guard, Key, Kind, KubeApi};
use dotmesh_operator::metrics::Metrics;
use dotmesh_operator::run::watches::caches;
use kube::Client;
use kube::api::ListParams;
use kube::client::Body;
use kube::core::Request;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Stage;
use super::bodies::{manifest, merged};
use super::kinds::of_kind;
use super::normal::{Line, Names};
use super::operation::{Insist, Manager, Object, Operation, Subject};

/// How long a server's controllers, and a watch, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// No object has it.
const NEVER: &str = "ffffffff-0000-4000-8000-00000000dead";
/// The label of all objects of a run.
const LABEL: &str = "contract";

/// The answer to the last request.
type Heard = Arc<Mutex<(u16, Value)>>;

/// What is known of an object.
#[derive(Debug, Clone, Default)]
struct Known {
    uid: String,
    first: String,
    last: String,
}

pub(super) struct Session {
    stage: Stage,
    /// Without ears: for what is not compared.
    plain: Client,
    api: KubeApi,
    heard: Heard,
    known: BTreeMap<Object, Known>,
    begun: BTreeMap<Subject, String>,
    names: Names,
    lines: Vec<Line>,
}

/// A client whose answers are heard.
fn listening(inner: Client, heard: Heard) -> Client {
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (inner, heard) = (inner.clone(), heard.clone());
        async move {
            let (parts, body) = inner.send(request).await?.into_parts();
            let bytes = body.collect_bytes().await?;
            let value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = (parts.status.as_u16(), value);
            Ok::<_, kube::Error>(http::Response::from_parts(parts, Body::from(bytes)))
        }
    });
    Client::new(service, "default")
}

fn unit<T>(result: Result<T, ApiError>) -> Option<ApiErrorKind> {
    result.err().map(|error| error.kind)
}

impl Session {
    /// For a sequence about these kinds.
    pub(super) async fn begin(plain: Client, stage: Stage, subjects: BTreeSet<Subject>) -> Self {
        let heard = Heard::default();
        let client = listening(plain.clone(), heard.clone());
        let mut session = Self {
            names: Names::new(&stage.namespace, &stage.run),
            api: KubeApi::new(client, caches().0, Metrics::default()),
            stage,
            plain,
            heard,
            known: BTreeMap::new(),
            begun: BTreeMap::new(),
            lines: Vec::new(),
        };
        for subject in subjects {
            let revision = session.revision(subject).await;
            session.begun.insert(subject, revision);
        }
        session
    }

    fn key(&self, Object(subject, name): Object) -> Key {
        let name = match name {
            "" => String::new(),
            name => format!("{name}-{}", self.stage.run),
        };
        Key {
            namespace: self.namespace(subject).map(str::to_owned),
            name,
        }
    }

    fn namespace(&self, subject: Subject) -> Option<&str> {
        (subject != Subject::Pool).then_some(self.stage.namespace.as_str())
    }

    fn guard(&self, object: Object, insist: Insist) -> Guard {
        let known = self.known.get(&object).cloned().unwrap_or_else(|| Known {
            uid: NEVER.to_owned(),
            first: "1".to_owned(),
            last: "1".to_owned(),
        });
        let (uid, version) = match insist {
            Insist::Nothing => (None, None),
            Insist::Same => (Some(known.uid), None),
            Insist::Unchanged => (Some(known.uid), Some(known.last)),
            Insist::Another => (Some(NEVER.to_owned()), None),
            Insist::Old => (None, Some(known.first)),
        };
        Guard {
            uid,
            resource_version: version,
        }
    }

    pub(super) async fn perform(&mut self, operation: &Operation) {
        let call = format!("{operation:?}");
        match operation {
            Operation::Create(object, extra) => {
                let kind = of_kind!(object.0, K => self.create::<K>(*object, extra).await);
                self.note(call, Some(*object), kind);
            }
            Operation::Patch(object, insist, patch) => {
                let (key, guard) = (self.key(*object), self.guard(*object, *insist));
                let kind = of_kind!(object.0, K => unit(self.api.patch::<K>(&key, &guard, patch.clone()).await));
                self.note(call, Some(*object), kind);
            }
            Operation::Apply(object, insist, manager, status) => {
                let (key, guard) = (self.key(*object), self.guard(*object, *insist));
                let manager = match manager {
                    Manager::Operator => MANAGER,
                    Manager::Claims => MANAGER_CLAIMS,
                };
                let kind = of_kind!(object.0, K => {
                    unit(self.api.apply_status::<K>(&key, &guard, manager, status.clone()).await)
                });
                self.note(call, Some(*object), kind);
            }
            Operation::Delete(object, insist) => {
                let (key, guard) = (self.key(*object), self.guard(*object, *insist));
                let kind = of_kind!(object.0, K => unit(self.api.delete::<K>(&key, &guard).await));
                self.note(call, Some(*object), kind);
            }
            Operation::Get(object) => {
                let key = self.key(*object);
                let kind = of_kind!(object.0, K => unit(self.api.get::<K>(&key).await));
                self.note(call, Some(*object), kind);
            }
            Operation::List(subject, fields) => {
                let fields = fields.replace("{run}", &self.stage.run);
                let namespace = self.namespace(*subject);
                let kind = of_kind!(*subject, K => unit(self.api.list::<K>(namespace, Some(&fields)).await));
                self.note(call, None, kind);
            }
            Operation::Pages(subject, limit) => self.pages(&call, *subject, *limit).await,
            Operation::Collected(object) => {
                of_kind!(object.0, K => self.collected::<K>(*object).await);
                self.perform_quietly(&Operation::Get(*object), call).await;
            }
        }
    }

    async fn perform_quietly(&mut self, operation: &Operation, call: String) {
        Box::pin(self.perform(operation)).await;
        if let Some(line) = self.lines.last_mut() {
            line.call = call;
        }
    }

    async fn create<K: Kind>(&self, object: Object, extra: &Value) -> Option<ApiErrorKind> {
        let key = self.key(object);
        let mut body = manifest(object.0, &self.stage.run);
        body["metadata"] = json!({"labels": {LABEL: self.stage.run}});
        for (field, value) in [
            ("name", Some(&key.name).filter(|name| !name.is_empty())),
            ("namespace", key.namespace.as_ref()),
        ] {
            if let Some(value) = value {
                body["metadata"][field] = json!(value);
            }
        }
        merged(&mut body, &self.resolved(extra));
        let object: K = serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{error}: {body}"));
        unit(self.api.create(&object).await)
    }

    /// `{run}` in texts, and `{uid of name}` of a Dot that was heard of.
    fn resolved(&self, value: &Value) -> Value {
        let mut text = value.to_string().replace("{run}", &self.stage.run);
        for (Object(_, name), known) in &self.known {
            text = text.replace(&format!("{{uid of {name}}}"), &known.uid);
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    async fn pages(&mut self, call: &str, subject: Subject, limit: u32) {
        let mut params = ListParams::default()
            .labels(&format!("{LABEL}={}", self.stage.run))
            .limit(limit);
        // How many pages there are depends on what else a server holds.
        let mut items = Vec::new();
        loop {
            let request = self.request_of(subject).list(&params);
            let request = request.unwrap_or_else(|error| panic!("{error}"));
            let listed = self.plain.request::<Value>(request).await;
            let listed = listed.unwrap_or_else(|error| panic!("{error}"));
            let page = listed["items"].as_array().cloned().unwrap_or_default();
            assert!(
                page.len() <= limit as usize,
                "a page of {} with limit {limit}",
                page.len()
            );
            items.extend(page);
            match listed["metadata"]["continue"].as_str().filter(|next| !next.is_empty()) {
                Some(next) => params = params.continue_token(next),
                None => break,
            }
        }
        let value = self.names.normal(&json!({ "items": items }));
        self.lines.push(Line {
            call: call.to_owned(),
            code: 200,
            reason: String::new(),
            kind: None,
            value,
        });
    }

    fn request_of(&self, subject: Subject) -> Request {
        of_kind!(subject, K => Request::new(<K as kube::Resource>::url_path(&(), self.namespace(subject))))
    }

    async fn revision(&self, subject: Subject) -> String {
        let params = ListParams::default().labels(&format!("{LABEL}={}", self.stage.run));
        let request = self
            .request_of(subject)
            .list(&params)
            .unwrap_or_else(|error| panic!("{error}"));
        let list = self
            .plain
            .request::<Value>(request)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// A server's garbage collector takes its time.
    async fn collected<K: Kind>(&self, object: Object) {
        let key = self.key(object);
        let waiting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            loop {
                let found: Option<K> = self.api.get(&key).await.unwrap_or_else(|error| panic!("{error}"));
                let Some(found) = found.filter(|found| found.meta().deletion_timestamp.is_none()) else {
                    return;
                };
                let mut owned = false;
                for owner in found.meta().owner_references.iter().flatten() {
                    let owner_key = Key::namespaced(&self.stage.namespace, &owner.name);
                    let there: Option<Dot> = self.api.get(&owner_key).await.unwrap_or_else(|error| panic!("{error}"));
                    owned = there.is_some_and(|there| there.metadata.uid.as_ref() == Some(&owner.uid));
                    if !owned {
                        break;
                    }
                }
                if owned {
                    return;
                }
                ticks.tick().await;
            }
        };
        let in_time = timeout(PATIENCE, waiting).await;
        assert!(in_time.is_ok(), "{object:?} was not collected");
    }

    /// Notes what was heard of the last call.
    fn note(&mut self, call: String, object: Option<Object>, kind: Option<ApiErrorKind>) {
        let (code, value) = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(object) = object.filter(|_| code < 300 && value["kind"] != "Status") {
            let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
            let known = self.known.entry(object).or_default();
            if known.uid != text("uid") {
                known.uid = text("uid");
                known.first = text("resourceVersion");
            }
            known.last = text("resourceVersion");
        }
        let reason = if code < 300 {
            ""
        } else {
            value["reason"].as_str().unwrap_or_default()
        };
        self.lines.push(Line {
            call,
            code,
            reason: reason.to_owned(),
            kind,
            value: self.names.normal(&value),
        });
    }
}
