//! Errors as gRPC statuses, one exhaustive conversion per call.
//!
//! external-provisioner takes Unavailable, Aborted, Cancelled and DeadlineExceeded for "still running" and keeps the
//! claim on its node; ResourceExhausted lets the scheduler choose another one; everything else ends the attempt.

use tonic::{Code, Status};

use super::create::CreateError;
use super::delete::DeleteError;
use super::plan::Refusal;
use super::request::RequestError;
use crate::api::ApiErrorKind;

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        let code = match &error {
            RequestError::LimitTooSmall => Code::OutOfRange,
            RequestError::Name(_)
            | RequestError::MissingParameter(_)
            | RequestError::UnknownParameter(_)
            | RequestError::PoolClass(_)
            | RequestError::NoCapability
            | RequestError::Block
            | RequestError::FsType(_)
            | RequestError::MultiNode
            | RequestError::ContentSource
            | RequestError::Capacity
            | RequestError::NoTopology => Code::InvalidArgument,
        };
        Self::new(code, error.to_string())
    }
}

impl From<CreateError> for Status {
    fn from(error: CreateError) -> Self {
        let code = match error {
            CreateError::Request(request) => return request.into(),
            CreateError::Refused(ref refusal) => match refusal {
                Refusal::ClaimGone => Code::NotFound,
                Refusal::ForeignDot(_) | Refusal::OtherSize(_) => Code::AlreadyExists,
                Refusal::OtherNode(_)
                | Refusal::OtherClass(_)
                | Refusal::PoolUnavailable { .. }
                | Refusal::LargerThanPool { .. }
                | Refusal::OutOfSpace { .. } => Code::ResourceExhausted,
            },
            CreateError::ServedElsewhere => Code::Aborted,
            CreateError::Deadline(..) => Code::DeadlineExceeded,
            CreateError::Api(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<DeleteError> for Status {
    fn from(error: DeleteError) -> Self {
        let code = match &error {
            DeleteError::Deadline(_) => Code::DeadlineExceeded,
            DeleteError::Api(error) => match error.kind {
                ApiErrorKind::Conflict => Code::Aborted,
                ApiErrorKind::AlreadyExists
                | ApiErrorKind::NotFound
                | ApiErrorKind::Invalid
                | ApiErrorKind::Forbidden
                | ApiErrorKind::Unavailable => Code::Unavailable,
            },
        };
        Self::new(code, error.to_string())
    }
}
