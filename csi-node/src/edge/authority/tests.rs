//! Bytes as the kubelet sends them, against the server that is to answer.

use dotmesh_csi_proto::registration::registration_server::{Registration, RegistrationServer};
use dotmesh_csi_proto::registration::{InfoRequest, PluginInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::*;

/// `:method: POST`, `:scheme: http`, then literals: path, authority, content type, te.
fn block(authority: &[u8]) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (index, value) in [
        (0x44, &b"/pluginregistration.Registration/GetInfo"[..]),
        (0x41, authority),
        (0x5f, b"application/grpc"),
    ] {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value);
    }
    block.extend(b"\x40\x02te\x08trailers");
    block
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend(payload);
    frame
}

fn call(authority: &[u8]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(0x4, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &block(authority)));
    bytes.extend(frame(0x0, 0x1, 1, &[0; 5]));
    bytes
}

const PATH: &[u8] = b"%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fcsi.dotmesh.io-reg.sock";

#[test]
fn only_the_authority_changes_however_the_bytes_arrive() {
    let (sent, wanted) = (call(PATH), call(b"localhost"));
    for size in [1, 2, 7, 64, sent.len()] {
        let mut rewriter = Rewriter::default();
        let got: Vec<u8> = sent
            .chunks(size)
            .flat_map(|chunk| rewriter.feed(chunk).unwrap())
            .collect();
        assert_eq!(got, wanted, "{size}");
    }
}

#[test]
fn what_is_not_understood_stays_as_it_is() {
    let padded = frame(HEADERS, END_HEADERS | PADDED, 1, &block(PATH));
    let cut = frame(HEADERS, END_HEADERS, 1, b"\x41\x20short");
    let endless = frame(HEADERS, END_HEADERS, 1, b"\x7f\xff\xff\xff\xff\xff\xff");
    for bytes in [padded, cut, endless, frame(HEADERS, END_HEADERS, 1, b"\x41")] {
        assert_eq!(rewrite_frame(bytes.clone()), bytes);
    }
    let mut rewriter = Rewriter::default();
    rewriter.feed(&[0; PREFACE]).unwrap();
    assert!(rewriter.feed(&[0xff; FRAME_HEADER]).is_err());
}

#[test]
fn long_values_and_names_are_measured_right() {
    let mut long = vec![0x40, 0x01, b'x', 0x7f, 0x01];
    long.extend([b'v'; 128]);
    long.extend(b"\x41\x03a:1\x01\x02b1\x20\xbe");
    let mut wanted = long[..5 + 128].to_vec();
    wanted.extend(b"\x41\x09localhost\x01\x09localhost\x20\xbe");
    assert_eq!(rewrite_block(&long), Some(wanted));
}

struct Plugin;

#[tonic::async_trait]
impl Registration for Plugin {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            name: "csi.dotmesh.io".to_owned(),
            ..PluginInfo::default()
        }))
    }
}

/// Whether the server answers the kubelet's call with data; otherwise it reset the stream.
async fn is_answered<S>(wrap: impl FnOnce(DuplexStream) -> S) -> bool
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    S::ConnectInfo: Clone + Send + Sync + 'static,
{
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let incoming = tokio_stream::once(Ok::<_, io::Error>(wrap(server)));
    tokio::spawn(
        Server::builder()
            .add_service(RegistrationServer::new(Plugin))
            .serve_with_incoming(incoming),
    );
    client.write_all(&call(PATH)).await.unwrap();
    loop {
        let mut header = [0; FRAME_HEADER];
        client.read_exact(&mut header).await.unwrap();
        let mut payload = vec![0; frame_length(&header).unwrap()];
        client.read_exact(&mut payload).await.unwrap();
        match header[3] {
            0x0 => return payload.ends_with(b"csi.dotmesh.io"),
            0x3 => return false,
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_kubelet_is_answered_through_the_filter_and_refused_without_it() {
    assert!(is_answered(LocalAuthority::new).await);
    // Should this fail one day, the filter is no longer needed.
    assert!(!is_answered(|stream| stream).await);
}
