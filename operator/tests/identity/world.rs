//! A cluster with an operator and nodes, on loopback addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use dotmesh_csi_node::edge::Calls;
use dotmesh_csi_node::edge::node_v1::NodeService;
use dotmesh_csi_node::edge::tls::{self, OnlyOperator};
use dotmesh_csi_node::enroll::{Enrollment, keep_enrolled};
use dotmesh_csi_node::ops::{Config, HostFiles, Pools};
use dotmesh_csi_proto::node::enrollment_client::EnrollmentClient;
use dotmesh_csi_proto::node::node_server::NodeServer;
use dotmesh_csi_proto::node::{DeleteDotRequest, EnrollRequest, EnrollResponse};
use dotmesh_mount::FakeMount;
use dotmesh_operator::api::Api;
use dotmesh_operator::enroll::{self, EnrollmentService};
use dotmesh_operator::inline::InlineService;
use dotmesh_operator::metrics::Metrics;
use dotmesh_operator::nodes::grpc::GrpcNodes;
use dotmesh_operator::nodes::{NodeErrorKind, pods};
use dotmesh_operator::pki::Authority;
use dotmesh_operator::pki::certificates::Certificates;
use dotmesh_telemetry::Readiness;
use dotmesh_testkit::FakeApi;
use dotmesh_zfs::FakeZfs;
use k8s_openapi::api::core::v1::Pod;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server};
use tonic::{Response, Status};

pub(crate) const NAMESPACE: &str = "dotmesh-system";
pub(crate) const OPERATOR: &str = "operator.dotmesh.io";

/// Lives through a test. While it does, tokio's clock stands still (a blocking task keeps it from running on by itself),
/// and a test that waits in vain ends.
pub(crate) async fn in_still_time(story: impl Future<Output = ()>) {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let bound = tokio::task::spawn_blocking(move || ended.recv_timeout(Duration::from_secs(60)).is_ok());
    tokio::select! {
        () = story => drop(done),
        _ = bound => panic!("what the test waits for did not come within a minute"),
    }
}

/// Hours between the real time of day, by which TLS judges, and that of operator and nodes.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn beginning(hours: i64) -> Self {
        Self(Arc::new(AtomicI64::new(hours)))
    }

    /// For everybody: the clock and all timers.
    pub(crate) async fn pass(&self, hours: u32) {
        self.0.fetch_add(hours.into(), Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(3600) * hours).await;
    }

    fn hours(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn of_operator(&self) -> dotmesh_operator::pki::certificates::Clock {
        let clock = self.clone();
        Arc::new(move || OffsetDateTime::now_utc() + time::Duration::hours(clock.hours()))
    }

    fn of_node(&self) -> dotmesh_csi_node::enroll::Clock {
        let clock = self.clone();
        Arc::new(move || {
            let shift = Duration::from_secs(3600) * u32::try_from(clock.hours().unsigned_abs()).unwrap();
            let now = SystemTime::now();
            if clock.hours() < 0 { now - shift } else { now + shift }
        })
    }
}

