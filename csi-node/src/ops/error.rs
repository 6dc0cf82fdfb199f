//! Why an operation did not do what it should: what callers can act on, and a sentence for people.

use dotmesh_mount::{MountError, MountErrorKind};
use dotmesh_zfs::{ErrorKind, ZfsError};

use crate::layout::DecodeError;

/// An operation's failure. The text names the object and, where there is one, the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The known pool is imported and the object is not in it.
    #[error("{0}")]
    NotFound(String),
    /// There is something else under this id.
    #[error("{0}")]
    Conflict(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// More or fewer bytes than it can have.
    #[error("{0}")]
    OutOfRange(String),
    /// The pool is not imported, or its devices are away: nothing is known about what it holds.
    #[error("{0}")]
    PoolMissing(String),
    /// A pool is there, but not the known one.
    #[error("{0}")]
    PoolForeign(String),
    /// The pool does not answer.
    #[error("{0}")]
    PoolSuspended(String),
    /// The pool was taken back to an earlier state: nothing counts as absent from it.
    #[error("{0}")]
    Rewound(String),
    /// No space in the pool, or where the pool's file lies.
    #[error("{0}")]
    OutOfSpace(String),
    /// Mounted or opened by somebody.
    #[error("{0}")]
    InUse(String),
    /// OpenZFS is missing or too old.
    #[error("{0}")]
    ZfsUnsupported(String),
    /// Something else comes first; repeat.
    #[error("{0}")]
    Busy(String),
    /// A deletion of the object, or of what holds it, was requested already.
    #[error("{0}")]
    Deleted(String),
    /// Not done in time. The effect may have happened; repeat.
    #[error("{0}")]
    Deadline(String),
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The variant's name, for logs and metrics.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "NotFound",
            Self::Conflict(_) => "Conflict",
            Self::Invalid(_) => "Invalid",
            Self::OutOfRange(_) => "OutOfRange",
            Self::PoolMissing(_) => "PoolMissing",
            Self::PoolForeign(_) => "PoolForeign",
            Self::PoolSuspended(_) => "PoolSuspended",
            Self::Rewound(_) => "Rewound",
            Self::OutOfSpace(_) => "OutOfSpace",
            Self::InUse(_) => "InUse",
            Self::ZfsUnsupported(_) => "ZfsUnsupported",
            Self::Busy(_) => "Busy",
            Self::Deleted(_) => "Deleted",
            Self::Deadline(_) => "Deadline",
            Self::Internal(_) => "Internal",
        }
    }

    /// The value for something that is certainly absent, or the error.
    pub(crate) fn absent_as<T>(self, value: T) -> Result<T, Self> {
        if matches!(self, Self::NotFound(_)) {
            Ok(value)
        } else {
            Err(self)
        }
    }

    /// What a failed command means. Absence is *not* concluded here: see [`super::Ops::absent`].
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum may grow; what is not known is internal"
    )]
    pub(crate) fn zfs(doing: &str, error: &ZfsError) -> Self {
        let text = format!("{doing}: {error}");
        match error.kind {
            ErrorKind::PoolMissing | ErrorKind::PoolUnavailable => Self::PoolMissing(text),
            ErrorKind::PoolSuspended | ErrorKind::Io => Self::PoolSuspended(text),
            ErrorKind::PoolOfOtherHost => Self::PoolForeign(text),
            ErrorKind::OutOfSpace => Self::OutOfSpace(text),
            ErrorKind::Busy => Self::InUse(text),
            ErrorKind::ModuleMissing | ErrorKind::ProgramMissing => Self::ZfsUnsupported(text),
            ErrorKind::Timeout => Self::Deadline(text),
            _ => Self::Internal(text),
        }
    }

    /// What a failed mount means.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum may grow; what is not known is internal"
    )]
    pub(crate) fn mount(doing: &str, error: &MountError) -> Self {
        let text = format!("{doing}: {error}");
        match error.kind {
            MountErrorKind::Busy => Self::InUse(text),
            MountErrorKind::Timeout => Self::Deadline(text),
            MountErrorKind::OutOfSpace => Self::OutOfSpace(text),
            MountErrorKind::SymbolicLink
            | MountErrorKind::NotADirectory
            | MountErrorKind::NotEmpty
            | MountErrorKind::BadPath => Self::Invalid(text),
            MountErrorKind::UnknownFilesystem => Self::ZfsUnsupported(text),
            _ => Self::Internal(text),
        }
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Internal(error.to_string())
    }
}
