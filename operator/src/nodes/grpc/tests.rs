//! Over real connections on the loopback interface: who is believed, and how failures arrive.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dotmesh_csi_proto::node::node_server::{Node, NodeServer};
use dotmesh_csi_proto::node::{PoolState, Reason, WatchEvent};
use rcgen::{CertificateParams, KeyPair};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codegen::BoxStream;
use tonic::transport::{Server, ServerTlsConfig};

use super::*;
use crate::pki::Authority;

/// A node that fails in the ways its requests ask for.
struct Stub;

#[tonic::async_trait]
impl Node for Stub {
    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<BoxStream<WatchEvent>>, Status> {
        let pools = vec![PoolState {
            guid: 7,
            ..PoolState::default()
        }];
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(WatchEvent {
            pools,
            ..WatchEvent::default()
        })]))))
    }

    async fn ensure_dot(&self, request: Request<EnsureDotRequest>) -> Result<Response<EnsureDotResponse>, Status> {
        match request.into_inner().name.as_str() {
            "full" => {
                let failure = Failure {
                    reason: Reason::OutOfSpace.into(),
                    message: "pool dotmesh is full".to_owned(),
                };
                let details = failure.encode_to_vec().into();
                Err(Status::with_details(Code::ResourceExhausted, "full", details))
            }
            "code" => Err(Status::not_found("by its code alone")),
            _ => Ok(Response::new(EnsureDotResponse {})),
        }
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Serves the stub under a certificate for `name`.
async fn serve(authority: &Authority, name: &str) -> u16 {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let certificate = authority.issue_node(request.der(), name, now()).unwrap();
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key.serialize_pem()))
        .client_ca_root(Certificate::from_pem(authority.certificate_pem()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(NodeServer::new(Stub));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    port
}

fn nodes(authority: &Authority, port: u16) -> GrpcNodes {
    let known = BTreeMap::from([("n1", IpAddr::from(Ipv4Addr::LOCALHOST))]);
    let authority = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
    GrpcNodes::new(
        Arc::new(move |node| known.get(node).copied()),
        port,
        Arc::new(Certificates::new(authority, "dotmesh-system", Arc::new(now))),
        7,
        Metrics::default(),
    )
}

fn dot(name: &str) -> EnsureDotRequest {
    EnsureDotRequest {
        name: name.to_owned(),
        ..EnsureDotRequest::default()
    }
}

#[tokio::test]
async fn calls_and_watches_reach_the_node() {
    let authority = Authority::generate(now()).unwrap();
    let nodes = nodes(&authority, serve(&authority, "n1").await);
    nodes.ensure_dot("n1", dot("shop")).await.unwrap();
    let mut events = nodes.watch("n1").await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().pools[0].guid, 7);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn failures_keep_their_reason_and_a_code_alone_is_never_absence() {
    let authority = Authority::generate(now()).unwrap();
    let nodes = nodes(&authority, serve(&authority, "n1").await);
    let error = nodes.ensure_dot("n1", dot("full")).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (NodeErrorKind::OutOfSpace, "pool dotmesh is full")
    );
    let error = nodes.ensure_dot("n1", dot("code")).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Internal);
    let error = nodes.detach("n1", DetachRequest::default()).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Internal);
}

#[tokio::test]
async fn a_node_that_is_away_or_not_itself_is_unreachable() {
    let (ours, theirs) = (Authority::generate(now()).unwrap(), Authority::generate(now()).unwrap());
    let closed = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let other_name = serve(&ours, "n2").await;
    let other_authority = serve(&theirs, "n1").await;
    for port in [closed, other_name, other_authority] {
        let error = nodes(&ours, port).ensure_dot("n1", dot("x")).await.unwrap_err();
        assert_eq!(error.kind, NodeErrorKind::Unreachable, "{error}");
        assert!(nodes(&ours, port).watch("n1").await.is_err());
    }
    let good = serve(&ours, "n1").await;
    let error = nodes(&ours, good).ensure_dot("n9", dot("x")).await.unwrap_err();
    assert_eq!(error.kind, NodeErrorKind::Unreachable);
}
