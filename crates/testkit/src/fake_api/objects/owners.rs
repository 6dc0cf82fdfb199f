//! What the garbage collector does: an object whose owners are all gone goes too, once it had any.

use dotmesh_operator::api::Key;
use serde_json::Value;

use super::Objects;
use super::resources::Resource;

impl Objects {
    /// An object is gone: what it was the last owner of goes too.
    pub(super) fn collect(&mut self, gone: &Value) {
        let uid = &gone["metadata"]["uid"];
        let owned = |object: &Value| owners(object).any(|owner| owner["uid"] == *uid);
        let dependents: Vec<(&'static Resource, Key)> = self
            .objects
            .iter()
            .flat_map(|(kind, all)| all.iter().map(move |(key, object)| (*kind, key, object)))
            .filter(|(_, _, object)| owned(object))
            .map(|(kind, key, _)| (Resource::of_kind(kind), key.clone()))
            .collect();
        for (resource, key) in dependents {
            self.consider(resource, &key);
        }
    }

    /// An object may be one whose owners are gone: it is looked at, now or when the collector comes to it.
    pub(super) fn consider(&mut self, resource: &'static Resource, key: &Key) {
        if self.suspects.is_none() {
            self.collect_orphan(resource, key);
        } else if self
            .get(resource.kind, key)
            .is_some_and(|object| owners(object).next().is_some())
        {
            self.suspects.get_or_insert_default().push((resource, key.clone()));
        }
    }

    /// From now on garbage lies about until somebody calls [`Self::collect_garbage`].
    pub(crate) fn collect_later(&mut self) {
        self.suspects.get_or_insert_default();
    }

    /// Whether there may be garbage.
    pub(crate) fn has_garbage(&self) -> bool {
        self.suspects.as_ref().is_some_and(|suspects| !suspects.is_empty())
    }

    /// Goes through what may be garbage now.
    pub(crate) fn collect_garbage(&mut self) {
        let suspects = self.suspects.as_mut().map(std::mem::take).unwrap_or_default();
        for (resource, key) in suspects {
            self.collect_orphan(resource, &key);
        }
    }

    /// Asks for the deletion of an object if all its owners are gone; if some are, it is theirs no more.
    fn collect_orphan(&mut self, resource: &'static Resource, key: &Key) {
        let found = self.get(resource.kind, key);
        let Some(object) = found.filter(|object| owners(object).next().is_some()).cloned() else {
            return;
        };
        let left: Vec<_> = owners(&object)
            .filter(|owner| self.is_there(key, owner))
            .cloned()
            .collect();
        if left.len() == owners(&object).count() || !object["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        if left.is_empty() {
            self.request_deletion(resource, key, object);
        } else {
            let mut object = Value::clone(&object);
            object["metadata"]["ownerReferences"] = Value::Array(left);
            self.store(resource.kind, key.clone(), object);
        }
    }

    /// An owner of a kind that is not held here counts as there.
    fn is_there(&self, dependent: &Key, owner: &Value) -> bool {
        let text = |name: &str| owner[name].as_str().unwrap_or_default();
        let Some(resource) = Resource::find(text("kind")) else {
            return true;
        };
        let key = Key {
            namespace: dependent.namespace.clone().filter(|_| resource.namespaced),
            name: text("name").to_owned(),
        };
        self.get(resource.kind, &key)
            .is_some_and(|found| found["metadata"]["uid"] == owner["uid"])
    }
}

fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten()
}
