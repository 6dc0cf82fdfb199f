//! What others call: CSI for the kubelet and for working alone, `dotmesh.node.v1` for the operator. Thin: one typed
//! parse of the request, one call of [`crate::ops`], one answer.

pub mod csi;
pub mod fence;
pub mod node_v1;
pub mod order;
pub mod registration;
pub mod socket;
pub mod tls;

mod status;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::time::Instant;

use tonic::Status;
use tracing::Instrument;

use crate::metrics::{RpcLabels, Rpcs};
use crate::ops::{self, Error};

/// Runs the operations that calls ask for, and counts them.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    rpcs: Rpcs,
    /// Whether a status carries a `Failure` of `dotmesh.node.v1`.
    failures: bool,
}

impl Calls {
    /// Calls of the operator, counted in these metrics.
    #[must_use]
    pub fn of_operator(rpcs: Rpcs) -> Self {
        Self { rpcs, failures: true }
    }

    /// Calls of CSI, counted in these metrics.
    #[must_use]
    pub fn of_csi(rpcs: Rpcs) -> Self {
        Self { rpcs, failures: false }
    }

    /// Runs an operation to its end, whatever becomes of the connection.
    async fn run<T, F>(&self, rpc: &'static str, operation: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let started = Instant::now();
        let span = tracing::info_span!("rpc", rpc);
        let result = ops::run(rpc, operation).instrument(span.clone()).await;
        let took = started.elapsed();
        let outcome = result.as_ref().map_or_else(Error::category, |_| "Ok");
        self.rpcs.record(RpcLabels { rpc, outcome }, took);
        span.in_scope(|| match &result {
            Ok(_) => tracing::debug!(?took, "done"),
            Err(error) => tracing::warn!(?took, category = error.category(), %error, "failed"),
        });
        result.map_err(|error| {
            if self.failures {
                Status::from(error)
            } else {
                status::code_only(&error)
            }
        })
    }
}

/// The field of a request that must be what it says.
fn parse<T>(field: &str, text: &str) -> Result<T, Status>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    text.parse()
        .map_err(|error| Status::from(Error::Invalid(format!("{field}: {error}"))))
}

fn invalid(text: impl Into<String>) -> Status {
    Status::from(Error::Invalid(text.into()))
}
