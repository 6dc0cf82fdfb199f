//! What the garbage collector does: an object whose owners are all gone goes too, once it had any.

use dotmesh_operator::api::Key;
use serde_json::Value;

use super::resources::Resource;
use super::{Objects, Place};

impl Objects {
    /// An object is gone: what it was the last owner of goes too.
    pub(super) fn collect(&mut self, gone: &Value) {
        let uid = &gone["metadata"]["uid"];
        let owned = |object: &Value| owners(object).any(|owner| owner["uid"] == *uid);
        let dependents: Vec<Place> = self
            .objects
            .iter()
            .filter(|(_, object)| owned(object))
            .map(|(place, _)| place.clone())
            .collect();
        for (kind, key) in dependents {
            self.collect_orphan(&kind, &key);
        }
    }

    /// Asks for the deletion of an object if all its owners are gone; if some are, it is theirs no more.
    pub(super) fn collect_orphan(&mut self, kind: &str, key: &Key) {
        let Some(object) = self.get(kind, key) else {
            return;
        };
        let left: Vec<_> = owners(object)
            .filter(|owner| self.is_there(key, owner))
            .cloned()
            .collect();
        if left.len() == owners(object).count() || !object["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        let mut object = object.clone();
        if left.is_empty() {
            self.request_deletion(kind, key, object);
        } else {
            object["metadata"]["ownerReferences"] = Value::Array(left);
            self.store((kind.to_owned(), key.clone()), object);
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
