//! [`LinuxMount`]: the trait by system calls.
//!
//! No call trusts a path twice: it is opened once, without following any symbolic link (`openat2(2)` with
//! `RESOLVE_NO_SYMLINKS`), and the mount is made on what was opened, named as `/proc/self/fd/N`. Which mount a folder
//! belongs to is read from `/proc/self/fdinfo/N`, so "is it a mount point" and "did my mount arrive" need no guess
//! about the order of the table.

mod paths;
mod zvol;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::SelinuxContext;
use crate::{
    FsUsage, Mount, MountEntry, MountError, MountErrorKind, MountOption, MountTable, ZfsMount, Zvol, ZvolMount,
};
use paths::Opened;

/// Mounts of this process' mount namespace, by system calls.
#[derive(Debug, Clone)]
pub struct LinuxMount {
    deadline: Duration,
}

impl Default for LinuxMount {
    fn default() -> Self {
        Self::new()
    }
}

impl LinuxMount {
    /// With a deadline of 30 seconds for each call.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            deadline: Duration::from_secs(30),
        }
    }

    /// With another deadline.
    #[must_use]
    pub const fn with_deadline(deadline: Duration) -> Self {
        Self { deadline }
    }

    /// Runs what may block for ever in the kernel on a thread of its own, and stops waiting at the deadline. Such a
    /// thread cannot be ended; it must not be one that the runtime waits for when it shuts down.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        path: &Path,
        work: impl FnOnce(&Path) -> Result<T, MountError> + Send + 'static,
    ) -> Result<T, MountError> {
        let span = tracing::debug_span!("mount", operation, path = %path.display());
        let path: Arc<Path> = path.into();
        let (send, receive) = tokio::sync::oneshot::channel();
        let on_thread = Arc::clone(&path);
        let spawned = std::thread::Builder::new().name("mount".into()).spawn(move || {
            // Nobody waits any more: nobody to tell.
            let _ = send.send(work(&on_thread));
        });
        if let Err(error) = spawned {
            return Err(MountError::from_io(operation, &path, &error));
        }
        let result = match tokio::time::timeout(self.deadline, receive).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(MountError::new(
                operation,
                &path,
                MountErrorKind::Other("the mount thread panicked".into()),
            )),
            Err(_) => Err(MountError::new(operation, &path, MountErrorKind::Timeout)),
        };
        span.in_scope(|| match &result {
            Ok(_) => tracing::debug!("mount operation succeeded"),
            Err(error) => tracing::debug!(%error, "mount operation failed"),
        });
        result
    }
}

const NONE: Option<&str> = None;

fn read_table(operation: &'static str) -> Result<MountTable, MountError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read(path).map_err(|error| MountError::from_io(operation, path, &error))?;
    MountTable::parse(&text).map_err(|error| MountError::new(operation, path, MountErrorKind::Other(error.to_string())))
}

/// Opens a folder on which something shall be mounted: empty, and no mount point yet.
fn open_target(operation: &'static str, target: &Path) -> Result<Opened, MountError> {
    let opened = Opened::folder(operation, target)?;
    if opened.is_mount_point()? {
        return Err(MountError::new(operation, target, MountErrorKind::AlreadyMounted));
    }
    if !opened.is_empty()? {
        return Err(MountError::new(operation, target, MountErrorKind::NotEmpty));
    }
    Ok(opened)
}

/// What is seen at `target` after mounting there, when `wanted` says it is right. Else the new mount is taken away.
fn verify(
    operation: &'static str,
    target: &Path,
    name: &str,
    wanted: impl Fn(&MountEntry) -> bool,
) -> Result<(), MountError> {
    let found = Opened::folder(operation, target).and_then(|opened| {
        let id = opened.mount_id()?;
        Ok(read_table(operation)?.by_id(id).cloned())
    });
    let found = match found {
        Ok(Some(entry)) if entry.target == target && wanted(&entry) => return Ok(()),
        Ok(Some(entry)) => Ok(format!("{} of {}", entry.source, entry.target.display())),
        Ok(None) => Ok("no mount".to_owned()),
        Err(error) => Err(error),
    };
    tracing::warn!(target = %target.display(), ?found, "taking away a mount that is not the one wanted");
    if let Err(error) = unmount(operation, target, MntFlags::MNT_DETACH) {
        tracing::warn!(target = %target.display(), %error, "cannot take it away");
    }
    let found = found?;
    Err(MountError::new(
        operation,
        target,
        MountErrorKind::WrongSource {
            wanted: name.to_owned(),
            found,
        },
    ))
}

