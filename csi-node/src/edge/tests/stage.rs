//! The fakes on a stage: each effect takes a moment, in which others run, is written down, and can be held up.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dotmesh_mount::{
    FakeMount, FsUsage, Mount, MountError, MountErrorKind, MountOption, MountTable, ZfsMount, Zvol, ZvolMount,
};
use dotmesh_zfs::{
    BlockFilesystem, CloneRequest, CommandCounts, CreateRequest, DatasetName, ErrorKind, FakeZfs, GetRequest, Hold,
    HoldTag, ImportRequest, ImportablePool, ListRequest, PoolName, PoolSpec, PoolStatus, PropName, Properties,
    PropertyRow, Row, SnapName, SnapshotName, Verb, Versions, VolumeDevice, Zfs, ZfsError,
};
use tokio::sync::watch;

use crate::ops::tests::killed::each_zfs_call;

/// When `zfs` is killed (`HostCommand::new`).
const COMMAND: Duration = Duration::from_secs(60);
/// When a call of the kernel is waited for no more (`LinuxMount::new`).
const SYSTEM_CALL: Duration = Duration::from_secs(30);

/// Which effects get no answer until they are let go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// That of this number, counted from 0, and all later ones, for however long. Whether that one is done all the same.
    From(usize, IsDone),
    /// Those that name one of these, from a number on, each until its own deadline. Whether they are done all the same.
    Naming(Vec<String>, usize, IsDone),
}

/// Whether an effect that gets no answer is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IsDone {
    /// Not before it is let go on.
    No,
    /// At once.
    Yes,
}

/// What all effects of a host pass. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    log: Arc<Mutex<Vec<String>>>,
    held: watch::Sender<Option<Held>>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            log: Arc::default(),
            held: watch::Sender::new(None),
        }
    }

    /// Forgets what was done until now, and holds these up.
    pub(super) fn hold(&self, held: Held) {
        self.log.lock().unwrap().clear();
        self.held.send_replace(Some(held));
    }

    /// Lets everything go on.
    pub(super) fn release(&self) {
        self.held.send_replace(None);
    }

    /// Forgets what was done until now.
    pub(super) fn clear(&self) {
        self.log.lock().unwrap().clear();
    }

    /// The effects in their order: a function's name and its arguments.
    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Writes it down. Whether it is held up, and how.
    fn begin(&self, text: String) -> Option<(IsDone, bool)> {
        let mut log = self.log.lock().unwrap();
        let number = log.len();
        let held = self.held.borrow().clone();
        let verdict = match held {
            Some(Held::From(first, done)) if number == first => Some((done, false)),
            Some(Held::From(first, _)) if number > first => Some((IsDone::No, false)),
            Some(Held::Naming(names, first, done)) if number >= first => {
                let is_named = names.iter().any(|name| text.contains(name.as_str()));
                is_named.then_some((done, true))
            }
            Some(Held::From(..) | Held::Naming(..)) | None => None,
        };
        log.push(text);
        verdict
    }

    /// Lets an effect happen, in its time; `late` is what is said of one that gets no answer before its deadline.
    pub(super) async fn pass<T, E>(
        &self,
        text: String,
        (deadline, late): (Duration, E),
        effect: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::task::yield_now().await;
        let Some((done, has_deadline)) = self.begin(text) else {
            return effect.await;
        };
        let mut held = self.held.subscribe();
        let let_go = async move { held.wait_for(Option::is_none).await.map(drop) };
        let wait = async {
            match has_deadline {
                true => tokio::time::timeout(deadline, let_go).await.is_ok(),
                false => let_go.await.is_ok(),
            }
        };
        match done {
            IsDone::No => {
                if wait.await {
                    effect.await
                } else {
                    Err(late)
                }
            }
            IsDone::Yes => {
                let result = effect.await;
                if wait.await { result } else { Err(late) }
            }
        }
    }
}

/// A [`FakeZfs`] on a stage.
#[derive(Debug, Clone)]
pub(super) struct StagedZfs {
    pub(super) fake: FakeZfs,
    pub(super) stage: Stage,
}

/// A [`FakeMount`] on a stage.
#[derive(Debug, Clone)]
pub(super) struct StagedMount {
    pub(super) fake: FakeMount,
    pub(super) stage: Stage,
}

macro_rules! zfs {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Zfs for StagedZfs {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$result, ZfsError> {
                let text = format!("{} {:?}", stringify!($name), ($(&$arg,)*));
                let late = ZfsError::new(Verb::Get, ErrorKind::Timeout);
                self.stage.pass(text, (COMMAND, late), self.fake.$name($($arg),*)).await
            })*

            fn counts(&self) -> Arc<CommandCounts> {
                self.fake.counts()
            }
        }
    };
}

each_zfs_call!(zfs);

macro_rules! mounts {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        impl Mount for StagedMount {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$result, MountError> {
                let text = format!("{} {:?}", stringify!($name), ($(&$arg,)*));
                let late = MountError::new(stringify!($name), Path::new("/"), MountErrorKind::Timeout);
                self.stage.pass(text, (SYSTEM_CALL, late), self.fake.$name($($arg),*)).await
            })*
        }
    };
}

mounts! {
    mount_zfs(mount: &ZfsMount) -> ();
    mount_zvol(mount: &ZvolMount) -> ();
    bind_zvol(zvol: &Zvol, target: &Path, readonly: bool) -> ();
    find_zvol(zvol: &Zvol) -> ();
    is_zvol_blank(zvol: &Zvol) -> bool;
    flush_zvol(zvol: &Zvol) -> ();
    forget_zvol(node: &Path, keep: &Path) -> ();
    grow_filesystem(target: &Path) -> ();
    device_bytes(path: &Path) -> u64;
    remove_file(path: &Path) -> ();
    bind(source: &Path, target: &Path, readonly: bool, options: &[MountOption]) -> ();
    remount_bind(target: &Path, readonly: bool) -> ();
    unmount(target: &Path, lazy: bool) -> ();
    list() -> MountTable;
    statfs(path: &Path) -> FsUsage;
    make_dir(path: &Path) -> ();
    remove_dir(path: &Path) -> ();
    is_empty_dir(path: &Path) -> bool;
    syncfs(path: &Path) -> ();
}
