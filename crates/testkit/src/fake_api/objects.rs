//! The objects behind [`super::FakeApi`], as JSON, and the log of their changes.

pub(crate) mod log;

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_operator::api::{ApiError, ApiErrorKind, Guard, Key};
use serde_json::{Map, Value, json};

use log::{Change, Log};

type Place = (String, Key);

#[derive(Debug, Clone, Default)]
pub(super) struct Objects {
    objects: BTreeMap<Place, Arc<Value>>,
    log: Log,
    /// What each manager applied last to an object's status, by the object's uid.
    applied: BTreeMap<(String, &'static str), Value>,
    version: u64,
    uids: u64,
}

fn error(kind: ApiErrorKind, message: impl Into<String>) -> ApiError {
    ApiError {
        kind,
        message: message.into(),
    }
}

pub(super) fn invalid(source: impl std::fmt::Display) -> ApiError {
    error(ApiErrorKind::Invalid, source.to_string())
}

/// Whether `a.b=c,d.e=f` holds of an object.
pub(super) fn fields_match(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        let (path, wanted) = term.split_once('=').unwrap_or((term, ""));
        let pointer = format!("/{}", path.replace('.', "/"));
        object.pointer(&pointer).and_then(Value::as_str).unwrap_or_default() == wanted
    })
}

fn place(kind: &str, key: &Key) -> Place {
    (kind.to_owned(), key.clone())
}

fn key_of(object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().map(str::to_owned);
    Key {
        namespace: text("namespace"),
        name: text("name").unwrap_or_default(),
    }
}

