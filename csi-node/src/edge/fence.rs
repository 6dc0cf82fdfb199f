//! Refuses calls of an operator that no longer leads: they were sent before it was replaced and arrive late.
//!
//! The highest term is remembered for as long as this process runs. After a restart the first caller's counts, as every
//! call is safe to repeat; a new leader watches each node before it does anything else there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dotmesh_csi_proto::TERM;
use dotmesh_csi_proto::node::{Failure, Reason};
use prost::Message;
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

/// The highest term that was heard of; shared by cloning.
#[derive(Debug, Clone, Default)]
pub struct Fence(Arc<AtomicU64>);

impl Interceptor for Fence {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let term = request
            .metadata()
            .get(TERM)
            .and_then(|term| term.to_str().ok()?.parse::<u64>().ok());
        let Some(term) = term else {
            return Err(Status::invalid_argument(format!("the call carries no {TERM}")));
        };
        let highest = self.0.fetch_max(term, Ordering::SeqCst);
        if term >= highest {
            return Ok(request);
        }
        let message = format!("this call is of term {term}, and term {highest} has begun");
        tracing::warn!(message, "refused");
        let failure = Failure {
            reason: Reason::Superseded.into(),
            message: message.clone(),
        };
        Err(Status::with_details(
            Code::FailedPrecondition,
            message,
            failure.encode_to_vec().into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_ends_when_a_later_one_is_heard_of() {
        let mut fence = Fence::default();
        let mut call = |term: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert(TERM, term.parse().unwrap());
            fence.call(request).map(drop)
        };
        call("5").unwrap();
        call("5").unwrap();
        call("7").unwrap();
        let refused = Failure::decode(call("6").unwrap_err().details()).unwrap();
        assert_eq!(refused.reason(), Reason::Superseded);
        call("7").unwrap();
        assert_eq!(call("seven").unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(fence.call(Request::new(())).unwrap_err().code(), Code::InvalidArgument);
    }
}
