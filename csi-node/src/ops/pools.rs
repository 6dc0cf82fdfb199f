//! The pools of a node: each has its own operations, imports, collector and watcher, and waits for no other.
//!
//! The operator says by its GUID which pool it means. A handle of CSI says only which Dot: its pool is found by each
//! pool's index. A Dot that is found nowhere is absent only when every pool of the node was looked at.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dotmesh_model::id::DotId;
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{Guid, PoolName, Zfs};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch as channel;

use super::watch::NodeState;
use super::{Config, Error, Host, Ops, PoolRequest, PoolState, PublishRequest};

/// After a look for remembered pools that failed.
const RETRY: Duration = Duration::from_secs(10);

/// What a pool's file of memory ends with.
const MEMORY: &str = ".json";

type Table<Z, M> = BTreeMap<PoolName, Arc<Ops<Z, M>>>;

/// All pools of a node.
#[derive(Debug)]
pub struct Pools<Z, M> {
    host: Arc<Host<Z, M>>,
    /// Absent: what is remembered was not read yet. Pools come, and stay until the program ends.
    table: Mutex<Option<Table<Z, M>>>,
    came: channel::Sender<()>,
}

impl<Z: Zfs, M: Mount> Pools<Z, M> {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(zfs: Z, mount: M, config: Config) -> Arc<Self> {
        Arc::new(Self {
            host: Host::new(zfs, mount, config),
            table: Mutex::default(),
            came: channel::Sender::new(()),
        })
    }

    /// The node itself: what needs no pool.
    #[must_use]
    pub fn host(&self) -> &Arc<Host<Z, M>> {
        &self.host
    }

    /// Commands run so far.
    pub fn counts(&self) -> Arc<dotmesh_zfs::CommandCounts> {
        self.host.zfs.counts()
    }

    /// The node's state now and whenever it changes; nothing until it was looked at first.
    pub fn watch(&self) -> channel::Receiver<Option<NodeState>> {
        self.host.states.subscribe()
    }

