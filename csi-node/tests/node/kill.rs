//! Killed with SIGKILL during a create and during a commit: after a repeat there is exactly one of everything. And two
//! programs at once, as when a pod is deleted by force.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use dotmesh_csi_proto::csi::ProbeRequest;
use dotmesh_csi_proto::csi::identity_client::IdentityClient;
use uuid::Uuid;

use crate::machine::{Dot, Machine, guids, until};

#[tokio::test]
async fn killed_while_branches_are_made() {
    let mut machine = Machine::with_pool().await;
    let dot = Dot::on(&machine);
    machine.node().await.ensure_dot(dot.ensure()).await.unwrap();
    for delay in [0, 60, 150, 400] {
        let branch = Uuid::new_v4();
        let mut node = machine.node().await;
        let request = dot.branch(branch);
        let asked = tokio::spawn(async move { node.ensure_branch(request).await.map(drop) });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        machine.kill();
        let _ = asked.await;
        machine.start().await;
        let mut node = machine.node().await;
        node.ensure_pool(machine.pool_request()).await.unwrap();
        let made = node.ensure_branch(dot.branch(branch)).await.unwrap().into_inner();
        assert_eq!(made.volumes.len(), 2);
        let head = dot.dataset(&machine, branch, "");
        let below: Vec<String> = machine
            .names()
            .into_iter()
            .filter(|name| name.starts_with(&head))
            .collect();
        assert_eq!(below.len(), 3, "after {delay} ms: {below:?}");
        for volume in &made.volumes {
            let dataset = format!("{head}/{}", volume.id);
            assert_eq!(machine.property(&dataset, "guid"), volume.guid.to_string());
        }
    }
}

#[tokio::test]
async fn killed_while_a_commit_is_taken() {
    let mut machine = Machine::with_pool().await;
    let dot = Dot::on(&machine);
    let mut node = machine.node().await;
    node.ensure_dot(dot.ensure()).await.unwrap();
    node.ensure_branch(dot.branch(dot.main)).await.unwrap();
    let mut parent = String::new();
    for delay in [0, 50, 150, 300] {
        let commit = Uuid::new_v4();
        let mut node = machine.node().await;
        let request = dot.commit(commit, dot.main);
        let asked = tokio::spawn(async move { node.commit(request).await });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        machine.kill();
        let answered = asked.await.unwrap();
        machine.start().await;
        let mut node = machine.node().await;
        node.ensure_pool(machine.pool_request()).await.unwrap();
        let taken = node.commit(dot.commit(commit, dot.main)).await.unwrap().into_inner();
        if let Ok(answered) = answered {
            assert_eq!(
                guids(&answered.into_inner()),
                guids(&taken),
                "what was acknowledged stays"
            );
        }
        let suffix = format!("@{commit}");
        let names: Vec<String> = machine
            .names()
            .into_iter()
            .filter(|name| name.ends_with(&suffix))
            .collect();
        assert_eq!(names.len(), 3, "after {delay} ms: {names:?}");
        assert_eq!(taken.parent_commit_id, parent);
        let txgs: BTreeSet<String> = names.iter().map(|name| machine.property(name, "createtxg")).collect();
        assert_eq!(txgs, [taken.createtxg.to_string()].into(), "all or none");
        parent = commit.to_string();
    }
}

#[tokio::test]
async fn two_programs_follow_one_another() {
    let mut machine = Machine::with_pool().await;
    // An inode's number is given again as soon as it is free.
    let identity = |path: &Path| {
        let found = std::fs::symlink_metadata(path).ok()?;
        Some((found.ino(), found.ctime(), found.ctime_nsec()))
    };
    let first = identity(&machine.csi_socket());
    assert!(first.is_some());
    machine.spawn();
    until("the second one waits", async || {
        machine.said().contains("waiting for another dotmesh-csi-node to end")
    })
    .await;
    let still = IdentityClient::new(machine.csi().await).probe(ProbeRequest {}).await;
    assert_eq!(still.unwrap().into_inner().ready, Some(true));
    assert_eq!(identity(&machine.csi_socket()), first, "the first one's socket");
    machine.kill();
    until("the second one serves", async || {
        let is_new = identity(&machine.csi_socket()) != first;
        is_new && machine.said().matches("the node serves").count() == 2
    })
    .await;
    let dot = Dot::on(&machine);
    let mut node = machine.node().await;
    node.ensure_pool(machine.pool_request()).await.unwrap();
    node.ensure_dot(dot.ensure()).await.unwrap();

    // One that nobody can reach any more ends, so that it is started again.
    std::fs::remove_file(machine.csi_socket()).unwrap();
    assert!(!machine.ended().await);
    assert!(
        machine.said().contains("nobody can reach the CSI socket"),
        "{}",
        machine.said()
    );
    machine.start().await;
    let mut node = machine.node().await;
    node.ensure_pool(machine.pool_request()).await.unwrap();
    node.ensure_dot(dot.ensure()).await.unwrap();
}
