//! The log of changes: what watches and caches see, in order. Knows nothing of what the objects mean.
//!
//! A revision is the resourceVersion of the object that was written; a removal has one of its own, as in etcd.

use std::sync::Arc;

use dotmesh_operator::api::Key;

use super::stored::Object;

/// One change of one object.
#[derive(Debug)]
pub struct Change {
    /// Later changes have greater ones; every number is used at most once.
    pub revision: u64,
    /// As in manifests.
    pub kind: &'static str,
    /// Where the object is.
    pub key: Key,
    /// The object before; absent: it was created.
    pub before: Option<Arc<Object>>,
    /// The object after, or as it was last when it is gone; its resourceVersion is the revision either way.
    pub object: Arc<Object>,
    /// It was removed.
    pub gone: bool,
}

/// Changes in order of revision, without those that were compacted away.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    changes: Vec<Arc<Change>>,
    compacted: u64,
}

impl Log {
    pub(crate) fn push(&mut self, change: Change) {
        self.changes.push(Arc::new(change));
    }

    /// Changes after a revision; absent when some of them were compacted away.
    pub(crate) fn since(&self, revision: u64) -> Option<&[Arc<Change>]> {
        if revision < self.compacted {
            return None;
        }
        let first = self.changes.partition_point(|change| change.revision <= revision);
        Some(&self.changes[first..])
    }

    /// All changes but the first so many; what was compacted away is not counted.
    pub(crate) fn after(&self, seen: usize) -> &[Arc<Change>] {
        self.changes.get(seen..).unwrap_or_default()
    }

    /// Forgets the changes up to a revision.
    pub(crate) fn compact(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision);
        let first = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.drain(..first);
    }
}
