//! The objects behind [`super::FakeApi`], as JSON: what the API server does with a request, and the log of changes.
//!
//! Held to the real one by [`crate::contract`]. Not held: who owns fields outside of status, quotas, admission beyond
//! the CRDs' rules, and what the server checks of kinds that are not ours.

pub(crate) mod apply;
pub(crate) mod fields;
pub(crate) mod list;
pub(crate) mod log;
mod metadata;
mod owners;
pub(crate) mod refusal;
pub(crate) mod resources;
pub(crate) mod schema;
pub(crate) mod stored;
pub(crate) mod structure;

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_operator::api::{Guard, Key};
use serde_json::{Value, json};

use apply::Managers;
use log::{Change, Log};
use refusal::{Refusal, already_exists, bad_request, conflict, internal, invalid, not_found, untyped};
use resources::Resource;
use schema::Path;
use stored::Object;

/// Objects as they are stored, which nobody changes: by kind, then by namespace and name.
type Stored = BTreeMap<&'static str, BTreeMap<Key, Arc<Object>>>;

/// What became of an object that was to be deleted.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// It is gone; it was this.
    Gone(Arc<Object>),
    /// Finalizers hold it.
    Held(Arc<Object>),
}

#[derive(Debug, Clone)]
pub(crate) struct Objects {
    objects: Stored,
    log: Log,
    /// Who applied what to an object's status, by its uid.
    managers: BTreeMap<String, Managers>,
    version: u64,
    uids: u64,
    /// What the garbage collector has yet to look at; absent: it does so at once.
    suspects: Option<Vec<(&'static Resource, Key)>>,
}

/// Nothing, at a revision of its own: 0 would ask for any.
impl Default for Objects {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            log: Log::default(),
            managers: BTreeMap::new(),
            version: 1,
            uids: 0,
            suspects: None,
        }
    }
}

/// Where an object says it is.
pub(crate) fn key_of(object: &Value) -> Key {
    let text = |name: &str| object["metadata"][name].as_str().map(str::to_owned);
    Key {
        namespace: text("namespace"),
        name: text("name").unwrap_or_default(),
    }
}

