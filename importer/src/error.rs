//! Why a copy ended before its end.

use std::io;

use dotmesh_model::import::FailureKind;
use rustix::io::Errno;

/// Why. Whatever it is, the next run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source cannot be read.
    #[error("cannot {what} {path:?} of the source")]
    Source {
        /// What was to be done.
        what: &'static str,
        /// Where, below the source.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The target cannot be written.
    #[error("cannot {what} {path:?} in the volume")]
    Target {
        /// What was to be done.
        what: &'static str,
        /// Where, below the target.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The target is full.
    #[error("no space left in the volume at {path:?}")]
    OutOfSpace {
        /// Where, below the target.
        path: String,
    },
    /// Access control lists are part of who may read a file; without them others might.
    #[error(
        "{path:?} has an access control list, and the volume's filesystem keeps none; use another fsType, or remove the list"
    )]
    NoAccessLists {
        /// Where.
        path: String,
    },
    /// Source and target differ when all was copied.
    #[error("{path:?}: {what}: the source changed while it was copied")]
    Differs {
        /// Where.
        path: String,
        /// In what.
        what: &'static str,
    },
    /// Somebody else's data is never touched.
    #[error("the volume has {path:?}, which no import put there; import into a new volume")]
    NotEmpty {
        /// The first of it.
        path: String,
    },
    /// Another importer works on the target; it is about to end.
    #[error("another import into this volume is still under way")]
    Locked,
    /// What an earlier run recorded cannot be used.
    #[error("what an earlier import recorded in {path:?} cannot be read: {why}")]
    State {
        /// The importer's folder.
        path: String,
        /// Why.
        why: String,
    },
}

/// A path for people: names may be any bytes.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    match path {
        [] => "/".to_owned(),
        path => String::from_utf8_lossy(path).into_owned(),
    }
}

impl CopyError {
    /// A failed read.
    pub fn source(what: &'static str, path: &[u8], error: impl Into<io::Error>) -> Self {
        Self::Source {
            what,
            path: shown(path),
            source: error.into(),
        }
    }

    /// A failed effect.
    #[must_use]
    pub fn target(what: &'static str, path: &[u8], error: io::Error) -> Self {
        let path = shown(path);
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::OutOfSpace { path },
            _ => Self::Target {
                what,
                path,
                source: error,
            },
        }
    }

    /// Source and target differ.
    #[must_use]
    pub fn differs(path: &[u8], what: &'static str) -> Self {
        Self::Differs {
            path: shown(path),
            what,
        }
    }

    /// As the operator tells failures apart.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::OutOfSpace { .. } => FailureKind::OutOfSpace,
            Self::Source { .. }
            | Self::Target { .. }
            | Self::NoAccessLists { .. }
            | Self::Differs { .. }
            | Self::NotEmpty { .. }
            | Self::Locked
            | Self::State { .. } => FailureKind::Other,
        }
    }
}
