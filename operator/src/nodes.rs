//! What the operator asks of nodes: one method per RPC of `dotmesh.node.v1`, failures as types.
//!
//! Every call is safe to repeat. "Absent" is [`NodeErrorKind::NotFound`] and nothing else.

pub mod grpc;
pub mod pods;
pub mod progress;

use std::future::Future;

use std::net::IpAddr;

use dotmesh_csi_proto::node::{
    AttachRequest, AttachResponse, CommitRequest, CommitResponse, DeleteBranchRequest, DeleteCommitRequest,
    DeleteDotRequest, DeleteResponse, DescribeDotRequest, DescribeDotResponse, DetachRequest, DetachResponse,
    EnsureBranchRequest, EnsureBranchResponse, EnsureDotRequest, EnsureDotResponse, EnsurePoolRequest,
    EnsurePoolResponse, FindMissingRequest, FindMissingResponse, Reason, WatchEvent,
};
use dotmesh_model::import::Progress;
use futures::stream::BoxStream;

/// The nodes, each addressed by the name of its Kubernetes Node.
pub trait Nodes: Send + Sync + 'static {
    /// State of the node's pools, at once and then whenever it changes; ends when the connection does.
    fn watch(&self, node: &str) -> impl Future<Output = Result<PoolEvents, NodeError>> + Send;
    /// Makes or imports the pool.
    fn ensure_pool(
        &self,
        node: &str,
        request: EnsurePoolRequest,
    ) -> impl Future<Output = Result<EnsurePoolResponse, NodeError>> + Send;
    /// Makes the Dot's dataset.
    fn ensure_dot(
        &self,
        node: &str,
        request: EnsureDotRequest,
    ) -> impl Future<Output = Result<EnsureDotResponse, NodeError>> + Send;
    /// Makes a head and points the branch at it; adds missing volumes, grows the others.
    fn ensure_branch(
        &self,
        node: &str,
        request: EnsureBranchRequest,
    ) -> impl Future<Output = Result<EnsureBranchResponse, NodeError>> + Send;
    /// One atomic snapshot of all volumes of a head.
    fn commit(
        &self,
        node: &str,
        request: CommitRequest,
    ) -> impl Future<Output = Result<CommitResponse, NodeError>> + Send;
    /// Records what a claim follows.
    fn attach(
        &self,
        node: &str,
        request: AttachRequest,
    ) -> impl Future<Output = Result<AttachResponse, NodeError>> + Send;
    /// Forgets what a claim follows.
    fn detach(
        &self,
        node: &str,
        request: DetachRequest,
    ) -> impl Future<Output = Result<DetachResponse, NodeError>> + Send;
    /// Tombstone of a commit.
    fn delete_commit(
        &self,
        node: &str,
        request: DeleteCommitRequest,
    ) -> impl Future<Output = Result<DeleteResponse, NodeError>> + Send;
    /// Tombstone of a branch.
    fn delete_branch(
        &self,
        node: &str,
        request: DeleteBranchRequest,
    ) -> impl Future<Output = Result<DeleteResponse, NodeError>> + Send;
    /// Tombstone of a Dot.
    fn delete_dot(
        &self,
        node: &str,
        request: DeleteDotRequest,
    ) -> impl Future<Output = Result<DeleteResponse, NodeError>> + Send;
    /// What a Dot that is there holds: of its commits as many as fit, after one.
    fn describe_dot(
        &self,
        node: &str,
        request: DescribeDotRequest,
    ) -> impl Future<Output = Result<DescribeDotResponse, NodeError>> + Send;
    /// What was recorded and is not in the pool.
    fn find_missing(
        &self,
        node: &str,
        request: FindMissingRequest,
    ) -> impl Future<Output = Result<FindMissingResponse, NodeError>> + Send;
    /// How far the importer in the pod at this address is; nothing when it does not say.
    fn import_progress(&self, _importer: IpAddr) -> impl Future<Output = Option<Progress>> + Send {
        std::future::ready(None)
    }
}

