//! The node's certificate: asked of the operator against the token of this pod, and asked again in time.
//!
//! The key never leaves this process and is new each time. The operator decides for which node the certificate is; what
//! the request names is ignored. Serving pods does not depend on any of this.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dotmesh_csi_proto::node::enrollment_client::EnrollmentClient;
use dotmesh_csi_proto::node::{EnrollRequest, EnrollResponse};
use dotmesh_telemetry::{Chain, Readiness};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::edge::tls::{TlsError, server_config};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);
/// A certificate is never asked for more often than this.
const LEAST_LIFE: Duration = Duration::from_secs(30);

/// Where and with what to ask.
#[derive(Debug, Clone)]
pub struct Enrollment {
    /// This node's name.
    pub node: String,
    /// Host and port of the operator.
    pub operator: String,
    /// The name in the operator's certificate.
    pub server_name: String,
    /// PEM of the authority that signs the operator's certificate.
    pub ca_file: PathBuf,
    /// The pod's token, written anew by the kubelet now and then.
    pub token_file: PathBuf,
}

/// Why there is no certificate yet.
#[derive(Debug, thiserror::Error)]
enum EnrollError {
    #[error("reading {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("making a key")]
    Key(#[from] rcgen::Error),
    #[error("connecting to the operator")]
    Connect(#[from] tonic::transport::Error),
    #[error("the operator refused: {}", .0.message())]
    Refused(tonic::Status),
    #[error("what the operator sent is no certificate: {0}")]
    Malformed(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Keeps a valid certificate for ever: shows each new one to those who serve with it.
pub async fn keep_enrolled(
    enrollment: Enrollment,
    configs: watch::Sender<Option<Arc<ServerConfig>>>,
    readiness: Readiness,
) {
    const PART: &str = "certificate";
    readiness.waiting(PART, "asking the operator for a certificate");
    let mut retry = FIRST_RETRY;
    loop {
        match enroll(&enrollment).await {
            Ok((config, life)) => {
                configs.send_replace(Some(Arc::new(config)));
                readiness.ready(PART);
                let next = (life * 2 / 3).max(LEAST_LIFE);
                tracing::info!(?life, ?next, "the node has a certificate");
                retry = FIRST_RETRY;
                tokio::time::sleep(next).await;
            }
            Err(error) => {
                tracing::warn!(operator = enrollment.operator, ?retry, error = %Chain(&error), "no certificate yet");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
    }
}

async fn read(path: &PathBuf) -> Result<String, EnrollError> {
    tokio::fs::read_to_string(path)
        .await
        .map_err(|source| EnrollError::File {
            path: path.clone(),
            source,
        })
}

/// One certificate, and how long it lives from now.
async fn enroll(enrollment: &Enrollment) -> Result<(ServerConfig, Duration), EnrollError> {
    let authority = read(&enrollment.ca_file).await?;
    let token = read(&enrollment.token_file).await?.trim().to_owned();
    let key = KeyPair::generate()?;
    let csr = CertificateParams::new(vec![enrollment.node.clone()])?.serialize_request(&key)?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .domain_name(&enrollment.server_name);
    let channel = Endpoint::from_shared(format!("https://{}", enrollment.operator))?
        .tls_config(tls)?
        .connect_timeout(TIMEOUT)
        .timeout(TIMEOUT)
        .connect()
        .await?;
    let request = EnrollRequest {
        csr_der: csr.der().to_vec(),
        token,
    };
    let response = EnrollmentClient::new(channel)
        .enroll(request)
        .await
        .map_err(EnrollError::Refused)?
        .into_inner();
    parse_response(&response, &key)
}

fn parse_response(response: &EnrollResponse, key: &KeyPair) -> Result<(ServerConfig, Duration), EnrollError> {
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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let life = Duration::from_secs(until).saturating_sub(now);
    if life.is_zero() {
        return Err(malformed(&"it has expired already; is the clock right?"));
    }
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| malformed(&error))?;
    Ok((server_config(chain, key, authority)?, life))
}

#[cfg(test)]
mod tests;
