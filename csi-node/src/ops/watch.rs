//! The node's pools and the users of its volumes, as the operator watches them: each pool is asked for every 10 seconds
//! and after writes of ours, by itself.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dotmesh_mount::Mount;
use dotmesh_zfs::{ErrorKind, Guid, Health, Kind, ListRequest, ObjectName, PropName, Zfs};
use tokio::time::Instant;

use super::compare::Compared;
use super::users::VolumeUser;
use super::{Error, Ops};

/// How often the pool is looked at when nothing is done to it.
const PERIOD: Duration = Duration::from_secs(10);
/// How long writes are gathered before the pool is looked at.
const COALESCE: Duration = Duration::from_millis(500);
/// How much longer than the look before, at least: a slow machine is not kept busy with being looked at.
const REST: u32 = 4;

const AVAILABLE: PropName = PropName::from_static("available");

/// A pool as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolState {
    /// The zpool's name.
    pub name: String,
    /// Its identity.
    pub guid: Guid,
    /// Its health; unavailable when it is known but not imported.
    pub health: Health,
    /// Bytes of its file that it is known to use; 0: not known.
    pub file_bytes: u64,
    /// Bytes of the pool.
    pub size: u64,
    /// Bytes in use.
    pub allocated: u64,
    /// Bytes that new data can use.
    pub available: u64,
    /// Percent.
    pub fragmentation: u32,
    /// Release of the programs; empty when they did not run yet.
    pub zfs_userland: String,
    /// Release of the kernel module; empty when it was not loaded yet.
    pub zfs_kernel: String,
    /// It was compared with what the operator knows, since it was imported, and nothing was missing.
    pub compared: bool,
}

/// A node as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Its pools.
    pub pools: Vec<PoolState>,
    /// Who has its volumes mounted; nothing while that could not be read.
    pub users: Option<BTreeSet<VolumeUser>>,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Looks at the pool and the mounts, and tells those who watch, when something changed. Nothing when there was never
    /// a pool, or it is remembered no more.
    pub async fn refresh_state(&self) -> Option<PoolState> {
        let state = self.look_at_pool().await;
        match &state {
            Some(state) => self.host.refresh_pool(state.clone()).await,
            None => self.host.forget_pool(self.name.as_str()),
        }
        state
    }

    async fn look_at_pool(&self) -> Option<PoolState> {
        let (name, guid, file_bytes) = self.our_pool().await?;
        let versions = self.host.versions.lock();
        let versions = versions.unwrap_or_else(PoisonError::into_inner).clone();
        let (zfs_userland, zfs_kernel) = versions.map_or_else(Default::default, |versions| {
            (versions.userland.to_string(), versions.kernel.to_string())
        });
        let mut state = PoolState {
            name,
            guid,
            health: Health::Unavailable,
            file_bytes,
            size: 0,
            allocated: 0,
            available: 0,
            fragmentation: 0,
            zfs_userland,
            zfs_kernel,
            compared: false,
        };
        if let Err(error) = self.fill_state(&mut state).await {
            tracing::debug!(pool = %self.name, %error, "the pool's state cannot be read");
        }
        state.compared = self.known_pool().is_ok_and(|pool| pool.compared == Compared::Same);
        Some(state)
    }

    /// Name, GUID and the file's bytes of the pool, imported or not.
    async fn our_pool(&self) -> Option<(String, Guid, u64)> {
        if let Ok(pool) = self.known_pool() {
            return Some((pool.layout.pool().to_string(), pool.guid, pool.file_bytes));
        }
        let memory = self.remembered().await.unwrap_or_default()?;
        memory.guid().map(|guid| (memory.name, guid, memory.file_bytes))
    }

    async fn fill_state(&self, state: &mut PoolState) -> Result<(), Error> {
        let pool = self.known_pool()?;
        let doing = "looking at the pool";
        let status = match self.host.zfs.pool_get(pool.layout.pool()).await {
            Ok(status) => {
                self.check_identity(&pool, &status)
                    .inspect_err(|_| self.forget(&pool))?;
                status
            }
            Err(error) => {
                if error.kind == ErrorKind::PoolMissing {
                    // Somebody took it away: it is to be imported again.
                    self.forget(&pool);
                }
                return Err(Error::zfs(doing, &error));
            }
        };
        state.health = status.health;
        state.size = status.size;
        state.allocated = status.allocated;
        state.fragmentation = status.fragmentation.map_or(0, u32::from);
        if status.health.is_usable()
            && status.size != pool.size
            && let Err(error) = self.fit_quota(&pool, status.size).await
        {
            tracing::warn!(%error, "the quota does not follow the pool's size yet");
        }
        let request = ListRequest {
            roots: vec![ObjectName::from(pool.layout.root().clone())],
            depth: Some(0),
            kinds: vec![Kind::Filesystem],
            columns: vec![AVAILABLE],
        };
        let rows = self
            .host
            .zfs
            .list(&request)
            .await
            .map_err(|error| Error::zfs(doing, &error))?;
        state.available = rows.first().and_then(|row| row.number(&AVAILABLE).ok()).unwrap_or(0);
        Ok(())
    }

    /// Usage has changed: look soon.
    pub(crate) fn note_usage(&self) {
        self.usage_changed.notify_one();
    }

    /// Looks at pool and mounts for ever, and imports the pool when it is known and away.
    pub async fn watch_pool(self: Arc<Self>) {
        loop {
            if let Err(error) = self.import_known().await {
                tracing::warn!(pool = %self.name, %error, "the pool cannot be imported yet");
            }
            let began = Instant::now();
            self.refresh_state().await;
            let took = began.elapsed();
            let next = Instant::now() + PERIOD;
            loop {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(next) => break,
                    () = self.usage_changed.notified() => {
                        tokio::time::sleep(COALESCE.max(took * REST)).await;
                        break;
                    }
                    () = self.host.users_changed.notified() => {
                        tokio::time::sleep(COALESCE).await;
                        self.host.refresh_users().await;
                    }
                }
            }
        }
    }
}
