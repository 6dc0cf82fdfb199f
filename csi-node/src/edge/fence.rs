//! Refuses calls of an operator that no longer leads: they were sent before it was replaced and arrive late.
//!
//! The highest term is remembered for as long as this process runs: a call can only be on its way to the process that was
//! there when it was sent. A new leader watches each node before it does anything else there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dotmesh_csi_proto::{CALL, TERM};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::order::Sent;
use super::status::superseded;

/// The highest term that was heard of; shared by cloning.
#[derive(Debug, Clone, Default)]
pub struct Fence(Arc<AtomicU64>);

impl Interceptor for Fence {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(Sent { term, .. }) = Sent::of(&request) else {
            let missing = format!("the call does not carry {TERM} and {CALL}, two numbers");
            return Err(Status::invalid_argument(missing));
        };
        let highest = self.0.fetch_max(term, Ordering::SeqCst);
        if term >= highest {
            return Ok(request);
        }
        let message = format!("this call is of term {term}, and term {highest} has begun");
        Err(superseded(message))
    }
}

#[cfg(test)]
mod tests {
    use dotmesh_csi_proto::node::{Failure, Reason};
    use prost::Message;
    use tonic::Code;

    use super::*;

    #[test]
    fn a_term_ends_when_a_later_one_is_heard_of() {
        let mut fence = Fence::default();
        let mut call = |term: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert(TERM, term.parse().unwrap());
            request.metadata_mut().insert(CALL, 1.into());
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
