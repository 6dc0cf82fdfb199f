//! Conditions: `Ready`, of every kind, so that `kubectl wait` and kstatus understand it, and `Published` of Commits; with
//! reasons from one enum.

/// A condition as Kubernetes defines it (`metav1.Condition`).
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The condition that every kind has.
pub const READY: &str = "Ready";

/// The condition of a Commit that is to have VolumeSnapshots.
pub const PUBLISHED: &str = "Published";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a condition is as it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As written in conditions and events (CamelCase).
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// Everything asked for is there.
    Ready,
    /// Work is under way.
    Progressing,
    /// A Dot that no pod has been scheduled for yet.
    WaitingForFirstPod,
    /// A Dot whose volumes are not known yet: no list in its spec, no claim so far.
    NoVolumes,
    /// The Dot that is named does not exist.
    DotNotFound,
    /// The Branch that is named does not exist.
    BranchNotFound,
    /// The Commit that is named does not exist.
    CommitNotFound,
    /// The volume that is named is not one of the Dot's.
    VolumeNotFound,
    /// Another claim holds this volume of this branch.
    VolumeHeld,
    /// A volume is younger than the commit that a branch came from, and so began empty on it.
    VolumeEmpty,
    /// The Dot, branch or volume exists but is not ready.
    NotReady,
    /// The reference names no commit.
    ReferenceNotFound,
    /// Another Branch of the Dot has this name.
    NameTaken,
    /// A field's value cannot be used.
    Invalid,
    /// An object with the name that is needed belongs to somebody else.
    Conflict,
    /// No Remnant has the id that an object is to be restored from, or not in this namespace.
    RemnantNotFound,
    /// Another object takes over, or has taken over, the data that this one is to be restored from.
    RemnantTaken,
    /// An object goes, and its data stays for a while as a Remnant.
    CanBeRestored,
    /// Data has no object, although nobody asked for its deletion.
    ObjectMissing,
    /// The claim that is named does not exist.
    ClaimNotFound,
    /// The VolumeSnapshot that is named does not exist, or what it stands for is gone.
    SnapshotNotFound,
    /// There can be no VolumeSnapshots: they are not served here, or the cluster does not know them.
    SnapshotsUnavailable,
    /// Volumes are being filled from claims.
    Importing,
    /// An import ended before its end; it is tried again.
    ImportFailed,
    /// The pool is nearly full: deleted data goes before its time.
    SpaceNeeded,
    /// The node has no Pool, or it is not usable.
    PoolUnavailable,
    /// A device of the pool is away or has errors.
    PoolDegraded,
    /// Little of the pool is free.
    LowSpace,
    /// The pool's GUID is not the one that is known.
    PoolForeign,
    /// The pool was taken back to an earlier state: commits that must be in it are not.
    Rewound,
    /// No space left.
    OutOfSpace,
    /// OpenZFS is missing on the node or too old to be safe.
    ZfsUnsupported,
    /// The node does not answer.
    NodeUnreachable,
    /// Deletion, or an import, waits for claims or pods, named in the message.
    InUse,
    /// Deletion is under way.
    Deleting,
    /// Data that should be there is not in the known pool.
    DataMissing,
    /// What was there is not in the known pool any more, or is something else: other tools destroyed it.
    DataLost,
    /// Something failed that is tried again.
    Error,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
