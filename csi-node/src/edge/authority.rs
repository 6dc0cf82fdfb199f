//! A filter for the registration socket: the kubelet's gRPC client names the socket's path, percent-encoded, as HTTP/2
//! `:authority`, which is no authority (RFC 3986 §3.2.2); the HTTP/2 server here refuses such requests and has no switch
//! for it. [`LocalAuthority`] makes it `localhost` on the way in and changes nothing else.
//!
//! Frames after RFC 9113 §4.1, header blocks after RFC 7541 §6. The new value is never longer than what a path takes, so
//! the peer's picture of the dynamic table stays a subset of the server's, and indices mean the same on both sides.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What a connection begins with (RFC 9113 §3.4).
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// Largest frame before a SETTINGS frame allows more; the kubelet's requests are a few hundred bytes.
const MAX_FRAME: usize = 1 << 20;
const HEADERS: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in the static table.
const AUTHORITY_INDEX: usize = 1;
/// A string literal without Huffman code: its length, then the text.
const LOCALHOST: &[u8] = b"\x09localhost";

/// A connection whose requests all have the authority `localhost`.
#[derive(Debug)]
pub(super) struct LocalAuthority<S> {
    inner: S,
    rewriter: Rewriter,
    /// Rewritten and not yet read.
    ready: Vec<u8>,
}

impl<S> LocalAuthority<S> {
    /// Over a connection that was just accepted.
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            rewriter: Rewriter::default(),
            ready: Vec::new(),
        }
    }
}

impl<S> Connected for LocalAuthority<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl<S: AsyncRead + Unpin> AsyncRead for LocalAuthority<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ready.is_empty() {
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ready = self.rewriter.feed(read.filled())?;
        }
        let count = self.ready.len().min(into.remaining());
        into.put_slice(&self.ready[..count]);
        self.ready.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LocalAuthority<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What came in and is not a whole frame yet.
#[derive(Debug, Default)]
struct Rewriter {
    pending: Vec<u8>,
    begun: bool,
}

impl Rewriter {
    /// Takes bytes in and gives whole frames out.
    fn feed(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.pending.extend_from_slice(bytes);
        let mut out = Vec::new();
        if !self.begun {
            if self.pending.len() < PREFACE {
                return Ok(out);
            }
            out.extend(self.pending.drain(..PREFACE));
            self.begun = true;
        }
        while let Some(length) = frame_length(&self.pending) {
            if length > MAX_FRAME {
                return Err(io::Error::other("an HTTP/2 frame is too large"));
            }
            if self.pending.len() < FRAME_HEADER + length {
                break;
            }
            let frame: Vec<u8> = self.pending.drain(..FRAME_HEADER + length).collect();
            out.extend(rewrite_frame(frame));
        }
        Ok(out)
    }
}

/// Length of the next frame's payload, once its header is there.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [a, b, c, _, _, _, _, _, _, ..] => Some(usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)),
        _ => None,
    }
}

/// A frame with its authority rewritten. What is not one whole, plain header block stays as it is.
fn rewrite_frame(frame: Vec<u8>) -> Vec<u8> {
    let (header, block) = frame.split_at(FRAME_HEADER);
    let (kind, flags) = (header[3], header[4]);
    if kind != HEADERS || flags & END_HEADERS == 0 || flags & (PADDED | PRIORITY) != 0 {
        return frame;
    }
    let Some(block) = rewrite_block(block) else {
        return frame;
    };
    let Ok(length) = u32::try_from(block.len()) else {
        return frame;
    };
    let mut out = length.to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&header[3..]);
    out.extend(block);
    out
}

/// A header block with its authority rewritten; nothing, if it is not understood.
fn rewrite_block(block: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(block.len());
    let mut rest = block;
    while let Some(first) = rest.first() {
        let (prefix, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let (index, mut used) = integer(rest, prefix)?;
        if literal {
            if index == 0 {
                used += string(rest.get(used..)?)?;
            }
            let value = string(rest.get(used..)?)?;
            out.extend_from_slice(&rest[..used]);
            if index == AUTHORITY_INDEX {
                out.extend_from_slice(LOCALHOST);
            } else {
                out.extend_from_slice(&rest[used..used + value]);
            }
            used += value;
        } else {
            out.extend_from_slice(&rest[..used]);
        }
        rest = &rest[used..];
    }
    Some(out)
}

/// An integer with a prefix of so many bits (RFC 7541 §5.1), and how many bytes it takes.
fn integer(bytes: &[u8], prefix: u32) -> Option<(usize, usize)> {
    let mask = (1_usize << prefix) - 1;
    let start = usize::from(*bytes.first()?) & mask;
    if start < mask {
        return Some((start, 1));
    }
    let mut value = start;
    for (at, byte) in bytes.iter().enumerate().skip(1).take(4) {
        value += usize::from(byte & 0x7f) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

/// How many bytes a string literal takes, with its length (RFC 7541 §5.2).
fn string(bytes: &[u8]) -> Option<usize> {
    let (length, used) = integer(bytes, 7)?;
    let all = used + length;
    (all <= bytes.len()).then_some(all)
}

#[cfg(test)]
mod tests;
