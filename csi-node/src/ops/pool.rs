//! The node's pool: made once, imported ever after, never made anew where one was before.
//!
//! A pool is known by its GUID: the one the caller knows, else the one this node remembers ([`super::known`]). Before a
//! pool is made or taken over, the intent is written down there without a GUID; so an attempt that was interrupted at
//! any point is told from a pool or file that belongs to somebody else.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{
    ErrorKind, Guid, ImportRequest, ImportablePool, PoolName, PoolSelector, PoolSpec, PropName, PropValue, Properties,
    Versions, Zfs,
};

use super::compare::Compared;
use super::files::Found;
use super::known::Remembered;
use super::pool_file;
use super::{Error, KnownPool, NewestCommit, Ops, PoolState};
use crate::layout::Layout;

/// The oldest OpenZFS that is safe: earlier ones have data-corrupting bugs in encrypted send and in clones.
pub const FLOOR: (u32, u32, u32) = (2, 3, 3);

/// Smallest pool: what is kept back, as much again for ZFS itself, and room for data.
const MIN_POOL_BYTES: u64 = 1 << 30;

const ASHIFT: PropName = PropName::from_static("ashift");
const ATIME: PropName = PropName::from_static("atime");

/// A pool that shall be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRequest {
    /// The zpool's name.
    pub name: PoolName,
    /// The GUID it is known by; nothing when it was never seen.
    pub known: Option<Guid>,
    /// Where its file lies, in the host's file system.
    pub path: PathBuf,
    /// Bytes of the file, at least.
    pub size: u64,
    /// The newest commit that must be in it; nothing when there is none.
    pub newest: Option<NewestCommit>,
}

/// Which pool is imported, by which import, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Imported {
    guid: Guid,
    load_guid: Guid,
    size: u64,
}

/// The error for another pool under the known one's name.
pub(super) fn foreign(name: &PoolName, known: Guid, found: Guid) -> Error {
    Error::PoolForeign(format!(
        "the pool called {name} here has GUID {found}, but this node's pool has GUID {known}; nothing was touched"
    ))
}

