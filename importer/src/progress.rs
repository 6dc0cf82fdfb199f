//! How far the copy is, told to whoever connects: numbers, no names.

use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dotmesh_model::import::Progress;

/// What is counted, by one, and read by others.
#[derive(Debug, Default)]
pub struct Counters {
    copied: AtomicU64,
    total: AtomicU64,
    files: AtomicU64,
    skipped: AtomicU64,
}

/// How long a caller who does not read may keep others waiting.
const PATIENCE: Duration = Duration::from_secs(1);

impl Counters {
    /// Bytes are in the target.
    pub fn copied(&self, bytes: u64) {
        self.copied.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All bytes are counted.
    pub fn total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// One more entry is in the target.
    pub fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// One more thing cannot be kept.
    pub fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Progress {
        Progress {
            bytes_copied: self.copied.load(Ordering::Relaxed),
            bytes_total: self.total.load(Ordering::Relaxed),
            files: self.files.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
        }
    }
}

/// Listens on a port of every address, of both families where there are both.
///
/// # Errors
/// When the port cannot be had.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))))
}

/// Answers every connection with a line, for ever.
pub fn answer(listener: &TcpListener, counters: &Arc<Counters>) {
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else { continue };
        let Ok(mut line) = serde_json::to_vec(&counters.now()) else {
            continue;
        };
        line.push(b'\n');
        let told = connection
            .set_write_timeout(Some(PATIENCE))
            .and_then(|()| connection.write_all(&line));
        // Whoever asked and left has no answer; nobody else misses it.
        drop(told);
    }
}
