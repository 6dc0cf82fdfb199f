//! What can go wrong with mounts.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// An operation on a path that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {}: {kind}", path.display())]
pub struct MountError {
    /// What went wrong.
    pub kind: MountErrorKind,
    /// What was tried.
    pub operation: &'static str,
    /// Where.
    pub path: PathBuf,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountErrorKind {
    /// Nothing is mounted there.
    #[error("nothing is mounted there")]
    NotMounted,
    /// Something is mounted there already.
    #[error("something is mounted there already")]
    AlreadyMounted,
    /// After mounting, the table shows another source there.
    #[error("the mount table shows {found} there instead of {wanted}")]
    WrongSource {
        /// What should be there.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// The path, or the source of a mount, does not exist.
    #[error("no such file or directory, or no such dataset")]
    NotFound,
    /// The device of this ZFS volume did not appear.
    #[error("the device of {0} does not appear")]
    NoDevice(String),
    /// The path is a symbolic link, or leads through one.
    #[error("the path leads through a symbolic link")]
    SymbolicLink,
    /// It is no folder.
    #[error("not a directory")]
    NotADirectory,
    /// The folder has something in it.
    #[error("the directory is not empty")]
    NotEmpty,
    /// In use.
    #[error("busy")]
    Busy,
    /// The path is relative, or has `.`, `..` or a NUL in it.
    #[error("not an absolute, plain path")]
    BadPath,
    /// Not privileged.
    #[error("permission denied")]
    PermissionDenied,
    /// The kernel knows no such filesystem type.
    #[error("the kernel does not know this filesystem")]
    UnknownFilesystem,
    /// No room.
    #[error("no space left")]
    OutOfSpace,
    /// The kernel did not answer in time; the effect may still happen.
    #[error("no answer before the deadline")]
    Timeout,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl MountErrorKind {
    /// The variant's name, for metrics, events and conditions.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::NotMounted => "NotMounted",
            Self::AlreadyMounted => "AlreadyMounted",
            Self::WrongSource { .. } => "WrongSource",
            Self::NotFound => "NotFound",
            Self::NoDevice(_) => "NoDevice",
            Self::SymbolicLink => "SymbolicLink",
            Self::NotADirectory => "NotADirectory",
            Self::NotEmpty => "NotEmpty",
            Self::Busy => "Busy",
            Self::BadPath => "BadPath",
            Self::PermissionDenied => "PermissionDenied",
            Self::UnknownFilesystem => "UnknownFilesystem",
            Self::OutOfSpace => "OutOfSpace",
            Self::Timeout => "Timeout",
            Self::Other(_) => "Other",
        }
    }

    /// What an error of a system call means when nothing more is known.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "there are some 130 error numbers")]
    pub fn from_errno(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT => Self::NotFound,
            Errno::ELOOP => Self::SymbolicLink,
            Errno::ENOTDIR => Self::NotADirectory,
            Errno::ENOTEMPTY | Errno::EEXIST => Self::NotEmpty,
            Errno::EBUSY | Errno::EAGAIN => Self::Busy,
            Errno::EPERM | Errno::EACCES => Self::PermissionDenied,
            Errno::ENODEV => Self::UnknownFilesystem,
            Errno::ENOSPC | Errno::EDQUOT => Self::OutOfSpace,
            other => Self::Other(other.to_string()),
        }
    }
}

impl MountError {
    /// An error of that kind.
    #[must_use]
    pub fn new(operation: &'static str, path: &Path, kind: MountErrorKind) -> Self {
        Self {
            kind,
            operation,
            path: path.to_owned(),
        }
    }

    /// The kind's name, for metrics, events and conditions.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        self.kind.category()
    }

    pub(crate) fn from_errno(operation: &'static str, path: &Path, errno: Errno) -> Self {
        Self::new(operation, path, MountErrorKind::from_errno(errno))
    }

    pub(crate) fn from_io(operation: &'static str, path: &Path, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::from_errno(operation, path, Errno::from_raw(number)),
            None => Self::new(operation, path, MountErrorKind::Other(error.to_string())),
        }
    }
}
