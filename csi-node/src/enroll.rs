//! The node's certificate: asked of the operator against the token of this pod, and asked again in time.
//!
//! The key never leaves this process and is new each time. The operator decides for which node the certificate is; what
//! the request names is ignored. Serving pods does not depend on any of this.

mod keep;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dotmesh_csi_proto::node::enrollment_client::EnrollmentClient;
use dotmesh_csi_proto::node::{EnrollRequest, EnrollResponse};
use dotmesh_telemetry::Readiness;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tracing::Instrument;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::edge::tls::{TlsError, server_config};
use crate::operator::{Operator, OperatorError};
use keep::{Issued, Pace};

pub use keep::Clock;

/// Longest that one attempt may take, whatever it hangs on.
const DEADLINE: Duration = Duration::from_secs(45);

/// Where and with what to ask.
#[derive(Debug, Clone)]
pub struct Enrollment {
    /// This node's name.
    pub node: String,
    /// Whom to ask.
    pub operator: Operator,
}

/// Why there is no certificate yet.
#[derive(Debug, thiserror::Error)]
enum EnrollError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("making a key")]
    Key(#[from] rcgen::Error),
    #[error("the operator refused: {}", .0.message())]
    Refused(tonic::Status),
    #[error("what the operator sent is no certificate: {0}")]
    Malformed(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("nothing came of it within {} s", DEADLINE.as_secs())]
    Deadline,
}

/// Keeps a valid certificate for ever: shows each new one to those who serve with it.
pub async fn keep_enrolled(
    enrollment: Enrollment,
    configs: watch::Sender<Option<Arc<ServerConfig>>>,
    readiness: Readiness,
    clock: Clock,
) {
    let pace = Pace {
        clock: Arc::clone(&clock),
        chance: fastrand::f64,
    };
    let ask = || async {
        let asked = tokio::time::timeout(DEADLINE, enroll(&enrollment, &clock)).await;
        asked.unwrap_or(Err(EnrollError::Deadline))
    };
    let span = tracing::info_span!("enrollment", operator = enrollment.operator.address);
    keep::keep(ask, &configs, &readiness, &pace).instrument(span).await;
}

/// One certificate.
async fn enroll(enrollment: &Enrollment, clock: &Clock) -> Result<Issued, EnrollError> {
    let token = enrollment.operator.token().await?;
    let key = KeyPair::generate()?;
    let csr = CertificateParams::new(vec![enrollment.node.clone()])?.serialize_request(&key)?;
    let channel = enrollment.operator.connect().await?;
    let request = EnrollRequest {
        csr_der: csr.der().to_vec(),
        token,
    };
    let response = EnrollmentClient::new(channel)
        .enroll(request)
        .await
        .map_err(EnrollError::Refused)?
        .into_inner();
    parse_response(&response, &key, clock())
}

fn parse_response(response: &EnrollResponse, key: &KeyPair, now: SystemTime) -> Result<Issued, EnrollError> {
    let malformed = |error: &dyn std::fmt::Display| EnrollError::Malformed(error.to_string());
    let pem = |text: &str| {
        let certificates: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        certificates.map_err(|error| malformed(&error))
    };
    let chain = pem(&response.certificate_chain_pem)?;
    let authority = pem(&response.authority_pem)?;
    let leaf = chain.first().ok_or_else(|| malformed(&"it is empty"))?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| malformed(&error))?;
    let until = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    let until = UNIX_EPOCH + Duration::from_secs(until);
    if until <= now {
        return Err(malformed(&"it has expired already; is the clock right?"));
    }
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| malformed(&error))?;
    let config = server_config(chain, key, authority)?;
    Ok(Issued { config, until })
}

#[cfg(test)]
mod tests;
