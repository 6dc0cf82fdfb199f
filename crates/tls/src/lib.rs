//! Connections of clients over TLS, each under the configuration of its moment: certificates are replaced without a
//! restart, and connections that are open go on.
//!
//! Knows nothing of who may connect: that is in the configuration.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

pub use tokio_rustls::server::TlsStream;

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many connections may wait to be taken over by the server.
const BACKLOG: usize = 16;

/// Connections whose handshake succeeded, for ever. Nothing is accepted until `configs` comes to the source of
/// configurations, and never when it comes to none. The source is asked once for each connection; one for which it has
/// none is closed.
pub fn incoming<C>(
    listener: TcpListener,
    configs: impl Future<Output = Option<C>> + Send + 'static,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>>
where
    C: FnMut() -> Option<Arc<ServerConfig>> + Send + 'static,
{
    let (ready, stream) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        let Some(mut config) = configs.await else { return };
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
            if let Some(config) = config() {
                tokio::spawn(shake_hands(connection, config, ready.clone()));
            }
        }
    });
    ReceiverStream::new(stream)
}

async fn shake_hands(
    connection: TcpStream,
    config: Arc<ServerConfig>,
    ready: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
) {
    let acceptor = TlsAcceptor::from(config);
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(connection)).await {
        Ok(Ok(stream)) => {
            // The server has ended when nobody takes it.
            let _ = ready.send(Ok(stream)).await;
        }
        Ok(Err(error)) => tracing::info!(%error, "a connection was refused"),
        Err(_) => tracing::info!("a connection was refused: no handshake in time"),
    }
}
