//! Which Dots lie in a pool: so that the pool of a handle is found without asking each.
//!
//! Filled by the listing that follows each import, then kept true by what this program makes, reads and destroys. It
//! only says where to look: what is there is read from the pool.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dotmesh_model::id::DotId;

#[derive(Debug, Default)]
struct Known {
    dots: HashSet<DotId>,
    /// All were listed since the import.
    is_complete: bool,
}

/// The Dots of one import of a pool.
#[derive(Debug, Default)]
pub(super) struct Index(Mutex<Known>);

impl Index {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, dot: DotId) -> bool {
        self.lock().dots.contains(&dot)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    pub(super) fn add(&self, dot: DotId) {
        self.lock().dots.insert(dot);
    }

    pub(super) fn remove(&self, dot: DotId) {
        self.lock().dots.remove(&dot);
    }

    /// These were listed; what was made meanwhile stays.
    pub(super) fn complete(&self, dots: impl IntoIterator<Item = DotId>) {
        let mut known = self.lock();
        known.dots.extend(dots);
        known.is_complete = true;
    }

    pub(super) fn clear(&self) {
        *self.lock() = Known::default();
    }
}
