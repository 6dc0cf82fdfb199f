//! Failures of operations as gRPC status: for CSI a code and a text; for the operator also a `Failure` of
//! `dotmesh.node.v1` in the details (its prost bytes alone).
//!
//! CSI's callers are written in Go, whose gRPC takes details for a `google.rpc.Status` and turns a status whose details
//! are anything else into Internal (seen): so they get none.

use dotmesh_csi_proto::node::{Failure, Reason};
use prost::Message;
use tonic::{Code, Status};

use crate::ops::Error;

const fn code_and_reason(error: &Error) -> (Code, Reason) {
    match error {
        Error::NotFound(_) => (Code::NotFound, Reason::NotFound),
        Error::Conflict(_) => (Code::AlreadyExists, Reason::Conflict),
        Error::Invalid(_) => (Code::InvalidArgument, Reason::Invalid),
        Error::OutOfRange(_) => (Code::OutOfRange, Reason::Invalid),
        Error::PoolMissing(_) => (Code::FailedPrecondition, Reason::PoolMissing),
        Error::PoolForeign(_) => (Code::FailedPrecondition, Reason::PoolForeign),
        Error::PoolSuspended(_) => (Code::FailedPrecondition, Reason::PoolSuspended),
        Error::Rewound(_) => (Code::FailedPrecondition, Reason::Rewound),
        Error::OutOfSpace(_) => (Code::ResourceExhausted, Reason::OutOfSpace),
        Error::InUse(_) => (Code::FailedPrecondition, Reason::InUse),
        Error::ZfsUnsupported(_) => (Code::FailedPrecondition, Reason::ZfsUnsupported),
        Error::Busy(_) => (Code::Aborted, Reason::Busy),
        Error::Deleted(_) => (Code::Aborted, Reason::Deleted),
        Error::Deadline(_) => (Code::DeadlineExceeded, Reason::Deadline),
        Error::Internal(_) => (Code::Internal, Reason::Internal),
    }
}

/// The status for CSI.
pub(super) fn code_only(error: &Error) -> Status {
    Status::new(code_and_reason(error).0, error.to_string())
}

impl From<Error> for Status {
    /// The status for the operator.
    fn from(error: Error) -> Self {
        let (code, reason) = code_and_reason(&error);
        let failure = Failure {
            reason: reason.into(),
            message: error.to_string(),
        };
        Self::with_details(code, error.to_string(), failure.encode_to_vec().into())
    }
}

/// A call that came too late, for the operator.
pub(super) fn superseded(message: String) -> Status {
    tracing::warn!(message, "refused");
    let failure = Failure {
        reason: Reason::Superseded.into(),
        message: message.clone(),
    };
    Status::with_details(Code::FailedPrecondition, message, failure.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_details_are_a_failure() {
        let status = Status::from(Error::PoolForeign("another pool".into()));
        let failure = Failure::decode(status.details()).unwrap();
        assert_eq!(failure.reason(), Reason::PoolForeign);
        assert_eq!(
            (failure.message.as_str(), status.message()),
            ("another pool", "another pool")
        );
        assert_eq!(status.code(), Code::FailedPrecondition);
    }

    #[test]
    fn csi_gets_no_details() {
        let status = code_only(&Error::NotFound("gone".into()));
        assert_eq!((status.code(), status.message()), (Code::NotFound, "gone"));
        assert!(status.details().is_empty());
    }
}