/// Calls a macro with all calls that have one answer: method, RPC, deadline, request and response.
#[macro_export]
macro_rules! unary_calls {
    ($each:ident) => {
        $each! {
            ensure_pool, "EnsurePool", $crate::nodes::grpc::POOL_DEADLINE, EnsurePoolRequest => EnsurePoolResponse;
            ensure_dot, "EnsureDot", $crate::nodes::grpc::DEADLINE, EnsureDotRequest => EnsureDotResponse;
            ensure_branch, "EnsureBranch", $crate::nodes::grpc::DEADLINE, EnsureBranchRequest => EnsureBranchResponse;
            commit, "Commit", $crate::nodes::grpc::DEADLINE, CommitRequest => CommitResponse;
            attach, "Attach", $crate::nodes::grpc::DEADLINE, AttachRequest => AttachResponse;
            detach, "Detach", $crate::nodes::grpc::DEADLINE, DetachRequest => DetachResponse;
            delete_commit, "DeleteCommit", $crate::nodes::grpc::DEADLINE, DeleteCommitRequest => DeleteResponse;
            delete_branch, "DeleteBranch", $crate::nodes::grpc::DEADLINE, DeleteBranchRequest => DeleteResponse;
            delete_dot, "DeleteDot", $crate::nodes::grpc::DEADLINE, DeleteDotRequest => DeleteResponse;
            describe_dot, "DescribeDot", $crate::nodes::grpc::DEADLINE, DescribeDotRequest => DescribeDotResponse;
            find_missing, "FindMissing", $crate::nodes::grpc::DEADLINE, FindMissingRequest => FindMissingResponse;
        }
    };
}

/// Answers of [`Nodes::watch`].
pub type PoolEvents = BoxStream<'static, Result<WatchEvent, NodeError>>;

/// Why a node did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {node:?}: {message}")]
pub struct NodeError {
    /// The node's name.
    pub node: String,
    /// What kind of failure.
    pub kind: NodeErrorKind,
    /// For people.
    pub message: String,
}

/// The failures of `dotmesh.node.v1`, and those of the way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeErrorKind {
    /// No csi-node runs there, or it does not answer. Whether the call had an effect is not known.
    Unreachable,
    /// No answer in time. Whether the call had an effect is not known.
    Deadline,
    /// The known pool is imported and the object is not in it.
    NotFound,
    /// Something else is there under this id.
    Conflict,
    /// The request is wrong.
    Invalid,
    /// The pool is not imported, or its devices are away.
    PoolMissing,
    /// A pool is there, but not the known one.
    PoolForeign,
    /// The pool was taken back to an earlier state.
    Rewound,
    /// The pool does not answer.
    PoolSuspended,
    /// No space.
    OutOfSpace,
    /// Mounted or opened by somebody.
    InUse,
    /// OpenZFS is missing or too old.
    ZfsUnsupported,
    /// A deletion of the object, or of what holds it, was requested already.
    Deleted,
    /// Another operation on the same object is under way.
    Busy,
    /// The node has heard of a later leader.
    Superseded,
    /// Anything else.
    Internal,
}

impl NodeErrorKind {
    /// Whether what was to be deleted is not in the pool, or is being destroyed already: it needs no tombstone.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::NotFound | Self::Deleted)
    }

    /// As in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Deadline => "deadline",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::PoolMissing => "pool_missing",
            Self::PoolForeign => "pool_foreign",
            Self::Rewound => "rewound",
            Self::PoolSuspended => "pool_suspended",
            Self::OutOfSpace => "out_of_space",
            Self::InUse => "in_use",
            Self::ZfsUnsupported => "zfs_unsupported",
            Self::Deleted => "deleted",
            Self::Busy => "busy",
            Self::Superseded => "superseded",
            Self::Internal => "internal",
        }
    }
}

impl From<Reason> for NodeErrorKind {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::NotFound => Self::NotFound,
            Reason::Conflict => Self::Conflict,
            Reason::Invalid => Self::Invalid,
            Reason::PoolMissing => Self::PoolMissing,
            Reason::PoolForeign => Self::PoolForeign,
            Reason::Rewound => Self::Rewound,
            Reason::PoolSuspended => Self::PoolSuspended,
            Reason::OutOfSpace => Self::OutOfSpace,
            Reason::InUse => Self::InUse,
            Reason::ZfsUnsupported => Self::ZfsUnsupported,
            Reason::Deleted => Self::Deleted,
            Reason::Busy => Self::Busy,
            Reason::Superseded => Self::Superseded,
            Reason::Deadline => Self::Deadline,
            Reason::Unspecified | Reason::Internal => Self::Internal,
        }
    }
}
