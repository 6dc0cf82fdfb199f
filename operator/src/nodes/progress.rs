//! The one line that an importer answers a connection with.

use std::net::SocketAddr;
use std::time::Duration;

use dotmesh_model::import::{PROGRESS_MAX, Progress};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks. Whatever fails, a network that lets nobody through among it, means that nothing is said.
pub async fn ask(importer: SocketAddr) -> Option<Progress> {
    let asked = async {
        let stream = TcpStream::connect(importer).await.ok()?;
        let mut line = Vec::new();
        let most = u64::try_from(PROGRESS_MAX).unwrap_or(u64::MAX);
        stream.take(most).read_to_end(&mut line).await.ok()?;
        serde_json::from_slice(&line).ok()
    };
    timeout(PATIENCE, asked).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn told(answer: &'static [u8]) -> Option<Progress> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The one who asks may leave before the end.
            drop(stream.write_all(answer).await);
        });
        let told = ask(address).await;
        server.await.unwrap();
        told
    }

    #[tokio::test]
    async fn a_line_is_understood_and_anything_else_is_nothing() {
        let good = b"{\"bytesCopied\":1,\"bytesTotal\":2,\"files\":3,\"skipped\":0}\n";
        let progress = told(good).await.unwrap();
        assert_eq!((progress.bytes_copied, progress.bytes_total), (1, 2));
        assert_eq!(told(b"").await, None);
        assert_eq!(told(b"HTTP/1.1 200 OK").await, None);
        assert_eq!(told(&[b'9'; 1 << 20]).await, None);
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(ask(closed).await, None);
    }
}
