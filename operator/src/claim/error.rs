//! Why a claim cannot be served yet. Each message says what is missing and what would fix it: it becomes an event.

use dotmesh_crds::Reason;
use dotmesh_model::name::InvalidName;
use dotmesh_model::size::InvalidSize;

/// Why a claim stays Pending.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The API server would not let this through.
    #[error("the claim has no {what}")]
    Incomplete {
        /// The missing field.
        what: &'static str,
    },
    /// The reference leads out of the claim's namespace.
    #[error("dataSourceRef names namespace {other:?}; a claim can only use Dots and Branches of its own namespace")]
    OtherNamespace {
        /// The namespace that is named.
        other: String,
    },
    /// A kind of our group that is no source, or a misspelt one.
    #[error("dataSourceRef names kind {kind:?}; a claim can use kind Dot or kind Branch of dotmesh.io")]
    Kind {
        /// The kind that is named.
        kind: String,
    },
    /// A raw block volume.
    #[error("the claim has volumeMode Block; only volumeMode Filesystem is served")]
    BlockMode,
    /// An access mode that several nodes would share.
    #[error(
        "the claim has access mode {mode}; a volume is used on one node at a time: ReadWriteOnce or ReadWriteOncePod"
    )]
    AccessMode {
        /// The refused mode.
        mode: String,
    },
    /// The annotation's value is no volume name.
    #[error("the annotation dotmesh.io/volume is {text:?}, which {source}")]
    VolumeName {
        /// The value, cut.
        text: String,
        /// The rule it breaks.
        source: InvalidName,
    },
    /// The requested size cannot be a volume's.
    #[error("the requested storage: {0}")]
    Size(#[from] InvalidSize),
    /// More than the node's pool holds.
    #[error("the claim asks for {asked}, the pool of node {node} has {size} in all; ask for less or enlarge the pool")]
    LargerThanPool {
        /// What is asked for, as a quantity.
        asked: String,
        /// The node.
        node: String,
        /// The pool's size, as a quantity.
        size: String,
    },
    /// No such Dot.
    #[error("there is no Dot {dot:?} in namespace {namespace:?}; create it or correct the claim's dataSourceRef")]
    DotNotFound {
        /// The name that is asked for.
        dot: String,
        /// Where it would have to be.
        namespace: String,
    },
    /// No such Branch.
    #[error(
        "there is no Branch {branch:?} in namespace {namespace:?}; create it or correct the claim's dataSourceRef \
         (it takes the name of the Branch object, not that in its spec)"
    )]
    BranchNotFound {
        /// The name that is asked for.
        branch: String,
        /// Where it would have to be.
        namespace: String,
    },
    /// The Dot or Branch is going away.
    #[error("{kind} {name:?} is being deleted; use another one")]
    Deleting {
        /// `Dot` or `Branch`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The Dot or Branch cannot give its volume now.
    #[error("{kind} {name:?} is not ready: {reason}: {message}")]
    NotReady {
        /// `Dot` or `Branch`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The reason of its condition.
        reason: String,
        /// The message of its condition.
        message: String,
    },
    /// A closed list has no such volume.
    #[error(
        "Dot {dot:?} has no volume {volume:?}; it has: {offered}. Name one in the claim's annotation dotmesh.io/volume, or add it to the Dot"
    )]
    VolumeNotFound {
        /// The Dot.
        dot: String,
        /// The volume that is asked for.
        volume: String,
        /// What there is.
        offered: String,
    },
    /// An open list would get a volume named like the claim, but that cannot be a volume's name.
    #[error(
        "Dot {dot:?} would get a volume with the claim's name, which {source}; name the volume in the claim's annotation dotmesh.io/volume"
    )]
    ClaimName {
        /// The Dot.
        dot: String,
        /// The rule the claim's name breaks.
        source: InvalidName,
    },
    /// Somebody else has it.
    #[error(
        "volume {volume:?} of branch {branch:?} of Dot {dot:?} is held by claim {holder:?}; use another volume or branch, or delete that claim"
    )]
    VolumeHeld {
        /// The Dot.
        dot: String,
        /// The branch's name within the Dot.
        branch: String,
        /// The volume.
        volume: String,
        /// The claim that holds it.
        holder: String,
    },
    /// A PersistentVolume of the name we need is somebody else's.
    #[error("PersistentVolume {volume:?} exists and belongs to another claim; remove it if nobody needs it")]
    VolumeConflict {
        /// Its name.
        volume: String,
    },
}

impl ClaimError {
    /// The event's reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Incomplete { .. }
            | Self::OtherNamespace { .. }
            | Self::Kind { .. }
            | Self::BlockMode
            | Self::AccessMode { .. }
            | Self::VolumeName { .. }
            | Self::ClaimName { .. }
            | Self::Size(_) => Reason::Invalid,
            Self::LargerThanPool { .. } => Reason::OutOfSpace,
            Self::DotNotFound { .. } => Reason::DotNotFound,
            Self::BranchNotFound { .. } => Reason::BranchNotFound,
            Self::Deleting { .. } => Reason::Deleting,
            Self::NotReady { .. } => Reason::NotReady,
            Self::VolumeNotFound { .. } => Reason::VolumeNotFound,
            Self::VolumeHeld { .. } => Reason::VolumeHeld,
            Self::VolumeConflict { .. } => Reason::Conflict,
        }
    }
}