fn mount_zfs(operation: &'static str, request: &ZfsMount) -> Result<(), MountError> {
    let target = request.target.as_path();
    let opened = open_target(operation, target)?;
    let flags = if request.readonly {
        MsFlags::MS_RDONLY
    } else {
        MsFlags::empty()
    };
    let options = request.context.as_ref().map(SelinuxContext::option);
    mount(
        Some(request.source.as_str()),
        &opened.proc_path(),
        Some("zfs"),
        flags,
        options.as_deref(),
    )
    .map_err(|errno| MountError::from_errno(operation, target, errno))?;
    verify(operation, target, &request.source, |entry| {
        entry.fs_type == "zfs" && entry.source == request.source && entry.root == Path::new("/")
    })
}

fn bind(
    operation: &'static str,
    source: &Path,
    target: &Path,
    (readonly, options): (bool, &[MountOption]),
) -> Result<(), MountError> {
    let opened_source = Opened::folder(operation, source)?;
    let opened = open_target(operation, target)?;
    let id = opened_source.mount_id()?;
    let shown = read_table(operation)?.by_id(id).cloned();
    let shown = shown.ok_or_else(|| MountError::new(operation, source, MountErrorKind::NotMounted))?;
    let inside = source.strip_prefix(&shown.target).unwrap_or(Path::new(""));
    let root = if inside.as_os_str().is_empty() {
        shown.root.clone()
    } else {
        shown.root.join(inside)
    };
    attach(
        operation,
        target,
        &opened_source,
        &opened,
        attributes(readonly, options),
    )?;
    verify(operation, target, &shown.source, |entry| {
        entry.device == shown.device
            && entry.source == shown.source
            && entry.root == root
            && (!readonly || entry.readonly)
            && options.iter().all(|option| entry.has(*option))
    })
}

fn attributes(readonly: bool, options: &[MountOption]) -> MountAttrFlags {
    let of = |option: &MountOption| match option {
        MountOption::NoSuid => MountAttrFlags::MOUNT_ATTR_NOSUID,
        MountOption::NoDev => MountAttrFlags::MOUNT_ATTR_NODEV,
        MountOption::NoExec => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        MountOption::NoAtime => MountAttrFlags::MOUNT_ATTR_NOATIME,
        MountOption::NoDirAtime => MountAttrFlags::MOUNT_ATTR_NODIRATIME,
    };
    let mut all: MountAttrFlags = options.iter().map(of).collect();
    all.set(MountAttrFlags::MOUNT_ATTR_RDONLY, readonly);
    all
}