/// Refuses releases below [`FLOOR`], of the programs or of the kernel module.
fn check_versions(versions: &Versions) -> Result<(), Error> {
    for (what, release) in [("programs", &versions.userland), ("kernel module", &versions.kernel)] {
        if release.number < FLOOR {
            let (major, minor, patch) = FLOOR;
            return Err(Error::ZfsUnsupported(format!(
                "the OpenZFS {what} of this node are release {release}; {major}.{minor}.{patch} is the oldest that \
                 does not damage data"
            )));
        }
    }
    Ok(())
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    fn memory(&self) -> PathBuf {
        self.config.state_dir.join("pool.json")
    }

    pub(super) async fn remembered(&self) -> Result<Option<Remembered>, Error> {
        Remembered::read(&*self.config.files, &self.memory())
            .await
            .map_err(|error| Error::Internal(format!("reading what is remembered: {error}")))
    }

    async fn remember(&self, request: &PoolRequest, guid: Option<Guid>, file_bytes: u64) -> Result<(), Error> {
        Remembered::new(request.name.as_str(), &request.path, guid, file_bytes)
            .write(&*self.config.files, &self.memory())
            .await
            .map_err(|error| Error::Internal(format!("remembering the pool: {error}")))
    }

    async fn supported_versions(&self) -> Result<(), Error> {
        let versions = self
            .zfs
            .version()
            .await
            .map_err(|error| Error::zfs("asking for the release of OpenZFS", &error))?;
        check_versions(&versions)?;
        *self.versions.lock().unwrap_or_else(PoisonError::into_inner) = Some(versions);
        Ok(())
    }

    /// The pool is imported, has our root dataset, and its file is as large as asked for, or larger. Makes it only where
    /// none was ever known.
    ///
    /// # Errors
    /// [`Error::PoolForeign`], [`Error::PoolMissing`], [`Error::OutOfSpace`], [`Error::ZfsUnsupported`],
    /// [`Error::Rewound`], [`Error::Invalid`], [`Error::Conflict`] when the path holds a file that is no pool.
    pub async fn ensure_pool(&self, request: &PoolRequest) -> Result<(PoolState, bool), Error> {
        let _guard = self.pool_lock.lock().await;
        let layout = Layout::new(request.name.clone()).map_err(|error| Error::Invalid(error.to_string()))?;
        let file = pool_file::here(self.config.host_root.as_deref(), &request.path)?;
        if request.size < MIN_POOL_BYTES {
            return Err(Error::Invalid(format!(
                "a pool of {} bytes is too small; the least is {MIN_POOL_BYTES}",
                request.size
            )));
        }
        self.supported_versions().await?;
        let memory = self.remembered().await?;
        let known = expected(request, memory.as_ref())?;
        let intended = memory.is_some_and(|memory| memory.guid().is_none() && memory.path == request.path);
        let (imported, created) = match self.imported(&request.name).await? {
            Some(found) => (accept_imported(request, known, intended, found)?, false),
            None => self.import_or_create(request, &file, known, intended).await?,
        };
        let file_bytes = self.remember_once(request, imported.guid).await?;
        self.adopt(layout, imported, file_bytes).await?;
        self.compare(request.newest.as_ref()).await?;
        self.grow(request, &file).await?;
        let states = self.refresh_states().await;
        let state = states
            .into_iter()
            .next()
            .ok_or_else(|| Error::PoolMissing(format!("pool {} went away", request.name)))?;
        Ok((state, created))
    }

    /// Imports the pool that is remembered, without anybody asking: after a reboot. Returns whether there is one.
    ///
    /// # Errors
    /// Like [`Ops::ensure_pool`]; the pool then stays unknown and the call is to be repeated.
    pub async fn import_known(&self) -> Result<bool, Error> {
        let _guard = self.pool_lock.lock().await;
        if self.known_pool().is_ok() {
            return Ok(true);
        }
        let Some(memory) = self.remembered().await? else {
            return Ok(false);
        };
        let Some(guid) = memory.guid() else {
            return Ok(false);
        };
        let invalid = |error: &dyn std::fmt::Display| Error::Internal(format!("what is remembered is wrong: {error}"));
        let name: PoolName = memory.name.parse().map_err(|error| invalid(&error))?;
        let layout = Layout::new(name.clone()).map_err(|error| invalid(&error))?;
        self.supported_versions().await?;
        let imported = match self.imported(&name).await? {
            Some(found) if found.guid == guid => found,
            Some(found) => return Err(foreign(&name, guid, found.guid)),
            None => {
                let found = self.importable(&memory.path).await?;
                let request = PoolRequest {
                    name: name.clone(),
                    known: Some(guid),
                    path: memory.path.clone(),
                    size: 0,
                    newest: None,
                };
                accept_importable(&request, guid, &found)?;
                self.import(&request, guid).await?
            }
        };
        self.adopt(layout, imported, memory.file_bytes).await?;
        Ok(true)
    }

    /// The imported pool of this name.
    async fn imported(&self, name: &PoolName) -> Result<Option<Imported>, Error> {
        match self.zfs.pool_get(name).await {
            Ok(status) => Ok(Some(Imported {
                guid: status.guid,
                load_guid: status.load_guid,
                size: status.size,
            })),
            Err(error) if error.kind == ErrorKind::PoolMissing => Ok(None),
            Err(error) => Err(Error::zfs(&format!("looking for pool {name}"), &error)),
        }
    }

    /// What could be imported from exactly this file.
    async fn importable(&self, path: &Path) -> Result<Vec<ImportablePool>, Error> {
        let file = pool_file::here(self.config.host_root.as_deref(), path)?;
        if self.config.files.look(&file).await? != Found::File {
            return Ok(Vec::new());
        }
        self.zfs
            .pools_importable(&[path.to_owned()])
            .await
            .map_err(|error| Error::zfs(&format!("looking for a pool in {}", path.display()), &error))
    }

    async fn import(&self, request: &PoolRequest, guid: Guid) -> Result<Imported, Error> {
        let import = ImportRequest {
            pool: PoolSelector::Guid(guid),
            search: vec![request.path.clone()],
        };
        let name = &request.name;
        let doing = format!("importing pool {name}");
        self.zfs
            .pool_import(&import)
            .await
            .map_err(|error| Error::zfs(&doing, &error))?;
        match self.imported(name).await? {
            Some(found) if found.guid == guid => Ok(found),
            Some(found) => Err(foreign(name, guid, found.guid)),
            None => Err(Error::PoolMissing(format!("{doing}: it is not there afterwards"))),
        }
    }

    async fn import_or_create(
        &self,
        request: &PoolRequest,
        file: &Path,
        known: Option<Guid>,
        intended: bool,
    ) -> Result<(Imported, bool), Error> {
        let found = self.importable(&request.path).await?;
        if let Some(guid) = known {
            accept_importable(request, guid, &found)?;
            return Ok((self.import(request, guid).await?, false));
        }
        if let Some(pool) = found.first() {
            // Never seen by us, but it is the very file that was named: data from before is taken over.
            accept_importable(request, pool.guid, &found)?;
            self.remember(request, None, 0).await?;
            return Ok((self.import(request, pool.guid).await?, false));
        }
        if self.config.files.look(file).await? == Found::File && !intended {
            return Err(Error::Conflict(format!(
                "{} exists and holds no pool; nothing was touched: remove it or choose another path",
                request.path.display()
            )));
        }
        self.create_pool(request, file).await.map(|made| (made, true))
    }

    async fn create_pool(&self, request: &PoolRequest, file: &Path) -> Result<Imported, Error> {
        self.remember(request, None, request.size).await?;
        let files = &self.config.files;
        if let Err(error) = files.allocate(file, request.size).await {
            // The intent explains a file that is there, so it is forgotten only with that.
            if files.look(file).await == Ok(Found::Nothing) {
                let forgotten = files.remove(&self.memory()).await;
                forgotten.map_err(|error| Error::Internal(format!("forgetting: {error}")))?;
            }
            return Err(error);
        }
        let name = &request.name;
        let spec = PoolSpec {
            name: name.clone(),
            vdevs: vec![request.path.clone()],
            properties: Properties::new().with(ASHIFT, 12),
            root_properties: Properties::new().with(ATIME, PropValue::from_static("off")),
        };
        let doing = format!("creating pool {name}");
        self.zfs
            .pool_create(&spec)
            .await
            .map_err(|error| Error::zfs(&doing, &error))?;
        self.imported(name)
            .await?
            .ok_or_else(|| Error::PoolMissing(format!("{doing}: it is not there afterwards")))
    }

    /// Remembers the pool. Returns how much of its file it is known to use.
    async fn remember_once(&self, request: &PoolRequest, guid: Guid) -> Result<u64, Error> {
        let memory = self.remembered().await?.filter(|memory| memory.path == request.path);
        let file_bytes = memory.as_ref().map_or(0, |memory| memory.file_bytes);
        let wanted = Remembered::new(request.name.as_str(), &request.path, Some(guid), file_bytes);
        if memory.as_ref() != Some(&wanted) {
            self.remember(request, Some(guid), file_bytes).await?;
        }
        Ok(file_bytes)
    }

    /// Makes the file larger, then the pool in it, when more is asked for than the pool is known to use. That it is done
    /// is remembered last, so that what was interrupted is done again.
    async fn grow(&self, request: &PoolRequest, file: &Path) -> Result<(), Error> {
        let pool = self.known_pool()?;
        if request.size <= pool.file_bytes {
            return Ok(());
        }
        let file_bytes = self.config.files.grow(file, request.size).await?;
        if is_planted(Mutant::AGrownFileForAGrownPool) {
            self.remember(request, Some(pool.guid), file_bytes).await?;
        }
        let name = &request.name;
        self.zfs
            .pool_expand(name, &request.path)
            .await
            .map_err(|error| Error::zfs(&format!("expanding pool {name}"), &error))?;
        self.remember(request, Some(pool.guid), file_bytes).await?;
        tracing::info!(pool = %name, file_bytes, "the pool has grown with its file");
        self.note(&pool, |known| known.file_bytes = file_bytes);
        // ZFS may show the new size a moment later, and the quota follows it.
        self.note_usage();
        Ok(())
    }

    /// Completes the root dataset, and from now on this is the known pool; when it was not before, not compared yet.
    async fn adopt(&self, layout: Layout, imported: Imported, file_bytes: u64) -> Result<(), Error> {
        let Imported { guid, load_guid, size } = imported;
        let quota = self.ensure_root(&layout, size).await?;
        let known = self.known_pool().ok().filter(|pool| pool.load_guid == load_guid);
        let unchanged = known.as_ref().is_some_and(|pool| {
            let is_same = pool.guid == guid && pool.layout == layout;
            is_same && (pool.quota, pool.size, pool.file_bytes) == (quota, size, file_bytes)
        });
        if !unchanged {
            tracing::info!(pool = %layout.pool(), %guid, quota, "the pool is ready");
            self.set_known_pool(Some(KnownPool {
                layout,
                guid,
                load_guid,
                compared: known.map_or(Compared::NotYet, |pool| pool.compared),
                quota,
                size,
                file_bytes,
            }));
            self.collect_now.notify_one();
        }
        Ok(())
    }

}

