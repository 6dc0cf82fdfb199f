//! Why a claim cannot be served yet. Each message says what is missing and what would fix it: it becomes an event.

use std::time::Duration;

use dotmesh_crds::Reason;
use dotmesh_model::name::InvalidName;
use dotmesh_model::size::InvalidSize;
use dotmesh_model::tuning::TuningError;

use super::copy::error::CopyError;

/// Between two looks for what is not watched.
const AGAIN: Duration = Duration::from_secs(10);

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
    #[error("dataSourceRef names namespace {other:?}; a claim can only use what is in its own namespace")]
    OtherNamespace {
        /// The namespace that is named.
        other: String,
    },
    /// A data source, and annotations that say something else.
    #[error(
        "the claim has a data source and an annotation dotmesh.io/dot or dotmesh.io/branch; it can follow one thing only"
    )]
    TwoSources,
    /// No object of ours can have such a name.
    #[error("the {how} names {name:?}, which {source}")]
    SourceName {
        /// Where it is named.
        how: String,
        /// The name, cut.
        name: String,
        /// The rule it breaks.
        source: InvalidName,
    },
    /// The annotation about sharing says neither yes nor no.
    #[error("the annotation dotmesh.io/shared is {text:?}; it can be \"true\" or \"false\"")]
    Shared {
        /// The value, cut.
        text: String,
    },
    /// One pod only, and several claims.
    #[error(
        "the claim has access mode ReadWriteOncePod and the annotation dotmesh.io/shared; use ReadWriteOnce to share"
    )]
    SharedByOnePod,
    /// A kind of our group that is no source, or a misspelt one.
    #[error("dataSourceRef names kind {kind:?}; a claim can use kind Dot, Branch or Commit of dotmesh.io")]
    Kind {
        /// The kind that is named.
        kind: String,
    },
    /// Neither files nor a block device.
    #[error("the claim has volumeMode {mode:?}; it can be Filesystem or Block")]
    VolumeMode {
        /// The mode.
        mode: String,
    },
    /// A filesystem that volumes do not have.
    #[error("StorageClass {class:?} asks for the filesystem {fs_type:?}; volumes have zfs, ext4 or xfs")]
    FsType {
        /// The StorageClass.
        class: String,
        /// What it asks for, cut.
        fs_type: String,
    },
    /// A property of ZFS with a value that it does not take.
    #[error("StorageClass {class:?}: {source}")]
    Tuning {
        /// The StorageClass.
        class: String,
        /// What is wrong.
        source: TuningError,
    },
    /// Nothing tells that it is there later.
    #[error("VolumeAttributesClass {class:?} does not exist; make it, or name another in the claim")]
    AttributesClassNotFound {
        /// The VolumeAttributesClass.
        class: String,
    },
    /// The class of attributes is of another driver, or wrong.
    #[error("VolumeAttributesClass {class:?}: {why}")]
    AttributesClass {
        /// The VolumeAttributesClass.
        class: String,
        /// What is wrong.
        why: String,
    },
    /// The volume is something else than what the claim, or its class, asks for.
    #[error(
        "volume {volume:?} of Dot {dot:?} is {has}, the claim and its StorageClass ask for {asked}; use a claim with that volumeMode, and \
         a StorageClass with that csi.storage.k8s.io/fstype or without one"
    )]
    OtherFormat {
        /// The Dot.
        dot: String,
        /// The volume.
        volume: String,
        /// What it is.
        has: &'static str,
        /// What is asked for.
        asked: &'static str,
    },
    /// Too small for the filesystem that is asked for.
    #[error("the claim asks for {asked}, {what} has at least {least}")]
    TooSmall {
        /// What is asked for, as a quantity.
        asked: String,
        /// What the volume is to be.
        what: &'static str,
        /// As a quantity.
        least: String,
    },
    /// An access mode that several nodes would share.
    #[error(
        "the claim has access mode {mode}; a volume is used on one node at a time: ReadWriteOnce, ReadWriteOncePod or \
         ReadOnlyMany"
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
    /// The StorageClass asks for another kind of Pool than the one where the Dot lies.
    #[error(
        "StorageClass {class:?} has poolClass {asked:?}, but Dot {dot:?} is of class {has:?}; use a StorageClass of that class, or one \
         without poolClass"
    )]
    OtherPoolClass {
        /// The StorageClass.
        class: String,
        /// What it asks for.
        asked: String,
        /// The Dot.
        dot: String,
        /// The Dot's.
        has: String,
    },
    /// No such Dot.
    #[error("there is no Dot {dot:?} in namespace {namespace:?}; create it or correct the claim")]
    DotNotFound {
        /// The name that is asked for.
        dot: String,
        /// Where it would have to be.
        namespace: String,
    },
    /// No such Branch.
    #[error(
        "there is no Branch {branch:?} in namespace {namespace:?}; create it or correct the claim \
         (it takes the name of the Branch object, not that in its spec)"
    )]
    BranchNotFound {
        /// The name that is asked for.
        branch: String,
        /// Where it would have to be.
        namespace: String,
    },
    /// No such Commit.
    #[error("there is no Commit {commit:?} in namespace {namespace:?}; create it or correct the claim")]
    CommitNotFound {
        /// The name that is asked for.
        commit: String,
        /// Where it would have to be.
        namespace: String,
    },
    /// The Branch is another Dot's.
    #[error(
        "Branch {branch:?} is of Dot {of:?}, the claim's annotation dotmesh.io/dot names {dot:?}; correct one of them"
    )]
    BranchOfOtherDot {
        /// The Branch object.
        branch: String,
        /// Its Dot.
        of: String,
        /// The Dot that the claim names.
        dot: String,
    },
    /// The Dot, Branch or Commit is going away.
    #[error("{kind} {name:?} is being deleted; use another one")]
    Deleting {
        /// `Dot`, `Branch` or `Commit`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Nothing of the Dot is given out before its volumes are filled.
    #[error("an import into Dot {dot:?} is under way; the claim gets its volume when that is done")]
    Importing {
        /// The Dot.
        dot: String,
    },
    /// The Dot, Branch or Commit cannot give its volume now.
    #[error("{kind} {name:?} is not ready: {reason}: {message}")]
    NotReady {
        /// `Dot`, `Branch` or `Commit`.
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
        "volume {volume:?} of branch {branch:?} of Dot {dot:?} is held by claim {holder:?}; use another volume or branch, delete that claim, \
         or let both say dotmesh.io/shared: \"true\""
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
    /// What it is to be a copy of cannot be that, or not yet.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// An object of the name we need is somebody else's.
    #[error("{kind} {name:?} exists and belongs to another claim; remove it if nobody needs it")]
    Conflict {
        /// `PersistentVolume`, `Dot`, `Branch` or `Commit`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl ClaimError {
    /// How long until the claim is looked at again although nothing tells of a change.
    pub fn again(&self) -> Option<Duration> {
        if let Self::Copy(error) = self {
            return Some(error.again());
        }
        matches!(self, Self::AttributesClassNotFound { .. }).then_some(AGAIN)
    }

    /// The event's reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Incomplete { .. }
            | Self::OtherNamespace { .. }
            | Self::Kind { .. }
            | Self::TwoSources
            | Self::SourceName { .. }
            | Self::Shared { .. }
            | Self::SharedByOnePod
            | Self::BranchOfOtherDot { .. }
            | Self::VolumeMode { .. }
            | Self::FsType { .. }
            | Self::Tuning { .. }
            | Self::AttributesClassNotFound { .. }
            | Self::AttributesClass { .. }
            | Self::OtherFormat { .. }
            | Self::TooSmall { .. }
            | Self::AccessMode { .. }
            | Self::VolumeName { .. }
            | Self::ClaimName { .. }
            | Self::OtherPoolClass { .. }
            | Self::Size(_) => Reason::Invalid,
            Self::LargerThanPool { .. } => Reason::OutOfSpace,
            Self::DotNotFound { .. } => Reason::DotNotFound,
            Self::BranchNotFound { .. } => Reason::BranchNotFound,
            Self::CommitNotFound { .. } => Reason::CommitNotFound,
            Self::Deleting { .. } => Reason::Deleting,
            Self::Importing { .. } => Reason::Importing,
            Self::NotReady { .. } => Reason::NotReady,
            Self::VolumeNotFound { .. } => Reason::VolumeNotFound,
            Self::VolumeHeld { .. } => Reason::VolumeHeld,
            Self::Copy(error) => error.reason(),
            Self::Conflict { .. } => Reason::Conflict,
        }
    }
}