/// Whether it says that it is there.
fn is_at(object: &Value, key: &Key) -> bool {
    let text = |name: &str| object["metadata"][name].as_str();
    text("namespace") == key.namespace.as_deref() && text("name").unwrap_or_default() == key.name
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

impl Objects {
    /// The revision of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// What has changed, in order.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Forgets all changes so far: whoever has not seen them must list again.
    pub(crate) fn compact(&mut self) {
        self.log.compact(self.version);
    }

    pub(crate) fn get(&self, kind: &str, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(kind)?.get(key)
    }

    pub(crate) fn list(&self, kind: &str) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.get(kind).into_iter().flat_map(BTreeMap::values)
    }

    /// Stores an object in a new version.
    fn store(&mut self, kind: &'static str, key: Key, mut object: Value) -> Arc<Object> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let stored = Object::new(object);
        let ours = self.objects.entry(kind).or_default();
        let before = ours.insert(key.clone(), stored.clone());
        self.log.push(Change {
            revision: self.version,
            kind,
            key,
            before,
            object: stored.clone(),
            gone: false,
        });
        stored
    }

    /// Puts an object there as it is; uid and what else only the server sets is added where missing. Its status counts
    /// as applied by those who apply statuses.
    pub(crate) fn put(&mut self, mut object: Value) -> Arc<Object> {
        let resource = Resource::of_kind(object["kind"].as_str().unwrap_or_default());
        let key = key_of(&object);
        let old = self.get(resource.kind, &key);
        let old_uid = old.map(|old| old["metadata"]["uid"].clone());
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            self.uids += 1;
            metadata["uid"] = old_uid.unwrap_or_else(|| json!(format!("00000000-0000-4000-8000-{:012x}", self.uids)));
        }
        if metadata["creationTimestamp"].is_null() {
            let (minutes, seconds) = (self.uids / 60 % 60, self.uids % 60);
            metadata["creationTimestamp"] = json!(format!("2026-01-01T00:{minutes:02}:{seconds:02}Z"));
        }
        if metadata["generation"].is_null() && resource.custom {
            metadata["generation"] = json!(1);
        }
        metadata::tidy(&mut object);
        if resource.custom && !object["status"].is_null() {
            let managers = apply::managers_of(schema::of_status(resource.kind), &object["status"]);
            self.managers.insert(text(&object, "uid").to_owned(), managers);
        }
        self.store(resource.kind, key, object)
    }

    /// Creates an object from a manifest.
    pub(crate) fn create(&mut self, resource: &'static Resource, mut object: Value) -> Result<Arc<Object>, Refusal> {
        if !text(&object, "resourceVersion").is_empty() {
            return Err(internal("resourceVersion should not be set on objects to be created"));
        }
        if text(&object, "name").is_empty() && !text(&object, "generateName").is_empty() {
            self.uids += 1;
            object["metadata"]["name"] = json!(metadata::generated(text(&object, "generateName"), self.uids));
        }
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        if let Some(phase) = resource.phase {
            object["status"] = json!({ "phase": phase });
        }
        for ours in [
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            object["metadata"][ours] = Value::Null;
        }
        metadata::tidy(&mut object);
        if let Some(schema) = schema::of(resource.kind) {
            schema::settle(schema, &mut object);
        }
        let key = key_of(&object);
        let mut wrong = metadata::faults(&object, None);
        wrong.extend(schema::faults(resource.kind, &object, None));
        if !wrong.is_empty() {
            return Err(invalid(resource, &key.name, &wrong));
        }
        if self.get(resource.kind, &key).is_some() {
            return Err(already_exists(resource, &key.name));
        }
        let created = self.put(object);
        self.consider(resource, &key);
        Ok(created)
    }

    fn find(&self, resource: &Resource, key: &Key) -> Result<Arc<Object>, Refusal> {
        let found = self.get(resource.kind, key);
        found.cloned().ok_or_else(|| not_found(resource, &key.name))
    }

    /// Merges a patch (RFC 7386) into all but the status; uid and resourceVersion in it are preconditions.
    pub(crate) fn patch(
        &mut self,
        resource: &'static Resource,
        key: &Key,
        patch: &Value,
    ) -> Result<Arc<Object>, Refusal> {
        let before = self.find(resource, key)?;
        let mut after = Value::clone(&before);
        merge(&mut after, patch);
        if !is_at(&after, key) {
            return Err(bad_request("the name of the object does not match the name on the URL"));
        }
        if after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"] {
            return Err(conflict(resource, &key.name, MODIFIED));
        }
        if let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) {
            metadata::copy(before, after, "status");
        }
        metadata::keep(&before, &mut after);
        if let Some(schema) = schema::of(resource.kind) {
            schema::settle(schema, &mut after);
        }
        let mut wrong = metadata::faults(&after, Some(&before));
        if after["spec"] != before["spec"] {
            wrong.extend(schema::faults(resource.kind, &after, Some(&before)));
            metadata::count_generation(&mut after);
        }
        if !wrong.is_empty() {
            return Err(invalid(resource, &key.name, &wrong));
        }
        metadata::tidy(&mut after);
        if after == **before {
            return Ok(before);
        }
        if metadata::is_finished(&after) {
            self.remove(resource, key);
            return Ok(Object::new(after));
        }
        let stored = self.store(resource.kind, key.clone(), after);
        self.consider(resource, key);
        Ok(stored)
    }

    /// Applies a status by force. Of what its body says besides, the server looks at the resourceVersion alone: another
    /// object's uid it overlooks.
    pub(crate) fn apply_status(
        &mut self,
        resource: &'static Resource,
        key: &Key,
        manager: &str,
        body: &Value,
    ) -> Result<Arc<Object>, Refusal> {
        let (whole, schema) = (schema::of(resource.kind), schema::of_status(resource.kind));
        let before = self.find(resource, key)?;
        let mut wrong = Vec::new();
        schema::misfits(schema, &body["status"], Path::STATUS, &mut wrong);
        if !wrong.is_empty() {
            return Err(untyped(&wrong));
        }
        let version = text(body, "resourceVersion");
        if !version.is_empty() && version != text(&before, "resourceVersion") {
            return Err(conflict(resource, &key.name, MODIFIED));
        }
        let uid = text(&before, "uid");
        let mut managers = self.managers.get(uid).cloned().unwrap_or_default();
        let mut after = Value::clone(&before);
        after["status"] = apply::apply(schema, &mut managers, manager, &before["status"], &body["status"]);
        if let Some(whole) = whole {
            schema::settle(whole, &mut after);
        }
        schema::check(schema, &after["status"], Path::STATUS, &mut wrong);
        if !wrong.is_empty() {
            return Err(invalid(resource, &key.name, &wrong));
        }
        if after == **before && self.managers.get(uid) == Some(&managers) {
            return Ok(before);
        }
        self.managers.insert(uid.to_owned(), managers);
        Ok(self.store(resource.kind, key.clone(), after))
    }

    /// Asks for the deletion of an object, in the background.
    pub(crate) fn delete(&mut self, resource: &'static Resource, key: &Key, guard: &Guard) -> Result<Deleted, Refusal> {
        let found = self.find(resource, key)?;
        let holds = |field: &str, wanted: &Option<String>| {
            let wanted = wanted.as_deref();
            wanted.is_none_or(|wanted| text(&found, field) == wanted)
        };
        if !holds("uid", &guard.uid) || !holds("resourceVersion", &guard.resource_version) {
            return Err(conflict(resource, &key.name, "the precondition does not match"));
        }
        Ok(self.request_deletion(resource, key, found))
    }

    fn request_deletion(&mut self, resource: &'static Resource, key: &Key, found: Arc<Object>) -> Deleted {
        if !metadata::is_held(&found) {
            self.remove(resource, key);
            return Deleted::Gone(found);
        }
        if !found["metadata"]["deletionTimestamp"].is_null() {
            return Deleted::Held(found);
        }
        let mut object = Value::clone(&found);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        metadata::count_generation(&mut object);
        Deleted::Held(self.store(resource.kind, key.clone(), object))
    }

    /// Removes an object at once; what it owned goes with it.
    pub(crate) fn remove(&mut self, resource: &'static Resource, key: &Key) {
        let ours = self.objects.get_mut(resource.kind);
        let Some(gone) = ours.and_then(|ours| ours.remove(key)) else {
            return;
        };
        self.version += 1;
        self.managers.remove(text(&gone, "uid"));
        let mut last = Value::clone(&gone);
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push(Change {
            revision: self.version,
            kind: resource.kind,
            key: key.clone(),
            before: Some(gone.clone()),
            object: Object::new(last),
            gone: true,
        });
        self.collect(&gone);
    }
}

const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

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