/// The GUID the pool must have; nothing when there was never one.
fn expected(request: &PoolRequest, memory: Option<&Remembered>) -> Result<Option<Guid>, Error> {
    let Some(memory) = memory else {
        return Ok(request.known);
    };
    let Some(remembered) = memory.guid() else {
        return Ok(request.known);
    };
    if memory.name != request.name.as_str() || memory.path != request.path {
        return Err(Error::Conflict(format!(
            "this node has pool {} in {} already; a second one is not possible",
            memory.name,
            memory.path.display()
        )));
    }
    match request.known {
        Some(known) if known != remembered => Err(foreign(&request.name, known, remembered)),
        _ => Ok(Some(remembered)),
    }
}

/// Whether an imported pool is the one that is wanted.
fn accept_imported(
    request: &PoolRequest,
    known: Option<Guid>,
    intended: bool,
    found: Imported,
) -> Result<Imported, Error> {
    match known {
        Some(known) if known == found.guid => Ok(found),
        Some(known) => Err(foreign(&request.name, known, found.guid)),
        None if intended => Ok(found),
        None => Err(Error::PoolForeign(format!(
            "a pool called {} with GUID {} is imported, which this node did not make; nothing was touched",
            request.name, found.guid
        ))),
    }
}

/// Whether what the file holds is the pool that is wanted.
fn accept_importable(request: &PoolRequest, wanted: Guid, found: &[ImportablePool]) -> Result<(), Error> {
    let path = request.path.display();
    match found {
        [] => Err(Error::PoolMissing(format!(
            "pool {} with GUID {wanted} is not in {path}; it is never made anew: bring its file back",
            request.name
        ))),
        [pool] if pool.guid != wanted => Err(foreign(&request.name, wanted, pool.guid)),
        [pool] if pool.name != request.name => Err(Error::PoolForeign(format!(
            "{path} holds a pool called {}, not {}; nothing was touched",
            pool.name, request.name
        ))),
        [pool] if !pool.health.is_usable() => Err(Error::PoolMissing(format!(
            "pool {} in {path} cannot be imported: it is {}",
            pool.name, pool.health
        ))),
        [_] => Ok(()),
        _ => Err(Error::PoolForeign(format!("{path} holds parts of several pools"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(userland: &str, kernel: &str) -> Versions {
        Versions {
            userland: userland.parse().unwrap(),
            kernel: kernel.parse().unwrap(),
        }
    }

    #[test]
    fn both_programs_and_module_must_be_new_enough() {
        for (userland, kernel, fine) in [
            ("zfs-2.3.3-1", "zfs-kmod-2.3.3-1", true),
            ("zfs-2.4.0-1", "zfs-kmod-2.4.0-1", true),
            ("zfs-2.3.9-1", "zfs-kmod-2.3.2-1", false),
            ("zfs-2.3.2-1", "zfs-kmod-2.3.9-1", false),
            ("zfs-2.2.8-1", "zfs-kmod-2.2.8-1", false),
        ] {
            let result = check_versions(&versions(userland, kernel));
            assert_eq!(result.is_ok(), fine, "{userland} {kernel}");
            assert!(fine || matches!(result, Err(Error::ZfsUnsupported(_))));
        }
    }
}