pub(crate) struct Cluster {
    pub(crate) api: FakeApi,
    pub(crate) clock: Clock,
    pub(crate) authority: Authority,
    pub(crate) certificates: Arc<Certificates>,
    /// Where the operator hands out certificates, when it does.
    pub(crate) enrollment: SocketAddr,
    folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn new(clock: Clock) -> Self {
        let authority = Authority::generate(OffsetDateTime::now_utc()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), authority.certificate_pem()).unwrap();
        Self {
            api: FakeApi::default(),
            certificates: certificates(&authority, &clock),
            clock,
            authority,
            enrollment: free_port(),
            folder,
        }
    }

    /// The same, seen by an operator that lives by another clock.
    pub(crate) fn with_clock(self, clock: Clock) -> Self {
        let certificates = certificates(&self.authority, &clock);
        Self {
            certificates,
            clock,
            ..self
        }
    }

    /// A node with its csi-node pod, and the token that the kubelet gave to the pod.
    pub(crate) fn join(&self, node: &str) {
        self.api.put(&format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: {node}}}}}\n---\n\
             {{apiVersion: v1, kind: Pod, metadata: {{name: csi-{node}, namespace: {NAMESPACE}, uid: uid-{node}}}, \
             spec: {{nodeName: {node}, containers: []}}, status: {{phase: Running, podIP: 127.0.0.1}}}}"
        ));
        self.api.put_token(&token(node), review(node));
        std::fs::write(self.folder.path().join(node), token(node)).unwrap();
    }

    /// The operator's enrolment begins, or begins again at the same address.
    pub(crate) async fn serve_enrollment(&self) -> Operator {
        let listener = TcpListener::bind(self.enrollment).await.unwrap();
        let service = EnrollmentService::new(self.api.clone(), Arc::clone(&self.certificates), NAMESPACE);
        let inline = InlineService::new(self.api.clone(), self.api.clone(), NAMESPACE);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(enroll::serve(listener, service, inline, async { drop(stopped.await) }));
        Operator { stop, serving }
    }

    /// Enrolment, and a node that has its certificate from there.
    pub(crate) async fn with_node(&self, node: &str) -> (Operator, CsiNode) {
        self.join(node);
        let operator = self.serve_enrollment().await;
        let mut node = self.start(node).await;
        node.next_certificate().await;
        (operator, node)
    }

    /// csi-node as it runs on the node.
    pub(crate) async fn start(&self, node: &str) -> CsiNode {
        let config = Config {
            state_dir: self.folder.path().join(format!("{node}-state")),
            host_root: None,
            files: Arc::new(HostFiles),
        };
        let (zfs, mount) = (FakeZfs::new(), FakeMount::new());
        zfs.watch_devices(|file| Some(std::fs::metadata(file).ok()?.len() * 100));
        zfs.watch_mounts(mount.tell_sources());
        mount.watch_datasets(zfs.tell_mountable());
        let pools = Pools::new(zfs, mount.clone(), config);
        tokio::spawn(Arc::clone(&pools).watch_pools());
        let service = NodeServer::new(NodeService::new(
            Arc::clone(&pools),
            Calls::of_operator(Default::default()),
        ));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, configs) = watch::channel(None);
        let server = Server::builder().add_service(InterceptedService::new(service, OnlyOperator));
        tokio::spawn(server.serve_with_incoming(tls::incoming(listener, configs.clone())));
        let readiness = Readiness::new();
        let enrollment = Enrollment {
            node: node.to_owned(),
            operator: dotmesh_csi_node::operator::Operator {
                address: self.enrollment.to_string(),
                server_name: OPERATOR.to_owned(),
                ca_file: self.path("ca.crt"),
                token_file: self.path(node),
            },
        };
        tokio::spawn(keep_enrolled(
            enrollment,
            sender,
            readiness.clone(),
            self.clock.of_node(),
        ));
        CsiNode {
            address,
            pools,
            mount,
            configs,
            readiness,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The operator's calls of nodes: each is looked for at this port of its pod's address.
    pub(crate) fn nodes(&self, port: u16) -> GrpcNodes {
        let api = self.api.clone();
        let directory = move |node: &str| -> Option<IpAddr> {
            let all = api.cached_where(|_: &Pod| true);
            pods::address(all.iter().map(AsRef::as_ref), node)
        };
        let certificates = Arc::clone(&self.certificates);
        GrpcNodes::new(Arc::new(directory), port, certificates, 1, Metrics::default())
    }

    /// What a thief has who was on the node: a certificate of the node with its key.
    pub(crate) fn stolen(&self, node: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = self.certificates.issue_node(&request(&key), node).unwrap();
        Identity::from_pem(certificate, key.serialize_pem())
    }

    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
        identity: Option<Identity>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.certificates.authority_pem()))
            .domain_name(name);
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let endpoint = Endpoint::from_shared(format!("https://{address}"))?;
        endpoint.tls_config(tls)?.connect().await
    }

    /// Asks for a certificate with this token, and nothing else in hand but what is given.
    pub(crate) async fn enroll(&self, token: &str, identity: Option<Identity>) -> Result<EnrollResponse, Status> {
        let channel = self.connect(self.enrollment, OPERATOR, identity).await.unwrap();
        let request = EnrollRequest {
            csr_der: request(&KeyPair::generate().unwrap()),
            token: token.to_owned(),
        };
        let response = EnrollmentClient::new(channel).enroll(request).await;
        response.map(Response::into_inner)
    }

    /// The certificate that a new connection to there is shown, by somebody with the operator's own.
    pub(crate) async fn presented(&self, address: SocketAddr, name: &str) -> Vec<u8> {
        let own = self.certificates.own().unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pem(self.certificates.authority_pem())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![pem(&own.certificate_pem)],
                PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap(),
            )
            .unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

fn certificates(authority: &Authority, clock: &Clock) -> Arc<Certificates> {
    let own = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
    Arc::new(Certificates::new(own, NAMESPACE, clock.of_operator()))
}

fn pem(text: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap()
}

fn request(key: &KeyPair) -> Vec<u8> {
    let params = CertificateParams::new(vec!["wish".to_owned()]).unwrap();
    params.serialize_request(key).unwrap().der().to_vec()
}

/// An address where nobody listens.
fn free_port() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// A call that changes nothing: there is no such Dot.
pub(crate) fn delete_nothing() -> DeleteDotRequest {
    DeleteDotRequest {
        dot_id: "0c5a6f6e-1111-4222-8333-444455556666".into(),
        pool_guid: 1,
    }
}

/// What a node without a pool says to it: getting that far means that the call was let in.
pub(crate) const LET_IN: NodeErrorKind = NodeErrorKind::PoolMissing;

pub(crate) fn token(node: &str) -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.secret-of-{node}")
}

/// What the API server says of the token of the node's csi-node pod.
pub(crate) fn review(node: &str) -> Value {
    FakeApi::review_of_csi_node(&format!("csi-{node}"), &format!("uid-{node}"), node)
}

/// An enrolment that runs.
pub(crate) struct Operator {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Operator {
    /// Until nobody listens there any more.
    pub(crate) async fn end(self, cluster: &Cluster) {
        drop(self.stop);
        self.serving.await.unwrap().unwrap();
        while TcpStream::connect(cluster.enrollment).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

/// A csi-node that runs.
pub(crate) struct CsiNode {
    pub(crate) address: SocketAddr,
    pub(crate) pools: Arc<Pools<FakeZfs, FakeMount>>,
    pub(crate) mount: FakeMount,
    pub(crate) configs: watch::Receiver<Option<Arc<ServerConfig>>>,
    pub(crate) readiness: Readiness,
}

impl CsiNode {
    /// Until there is a certificate that was not there at the last look.
    pub(crate) async fn next_certificate(&mut self) {
        self.configs.changed().await.unwrap();
        assert!(self.configs.borrow_and_update().is_some());
    }

    /// Until its readiness says so. The node waits then: no timer runs on by itself.
    pub(crate) async fn is_missing(&self, why: &str) {
        while !self.readiness.missing().iter().any(|line| line.starts_with(why)) {
            tokio::task::yield_now().await;
        }
    }
}
