//! Folders by descriptor: opened without following any link, made and removed one at a time.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::{MountError, MountErrorKind};

/// A folder that is open, so that it stays the same whatever happens to its path.
pub(super) struct Opened {
    fd: OwnedFd,
    path: PathBuf,
    operation: &'static str,
}

/// How often to try again when the kernel could not be sure that no link was passed (a rename happened meanwhile).
const RACES: usize = 16;

fn open(dir: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    open_any(dir, path, flags | OFlag::O_DIRECTORY)
}

fn open_any(dir: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut result = openat2(dir, path, how);
    for _ in 0..RACES {
        if !matches!(result, Err(Errno::EAGAIN)) {
            break;
        }
        result = openat2(dir, path, how);
    }
    result
}

impl Opened {
    fn with(operation: &'static str, path: &Path, flags: OFlag) -> Result<Self, MountError> {
        check_plain(operation, path)?;
        let fd = open(AT_FDCWD, path, flags).map_err(|errno| MountError::from_errno(operation, path, errno))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            operation,
        })
    }

    /// Opens a folder for being named and mounted on only (`O_PATH`): asks nothing of its filesystem.
    pub(super) fn folder(operation: &'static str, path: &Path) -> Result<Self, MountError> {
        Self::with(operation, path, OFlag::O_PATH)
    }

    /// Opens a file or a node of a device for being named and mounted on only.
    pub(super) fn file(operation: &'static str, path: &Path) -> Result<Self, MountError> {
        check_plain(operation, path)?;
        let fd =
            open_any(AT_FDCWD, path, OFlag::O_PATH).map_err(|errno| MountError::from_errno(operation, path, errno))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            operation,
        })
    }

    /// Opens a folder for reading.
    pub(super) fn readable(operation: &'static str, path: &Path) -> Result<Self, MountError> {
        Self::with(operation, path, OFlag::O_RDONLY)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A path that leads to exactly what is open.
    pub(super) fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// The number of the mount that the folder belongs to; for a mount point, of what is mounted there.
    pub(super) fn mount_id(&self) -> Result<u64, MountError> {
        mount_id(self.fd()).map_err(|kind| MountError::new(self.operation, &self.path, kind))
    }

    /// Whether it is the root of a mount: the folder above belongs to another.
    pub(super) fn is_mount_point(&self) -> Result<bool, MountError> {
        let Some(parent) = self.path.parent() else {
            return Ok(true);
        };
        let parent = open(AT_FDCWD, parent, OFlag::O_PATH)
            .map_err(|errno| MountError::from_errno(self.operation, &self.path, errno))?;
        let above = mount_id(parent.as_fd()).map_err(|kind| MountError::new(self.operation, &self.path, kind))?;
        Ok(self.mount_id()? != above)
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> Result<bool, MountError> {
        let fail = |error| MountError::from_io(self.operation, &self.path, &error);
        match fs::read_dir(self.proc_path()).map_err(fail)?.next() {
            None => Ok(true),
            Some(entry) => entry.map(|_| false).map_err(fail),
        }
    }
}

fn mount_id(fd: BorrowedFd<'_>) -> Result<u64, MountErrorKind> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
        .map_err(|error| MountErrorKind::Other(format!("fdinfo: {error}")))?;
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .and_then(|id| id.trim().parse().ok());
    id.ok_or_else(|| MountErrorKind::Other("fdinfo has no mnt_id".into()))
}

fn check_plain(operation: &'static str, path: &Path) -> Result<(), MountError> {
    let bytes = path.as_os_str().as_bytes();
    let plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
    let good = bytes == b"/"
        || bytes.first() == Some(&b'/') && !bytes.contains(&0) && bytes[1..].split(|byte| *byte == b'/').all(plain);
    if good {
        Ok(())
    } else {
        Err(MountError::new(operation, path, MountErrorKind::BadPath))
    }
}

/// The folder above and the last name.
pub(super) fn split<'a>(operation: &'static str, path: &'a Path) -> Result<(&'a Path, &'a OsStr), MountError> {
    check_plain(operation, path)?;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(MountError::new(operation, path, MountErrorKind::BadPath)),
    }
}

/// Makes a folder and those above it that are missing.
pub(super) fn make_dir(operation: &'static str, path: &Path) -> Result<(), MountError> {
    check_plain(operation, path)?;
    let fail = |errno| MountError::from_errno(operation, path, errno);
    let mut dir = open(AT_FDCWD, Path::new("/"), OFlag::O_PATH).map_err(fail)?;
    for name in path.components().skip(1) {
        let name: &Path = name.as_ref();
        let mut next = open(dir.as_fd(), name, OFlag::O_PATH);
        if matches!(next, Err(Errno::ENOENT)) {
            match mkdirat(dir.as_fd(), name, Mode::from_bits_truncate(0o750)) {
                Ok(()) | Err(Errno::EEXIST) => next = open(dir.as_fd(), name, OFlag::O_PATH),
                Err(errno) => return Err(fail(errno)),
            }
        }
        dir = next.map_err(fail)?;
    }
    Ok(())
}

/// Makes an empty file in an existing folder; what is there already stays.
pub(super) fn make_file(operation: &'static str, path: &Path) -> Result<(), MountError> {
    let fail = |errno| MountError::from_errno(operation, path, errno);
    let (parent, name) = split(operation, path)?;
    let parent = open(AT_FDCWD, parent, OFlag::O_PATH).map_err(fail)?;
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    match openat(parent.as_fd(), name, flags, Mode::from_bits_truncate(0o600)) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(fail(errno)),
    }
}

/// Removes an empty folder.
pub(super) fn remove_dir(operation: &'static str, path: &Path) -> Result<(), MountError> {
    let (parent, name) = split(operation, path)?;
    let parent = match open(AT_FDCWD, parent, OFlag::O_PATH) {
        Ok(parent) => parent,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(MountError::from_errno(operation, path, errno)),
    };
    match unlinkat(parent.as_fd(), name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(MountError::from_errno(operation, path, errno)),
    }
}