impl Objects {
    /// The revision of the last change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// What has changed, in order.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    pub(super) fn get(&self, kind: &str, key: &Key) -> Option<&Value> {
        self.objects.get(&place(kind, key)).map(AsRef::as_ref)
    }

    pub(super) fn list<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        let ours = self.objects.iter().filter(move |((of, _), _)| of == kind);
        ours.map(|(_, object)| object.as_ref())
    }

    /// Stores an object in a new version.
    fn store(&mut self, place: Place, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let stored = Arc::new(object.clone());
        let before = self.objects.insert(place.clone(), stored.clone());
        self.record(place, before, stored, false);
        object
    }

    fn record(&mut self, (kind, key): Place, before: Option<Arc<Value>>, object: Arc<Value>, gone: bool) {
        self.log.push(Change {
            revision: self.version,
            kind,
            key,
            before,
            object,
            gone,
        });
    }

    pub(super) fn put(&mut self, mut object: Value) -> Value {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let place = place(&kind, &key_of(&object));
        let old_uid = self.objects.get(&place).map(|old| old["metadata"]["uid"].clone());
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            self.uids += 1;
            metadata["uid"] = old_uid.unwrap_or_else(|| json!(format!("00000000-0000-4000-8000-{:012x}", self.uids)));
        }
        if metadata["creationTimestamp"].is_null() {
            let (minutes, seconds) = (self.uids / 60 % 60, self.uids % 60);
            metadata["creationTimestamp"] = json!(format!("2026-01-01T00:{minutes:02}:{seconds:02}Z"));
        }
        if metadata["generation"].is_null() {
            metadata["generation"] = json!(1);
        }
        self.store(place, object)
    }

    pub(super) fn create(&mut self, mut object: Value) -> Result<Value, ApiError> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let key = key_of(&object);
        if key.name.is_empty() {
            return Err(error(ApiErrorKind::Invalid, "metadata.name is missing"));
        }
        if self.objects.contains_key(&place(&kind, &key)) {
            return Err(error(
                ApiErrorKind::AlreadyExists,
                format!("{kind} {key} already exists"),
            ));
        }
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        for ours in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
            object["metadata"][ours] = Value::Null;
        }
        Ok(self.put(object))
    }

    /// The object, if the guard holds.
    fn guarded(&self, kind: &str, key: &Key, guard: &Guard) -> Result<Value, ApiError> {
        let found = self
            .get(kind, key)
            .ok_or_else(|| error(ApiErrorKind::NotFound, format!("{kind} {key} not found")))?;
        let holds = |field: &str, wanted: &Option<String>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| found["metadata"][field] == wanted)
        };
        if holds("uid", &guard.uid) && holds("resourceVersion", &guard.resource_version) {
            Ok(found.clone())
        } else {
            Err(error(ApiErrorKind::Conflict, format!("{kind} {key} has changed")))
        }
    }

    pub(super) fn patch(&mut self, kind: &str, key: &Key, guard: &Guard, patch: &Value) -> Result<Value, ApiError> {
        let before = self.guarded(kind, key, guard)?;
        let mut after = before.clone();
        merge(&mut after, patch);
        after["status"] = before["status"].clone();
        if after["status"].is_null()
            && let Some(fields) = after.as_object_mut()
        {
            fields.remove("status");
        }
        if after["spec"] != before["spec"] {
            let generation = before["metadata"]["generation"].as_u64().unwrap_or(1);
            after["metadata"]["generation"] = json!(generation + 1);
        }
        if after == before {
            return Ok(before);
        }
        let stored = self.store(place(kind, key), after);
        if is_finished(&stored) {
            self.remove(kind, key);
        }
        Ok(stored)
    }

    pub(super) fn apply_status(
        &mut self,
        kind: &str,
        key: &Key,
        guard: &Guard,
        manager: &'static str,
        status: Value,
    ) -> Result<Value, ApiError> {
        let before = self.guarded(kind, key, guard)?;
        let uid = before["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let mut fields: Map<String, Value> = before["status"].as_object().cloned().unwrap_or_default();
        let last = self.applied.insert((uid.clone(), manager), status.clone());
        let owned_by_others = |field: &String| {
            let mut others = self.applied.iter().filter(|((of, by), _)| *of == uid && *by != manager);
            others.any(|(_, applied)| applied.get(field).is_some())
        };
        for field in last.iter().filter_map(Value::as_object).flat_map(Map::keys) {
            if status.get(field).is_none() && !owned_by_others(field) {
                fields.remove(field);
            }
        }
        for (field, value) in status.as_object().into_iter().flatten() {
            fields.insert(field.clone(), value.clone());
        }
        let mut after = before.clone();
        after["status"] = Value::Object(fields);
        if after == before {
            return Ok(before);
        }
        Ok(self.store(place(kind, key), after))
    }

    pub(super) fn delete(&mut self, kind: &str, key: &Key, guard: &Guard) -> Result<(), ApiError> {
        let found = match self.guarded(kind, key, guard) {
            Err(error) if error.kind == ApiErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        self.request_deletion(kind, key, found);
        Ok(())
    }

    fn request_deletion(&mut self, kind: &str, key: &Key, mut object: Value) {
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if !held {
            self.remove(kind, key);
        } else if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
            self.store(place(kind, key), object);
        }
    }

    /// The object is gone; what it owned is deleted.
    pub(super) fn remove(&mut self, kind: &str, key: &Key) {
        let Some(gone) = self.objects.remove(&place(kind, key)) else {
            return;
        };
        self.version += 1;
        let mut last = (*gone).clone();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.record(place(kind, key), Some(gone.clone()), Arc::new(last), true);
        let owned = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|all| all.iter().any(|owner| owner["uid"] == gone["metadata"]["uid"]))
        };
        let dependents: Vec<(Place, Value)> = self
            .objects
            .iter()
            .filter(|(_, object)| owned(object))
            .map(|(place, object)| (place.clone(), (**object).clone()))
            .collect();
        for ((kind, key), object) in dependents {
            self.request_deletion(&kind, &key, object);
        }
    }
}

/// Deletion was requested and nothing holds it any more.
fn is_finished(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let held = metadata["finalizers"].as_array().is_some_and(|all| !all.is_empty());
    !metadata["deletionTimestamp"].is_null() && !held
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            if let Some(fields) = into.as_object_mut() {
                fields.remove(name);
            }
        } else {
            merge(&mut into[name], value);
        }
    }
}
