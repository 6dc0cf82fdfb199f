//! Why a claim does not get a copy, or not yet. Each message says what would help: it becomes an event.

use std::time::Duration;

use dotmesh_crds::Reason;

/// Between two looks for what is likely to come soon, and for what somebody has to do.
pub const WAITS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// Why there is no copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// Nothing has that name.
    #[error("there is no {kind} {name:?} in namespace {namespace:?}; create it or correct the claim")]
    NotFound {
        /// `VolumeSnapshot` or `PersistentVolumeClaim`.
        kind: &'static str,
        /// The name that is asked for.
        name: String,
        /// Where it would have to be.
        namespace: String,
    },
    /// It is going away.
    #[error("{what} is being deleted; use another one")]
    Going {
        /// What the claim names.
        what: String,
    },
    /// It will be something later, perhaps.
    #[error("{what} is not ready: {why}")]
    NotReady {
        /// What the claim names.
        what: String,
        /// What it waits for.
        why: String,
    },
    /// Data of another driver is not in our pools.
    #[error("{what} is of {of}, and not of driver csi.dotmesh.io; its data can be imported: importFrom of a Dot")]
    OtherDriver {
        /// What the claim names.
        what: String,
        /// Whose it is.
        of: String,
    },
    /// An object of the cluster says that it is for somebody else, or stands for what lies elsewhere.
    #[error("{what} is refused: {why}")]
    NotYours {
        /// What the claim names.
        what: String,
        /// What does not fit.
        why: String,
    },
    /// The data is not there any more.
    #[error("what {what} stands for is not there any more")]
    Gone {
        /// What the claim names.
        what: String,
    },
    /// A copy is never smaller.
    #[error("the claim asks for {asked}, and {what} needs {least}; ask for that much or more")]
    TooSmall {
        /// What the claim names.
        what: String,
        /// What is asked for, as a quantity.
        asked: String,
        /// What is needed, as a quantity.
        least: String,
    },
    /// A copy is what the original is.
    #[error(
        "{what} is {has}, the claim and its StorageClass ask for {asked}; use a claim with that volumeMode, and a StorageClass with that \
         csi.storage.k8s.io/fstype or without one"
    )]
    OtherFormat {
        /// What the claim names.
        what: String,
        /// What it is.
        has: &'static str,
        /// What is asked for.
        asked: &'static str,
    },
}

impl CopyError {
    /// How long until the claim is looked at again although nothing tells of a change.
    pub fn again(&self) -> Duration {
        let [soon, again] = WAITS;
        match matches!(self, Self::NotReady { .. }) {
            true => soon,
            false => again,
        }
    }

    /// The event's reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotFound {
                kind: "PersistentVolumeClaim",
                ..
            } => Reason::ClaimNotFound,
            Self::NotFound { .. } | Self::Gone { .. } => Reason::SnapshotNotFound,
            Self::Going { .. } => Reason::Deleting,
            Self::NotReady { .. } => Reason::NotReady,
            Self::OtherDriver { .. } | Self::NotYours { .. } | Self::TooSmall { .. } | Self::OtherFormat { .. } => {
                Reason::Invalid
            }
        }
    }
}
