//! [`FakeMount`]: a mount table and folders in memory, with switches for what can go wrong.
//!
//! It knows folders, files and links, and mounts on them, with the kernel's peer groups. What lies inside a mounted
//! filesystem is kept per dataset, so that a file written through one mount is seen through a bind of it, is hidden
//! when unmounted, and outlives a reboot. The host's root is shared and in no listing. The generated sequences of this
//! crate's tests compare it with the kernel.

mod state;
mod tree;
mod zvols;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{FsUsage, Mount, MountError, MountErrorKind, MountOption, MountTable, ZfsMount, Zvol, ZvolMount};
use state::{Node, State};
pub use zvols::FakeZvol;

/// A call that [`FakeMount`] was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MountCall {
    /// [`Mount::mount_zfs`]
    MountZfs,
    /// [`Mount::mount_zvol`]
    MountZvol,
    /// [`Mount::bind_zvol`]
    BindZvol,
    /// [`Mount::find_zvol`]
    FindZvol,
    /// [`Mount::is_zvol_blank`]
    IsZvolBlank,
    /// [`Mount::flush_zvol`]
    FlushZvol,
    /// [`Mount::forget_zvol`]
    ForgetZvol,
    /// [`Mount::grow_filesystem`]
    GrowFilesystem,
    /// [`Mount::device_bytes`]
    DeviceBytes,
    /// [`Mount::remove_file`]
    RemoveFile,
    /// [`Mount::bind`]
    Bind,
    /// [`Mount::remount_bind`]
    RemountBind,
    /// [`Mount::unmount`]
    Unmount,
    /// [`Mount::list`]
    List,
    /// [`Mount::statfs`]
    Statfs,
    /// [`Mount::make_dir`]
    MakeDir,
    /// [`Mount::remove_dir`]
    RemoveDir,
    /// [`Mount::is_empty_dir`]
    IsEmptyDir,
    /// [`Mount::syncfs`]
    Syncfs,
}

impl MountCall {
    const fn as_str(self) -> &'static str {
        match self {
            Self::MountZfs => "mount zfs on",
            Self::MountZvol => "mount a volume on",
            Self::BindZvol => "bind a device to",
            Self::FindZvol => "find the device for",
            Self::IsZvolBlank => "read the device at",
            Self::FlushZvol => "flush the device at",
            Self::ForgetZvol => "remove the device node",
            Self::GrowFilesystem => "grow the filesystem at",
            Self::DeviceBytes => "size of the device at",
            Self::RemoveFile => "remove file",
            Self::Bind => "bind to",
            Self::RemountBind => "remount bind",
            Self::Unmount => "unmount",
            Self::List => "read the mount table",
            Self::Statfs => "statfs",
            Self::MakeDir => "make directory",
            Self::RemoveDir => "remove directory",
            Self::IsEmptyDir => "read directory",
            Self::Syncfs => "syncfs",
        }
    }
}

/// What is looked up by a name, if anything is.
type Watch<T> = Arc<dyn Fn(&str) -> Option<T> + Send + Sync>;

/// Who tells what has a name: datasets, or volumes.
struct Watched<T>(Arc<Mutex<Option<Watch<T>>>>);

impl<T> Watched<T> {
    fn lock(&self) -> MutexGuard<'_, Option<Watch<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has the name; nothing said: nobody tells.
    fn look(&self, name: &str) -> Option<Option<T>> {
        let watch = self.lock().clone();
        watch.map(|watch| watch(name))
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.lock().is_some() {
            "watched"
        } else {
            "not watched"
        };
        f.write_str(word)
    }
}

/// Mounts in memory. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct FakeMount {
    state: Arc<Mutex<State>>,
    datasets: Watched<u64>,
    volumes: Watched<FakeZvol>,
}

impl FakeMount {
    /// No mounts, no folders but the root.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file (and the folders above it) where this path leads now.
    pub fn put_file(&self, path: &Path) {
        self.lock().put(path, Node::File);
    }

    /// Puts a symbolic link where this path leads now.
    pub fn put_link(&self, path: &Path) {
        self.lock().put(path, Node::Link);
    }

    /// Writes a file as a program would: with folders above it, outside of what is read-only.
    ///
    /// # Errors
    /// What the program would be told.
    pub fn write(&self, path: &Path) -> Result<(), MountErrorKind> {
        self.lock().write(path)
    }

    /// Whether something is there, seen through the mounts as they are now.
    #[must_use]
    pub fn exists(&self, path: &Path) -> bool {
        self.lock().node(path).is_some()
    }

