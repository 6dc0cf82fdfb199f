//! Connections to the enrollment service: TLS under the operator's newest certificate, for clients that have none.

use std::io;
use std::sync::Arc;

use dotmesh_tls::TlsStream;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::ReceiverStream;

use crate::pki::OperatorIdentity;
use crate::pki::certificates::Certificates;

/// For ever; each connection with the certificate of its moment.
pub(super) fn incoming(
    listener: TcpListener,
    certificates: Arc<Certificates>,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let config = move || {
        server_config(&certificates)
            .inspect_err(|error| tracing::error!(error = %format!("{error:#}"), "no certificate to serve with"))
            .map(Arc::new)
            .ok()
    };
    dotmesh_tls::incoming(listener, std::future::ready(Some(config)))
}

fn server_config(certificates: &Certificates) -> anyhow::Result<ServerConfig> {
    let own = certificates.own()?;
    let OperatorIdentity {
        certificate_pem,
        key_pem,
    } = &*own;
    let chain = vec![CertificateDer::from_pem_slice(certificate_pem.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
