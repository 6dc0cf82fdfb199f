use std::net::SocketAddr;

use super::*;
use crate::edge::tls::{self, OPERATOR_IDENTITY, OnlyOperator};
use dotmesh_csi_proto::node::enrollment_server::{Enrollment as Service, EnrollmentServer};
use dotmesh_csi_proto::node::node_client::NodeClient;
use dotmesh_csi_proto::node::node_server::NodeServer;
use dotmesh_csi_proto::node::{DeleteDotRequest, WatchRequest};
use dotmesh_mount::FakeMount;
use dotmesh_zfs::FakeZfs;
use rcgen::{
    BasicConstraints, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

use crate::edge::Calls;
use crate::edge::node_v1::NodeService;
use crate::ops::{Config, HostFiles, Pools};

const NODE: &str = "node-1";
const TOKEN: &str = "the pod's token";

/// An authority as the operator has it.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }
}

/// Gives a certificate for [`NODE`] to whoever has the token, whatever is asked for.
struct Issuing(Authority);

#[tonic::async_trait]
impl Service for Issuing {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let EnrollRequest { csr_der, token } = request.into_inner();
        if token != TOKEN {
            return Err(Status::unauthenticated("unknown token"));
        }
        let mut csr = CertificateSigningRequestParams::from_der(&csr_der.into()).unwrap();
        csr.params.subject_alt_names = vec![SanType::DnsName(NODE.try_into().unwrap())];
        csr.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = csr.signed_by(&self.0.issuer).unwrap();
        Ok(Response::new(EnrollResponse {
            certificate_chain_pem: certificate.pem(),
            authority_pem: self.0.pem.clone(),
        }))
    }
}

async fn serve_operator(authority: Authority) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTlsConfig::new().identity(authority.issue(OPERATOR_IDENTITY));
    let server = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(EnrollmentServer::new(Issuing(authority)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

async fn connect(address: SocketAddr, name: &str, authority: &str, identity: Option<Identity>) -> Option<Channel> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .domain_name(name);
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    endpoint.tls_config(tls).unwrap().connect().await.ok()
}

async fn call(channel: Option<Channel>) -> Result<(), Code> {
    let channel = channel.ok_or(Code::Unavailable)?;
    let request = DeleteDotRequest {
        dot_id: "0c5a6f6e-1111-4222-8333-444455556666".into(),
        pool_guid: 1,
    };
    let result = NodeClient::new(channel).delete_dot(request).await;
    result.map(drop).map_err(|status| status.code())
}

#[tokio::test]
async fn a_node_enrols_and_then_serves_the_operator_alone() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (operator, other_pod) = (authority.issue(OPERATOR_IDENTITY), authority.issue("node-2"));
    let stranger = Authority::new().issue(OPERATOR_IDENTITY);
    let pem = authority.pem.clone();
    let (ca_file, token_file) = (folder.path().join("ca.crt"), folder.path().join("token"));
    let enrollment = Enrollment {
        node: NODE.into(),
        operator: Operator {
            address: serve_operator(authority).await.to_string(),
            server_name: OPERATOR_IDENTITY.into(),
            ca_file: ca_file.clone(),
            token_file: token_file.clone(),
        },
    };
    let clock: Clock = Arc::new(SystemTime::now);
    assert!(matches!(
        enroll(&enrollment, &clock).await,
        Err(EnrollError::Operator(OperatorError::File { .. }))
    ));
    std::fs::write(&ca_file, Authority::new().pem).unwrap();
    std::fs::write(&token_file, "wrong").unwrap();
    assert!(
        matches!(
            enroll(&enrollment, &clock).await,
            Err(EnrollError::Operator(OperatorError::Connect(_)))
        ),
        "another authority"
    );
    std::fs::write(&ca_file, &pem).unwrap();
    assert!(matches!(
        enroll(&enrollment, &clock).await,
        Err(EnrollError::Refused(_))
    ));
    std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();

    let config = Config {
        state_dir: folder.path().join("state"),
        host_root: None,
        files: std::sync::Arc::new(HostFiles),
    };
    let pools = Pools::new(FakeZfs::new(), FakeMount::new(), config);
    let service = NodeServer::new(NodeService::new(pools, Calls::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (configs, config) = watch::channel(None);
    let server = Server::builder().add_service(InterceptedService::new(service, OnlyOperator));
    tokio::spawn(server.serve_with_incoming(tls::incoming(listener, config)));
    let readiness = Readiness::new();
    let mut ready = configs.subscribe();
    tokio::spawn(keep_enrolled(enrollment, configs, readiness.clone(), clock));
    ready.wait_for(Option::is_some).await.unwrap();

    // There is no pool: getting that far means that the call was let in.
    let served = call(connect(address, NODE, &pem, Some(operator.clone())).await).await;
    assert_eq!(served, Err(Code::FailedPrecondition));
    assert_eq!(
        call(connect(address, NODE, &pem, Some(other_pod.clone())).await).await,
        Err(Code::PermissionDenied)
    );
    for (name, identity) in [(NODE, None), (NODE, Some(stranger)), ("node-3", Some(operator))] {
        let refused = call(connect(address, name, &pem, identity).await).await;
        assert!(
            matches!(refused, Err(Code::Unavailable | Code::Unknown | Code::Internal)),
            "{name}: {refused:?}"
        );
    }
    let other = connect(address, NODE, &pem, Some(other_pod)).await.unwrap();
    let watched = NodeClient::new(other).watch(WatchRequest {}).await;
    assert_eq!(watched.err().map(|status| status.code()), Some(Code::PermissionDenied));
}
