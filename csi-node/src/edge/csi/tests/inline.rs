//! Volumes that stand in their pods' specs: what the operator lends is what is mounted.

use std::sync::{Arc, Mutex};

use dotmesh_csi_proto::csi as proto;
use dotmesh_csi_proto::node::{LendRequest, LendResponse, VolumeFormat};
use dotmesh_model::handle::Handle;
use tonic::{Code, Status};

use super::super::Lend;
use super::{Call, TARGET, World, files, inline, publish, stats, unpublish};

/// Lends what it was told to, and remembers for whom.
#[derive(Debug)]
struct Lender {
    answer: Result<LendResponse, Status>,
    asked: Mutex<Vec<LendRequest>>,
}

#[tonic::async_trait]
impl Lend for Lender {
    async fn lend(&self, request: LendRequest) -> Result<LendResponse, Status> {
        self.asked.lock().unwrap().push(request);
        self.answer.clone()
    }
}

/// As if the operator had made its branch: here the volume's own.
fn lent(world: &World) -> LendResponse {
    let handle: Handle = world.volume_id.parse().unwrap();
    let inventory = world.zfs.inventory();
    let branches = inventory.iter().flat_map(|object| object.local.keys().cloned());
    let branch = branches.filter_map(|key| key.as_str().strip_prefix("io.dotmesh:branch.").map(str::to_owned));
    LendResponse {
        dot_id: handle.dot.to_string(),
        branch_id: branch.into_iter().next().unwrap(),
        volume_id: handle.volume.to_string(),
        format: VolumeFormat::Zfs.into(),
    }
}

#[tokio::test]
async fn an_inline_volume_shows_what_the_operator_lends() {
    let mut world = World::new().await;
    let lender = Arc::new(Lender {
        answer: Ok(lent(&world)),
        asked: Mutex::default(),
    });
    world.csi = world.csi.clone().with_lender(lender.clone());
    let mut request = publish("");
    inline(&mut request);
    world.call(Call::Publish(request.clone())).await.unwrap();
    let asked = lender.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].pod_name.as_str(), asked[0].pod_uid.as_str()), ("look", "u1"));
    assert_eq!(
        asked[0].attributes,
        [("dotmesh.io/commit".to_owned(), "before".to_owned())].into(),
        "what the kubelet adds is none"
    );
    let table = world.mount.table();
    let source = |path: &str| table.at(path.as_ref()).map(|entry| entry.source.clone());
    assert_eq!(source(&request.target_path), source(TARGET));
    let stats = proto::NodeGetVolumeStatsRequest {
        volume_path: request.target_path.clone(),
        ..stats(&request.volume_id)
    };
    world.call(Call::Stats(stats)).await.unwrap();
    let wrong = proto::NodePublishVolumeRequest {
        volume_capability: Some(files("xfs")),
        ..request.clone()
    };
    let refused = world.call(Call::Publish(wrong)).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    for _ in 0..2 {
        let back = proto::NodeUnpublishVolumeRequest {
            target_path: request.target_path.clone(),
            ..unpublish(&request.volume_id)
        };
        world.call(Call::Unpublish(back)).await.unwrap();
    }
    assert_eq!(world.mount.table().at(request.target_path.as_ref()), None);
    assert!(world.mount.table().at(TARGET.as_ref()).is_some(), "the other one stays");
}

#[tokio::test]
async fn what_the_operator_refuses_is_told_and_mounts_nothing() {
    let mut world = World::new().await;
    let before = world.all();
    let lender = Lender {
        answer: Err(Status::failed_precondition("it lies on another node")),
        asked: Mutex::default(),
    };
    world.csi = world.csi.clone().with_lender(Arc::new(lender));
    let mut request = publish("");
    inline(&mut request);
    let refused = world.call(Call::Publish(request)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, "it lies on another node")
    );
    assert_eq!(world.all(), before);
}
