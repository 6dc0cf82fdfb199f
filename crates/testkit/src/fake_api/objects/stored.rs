//! An object as it is stored: JSON that nobody changes, read as a type once.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use dotmesh_operator::api::Kind;
use serde_json::Value;

/// Shared by all who hold it.
#[derive(Debug)]
pub struct Object {
    json: Value,
    /// As whoever read it first took it: a kind is read as one type.
    read: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Object {
    pub(crate) fn new(json: Value) -> Arc<Self> {
        let read = OnceLock::new();
        Arc::new(Self { json, read })
    }

    /// The object as its type.
    ///
    /// # Panics
    /// When it is none of that type.
    pub fn read<K: Kind>(&self) -> Arc<K> {
        let parse = || K::deserialize(&self.json).unwrap_or_else(|error| panic!("{error}: {}", self.json));
        let read = self.read.get_or_init(|| Arc::new(parse())).clone();
        read.downcast().unwrap_or_else(|_| Arc::new(parse()))
    }
}

impl Deref for Object {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.json
    }
}
