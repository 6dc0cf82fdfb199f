//! Errors as gRPC statuses. The kubelet asks again whatever the code is; pods' events show the text.

use tonic::{Code, Status};

use super::LendError;
use super::plan::Refusal;

impl From<LendError> for Status {
    fn from(error: LendError) -> Self {
        let code = match error {
            LendError::Caller(error) => return error.into(),
            LendError::Refused(ref refusal) => match refusal {
                Refusal::Request(_) | Refusal::Attribute(_) | Refusal::NoCommit | Refusal::Volume { .. } => {
                    Code::InvalidArgument
                }
                Refusal::NotItsPod(_) => Code::PermissionDenied,
                Refusal::CommitNotFound(_) => Code::NotFound,
                Refusal::NotReady { .. } => Code::Unavailable,
                Refusal::Elsewhere { .. } | Refusal::Block { .. } | Refusal::Taken(_) => Code::FailedPrecondition,
            },
            LendError::Deadline(..) => Code::DeadlineExceeded,
            LendError::Api(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}
