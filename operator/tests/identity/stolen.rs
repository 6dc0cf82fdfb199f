//! What somebody can do with the certificate and key of a node: nothing but serve under that node's name.

use std::net::Ipv4Addr;

use dotmesh_csi_proto::node::node_client::NodeClient;
use dotmesh_csi_proto::node::node_server::{Node, NodeServer};
use dotmesh_operator::nodes::{NodeErrorKind, Nodes};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::transport::{Server, ServerTlsConfig};

use crate::world::{Clock, Cluster, LET_IN, delete_nothing, in_still_time, token};

/// A node that does all it is asked for: nothing, and says so.
struct Thief;

#[tonic::async_trait]
impl Node for Thief {}

#[tokio::test(start_paused = true)]
async fn a_stolen_certificate_opens_no_other_node() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::default());
        let (_operator, other) = cluster.with_node("n2").await;
        let stolen = cluster.stolen("n1");
        let foreign = Cluster::new(Clock::default()).certificates.own().unwrap();
        let foreign = tonic::transport::Identity::from_pem(&foreign.certificate_pem, &foreign.key_pem);
        for (identity, alert) in [
            (Some(stolen), "UnsupportedCertificate"),
            (Some(foreign), "DecryptError"),
            (None, "CertificateRequired"),
        ] {
            // In TLS 1.3 a client hears of its refusal after its own part is done: with its first call.
            let refusal = match cluster.connect(other.address, "n2", identity).await {
                Err(error) => format!("{error:?}"),
                Ok(channel) => {
                    let status = NodeClient::new(channel).delete_dot(delete_nothing()).await.unwrap_err();
                    assert_ne!(status.code(), Code::FailedPrecondition, "it was let in");
                    format!("{status:?}")
                }
            };
            assert!(refusal.contains(alert), "{alert}: {refusal}");
        }
        // What stands for the operator there is let in: it is told that there is no pool.
        let nodes = cluster.nodes(other.address.port());
        let heard = nodes.delete_dot("n2", delete_nothing()).await.unwrap_err();
        assert_eq!(heard.kind, LET_IN, "{heard}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_operator_refuses_a_stolen_certificate_under_another_nodes_address() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::default());
        cluster.join("n1");
        cluster.join("n2");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = ServerTlsConfig::new().identity(cluster.stolen("n1"));
        let mut thief = Server::builder().tls_config(tls).unwrap();
        let thief = thief.add_service(NodeServer::new(Thief));
        tokio::spawn(thief.serve_with_incoming(TcpListenerStream::new(listener)));

        let nodes = cluster.nodes(port);
        let refused = nodes.delete_dot("n2", delete_nothing()).await.unwrap_err();
        assert_eq!(refused.kind, NodeErrorKind::Unreachable);
        assert!(refused.message.contains("not valid for name \"n2\""), "{refused}");
        assert!(nodes.watch("n2").await.is_err());
        let served = nodes.delete_dot("n1", delete_nothing()).await.unwrap_err();
        assert_eq!(
            served.kind,
            NodeErrorKind::Internal,
            "it is n1, which does nothing: {served}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stolen_certificate_gets_no_other_certificate() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::default());
        cluster.join("n1");
        let _operator = cluster.serve_enrollment().await;
        for (token, code, why) in [
            ("", Code::Unauthenticated, "the request has no token"),
            ("csi-n1", Code::Unauthenticated, "the API server does not know it"),
        ] {
            let stolen = Some(cluster.stolen("n1"));
            let status = cluster.enroll(token, stolen).await.unwrap_err();
            assert_eq!(status.code(), code);
            assert!(status.message().contains(why), "{status}");
        }
        // With the token it is the pod's node that counts, as without the certificate.
        cluster.join("n2");
        let given = cluster.enroll(&token("n2"), Some(cluster.stolen("n1"))).await.unwrap();
        assert_eq!(names(&given.certificate_chain_pem), ["DNSName(n2)"]);
    })
    .await;
}

/// The names that a certificate is good for.
fn names(chain_pem: &str) -> Vec<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain_pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    names.value.general_names.iter().map(ToString::to_string).collect()
}
