//! Whether the program can do its work, and if not, what it waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Named parts of a program that must all be ready; shared by cloning.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>);

impl Readiness {
    /// Nothing that would have to become ready: ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on this part has to be ready, and is not: `waiting_for` says why.
    pub fn waiting(&self, part: &'static str, waiting_for: impl Into<String>) {
        self.set(part, Err(waiting_for.into()));
    }

    /// This part is ready.
    pub fn ready(&self, part: &'static str) {
        self.set(part, Ok(()));
    }

    fn set(&self, part: &'static str, state: Result<(), String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part, state);
    }

    /// What is not ready, one line per part; empty when all is.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts
            .iter()
            .filter_map(|(part, state)| state.as_ref().err().map(|why| format!("{part}: {why}")))
            .collect()
    }

    /// Whether all parts are ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_waits_is_enough_not_to_be_ready() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        readiness.waiting("caches", "first list");
        readiness.ready("socket");
        assert_eq!(readiness.missing(), ["caches: first list"]);
        readiness.ready("caches");
        assert!(readiness.is_ready());
    }
}