    /// Looks up what can be mounted: `identity` names the dataset that has this name now, if one has. Any dataset can
    /// be mounted unless this is said. Called before each mount, with nothing locked.
    pub fn watch_datasets(&self, identity: impl Fn(&str) -> Option<u64> + Send + Sync + 'static) {
        *self.datasets.lock() = Some(Arc::new(identity));
    }

    /// Looks up the ZFS volumes that have devices. Without it there are none.
    pub fn watch_volumes(&self, volume: impl Fn(&str) -> Option<FakeZvol> + Send + Sync + 'static) {
        *self.volumes.lock() = Some(Arc::new(volume));
    }

    /// The volume, if it is there.
    fn volume(&self, zvol: &Zvol) -> Option<FakeZvol> {
        self.volumes.look(&zvol.volume).flatten()
    }

    /// The ZFS volume whose filesystem, or whose device's node, is mounted there.
    #[must_use]
    pub fn volume_at(&self, target: &Path) -> Option<String> {
        let state = self.lock();
        state.volume_at(target).or_else(|| state.volume_of_node(target))
    }

    /// The sources of all that is mounted, or was unmounted lazily and is still used.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<String> {
        self.lock().sources()
    }

    /// Tells [`FakeMount::sources`] without keeping this alive: what a fake ZFS of the same host looks up.
    pub fn tell_sources(&self) -> impl Fn() -> BTreeSet<String> + Send + Sync + 'static {
        let state = Arc::downgrade(&self.state);
        move || {
            let state = state.upgrade();
            let sources = state.map(|state| state.lock().unwrap_or_else(PoisonError::into_inner).sources());
            sources.unwrap_or_default()
        }
    }

    /// The host was started again: nothing is mounted or used any more; folders and files stay, in each filesystem.
    pub fn reboot(&self) {
        self.lock().reboot();
    }

    /// Begins or ends sharing what is mounted below the mount that is seen at `path`, as `mount --make-shared` and
    /// `--make-private` do.
    pub fn set_shared(&self, path: &Path, shared: bool) {
        self.lock().set_shared(path, shared);
    }

    /// Makes mounting this dataset fail, as if it were not there.
    pub fn set_missing(&self, source: &str, missing: bool) {
        let mut state = self.lock();
        if missing {
            state.missing.insert(source.to_owned())
        } else {
            state.missing.remove(source)
        };
    }

    /// Makes the next mounts of `source` show `shown` instead, as in a race of clone and rollback.
    pub fn set_shown(&self, source: &str, shown: Option<&str>) {
        let mut state = self.lock();
        match shown {
            Some(shown) => state.shown.insert(source.to_owned(), shown.to_owned()),
            None => state.shown.remove(source),
        };
    }

    /// Makes a path busy: somebody uses what is mounted there, so that it can be unmounted lazily only, and then stays
    /// in use until this is ended.
    pub fn set_busy(&self, target: &Path, busy: bool) {
        self.lock().set_busy(target, busy);
    }

    /// What [`Mount::statfs`] says of a dataset's mounts.
    pub fn set_usage(&self, source: &str, usage: FsUsage) {
        self.lock().usage.insert(source.to_owned(), usage);
    }

    /// Makes the next such call fail without effect. Several are taken in order.
    pub fn fail_next(&self, call: MountCall, kind: MountErrorKind) {
        self.lock().failures.entry(call).or_default().push_back((false, kind));
    }

    /// Makes the next such call have its effect and then fail, as at a deadline.
    pub fn fail_next_after_effect(&self, call: MountCall, kind: MountErrorKind) {
        self.lock().failures.entry(call).or_default().push_back((true, kind));
    }

    /// How often each call was made.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<MountCall, u64> {
        self.lock().calls.clone()
    }

    /// The mount table now, for assertions.
    #[must_use]
    pub fn table(&self) -> MountTable {
        self.lock().table()
    }

    fn perform<T>(
        &self,
        call: MountCall,
        path: &Path,
        work: impl FnOnce(&mut State) -> Result<T, MountErrorKind>,
    ) -> Result<T, MountError> {
        let mut state = self.lock();
        *state.calls.entry(call).or_default() += 1;
        let failure = state
            .failures
            .get_mut(&call)
            .and_then(std::collections::VecDeque::pop_front);
        let result = match failure {
            Some((false, kind)) => Err(kind),
            Some((true, kind)) => work(&mut state).and(Err(kind)),
            None => work(&mut state),
        };
        result.map_err(|kind| MountError::new(call.as_str(), path, kind))
    }
}