    /// All pools of which anything is known here.
    ///
    /// # Errors
    /// What is remembered cannot be read: then it is not known which there are.
    pub async fn all(&self) -> Result<Vec<Arc<Ops<Z, M>>>, Error> {
        if let Some(table) = &*self.lock() {
            return Ok(table.values().cloned().collect());
        }
        let folder = self.host.memories();
        let files = self.host.config.files.list(&folder).await;
        let files = files.map_err(|error| Error::Internal(format!("reading {}: {error}", folder.display())))?;
        let names = files.iter().filter_map(|file| file.strip_suffix(MEMORY)?.parse().ok());
        let mut table = self.lock();
        let table = table.get_or_insert_with(|| {
            let pools = names.map(|name: PoolName| (name.clone(), Ops::new(Arc::clone(&self.host), name)));
            pools.collect()
        });
        Ok(table.values().cloned().collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Table<Z, M>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool of this name, whether anything is known of it or not.
    ///
    /// # Errors
    /// Those of [`Pools::all`].
    pub async fn named(&self, name: &PoolName) -> Result<Arc<Ops<Z, M>>, Error> {
        self.all().await?;
        let mut is_new = false;
        let pool = {
            let mut table = self.lock();
            let pool = table.get_or_insert_default().entry(name.clone()).or_insert_with(|| {
                is_new = true;
                Ops::new(Arc::clone(&self.host), name.clone())
            });
            Arc::clone(pool)
        };
        if is_new {
            self.came.send_replace(());
        }
        Ok(pool)
    }

    /// The imported pool of this GUID.
    ///
    /// # Errors
    /// [`Error::PoolMissing`]; those of [`Pools::all`].
    pub async fn of_guid(&self, guid: Guid) -> Result<Arc<Ops<Z, M>>, Error> {
        let all = self.all().await?;
        let is_it = |pool: &Arc<Ops<Z, M>>| {
            is_planted(Mutant::AnyPoolForTheOneMeant) || pool.known_pool().is_ok_and(|known| known.guid == guid)
        };
        all.into_iter()
            .find(is_it)
            .ok_or_else(|| Error::PoolMissing(format!("the pool with GUID {guid} is not imported on this node")))
    }

    /// The pool where a Dot lies. A node's only pool is not asked.
    ///
    /// # Errors
    /// [`Error::NotFound`] when all pools were looked at and it is in none of them; [`Error::Conflict`] when it is in
    /// several; that of a pool which could not be looked at.
    pub async fn of_dot(&self, dot: DotId) -> Result<Arc<Ops<Z, M>>, Error> {
        let all = self.all().await?;
        match all.as_slice() {
            [] => return Err(Error::PoolMissing("this node has no pool yet".into())),
            [only] => return Ok(Arc::clone(only)),
            _ => {}
        }
        let mut indexed = all.iter().filter(|pool| pool.index.has(dot));
        match (indexed.next(), indexed.next()) {
            (Some(pool), None) => return Ok(Arc::clone(pool)),
            (Some(one), Some(other)) => {
                return Err(Error::Conflict(format!(
                    "Dot {dot} lies in pool {} and in pool {}; export the one that does not belong here",
                    one.name, other.name
                )));
            }
            (None, _) => {}
        }
        // Who answers first with a Dot counts, so that no pool that is away is waited for.
        let mut looks: FuturesUnordered<_> = all.iter().map(|pool| pool.look_for(dot)).collect();
        let mut unknown = None;
        let mut looked = 0;
        while let Some(found) = looks.next().await {
            looked += 1;
            match found {
                Ok(Some(pool)) => return Ok(pool),
                Ok(None) => {}
                Err(error) => unknown = Some(error),
            }
        }
        match unknown {
            Some(error) => Err(error),
            None => Err(Error::NotFound(format!("Dot {dot} is in none of the {looked} pools"))),
        }
    }

    /// As [`Ops::ensure_pool`], of the pool that the request names. What another pool of the node lies on is not taken.
    ///
    /// # Errors
    /// Those of [`Ops::ensure_pool`].
    pub async fn ensure_pool(&self, request: &PoolRequest) -> Result<(PoolState, bool), Error> {
        for other in self.all().await?.iter().filter(|pool| pool.name != request.name) {
            // What is wrong with the memory of one pool is told for that one.
            let Ok(Some(memory)) = other.remembered().await else {
                continue;
            };
            if memory.guid().is_some() && memory.place.overlaps(&request.place) {
                return Err(Error::Conflict(format!(
                    "pool {} lies {} already; choose another place for pool {}",
                    other.name, memory.place, request.name
                )));
            }
        }
        self.named(&request.name).await?.ensure_pool(request).await
    }

    /// As [`Ops::publish`], of the pool where the Dot lies.
    ///
    /// # Errors
    /// Those of [`Pools::of_dot`] and [`Ops::publish`].
    pub async fn publish(&self, request: &PublishRequest) -> Result<(), Error> {
        for pool in self
            .all()
            .await?
            .iter()
            .filter(|_| is_planted(Mutant::OnePoolIsAwaySoNothingIsMounted))
        {
            pool.verify_pool(&pool.known_pool()?).await?;
        }
        self.of_dot(request.volume.dot()).await?.publish(request).await
    }

    /// Watches each pool for ever, those too that come later.
    pub async fn watch_pools(self: Arc<Self>) {
        // A node without pools says so, too.
        if self.all().await.is_ok_and(|all| all.is_empty()) {
            self.host.refresh_users().await;
        }
        self.each(Ops::watch_pool).await;
    }

    /// Collects in each pool for ever, those too that come later.
    pub async fn collect(self: Arc<Self>) {
        self.each(Ops::collect).await;
    }

    async fn each<F>(&self, run: impl Fn(Arc<Ops<Z, M>>) -> F)
    where
        F: Future<Output = ()>,
    {
        let mut came = self.came.subscribe();
        let mut begun = Vec::new();
        let mut running = FuturesUnordered::new();
        loop {
            let retry = match self.all().await {
                Ok(all) => {
                    for pool in all {
                        if !begun.contains(&pool.name) {
                            begun.push(pool.name.clone());
                            running.push(run(pool));
                        }
                    }
                    None
                }
                Err(error) => {
                    tracing::warn!(%error, "it is not known yet which pools this node has");
                    Some(RETRY)
                }
            };
            tokio::select! {
                biased;
                Ok(()) = came.changed() => {}
                () = tokio::time::sleep(retry.unwrap_or_default()), if retry.is_some() => {}
                Some(()) = running.next(), if !running.is_empty() => {}
                else => return,
            }
        }
    }
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// This, when the Dot lies here.
    async fn look_for(self: &Arc<Self>, dot: DotId) -> Result<Option<Arc<Self>>, Error> {
        let pool = match self.known_pool() {
            Ok(pool) => pool,
            Err(error) => match self.remembered().await? {
                Some(memory) if memory.guid().is_some() => return Err(error),
                // There never was a pool, or somebody had it forgotten.
                Some(_) | None => return Ok(None),
            },
        };
        if !self.index.is_complete() {
            self.find_tombstones(&pool).await?;
        }
        // Somebody may have put it there since.
        let found = self.index.has(dot) || self.read_dot(&pool, dot).await?.is_some();
        Ok(found.then(|| Arc::clone(self)))
    }
}
