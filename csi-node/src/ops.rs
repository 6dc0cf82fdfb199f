//! What a node does to its pools and mounts. Both edges (CSI and `dotmesh.node.v1`) call these functions and nothing
//! else does anything. [`Ops`] are those on one pool, [`Pools`] says which one is meant, [`Host`] is what all share.
//!
//! Every function is safe to repeat, and to repeat after it was killed at any point: it looks at what is there and
//! completes it. Truth is the pool and the kernel's mount table; what is kept in memory ([`cache`]) are copies of
//! properties that only this program writes, dropped before each write. This module must not know Kubernetes, and
//! decides nothing about placement, history or retention.

mod attach;
mod batch;
mod branch;
mod cache;
mod collect;
mod commit;
mod compare;
mod delete;
mod describe;
mod dot;
mod error;
mod files;
mod flush;
mod gather;
mod health;
mod holds;
mod host;
mod index;
mod known;
mod locks;
mod missing;
mod place;
mod pool;
mod pool_file;
mod pools;
mod publish;
mod root;
mod shown;
mod users;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dotmesh_model::id::{DotId, HeadId};
use dotmesh_mount::Mount;
use dotmesh_zfs::{Guid, Health, PoolName, PoolStatus, Zfs, ZfsError};
use tokio::sync::{Notify, Semaphore};

use crate::layout::Layout;
use cache::Cache;
use index::Index;

pub use attach::AttachRequest;
pub use branch::{Begun, BranchRequest, OriginRequest, Seed, SeedCommit, VolumeRequest, VolumeState};
pub use commit::{CommitRecord, CommitRequest, CommitState, SnapshotState};
pub use compare::NewestCommit;
pub use describe::{CommitDescription, DotDescription, HeadDescription};
pub use error::Error;
pub use files::{Device, Files, Found, HostFiles};
pub use health::PoolTrouble;
pub use host::{Config, Host};
pub(crate) use locks::KeyedLocks;
pub use missing::{DotInPool, Recorded, Stock};
pub use place::Place;
pub use pool::{FLOOR, PoolRequest};
pub use pools::Pools;
pub use publish::{PublishRequest, UnpublishRequest, Usage, Wanted};
pub use users::{User, VolumeUser};
pub use watch::{NodeState, PoolState};

/// Longest time an operation takes before it is given up with [`Error::Deadline`].
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How many holds are put on in the background at a time.
const HOLDS: usize = 4;

/// The pool that this node knows as its own, imported.
#[derive(Debug, Clone)]
pub(crate) struct KnownPool {
    pub(crate) layout: Layout,
    pub(crate) guid: Guid,
    /// Which import of it this is.
    pub(crate) load_guid: Guid,
    /// Whether it has what must be in it.
    pub(crate) compared: compare::Compared,
    /// Bytes that all Dots together can use.
    pub(crate) quota: u64,
    /// Bytes of the pool that the quota was made for.
    pub(crate) size: u64,
    /// Bytes of its file that it is known to use; 0: not known.
    pub(crate) file_bytes: u64,
}

/// The functions on one pool, and what they share. Nothing of it waits for another pool.
#[derive(Debug)]
pub struct Ops<Z, M> {
    host: Arc<Host<Z, M>>,
    /// The zpool's name, under which it is remembered.
    name: PoolName,
    pool: Mutex<Option<KnownPool>>,
    /// One at a time makes or imports the pool.
    pool_lock: tokio::sync::Mutex<()>,
    heads: KeyedLocks<HeadId>,
    cache: Cache,
    index: Index,
    batches: batch::Batches,
    deletions: gather::Gather<DotId, delete::Deletion, Result<bool, Error>>,
    holds: Semaphore,
    /// A commit may lack its hold.
    unheld: AtomicBool,
    /// Dots with tombstones.
    tombstoned: Mutex<BTreeSet<DotId>>,
    collect_now: Notify,
    usage_changed: Notify,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Nothing is done yet, and the pool is not known: [`Ops::import_known`] or [`Ops::ensure_pool`] come first.
    pub(crate) fn new(host: Arc<Host<Z, M>>, name: PoolName) -> Arc<Self> {
        Arc::new(Self {
            host,
            name,
            pool: Mutex::default(),
            pool_lock: tokio::sync::Mutex::default(),
            heads: KeyedLocks::default(),
            cache: Cache::default(),
            index: Index::default(),
            batches: batch::Batches::default(),
            deletions: gather::Gather::default(),
            holds: Semaphore::new(HOLDS),
            unheld: AtomicBool::new(false),
            tombstoned: Mutex::default(),
            collect_now: Notify::new(),
            usage_changed: Notify::new(),
        })
    }