impl Mount for FakeMount {
    async fn mount_zfs(&self, request: &ZfsMount) -> Result<(), MountError> {
        let identity = self.datasets.look(&request.source);
        self.perform(MountCall::MountZfs, &request.target, |state| match identity {
            Some(None) => state.check_target(&request.target).and(Err(MountErrorKind::NotFound)),
            Some(identity) => state.mount_zfs(request, identity),
            None => state.mount_zfs(request, None),
        })
    }

    async fn mount_zvol(&self, request: &ZvolMount) -> Result<(), MountError> {
        let volume = self.volume(&request.zvol);
        self.perform(MountCall::MountZvol, &request.target, |state| {
            state.mount_zvol(request, volume)
        })
    }

    async fn bind_zvol(&self, zvol: &Zvol, target: &Path, readonly: bool) -> Result<(), MountError> {
        let volume = self.volume(zvol);
        self.perform(MountCall::BindZvol, target, |state| {
            state.bind_zvol(zvol, volume, target, readonly)
        })
    }

    async fn find_zvol(&self, zvol: &Zvol) -> Result<(), MountError> {
        let volume = self.volume(zvol);
        self.perform(MountCall::FindZvol, &zvol.node, |state| {
            state.find_zvol(zvol, volume).map(drop)
        })
    }

    async fn is_zvol_blank(&self, zvol: &Zvol) -> Result<bool, MountError> {
        let volume = self.volume(zvol);
        self.perform(MountCall::IsZvolBlank, &zvol.node, |state| {
            Ok(state.find_zvol(zvol, volume)?.is_blank)
        })
    }

    async fn flush_zvol(&self, zvol: &Zvol) -> Result<(), MountError> {
        let volume = self.volume(zvol);
        self.perform(MountCall::FlushZvol, &zvol.node, |state| {
            state.find_zvol(zvol, volume).map(drop)
        })
    }

    async fn forget_zvol(&self, node: &Path, keep: &Path) -> Result<(), MountError> {
        self.perform(MountCall::ForgetZvol, node, |state| state.forget_zvol(node, keep))
    }

    async fn grow_filesystem(&self, target: &Path) -> Result<(), MountError> {
        let volume = self.lock().volume_at(target);
        let volume = volume.and_then(|volume| self.volumes.look(&volume).flatten());
        self.perform(MountCall::GrowFilesystem, target, |state| state.grow(target, volume))
    }

    async fn device_bytes(&self, path: &Path) -> Result<u64, MountError> {
        let volume = self.lock().volume_of_node(path);
        let volume = volume.and_then(|volume| self.volumes.look(&volume).flatten());
        self.perform(MountCall::DeviceBytes, path, |_| {
            volume.map(|volume| volume.bytes).ok_or(MountErrorKind::NotFound)
        })
    }

    async fn remove_file(&self, path: &Path) -> Result<(), MountError> {
        self.perform(MountCall::RemoveFile, path, |state| state.remove_file(path))
    }

    async fn bind(
        &self,
        source: &Path,
        target: &Path,
        readonly: bool,
        options: &[MountOption],
    ) -> Result<(), MountError> {
        self.perform(MountCall::Bind, target, |state| {
            state.bind(source, target, readonly, options)
        })
    }

    async fn remount_bind(&self, target: &Path, readonly: bool) -> Result<(), MountError> {
        self.perform(MountCall::RemountBind, target, |state| {
            state.remount_bind(target, readonly)
        })
    }

    async fn unmount(&self, target: &Path, lazy: bool) -> Result<(), MountError> {
        self.perform(MountCall::Unmount, target, |state| state.unmount(target, lazy))
    }

    async fn list(&self) -> Result<MountTable, MountError> {
        self.perform(MountCall::List, Path::new("/proc/self/mountinfo"), |state| {
            Ok(state.table())
        })
    }

    async fn statfs(&self, path: &Path) -> Result<FsUsage, MountError> {
        self.perform(MountCall::Statfs, path, |state| state.statfs(path))
    }

    async fn make_dir(&self, path: &Path) -> Result<(), MountError> {
        self.perform(MountCall::MakeDir, path, |state| state.make_dir(path))
    }

    async fn remove_dir(&self, path: &Path) -> Result<(), MountError> {
        self.perform(MountCall::RemoveDir, path, |state| state.remove_dir(path))
    }

    async fn is_empty_dir(&self, path: &Path) -> Result<bool, MountError> {
        self.perform(MountCall::IsEmptyDir, path, |state| state.is_empty_dir(path))
    }

    async fn syncfs(&self, path: &Path) -> Result<(), MountError> {
        self.perform(MountCall::Syncfs, path, |state| state.folder(path).map(drop))
    }
}

/// Where a path leads: a filesystem and a path inside it.
type Place = (String, PathBuf);

#[cfg(test)]
mod tests;
