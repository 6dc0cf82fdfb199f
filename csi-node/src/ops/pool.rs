//! One pool of the node: made once, imported ever after, never made anew where one was before.
//!
//! A pool is known by its GUID: the one the caller knows, else the one this node remembers ([`super::known`]). Before a
//! pool is made or taken over, the intent is written down there without a GUID; so an attempt that was interrupted at
//! any point is told from a pool or file that belongs to somebody else. Of a pool that somebody else is to have made, the
//! first one of its name that is seen is the known one, and nothing but the root dataset in it is ours.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{
    ErrorKind, GetRequest, Guid, ImportRequest, ImportablePool, ObjectName, PoolName, PoolSelector, PoolSpec, PropName,
    PropValue, Properties, Versions, Zfs,
};

use super::compare::Compared;
use super::files::Found;
use super::known::Remembered;
use super::pool_file;
use super::{Error, KnownPool, NewestCommit, Ops, Place, PoolState};
use crate::layout::{Layout, SIZED};

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
    /// Where it lies.
    pub place: Place,
    /// Bytes of its file, at least; without meaning where there is no file.
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
        self.host.memories().join(format!("{}.json", self.name))
    }

    pub(super) async fn remembered(&self) -> Result<Option<Remembered>, Error> {
        Remembered::read(&*self.host.config.files, &self.memory())
            .await
            .map_err(|error| Error::Internal(format!("reading what is remembered: {error}")))
    }

    async fn remember(&self, request: &PoolRequest, guid: Option<Guid>, file_bytes: u64) -> Result<(), Error> {
        Remembered::new(request.name.as_str(), &request.place, guid, file_bytes)
            .write(&*self.host.config.files, &self.memory())
            .await
            .map_err(|error| Error::Internal(format!("remembering the pool: {error}")))
    }

    async fn forget_intent(&self) -> Result<(), Error> {
        let forgotten = self.host.config.files.remove(&self.memory()).await;
        forgotten.map_err(|error| Error::Internal(format!("forgetting: {error}")))
    }

    /// The host's path as this program sees it.
    fn here(&self, path: &Path) -> PathBuf {
        pool_file::here(self.host.config.host_root.as_deref(), path)
    }

    async fn supported_versions(&self) -> Result<(), Error> {
        let versions = self
            .host
            .zfs
            .version()
            .await
            .map_err(|error| Error::zfs("asking for the release of OpenZFS", &error))?;
        check_versions(&versions)?;
        *self.host.versions.lock().unwrap_or_else(PoisonError::into_inner) = Some(versions);
        Ok(())
    }

    /// The pool is imported, has our root dataset, and its file, if it has one, is as large as asked for, or larger. Makes
    /// it only where none was ever known, and never one that somebody else is to have made.
    ///
    /// # Errors
    /// [`Error::PoolForeign`], [`Error::PoolMissing`], [`Error::OutOfSpace`], [`Error::ZfsUnsupported`],
    /// [`Error::Rewound`], [`Error::Invalid`], [`Error::Conflict`] when the place is in use by something else.
    pub async fn ensure_pool(&self, request: &PoolRequest) -> Result<(PoolState, bool), Error> {
        let _guard = self.pool_lock.lock().await;
        let layout = Layout::new(request.name.clone()).map_err(|error| Error::Invalid(error.to_string()))?;
        request.place.check()?;
        if let Place::File { .. } = request.place {
            check_size(request.size)?;
        }
        self.supported_versions().await?;
        let memory = self.remembered().await?;
        let known = expected(request, memory.as_ref())?;
        let is_remembered = memory.as_ref().is_some_and(|memory| memory.guid().is_some());
        let intended = !is_remembered && memory.is_some_and(|memory| memory.place == request.place);
        let (imported, created) = match self.imported(&request.name).await? {
            Some(found) => (accept_imported(request, known, intended, found)?, false),
            None => self.import_or_create(request, known, intended).await?,
        };
        if let (Place::Existing { .. }, false, false) = (&request.place, is_remembered, intended) {
            check_size(imported.size)?;
            self.check_root(&layout).await?;
            self.remember(request, None, 0).await?;
        }
        let file_bytes = self.remember_once(request, imported.guid).await?;
        self.adopt(layout, imported, file_bytes).await?;
        self.compare(request.newest.as_ref()).await?;
        if let Place::File { path } = &request.place {
            self.grow(request, path).await?;
        }
        let state = self.refresh_state().await;
        let state = state.ok_or_else(|| Error::PoolMissing(format!("pool {} went away", request.name)))?;
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
                let request = PoolRequest {
                    name: name.clone(),
                    known: Some(guid),
                    place: memory.place.clone(),
                    size: 0,
                    newest: None,
                };
                let found = self.importable(&request).await?;
                accept_importable(&request, guid, &found)?;
                self.import(&request, guid).await?
            }
        };
        self.adopt(layout, imported, memory.file_bytes).await?;
        Ok(true)
    }

    /// The imported pool of this name.
    async fn imported(&self, name: &PoolName) -> Result<Option<Imported>, Error> {
        match self.host.zfs.pool_get(name).await {
            Ok(status) => Ok(Some(Imported {
                guid: status.guid,
                load_guid: status.load_guid,
                size: status.size,
            })),
            Err(error) if error.kind == ErrorKind::PoolMissing => Ok(None),
            Err(error) => Err(Error::zfs(&format!("looking for pool {name}"), &error)),
        }
    }

    /// What could be imported from exactly this file or these devices, or has the name of the pool that somebody made.
    async fn importable(&self, request: &PoolRequest) -> Result<Vec<ImportablePool>, Error> {
        let place = &request.place;
        if let Place::File { path } = place
            && self.host.config.files.look(&self.here(path)).await? != Found::File
        {
            return Ok(Vec::new());
        }
        let found = self.host.zfs.pools_importable(&place.search()).await;
        let mut found = found.map_err(|error| Error::zfs(&format!("looking for a pool {place}"), &error))?;
        if let Place::Existing { .. } = place {
            found.retain(|pool| pool.name == request.name);
        }
        Ok(found)
    }

    async fn import(&self, request: &PoolRequest, guid: Guid) -> Result<Imported, Error> {
        let import = ImportRequest {
            pool: PoolSelector::Guid(guid),
            search: request.place.search(),
        };
        let name = &request.name;
        let doing = format!("importing pool {name}");
        self.host
            .zfs
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
        known: Option<Guid>,
        intended: bool,
    ) -> Result<(Imported, bool), Error> {
        let PoolRequest { name, place, .. } = request;
        let found = self.importable(request).await?;
        if let Some(guid) = known {
            accept_importable(request, guid, &found)?;
            return Ok((self.import(request, guid).await?, false));
        }
        if let Some(pool) = found.first() {
            // Never seen by us, but it is in the very place that was named: data from before is taken over.
            accept_importable(request, pool.guid, &found)?;
            if !matches!(place, Place::Existing { .. }) {
                self.remember(request, None, 0).await?;
            }
            return Ok((self.import(request, pool.guid).await?, false));
        }
        match place {
            Place::File { path } => self.allocate(request, path, intended).await?,
            Place::Devices { devices } => self.take_devices(request, devices, intended).await?,
            Place::Existing { .. } => {
                return Err(Error::PoolMissing(format!(
                    "no pool called {name} is imported on this node or can be; it is never made here: make it, or bring \
                     its devices back"
                )));
            }
        }
        self.create_pool(request).await.map(|made| (made, true))
    }

    /// Makes the file that a new pool is to lie in.
    async fn allocate(&self, request: &PoolRequest, path: &Path, intended: bool) -> Result<(), Error> {
        let files = &self.host.config.files;
        let file = self.here(path);
        if files.look(&file).await? == Found::File && !intended {
            return Err(Error::Conflict(format!(
                "{} exists and holds no pool; nothing was touched: remove it or choose another path",
                path.display()
            )));
        }
        self.remember(request, None, request.size).await?;
        if let Err(error) = files.allocate(&file, request.size).await {
            // The intent explains a file that is there, so it is forgotten only with that.
            if files.look(&file).await == Ok(Found::Nothing) {
                self.forget_intent().await?;
            }
            return Err(error);
        }
        Ok(())
    }

    /// Looks whether devices may become a new pool. A partition table may be there only when an attempt that was
    /// interrupted made it.
    async fn take_devices(&self, request: &PoolRequest, devices: &[PathBuf], intended: bool) -> Result<(), Error> {
        let mut bytes = 0;
        for path in devices {
            let device = self.host.config.files.look_at_device(&self.here(path)).await?;
            if device.is_partitioned && !intended {
                return Err(Error::Conflict(format!(
                    "{} has a partition table; nothing was touched: name one of its partitions, or wipe it when nothing on \
                     it is needed (wipefs -a)",
                    path.display()
                )));
            }
            bytes += device.bytes;
        }
        check_size(bytes)?;
        self.remember(request, None, 0).await
    }

    async fn create_pool(&self, request: &PoolRequest) -> Result<Imported, Error> {
        let name = &request.name;
        let spec = PoolSpec {
            name: name.clone(),
            vdevs: request.place.vdevs().to_vec(),
            properties: Properties::new().with(ASHIFT, 12),
            root_properties: Properties::new().with(ATIME, PropValue::from_static("off")),
        };
        let doing = format!("creating pool {name}");
        if let Err(error) = self.host.zfs.pool_create(&spec).await {
            let refused = matches!(
                error.kind,
                ErrorKind::DeviceInUse | ErrorKind::DeviceTooSmall | ErrorKind::PoolExists
            );
            if let (true, Place::Devices { .. }) = (refused, &request.place) {
                // Nothing was done: what becomes of the devices now is not ours.
                self.forget_intent().await?;
                return Err(Error::Conflict(format!(
                    "{doing} {}: {error}; nothing was touched: name other devices, or wipe these when nothing on them \
                     is needed (wipefs -a)",
                    request.place
                )));
            }
            return Err(Error::zfs(&doing, &error));
        }
        self.imported(name)
            .await?
            .ok_or_else(|| Error::PoolMissing(format!("{doing}: it is not there afterwards")))
    }

    /// In a pool that somebody made, a dataset of our root's name may be theirs.
    async fn check_root(&self, layout: &Layout) -> Result<(), Error> {
        let root = layout.root();
        let sized = GetRequest::local(vec![ObjectName::from(root.clone())], vec![SIZED]);
        match self.host.zfs.get(&sized).await {
            Ok(rows) if rows.is_empty() => Err(Error::Conflict(format!(
                "dataset {root} is there, and not ours; nothing was touched: rename it"
            ))),
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(Error::zfs(&format!("looking at {root}"), &error)),
        }
    }

    /// Remembers the pool. Returns how much of its file it is known to use.
    async fn remember_once(&self, request: &PoolRequest, guid: Guid) -> Result<u64, Error> {
        let memory = self.remembered().await?.filter(|memory| memory.place == request.place);
        let file_bytes = memory.as_ref().map_or(0, |memory| memory.file_bytes);
        let wanted = Remembered::new(request.name.as_str(), &request.place, Some(guid), file_bytes);
        if memory.as_ref() != Some(&wanted) {
            self.remember(request, Some(guid), file_bytes).await?;
        }
        Ok(file_bytes)
    }

    /// Makes the file larger, then the pool in it, when more is asked for than the pool is known to use. That it is done
    /// is remembered last, so that what was interrupted is done again.
    async fn grow(&self, request: &PoolRequest, path: &Path) -> Result<(), Error> {
        let pool = self.known_pool()?;
        if request.size <= pool.file_bytes {
            return Ok(());
        }
        let file_bytes = self.host.config.files.grow(&self.here(path), request.size).await?;
        if is_planted(Mutant::AGrownFileForAGrownPool) {
            self.remember(request, Some(pool.guid), file_bytes).await?;
        }
        let name = &request.name;
        self.host
            .zfs
            .pool_expand(name, path)
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
    if memory.name != request.name.as_str() || memory.place != request.place {
        return Err(Error::Conflict(format!(
            "this node has pool {} {} already; it cannot be {} {} as well",
            memory.name, memory.place, request.name, request.place
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
        None if intended || matches!(request.place, Place::Existing { .. }) => Ok(found),
        None => Err(Error::PoolForeign(format!(
            "a pool called {} with GUID {} is imported, which this node did not make; nothing was touched",
            request.name, found.guid
        ))),
    }
}

/// Whether what was found in its place is the pool that is wanted.
fn accept_importable(request: &PoolRequest, wanted: Guid, found: &[ImportablePool]) -> Result<(), Error> {
    let PoolRequest { name, place, .. } = request;
    match found {
        [] => Err(Error::PoolMissing(format!(
            "pool {name} with GUID {wanted} is not {place}; it is never made anew: bring it back"
        ))),
        [pool] if pool.guid != wanted => Err(foreign(name, wanted, pool.guid)),
        [pool] if pool.name != *name => Err(Error::PoolForeign(format!(
            "{place} there is a pool called {}, not {name}; nothing was touched",
            pool.name
        ))),
        [pool] if !pool.health.is_usable() => Err(Error::PoolMissing(format!(
            "pool {name} {place} cannot be imported: it is {}",
            pool.health
        ))),
        [_] => Ok(()),
        _ => Err(Error::PoolForeign(format!(
            "{place} there are several pools; nothing was touched: import the one that is meant"
        ))),
    }
}

/// Whether there is room for more than the reserve.
fn check_size(bytes: u64) -> Result<(), Error> {
    if bytes < MIN_POOL_BYTES {
        return Err(Error::Invalid(format!(
            "a pool of {bytes} bytes is too small; the least is {MIN_POOL_BYTES}"
        )));
    }
    Ok(())
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
