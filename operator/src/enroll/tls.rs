//! Connections to the enrollment service: TLS under the operator's newest certificate, for clients that have none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use crate::pki::OperatorIdentity;
use crate::pki::certificates::Certificates;

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many connections may wait to be taken over by the server.
const BACKLOG: usize = 16;

/// For ever; each connection with the certificate of its moment.
pub(super) fn incoming(
    listener: TcpListener,
    certificates: Arc<Certificates>,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let (ready, stream) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let connection = match accepted {
                Ok((connection, _)) => connection,
                Err(error) => {
                    // Out of descriptors, mostly: give others time to close theirs.
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            match server_config(&certificates) {
                Ok(config) => drop(tokio::spawn(shake_hands(connection, config, ready.clone()))),
                Err(error) => tracing::error!(error = %format!("{error:#}"), "no certificate to serve with"),
            }
        }
    });
    ReceiverStream::new(stream)
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

async fn shake_hands(
    connection: TcpStream,
    config: ServerConfig,
    ready: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(connection)).await {
        Ok(Ok(stream)) => {
            // The server has ended when nobody takes it.
            let _ = ready.send(Ok(stream)).await;
        }
        Ok(Err(error)) => tracing::info!(%error, "a connection for enrollment was refused"),
        Err(_) => tracing::info!("a connection for enrollment was refused: no handshake in time"),
    }
}
