//! Mutual TLS for `dotmesh.node.v1`: connections are accepted with the newest certificate, and only from a client that
//! proves to be the operator.
//!
//! Certificates are replaced without a restart: each new connection takes the configuration of its moment, those that
//! are open go on.

use std::io;
use std::sync::Arc;

use dotmesh_tls::TlsStream;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Interceptor;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Status};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The name in the operator's certificate.
pub const OPERATOR_IDENTITY: &str = "operator.dotmesh.io";

/// A certificate that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority is no certificate, or clients of it cannot be verified.
    #[error("the authority cannot be used: {0}")]
    Authority(String),
    /// Certificate and key do not fit together or are of an unknown kind.
    #[error("the certificate cannot be used")]
    Certificate(#[from] rustls::Error),
}

/// What to serve with: the chain (leaf first), its key, and the authority that signs the operator's certificate.
///
/// # Errors
/// When rustls cannot use them.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: Vec<CertificateDer<'static>>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in authority {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Authority(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| TlsError::Authority(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Connections of verified clients, for ever. Until there is a first certificate, none.
pub fn incoming(
    listener: TcpListener,
    mut configs: watch::Receiver<Option<Arc<ServerConfig>>>,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    dotmesh_tls::incoming(listener, async move {
        configs.wait_for(Option::is_some).await.ok()?;
        Some(move || configs.borrow().clone())
    })
}

/// Lets in only calls of the operator: the verified certificate of the connection must carry its name.
#[derive(Debug, Clone, Copy)]
pub struct OnlyOperator;

impl Interceptor for OnlyOperator {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let refused = || Status::permission_denied("only the operator may call this");
        let info = request
            .extensions()
            .get::<TlsConnectInfo<TcpConnectInfo>>()
            .ok_or_else(refused)?;
        let certificates = info.peer_certs().ok_or_else(refused)?;
        let leaf = certificates.first().ok_or_else(refused)?;
        if names_operator(leaf) {
            Ok(request)
        } else {
            Err(refused())
        }
    }
}

fn names_operator(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    let operator = GeneralName::DNSName(OPERATOR_IDENTITY);
    names.value.general_names.contains(&operator)
}
