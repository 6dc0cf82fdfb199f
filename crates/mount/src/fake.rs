//! [`FakeMount`]: a mount table and folders in memory, with switches for what can go wrong.
//!
//! It knows folders, files and links by path, and mounts on them. What lies inside a mounted filesystem is kept per
//! dataset, so that a file written through one mount is seen through a bind of it, and is hidden when unmounted.

mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{FsUsage, Mount, MountError, MountErrorKind, MountTable, ZfsMount};
use state::{Node, State};

/// A call that [`FakeMount`] was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MountCall {
    /// [`Mount::mount_zfs`]
    MountZfs,
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

/// Mounts in memory. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct FakeMount {
    state: Arc<Mutex<State>>,
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

    /// Whether something is there, seen through the mounts as they are now.
    #[must_use]
    pub fn exists(&self, path: &Path) -> bool {
        self.lock().node(path).is_some()
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

    /// Makes a path busy: somebody uses what is mounted there, so that it can be unmounted lazily only.
    pub fn set_busy(&self, target: &Path, busy: bool) {
        let mut state = self.lock();
        if busy {
            state.busy.insert(target.to_owned())
        } else {
            state.busy.remove(target)
        };
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
        self.perform(MountCall::MountZfs, &request.target, |state| state.mount_zfs(request))
    }

    async fn bind(&self, source: &Path, target: &Path, readonly: bool) -> Result<(), MountError> {
        self.perform(MountCall::Bind, target, |state| state.bind(source, target, readonly))
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
