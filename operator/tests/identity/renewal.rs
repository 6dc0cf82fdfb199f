//! Certificates are replaced while everything runs: the nodes', and the operator's own for both of its directions.

use std::task::Poll;
use std::time::Duration;

use dotmesh_operator::nodes::{NodeErrorKind, Nodes};
use futures::StreamExt;
use serde_json::json;

use crate::world::{Clock, Cluster, LET_IN, OPERATOR, delete_nothing, in_still_time, review, token};

#[tokio::test(start_paused = true)]
async fn a_nodes_certificate_is_replaced_and_new_connections_use_the_new_one() {
    in_still_time(async {
        // TLS goes by the real time: both certificates must be valid in it.
        let cluster = Cluster::new(Clock::beginning(-17));
        let (_operator, mut node) = cluster.with_node("n1").await;
        let first = cluster.presented(node.address, "n1").await;
        assert_eq!(cluster.presented(node.address, "n1").await, first);
        let nodes = cluster.nodes(node.address.port());
        let mut open = nodes.watch("n1").await.unwrap();
        open.next().await.unwrap().unwrap();

        cluster.clock.pass(16).await;
        node.next_certificate().await;
        assert_ne!(cluster.presented(node.address, "n1").await, first);
        assert!(node.readiness.is_ready());
        assert_eq!(nodes.delete_dot("n1", delete_nothing()).await.unwrap_err().kind, LET_IN);
        let open = futures::poll!(open.next());
        assert!(
            matches!(open, Poll::Pending | Poll::Ready(Some(Ok(_)))),
            "what is open goes on"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_refused_or_hears_nothing_asks_until_it_has_its_certificate() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::default());
        cluster.join("n1");
        // Somebody who takes connections and says nothing.
        let silent = tokio::net::TcpListener::bind(cluster.enrollment).await.unwrap();
        let mut node = cluster.start("n1").await;
        let (kept, _) = silent.accept().await.unwrap();
        tokio::time::advance(Duration::from_secs(45)).await;
        node.is_missing("certificate: none yet: nothing came of it within 45 s")
            .await;
        drop((silent, kept));
        // The second attempt finds nobody.
        tokio::time::advance(Duration::from_secs(1)).await;
        node.is_missing("certificate: none yet: connecting to the operator")
            .await;
        // The third is refused: the token is not known yet.
        let operator = cluster.serve_enrollment().await;
        cluster.api.put_token(&token("n1"), json!({"authenticated": false}));
        tokio::time::advance(Duration::from_secs(2)).await;
        node.is_missing("certificate: none yet: the operator refused: the token is not valid")
            .await;
        cluster.api.put_token(&token("n1"), review("n1"));
        tokio::time::advance(Duration::from_secs(4)).await;
        node.next_certificate().await;
        assert!(node.readiness.is_ready());
        operator.end(&cluster).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_operators_own_certificate_is_replaced_without_a_restart() {
    in_still_time(async {
        let cluster = Cluster::new(Clock::beginning(-17));
        let (_operator, node) = cluster.with_node("n1").await;
        let served = cluster.presented(cluster.enrollment, OPERATOR).await;
        assert_eq!(cluster.presented(cluster.enrollment, OPERATOR).await, served);
        cluster.clock.pass(13).await;
        assert_ne!(cluster.presented(cluster.enrollment, OPERATOR).await, served);

        // As a client: one whose certificate is of thirty hours ago, before and after it looks at the clock.
        let cluster = cluster.with_clock(Clock::beginning(-30));
        let nodes = cluster.nodes(node.address.port());
        let error = nodes.delete_dot("n1", delete_nothing()).await.unwrap_err();
        assert_eq!(error.kind, NodeErrorKind::Unreachable);
        assert!(error.message.contains("CertificateExpired"), "{error}");
        cluster.clock.pass(30).await;
        assert_eq!(nodes.delete_dot("n1", delete_nothing()).await.unwrap_err().kind, LET_IN);
    })
    .await;
}
