//! The way to the operator: where it is, how it is known, and the token by which it knows this node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// Longest that connecting may take, and the answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where and with what to ask.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Host and port.
    pub address: String,
    /// The name in its certificate.
    pub server_name: String,
    /// PEM of the authority that signs its certificate.
    pub ca_file: PathBuf,
    /// The pod's token, written anew by the kubelet now and then.
    pub token_file: PathBuf,
}

/// Why it cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// What is needed for it is not there.
    #[error("reading {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It does not answer, or is not the operator.
    #[error("connecting to the operator")]
    Connect(#[from] tonic::transport::Error),
}

async fn read(path: &Path) -> Result<String, OperatorError> {
    let read = tokio::fs::read_to_string(path).await;
    read.map_err(|source| OperatorError::File {
        path: path.to_owned(),
        source,
    })
}

impl Operator {
    /// A connection of its own, to the operator alone.
    ///
    /// # Errors
    /// When the authority cannot be read, or nobody answers who has a certificate of it.
    pub async fn connect(&self) -> Result<Channel, OperatorError> {
        let authority = read(&self.ca_file).await?;
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(authority))
            .domain_name(&self.server_name);
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address))?;
        let endpoint = endpoint.tls_config(tls)?.connect_timeout(TIMEOUT).timeout(TIMEOUT);
        Ok(endpoint.connect().await?)
    }

    /// The token, as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn token(&self) -> Result<String, OperatorError> {
        Ok(read(&self.token_file).await?.trim().to_owned())
    }
}
