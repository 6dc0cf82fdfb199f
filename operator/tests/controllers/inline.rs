//! Inline volumes of pods: lent to the node where the pod is, gone with the pod.

use dotmesh_crds::{Branch, Commit, Remnant};
use dotmesh_csi_proto::node::{LendRequest, LendResponse};
use dotmesh_operator::api::Api;
use dotmesh_operator::inline::{InlineService, LendError};
use dotmesh_testkit::FakeApi;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tonic::{Code, Status};

use crate::world::{World, key};

const TOKEN: &str = "the token of csi-node on n1";
const VOLUME: &str = "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn put_pod(world: &World, uid: &str) {
    world.api.put(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: look, namespace: dev, uid: {uid}}}, spec: {{nodeName: n1, containers: [], volumes: [\
         {{name: db, csi: {{driver: csi.dotmesh.io, volumeAttributes: {{dotmesh.io/commit: c1}}}}}}]}}, status: {{phase: Pending}}}}"
    ));
}

/// With a commit, and a pod that wants to look at it.
async fn with_pod() -> World {
    let world = World::with_shop().await;
    world.put_commit("c1");
    world.settle().await;
    let csi_node: Pod = world
        .api
        .must_get(&dotmesh_operator::api::Key::namespaced("dotmesh-system", "csi-node-1"));
    world.api.put("{apiVersion: v1, kind: Node, metadata: {name: n1}}");
    let uid = csi_node.uid().unwrap();
    let review = FakeApi::review_of_csi_node("csi-node-1", &uid, "n1");
    world.api.put_token(TOKEN, review);
    put_pod(&world, "u1");
    world
}

fn request() -> LendRequest {
    LendRequest {
        token: TOKEN.to_owned(),
        pod_namespace: "dev".to_owned(),
        pod_name: "look".to_owned(),
        pod_uid: "u1".to_owned(),
        volume_id: VOLUME.to_owned(),
        attributes: [("dotmesh.io/commit".to_owned(), "c1".to_owned())].into(),
    }
}

/// While the controllers run.
async fn lend(world: &World, request: &LendRequest) -> Result<LendResponse, LendError> {
    let service = InlineService::new(world.api.clone(), world.api.clone(), "dotmesh-system");
    let answer = world.beside(service.lend(request)).await;
    world.api.take_writes();
    answer
}

fn inline_branches(world: &World) -> Vec<String> {
    let all = world
        .api
        .cached_where::<Branch>(|branch| branch.labels().contains_key("dotmesh.io/pod-uid"));
    all.iter().map(|branch| branch.name_any()).collect()
}

#[tokio::test]
async fn a_pod_has_one_branch_for_each_volume_and_it_goes_with_the_pod() {
    let world = with_pod().await;
    world.set_grace(3600);
    let before = world.nodes.contents();
    let asked = request();
    let (first, second) = tokio::join!(lend(&world, &asked), lend(&world, &asked));
    let lent = first.unwrap();
    assert_eq!(lent, second.unwrap(), "asked twice at once");
    let branches = inline_branches(&world);
    assert_eq!(branches.len(), 1, "{branches:?}");
    let branch: Branch = world.api.must_get(&key(&branches[0]));
    assert_eq!(branch.status.unwrap().id.unwrap(), lent.branch_id);

    world.delete::<Commit>("c1").await;
    world.settle().await;
    assert_eq!(
        lend(&world, &request()).await.unwrap(),
        lent,
        "the Commit is not needed any more"
    );
    world.settle().await;
    assert_eq!(inline_branches(&world), branches, "it stays while the pod is there");

    world.api.remove::<Pod>(&key("look"));
    world.settle().await;
    assert_eq!(inline_branches(&world), [""; 0]);
    assert!(
        world
            .api
            .cached_where::<Remnant>(|_| true)
            .iter()
            .all(|remnant| remnant.spec.name != branches[0])
    );
    assert_eq!(
        world.nodes.contents().len(),
        before.len() - 1,
        "neither branch nor commit is left"
    );
}

#[tokio::test]
async fn it_stays_while_it_is_mounted_whatever_became_of_the_pod() {
    let world = with_pod().await;
    lend(&world, &request()).await.unwrap();
    let branches = inline_branches(&world);
    let head = world.branch(&branches[0]).status.unwrap().head.unwrap();
    let volume = world.branch(&branches[0]).status.unwrap().volumes[0].id.clone();
    let user = dotmesh_csi_proto::node::VolumeUser {
        dot_id: world.dot("shop").status.unwrap().id.unwrap(),
        head_id: head,
        volume_id: volume,
        pod_uid: "u1".to_owned(),
        path: String::new(),
    };
    world.memory().memory.set_users("n1", vec![user]);
    world.api.remove::<Pod>(&key("look"));
    world.settle().await;
    assert_eq!(inline_branches(&world), branches);
    world.memory().memory.set_users("n1", Vec::new());
    world.settle().await;
    assert_eq!(inline_branches(&world), [""; 0]);
}

#[tokio::test]
async fn a_pod_of_the_same_name_gets_a_branch_of_its_own() {
    let world = with_pod().await;
    let first = lend(&world, &request()).await.unwrap();
    put_pod(&world, "u2");
    let again = LendRequest {
        pod_uid: "u2".to_owned(),
        ..request()
    };
    let second = lend(&world, &again).await.unwrap();
    assert_ne!(first.branch_id, second.branch_id);
    world.settle().await;
    assert_eq!(inline_branches(&world).len(), 1, "the first one's pod is gone");
}

#[tokio::test]
async fn nothing_is_made_for_whoever_may_not_have_it() {
    let world = with_pod().await;
    let code = async |request: LendRequest| Status::from(lend(&world, &request).await.unwrap_err()).code();
    for (request, expected) in [
        (
            LendRequest {
                token: "another".to_owned(),
                ..request()
            },
            Code::Unauthenticated,
        ),
        (
            LendRequest {
                pod_uid: "u9".to_owned(),
                ..request()
            },
            Code::PermissionDenied,
        ),
        (
            LendRequest {
                attributes: [("dotmesh.io/commit".to_owned(), "shop-initial".to_owned())].into(),
                ..request()
            },
            Code::PermissionDenied,
        ),
        (
            LendRequest {
                volume_id: String::new(),
                ..request()
            },
            Code::InvalidArgument,
        ),
    ] {
        assert_eq!(code(request.clone()).await, expected, "{request:?}");
    }
    world.delete::<Commit>("c1").await;
    world.settle().await;
    assert_eq!(code(request()).await, Code::NotFound);
    assert_eq!(inline_branches(&world), [""; 0]);
}
