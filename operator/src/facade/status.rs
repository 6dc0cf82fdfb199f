//! Errors as gRPC statuses, one exhaustive conversion per call.
//!
//! external-provisioner takes Unavailable, Aborted, Cancelled and DeadlineExceeded for "still running" and keeps the
//! claim on its node; ResourceExhausted lets the scheduler choose another one; everything else ends the attempt.
//! external-resizer repeats all that may pass, ResourceExhausted too, and takes OutOfRange, NotFound and InvalidArgument
//! for "never": it asks rarely then, and people can ask for less. FailedPrecondition would mean "not while it is in use".

use tonic::{Code, Status};

use super::create::CreateError;
use super::delete::DeleteError;
use super::expand::ExpandError;
use super::expand::plan::Refusal as ExpandRefusal;
use super::group::GroupError;
use super::group::plan::Refusal as GroupRefusal;
use super::modify::{ModifyError, Refusal as ModifyRefusal};
use super::plan::Refusal;
use super::request::RequestError;
use super::snapshot::SnapshotError;
use super::snapshot::plan::Refusal as SnapshotRefusal;
use crate::api::ApiErrorKind;
use crate::pool::room::NoRoom;

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Self {
        let code = match &error {
            RequestError::LimitTooSmall(_) => Code::OutOfRange,
            RequestError::Name(_)
            | RequestError::MissingParameter(_)
            | RequestError::UnknownParameter(_)
            | RequestError::PoolClass(_)
            | RequestError::Tuning(_)
            | RequestError::UnknownAttribute(_)
            | RequestError::NoCapability
            | RequestError::TwoFormats(..)
            | RequestError::FsType(_)
            | RequestError::MultiNode
            | RequestError::ContentSource
            | RequestError::NoDataSource
            | RequestError::Capacity
            | RequestError::NoVolumeId
            | RequestError::SnapshotName(_)
            | RequestError::NoSnapshotId
            | RequestError::TwiceTheSame(_)
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
                Refusal::ForeignDot(_) | Refusal::OtherSize(_) | Refusal::OtherFormat(..) => Code::AlreadyExists,
                Refusal::OtherNode(_)
                | Refusal::OtherClass(_)
                | Refusal::PoolUnavailable { .. }
                | Refusal::LargerThanPool { .. }
                | Refusal::OutOfSpace { .. } => Code::ResourceExhausted,
            },
            CreateError::ServedElsewhere => Code::Aborted,
            CreateError::NoSource(_) => Code::NotFound,
            CreateError::Deadline(..) => Code::DeadlineExceeded,
            CreateError::Api(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ExpandError> for Status {
    fn from(error: ExpandError) -> Self {
        let code = match error {
            ExpandError::Request(request) => return request.into(),
            ExpandError::UnknownHandle(_) => Code::NotFound,
            ExpandError::Refused(ref refusal) => match refusal {
                ExpandRefusal::NotFound(_) => Code::NotFound,
                ExpandRefusal::AboveLimit { .. } => Code::OutOfRange,
                ExpandRefusal::Deleting(_) | ExpandRefusal::Superseded => Code::Aborted,
                ExpandRefusal::NoBranch(_) => Code::Unavailable,
                ExpandRefusal::NoRoom { why, .. } => match why {
                    NoRoom::Unknown(_) => Code::Unavailable,
                    NoRoom::LargerThanPool { .. } => Code::OutOfRange,
                    NoRoom::Low { .. } => Code::ResourceExhausted,
                },
                ExpandRefusal::NotReady { is_full: true, .. } => Code::ResourceExhausted,
                ExpandRefusal::NotReady { is_full: false, .. } => Code::Unavailable,
            },
            ExpandError::Deadline(_) => Code::DeadlineExceeded,
            ExpandError::Api(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ModifyError> for Status {
    fn from(error: ModifyError) -> Self {
        let code = match error {
            ModifyError::Request(request) => return request.into(),
            ModifyError::UnknownHandle(_) => Code::NotFound,
            ModifyError::Refused(ref refusal) => match refusal {
                ModifyRefusal::NotFound(_) => Code::NotFound,
                ModifyRefusal::Fixed | ModifyRefusal::OtherFormat { .. } | ModifyRefusal::Listed { .. } => {
                    Code::InvalidArgument
                }
                ModifyRefusal::Going(_) | ModifyRefusal::Superseded => Code::Aborted,
            },
            ModifyError::Deadline(_) => Code::DeadlineExceeded,
            ModifyError::Api(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SnapshotError> for Status {
    fn from(error: SnapshotError) -> Self {
        let code = match error {
            SnapshotError::Request(request) => return request.into(),
            SnapshotError::UnknownHandle(_) => Code::NotFound,
            SnapshotError::Refused(ref refusal) => match refusal {
                SnapshotRefusal::NotFound(_) => Code::NotFound,
                SnapshotRefusal::OtherNamespace { .. } => Code::FailedPrecondition,
                SnapshotRefusal::Taken(_) => Code::AlreadyExists,
                SnapshotRefusal::Going { .. } => Code::Aborted,
                SnapshotRefusal::NoBranch(_) | SnapshotRefusal::NotReady { is_full: false, .. } => Code::Unavailable,
                SnapshotRefusal::NotReady { is_full: true, .. } => Code::ResourceExhausted,
            },
            // CSI, DeleteSnapshot.
            SnapshotError::Member(_) => Code::InvalidArgument,
            SnapshotError::Deadline(_) => Code::DeadlineExceeded,
            SnapshotError::Api(_) => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

impl From<GroupError> for Status {
    fn from(error: GroupError) -> Self {
        let code = match error {
            GroupError::Request(request) => return request.into(),
            GroupError::UnknownHandle(_) | GroupError::NotFound(_) => Code::NotFound,
            GroupError::Refused(ref refusal) => match refusal {
                GroupRefusal::NotFound(_) => Code::NotFound,
                GroupRefusal::OtherNamespace { .. }
                | GroupRefusal::Apart { .. }
                | GroupRefusal::TooMany(_)
                | GroupRefusal::NotWhole(_) => Code::FailedPrecondition,
                GroupRefusal::Taken(_) => Code::AlreadyExists,
                GroupRefusal::Going { .. } => Code::Aborted,
                GroupRefusal::NoBranch(_) | GroupRefusal::NotReady { is_full: false, .. } => Code::Unavailable,
                GroupRefusal::NotReady { is_full: true, .. } => Code::ResourceExhausted,
            },
            GroupError::OtherMembers { .. } => Code::InvalidArgument,
            GroupError::Deadline(_) => Code::DeadlineExceeded,
            GroupError::Api(_) => Code::Unavailable,
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
