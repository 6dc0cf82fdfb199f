//! The operator is away for longer than a certificate lasts: pods are served all the same, by the CSI socket.

use dotmesh_csi_node::edge::Calls;
use dotmesh_csi_node::edge::csi::Csi;
use dotmesh_csi_node::edge::socket;
use dotmesh_csi_node::layout::DotIdentity;
use dotmesh_csi_node::ops::{AttachRequest, BranchRequest, Place, PoolRequest, VolumeRequest};
use dotmesh_csi_proto::csi::node_client::NodeClient;
use dotmesh_csi_proto::csi::volume_capability::{AccessMode, AccessType, MountVolume, access_mode};
use dotmesh_csi_proto::csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability};
use dotmesh_csi_proto::node::enrollment_server::{Enrollment, EnrollmentServer};
use dotmesh_csi_proto::node::{DeleteDotRequest, EnrollRequest, EnrollResponse};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::Handle;
use dotmesh_model::id::{BranchId, ClaimUid, DotId, HeadId, VolumeId};
use dotmesh_model::tuning::Tuning;
use dotmesh_operator::nodes::{NodeErrorKind, Nodes};
use dotmesh_operator::pki::Authority;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::world::{Clock, Cluster, CsiNode, delete_nothing, in_still_time};

/// An operator of thirty hours ago: by the real time, by which TLS judges, what it gives has expired.
struct Earlier(Authority);

#[tonic::async_trait]
impl Enrollment for Earlier {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let then = OffsetDateTime::now_utc() - time::Duration::hours(30);
        let certificate = self.0.issue_node(&request.into_inner().csr_der, "n1", then);
        Ok(Response::new(EnrollResponse {
            certificate_chain_pem: certificate.unwrap(),
            authority_pem: self.0.certificate_pem().to_owned(),
        }))
    }
}

/// A node that has a certificate of thirty hours ago, by a clock of then; nobody gives it another one.
async fn left_alone(cluster: &Cluster) -> CsiNode {
    let authority = Authority::from_pem(cluster.authority.certificate_pem(), &cluster.authority.key_pem()).unwrap();
    let own = authority
        .issue_operator("dotmesh-system", OffsetDateTime::now_utc())
        .unwrap();
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(own.certificate_pem, own.key_pem));
    let listener = TcpListener::bind(cluster.enrollment).await.unwrap();
    let mut server = Server::builder().tls_config(tls).unwrap();
    let server = server.add_service(EnrollmentServer::new(Earlier(authority)));
    let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let mut node = cluster.start("n1").await;
    node.next_certificate().await;
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    node
}

/// A volume with data in it that a claim is attached to.
async fn with_volume(node: &CsiNode, cluster: &Cluster) -> Handle {
    let (dot, claim) = (DotId::new(Uuid::from_u128(1)), ClaimUid::new(Uuid::from_u128(2)));
    let branch = BranchId::new(Uuid::from_u128(3));
    let volume = VolumeId::derive(dot, "data");
    let size = 1 << 30;
    let pool = PoolRequest {
        name: "dotmesh".parse().unwrap(),
        known: None,
        place: Place::File {
            path: cluster.path("pool.img"),
        },
        size,
        newest: None,
    };
    node.pools.ensure_pool(&pool).await.unwrap();
    let ops = node.pools.named(&pool.name).await.unwrap();
    let identity = DotIdentity {
        namespace: "dev".into(),
        name: "shop".into(),
    };
    ops.ensure_dot(dot, &identity).await.unwrap();
    let branch = BranchRequest {
        dot,
        branch,
        name: "main".parse().unwrap(),
        head: HeadId::first_of(branch),
        volumes: vec![VolumeRequest {
            id: volume,
            name: "data".parse().unwrap(),
            size,
            format: VolumeFormat::Zfs,
            tuning: Tuning::default(),
            known: None,
            seed: None,
        }],
        origin: None,
        checkout: true,
        object: String::new(),
    };
    ops.ensure_branch(&branch).await.unwrap();
    let attach = AttachRequest {
        dot,
        claim,
        volume,
        branch: None,
    };
    ops.attach(&attach).await.unwrap();
    Handle { dot, volume, claim }
}

/// The kubelet's connection to the driver.
async fn kubelet(node: &CsiNode, cluster: &Cluster) -> NodeClient<Channel> {
    let path = cluster.path("csi.sock");
    let csi = Csi::new(node.pools.clone(), Calls::default(), "n1".to_owned());
    tokio::spawn(csi.serve(socket::bind(&path).unwrap().0));
    let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
    NodeClient::new(endpoint.connect().await.unwrap())
}

const TARGET: &str = "/var/lib/kubelet/pods/a/volumes/v/mount";

fn publish(handle: Handle) -> NodePublishVolumeRequest {
    NodePublishVolumeRequest {
        volume_id: handle.to_string(),
        target_path: TARGET.to_owned(),
        volume_capability: Some(VolumeCapability {
            access_mode: Some(AccessMode {
                mode: access_mode::Mode::SingleNodeWriter.into(),
            }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }),
        ..NodePublishVolumeRequest::default()
    }
}

async fn a_pod_comes_and_goes(node: &CsiNode, kubelet: &mut NodeClient<Channel>, handle: Handle) {
    let is_mounted = || node.mount.table().at(TARGET.as_ref()).is_some();
    kubelet.node_publish_volume(publish(handle)).await.unwrap();
    assert!(is_mounted());
    let unpublish = NodeUnpublishVolumeRequest {
        volume_id: handle.to_string(),
        target_path: TARGET.to_owned(),
    };
    kubelet.node_unpublish_volume(unpublish).await.unwrap();
    assert!(!is_mounted());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_never_had_a_certificate_serves_pods() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::default());
        cluster.join("n1");
        let node = cluster.start("n1").await;
        node.is_missing("certificate: none yet: connecting to the operator")
            .await;
        let handle = with_volume(&node, &cluster).await;
        let mut kubelet = kubelet(&node, &cluster).await;
        a_pod_comes_and_goes(&node, &mut kubelet, handle).await;
        assert!(node.configs.borrow().is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_certificate_expired_serves_pods_and_enrols_when_the_operator_is_back() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::beginning(-30));
        cluster.join("n1");
        let mut node = left_alone(&cluster).await;
        let handle = with_volume(&node, &cluster).await;
        let mut kubelet = kubelet(&node, &cluster).await;

        cluster.clock.pass(30).await;
        node.is_missing("certificate: it has expired: connecting to the operator")
            .await;
        let nodes = cluster.nodes(node.address.port());
        let refused = nodes.delete_dot("n1", delete_nothing()).await.unwrap_err();
        assert_eq!(refused.kind, NodeErrorKind::Unreachable);
        assert!(refused.message.contains("certificate expired"), "{refused}");

        a_pod_comes_and_goes(&node, &mut kubelet, handle).await;

        let _operator = cluster.serve_enrollment().await;
        // The longest pause between two attempts.
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        node.next_certificate().await;
        assert!(node.readiness.is_ready());
        let state = node.pools.watch().borrow().clone().unwrap();
        let delete = DeleteDotRequest {
            pool_guid: state.pools[0].guid.0,
            ..delete_nothing()
        };
        nodes.delete_dot("n1", delete).await.unwrap();
    })
    .await;
}
