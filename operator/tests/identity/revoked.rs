//! A node whose Node or csi-node pod is deleted gets no certificate, and is not talked to with the one it has.

use dotmesh_operator::api::Key;
use dotmesh_operator::nodes::{NodeErrorKind, Nodes};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use tonic::Code;

use crate::world::{Clock, Cluster, LET_IN, NAMESPACE, delete_nothing, in_still_time, token};

#[tokio::test(start_paused = true)]
async fn a_deleted_node_gets_no_new_certificate() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::default());
        cluster.join("n1");
        let _operator = cluster.serve_enrollment().await;
        cluster.enroll(&token("n1"), None).await.unwrap();
        // First the Node goes. Its pod, and with it the token, goes within a minute.
        cluster.api.remove::<Node>(&Key::cluster("n1"));
        let status = cluster.enroll(&token("n1"), None).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(status.message(), "node \"n1\" of the token's pod \"csi-n1\" is gone");
        cluster.api.remove::<Pod>(&Key::namespaced(NAMESPACE, "csi-n1"));
        let said = "[invalid bearer token, service account token has been invalidated]";
        cluster
            .api
            .put_token(&token("n1"), json!({"authenticated": false, "error": said}));
        let status = cluster.enroll(&token("n1"), None).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(
            status.message(),
            format!("the token is not valid for audience dotmesh.io/enroll: {said}")
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_when_the_nodes_pod_is_another_one() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::default());
        let (_operator, node) = cluster.with_node("n1").await;
        let nodes = cluster.nodes(node.address.port());
        let mut open = nodes.watch("n1").await.unwrap();
        open.next().await.unwrap().unwrap();
        cluster.api.put(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: csi-n1, namespace: {NAMESPACE}}}, \
             spec: {{nodeName: n1, containers: []}}, status: {{phase: Running, podIP: 127.0.0.9}}}}"
        ));
        let mut next = std::pin::pin!(open.next());
        assert!(futures::poll!(&mut next).is_pending());
        tokio::time::advance(std::time::Duration::from_secs(5)).await;
        let ended = next.await.unwrap().unwrap_err();
        assert_eq!(ended.message, "its csi-node pod is another one now");
        assert!(open.next().await.is_none());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_pod_is_deleted_is_not_talked_to_whatever_certificate_it_has() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::default());
        let (_operator, node) = cluster.with_node("n1").await;
        let nodes = cluster.nodes(node.address.port());
        let pod = Key::namespaced(NAMESPACE, "csi-n1");
        for ending in [false, true] {
            cluster.join("n1");
            let served = nodes.delete_dot("n1", delete_nothing()).await.unwrap_err();
            assert_eq!(served.kind, LET_IN, "{served}");
            let mut open = nodes.watch("n1").await.unwrap();
            open.next().await.unwrap().unwrap();
            if ending {
                // Its node does not obey, so it never goes.
                let mut deleted: Pod = cluster.api.must_get(&pod);
                deleted.metadata.deletion_timestamp = serde_yaml::from_str("'2026-01-01T00:00:00Z'").unwrap();
                let mut deleted = serde_json::to_value(deleted).unwrap();
                deleted["kind"] = json!("Pod");
                deleted["apiVersion"] = json!("v1");
                cluster.api.put_object(deleted);
            } else {
                cluster.api.remove::<Pod>(&pod);
            }
            let refused = nodes.delete_dot("n1", delete_nothing()).await.unwrap_err();
            assert_eq!(refused.kind, NodeErrorKind::Unreachable);
            assert_eq!(refused.message, "no csi-node pod is running there");
            let mut next = std::pin::pin!(open.next());
            assert!(futures::poll!(&mut next).is_pending());
            tokio::time::advance(std::time::Duration::from_secs(5)).await;
            let ended = next.await.unwrap().unwrap_err();
            assert_eq!(ended.message, "no csi-node pod is running there");
            assert!(open.next().await.is_none());
            assert!(nodes.watch("n1").await.is_err());
        }
    })
    .await;
}