    /// The zpool's name.
    #[must_use]
    pub fn name(&self) -> &PoolName {
        &self.name
    }

    /// The known pool, if it is imported.
    pub(crate) fn known_pool(&self) -> Result<KnownPool, Error> {
        self.pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| Error::PoolMissing(format!("pool {} of this node is not imported", self.name)))
    }

    fn set_known_pool(&self, pool: Option<KnownPool>) {
        self.cache.clear();
        let mut known = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let import = |pool: &Option<KnownPool>| pool.as_ref().map(|pool| pool.load_guid);
        if import(&known) != import(&pool) {
            self.index.clear();
        }
        *known = pool;
    }

    /// Notes something about this import of the pool, unless it is over.
    fn note(&self, pool: &KnownPool, change: impl FnOnce(&mut KnownPool)) {
        let mut known = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_mut().filter(|known| known.load_guid == pool.load_guid) {
            change(known);
        }
    }

    /// This import of the pool is over: what is there now is to be looked at anew. Another one stays known.
    fn forget(&self, pool: &KnownPool) {
        let is_current = self.known_pool().is_ok_and(|known| known.load_guid == pool.load_guid);
        if is_current {
            self.set_known_pool(None);
        }
    }

    /// Whether what is imported under the known pool's name is that pool, imported all the time since.
    fn check_identity(&self, pool: &KnownPool, found: &PoolStatus) -> Result<(), Error> {
        if found.guid == pool.guid && found.load_guid == pool.load_guid {
            return Ok(());
        }
        // To be looked at anew, soon.
        self.note_usage();
        if found.guid != pool.guid {
            return Err(pool::foreign(pool.layout.pool(), pool.guid, found.guid));
        }
        Err(Error::PoolMissing(format!(
            "pool {} was exported and imported by somebody else meanwhile; repeat",
            pool.layout.pool()
        )))
    }

    /// The error for something that a command said does not exist: [`Error::NotFound`] only when the pool that is
    /// imported is the known one, and usable.
    pub(crate) async fn absent(&self, pool: &KnownPool, what: &str) -> Error {
        match self.verify_pool(pool).await {
            Ok(()) => Error::NotFound(format!("{what} is not in pool {}", pool.layout.pool())),
            Err(error) => error,
        }
    }

    /// The error of a failed command, where absence of the object is possible.
    pub(crate) async fn failed(&self, pool: &KnownPool, doing: &str, what: &str, error: &ZfsError) -> Error {
        if error.is_not_found() {
            self.absent(pool, what).await
        } else {
            Error::zfs(doing, error)
        }
    }

    /// What was found; nothing when what was looked at is certainly not there.
    pub(crate) async fn unless_absent<T>(
        &self,
        pool: &KnownPool,
        doing: &str,
        looked: Result<T, ZfsError>,
    ) -> Result<Option<T>, Error> {
        match looked {
            Ok(found) => Ok(Some(found)),
            Err(error) => self.failed(pool, doing, "", &error).await.absent_as(None),
        }
    }

    /// Whether the pool that is imported under the name is the known one.
    pub(crate) async fn verify_pool(&self, pool: &KnownPool) -> Result<(), Error> {
        let name = pool.layout.pool();
        let status = self
            .host
            .zfs
            .pool_get(name)
            .await
            .map_err(|error| Error::zfs(&format!("looking at pool {name}"), &error))?;
        self.check_identity(pool, &status)?;
        if !status.health.is_usable() {
            let text = format!("pool {name} is {}", status.health);
            return Err(if status.health == Health::Suspended {
                Error::PoolSuspended(text)
            } else {
                Error::PoolMissing(text)
            });
        }
        Ok(())
    }
}

/// Runs an operation to its end or its deadline, also when the caller goes away meanwhile: a command that was begun is
/// not killed because a connection was closed.
///
/// # Errors
/// Those of the operation, and [`Error::Deadline`].
pub async fn run<T, F>(name: &'static str, operation: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    // Boxed, because a task is copied several times until it runs.
    let operation = Box::pin(operation);
    let limited = async move {
        match tokio::time::timeout(DEADLINE, operation).await {
            Ok(result) => result,
            Err(_) => Err(Error::Deadline(format!("{name}: not done within {DEADLINE:?}; repeat"))),
        }
    };
    let task = tokio::spawn(tracing::Instrument::in_current_span(limited));
    task.await
        .unwrap_or_else(|error| Err(Error::Internal(format!("{name}: {error}"))))
}