/// Mounts what is open on what is open, with these attributes from the first moment: the copies that arrive in other
/// mount namespaces have them as well, as they would not after a remount.
fn attach(
    operation: &'static str,
    target: &Path,
    source: &Opened,
    on: &Opened,
    attributes: MountAttrFlags,
) -> Result<(), MountError> {
    let failed = |errno| MountError::from_errno(operation, target, errno);
    let as_nix = |error: rustix::io::Errno| failed(Errno::from_raw(error.raw_os_error()));
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(source.fd(), "", flags).map_err(as_nix)?;
    if !attributes.is_empty() {
        dotmesh_ioctl::set_mount_attributes(&tree, attributes.bits().into()).map_err(failed)?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", on.fd(), "", flags).map_err(as_nix)
}

fn remount_bind(operation: &'static str, target: &Path, readonly: bool) -> Result<(), MountError> {
    let opened = Opened::file(operation, target)?;
    let id = opened.mount_id()?;
    let entry = read_table(operation)?
        .by_id(id)
        .filter(|entry| entry.target == target)
        .cloned();
    let entry = entry.ok_or_else(|| MountError::new(operation, target, MountErrorKind::NotMounted))?;
    let mut flags = kept_flags(&entry) | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    flags.set(MsFlags::MS_RDONLY, readonly);
    mount(NONE, &opened.proc_path(), NONE, flags, NONE)
        .map_err(|errno| MountError::from_errno(operation, target, errno))?;
    let now = read_table(operation)?.by_id(id).map(|entry| entry.readonly);
    if now == Some(readonly) {
        return Ok(());
    }
    Err(MountError::new(
        operation,
        target,
        MountErrorKind::Other("the remount had no effect".into()),
    ))
}

const fn flag(option: MountOption) -> MsFlags {
    match option {
        MountOption::NoSuid => MsFlags::MS_NOSUID,
        MountOption::NoDev => MsFlags::MS_NODEV,
        MountOption::NoExec => MsFlags::MS_NOEXEC,
        MountOption::NoAtime => MsFlags::MS_NOATIME,
        MountOption::NoDirAtime => MsFlags::MS_NODIRATIME,
    }
}

/// A remount of a bind sets all its flags anew: those it has are said again.
fn kept_flags(entry: &MountEntry) -> MsFlags {
    entry.options.split(',').fold(MsFlags::empty(), |flags, word| {
        flags
            | match (MountOption::of(word), word) {
                (Some(option), _) => flag(option),
                (None, "ro") => MsFlags::MS_RDONLY,
                (None, "relatime") => MsFlags::MS_RELATIME,
                (None, _) => MsFlags::empty(),
            }
    })
}

/// Only the folder above is opened: the target itself may lie on a filesystem that answers nothing any more.
fn unmount(operation: &'static str, target: &Path, flags: MntFlags) -> Result<(), MountError> {
    let (parent, name) = paths::split(operation, target)?;
    let parent = Opened::folder(operation, parent)?;
    umount2(&parent.proc_path().join(name), flags | MntFlags::UMOUNT_NOFOLLOW).map_err(|errno| {
        let kind = if errno == Errno::EINVAL {
            MountErrorKind::NotMounted
        } else {
            MountErrorKind::from_errno(errno)
        };
        MountError::new(operation, target, kind)
    })
}

fn usage(operation: &'static str, path: &Path) -> Result<FsUsage, MountError> {
    let opened = Opened::folder(operation, path)?;
    let stat =
        nix::sys::statvfs::fstatvfs(opened.fd()).map_err(|errno| MountError::from_errno(operation, path, errno))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Ok(FsUsage {
        total_bytes: bytes(stat.blocks()),
        available_bytes: bytes(stat.blocks_available()),
        used_bytes: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
        total_inodes: stat.files(),
        free_inodes: stat.files_available(),
    })
}

impl Mount for LinuxMount {
    async fn mount_zfs(&self, request: &ZfsMount) -> Result<(), MountError> {
        let operation = "mount zfs on";
        let owned = request.clone();
        self.blocking(operation, &request.target, move |_| mount_zfs(operation, &owned))
            .await
    }

    async fn mount_zvol(&self, request: &ZvolMount) -> Result<(), MountError> {
        let operation = "mount a volume on";
        let owned = request.clone();
        self.blocking(operation, &request.target, move |_| zvol::mount_zvol(operation, &owned))
            .await
    }

    async fn bind_zvol(&self, zvol: &Zvol, target: &Path, readonly: bool) -> Result<(), MountError> {
        let operation = "bind a device to";
        let owned = zvol.clone();
        self.blocking(operation, target, move |target| {
            zvol::bind_zvol(operation, &owned, target, readonly)
        })
        .await
    }

    async fn find_zvol(&self, zvol: &Zvol) -> Result<(), MountError> {
        let operation = "find the device for";
        let owned = zvol.clone();
        self.blocking(operation, &zvol.node, move |_| zvol::open(operation, &owned).map(drop))
            .await
    }

    async fn is_zvol_blank(&self, zvol: &Zvol) -> Result<bool, MountError> {
        let operation = "read the device at";
        let owned = zvol.clone();
        self.blocking(operation, &zvol.node, move |_| zvol::is_blank(operation, &owned))
            .await
    }

    async fn flush_zvol(&self, zvol: &Zvol) -> Result<(), MountError> {
        let operation = "flush the device at";
        let owned = zvol.clone();
        self.blocking(operation, &zvol.node, move |_| zvol::flush(operation, &owned))
            .await
    }

    async fn forget_zvol(&self, node: &Path, keep: &Path) -> Result<(), MountError> {
        let operation = "remove the device node";
        let keep = keep.to_owned();
        self.blocking(operation, node, move |node| zvol::forget(operation, node, &keep))
            .await
    }

    async fn grow_filesystem(&self, target: &Path) -> Result<(), MountError> {
        let operation = "grow the filesystem at";
        self.blocking(operation, target, move |target| zvol::grow(operation, target))
            .await
    }

    async fn device_bytes(&self, path: &Path) -> Result<u64, MountError> {
        let operation = "size of the device at";
        self.blocking(operation, path, move |path| zvol::device_bytes(operation, path))
            .await
    }

    async fn remove_file(&self, path: &Path) -> Result<(), MountError> {
        let operation = "remove file";
        self.blocking(operation, path, move |path| zvol::remove_file(operation, path))
            .await
    }

    async fn bind(
        &self,
        source: &Path,
        target: &Path,
        readonly: bool,
        options: &[MountOption],
    ) -> Result<(), MountError> {
        let operation = "bind to";
        let (source, options) = (source.to_owned(), options.to_vec());
        self.blocking(operation, target, move |target| {
            bind(operation, &source, target, (readonly, &options))
        })
        .await
    }

    async fn remount_bind(&self, target: &Path, readonly: bool) -> Result<(), MountError> {
        let operation = "remount bind";
        self.blocking(operation, target, move |target| {
            remount_bind(operation, target, readonly)
        })
        .await
    }

    async fn unmount(&self, target: &Path, lazy: bool) -> Result<(), MountError> {
        let operation = "unmount";
        let flags = if lazy { MntFlags::MNT_DETACH } else { MntFlags::empty() };
        self.blocking(operation, target, move |target| unmount(operation, target, flags))
            .await
    }

    async fn list(&self) -> Result<MountTable, MountError> {
        let operation = "read the mount table";
        self.blocking(operation, Path::new("/proc/self/mountinfo"), move |_| {
            read_table(operation)
        })
        .await
    }

    async fn statfs(&self, path: &Path) -> Result<FsUsage, MountError> {
        let operation = "statfs";
        self.blocking(operation, path, move |path| usage(operation, path)).await
    }

    async fn make_dir(&self, path: &Path) -> Result<(), MountError> {
        let operation = "make directory";
        self.blocking(operation, path, move |path| paths::make_dir(operation, path))
            .await
    }

    async fn remove_dir(&self, path: &Path) -> Result<(), MountError> {
        let operation = "remove directory";
        self.blocking(operation, path, move |path| paths::remove_dir(operation, path))
            .await
    }

    async fn is_empty_dir(&self, path: &Path) -> Result<bool, MountError> {
        let operation = "read directory";
        self.blocking(operation, path, move |path| Opened::folder(operation, path)?.is_empty())
            .await
    }

    async fn syncfs(&self, path: &Path) -> Result<(), MountError> {
        let operation = "syncfs";
        self.blocking(operation, path, move |path| {
            let opened = Opened::readable(operation, path)?;
            nix::unistd::syncfs(opened.fd()).map_err(|errno| MountError::from_errno(operation, path, errno))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
