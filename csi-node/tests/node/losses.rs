//! What other tools destroy is found by one look at the pool, and can be deleted.

use dotmesh_csi_proto::node::{
    CommitResponse, DeleteCommitRequest, EnsureBranchResponse, FindMissingRequest, Reason, Recorded, RecordedVolume,
};
use uuid::Uuid;

use crate::machine::{Dot, Machine, reason, run, until};

fn recorded(dot: &Dot, head: Option<Uuid>, commit: Option<Uuid>, volumes: Vec<RecordedVolume>) -> Recorded {
    Recorded {
        dot_id: dot.id.to_string(),
        head_id: head.map(|id| id.to_string()).unwrap_or_default(),
        commit_id: commit.map(|id| id.to_string()).unwrap_or_default(),
        volumes,
    }
}

fn of_commit(taken: &CommitResponse) -> Vec<RecordedVolume> {
    let snapshots = taken
        .snapshots
        .iter()
        .map(|snapshot| (&snapshot.volume_id, snapshot.guid));
    snapshots
        .map(|(id, guid)| RecordedVolume { id: id.clone(), guid })
        .collect()
}

fn of_head(made: &EnsureBranchResponse) -> Vec<RecordedVolume> {
    let volumes = made.volumes.iter().map(|volume| (&volume.id, volume.guid));
    volumes
        .map(|(id, guid)| RecordedVolume { id: id.clone(), guid })
        .collect()
}

#[tokio::test]
async fn what_other_tools_destroyed_is_found() {
    let machine = Machine::with_pool().await;
    let mut node = machine.node().await;
    let dot = Dot::on(&machine);
    let (commit, fork) = (Uuid::new_v4(), Uuid::new_v4());
    node.ensure_dot(dot.ensure()).await.unwrap();
    let main = node.ensure_branch(dot.branch(dot.main)).await.unwrap().into_inner();
    let forked = node.ensure_branch(dot.branch(fork)).await.unwrap().into_inner();
    let taken = node.commit(dot.commit(commit, dot.main)).await.unwrap().into_inner();
    let request = FindMissingRequest {
        recorded: vec![
            recorded(&dot, None, None, Vec::new()),
            recorded(&dot, Some(dot.main), None, of_head(&main)),
            recorded(&dot, Some(fork), None, of_head(&forked)),
            recorded(&dot, Some(dot.main), Some(commit), of_commit(&taken)),
        ],
        pool_guid: dot.pool,
    };
    assert_eq!(
        node.find_missing(request.clone()).await.unwrap().into_inner().missing,
        []
    );

    // The hold comes after the answer.
    let of_db = format!("{}@{commit}", dot.dataset(&machine, dot.main, "db"));
    until("the commit is held", async || {
        run(&["zfs", "holds", "-H", &of_db]).contains("dotmesh")
    })
    .await;
    run(&["zfs", "release", "dotmesh", &of_db]);
    run(&["zfs", "destroy", &of_db]);
    let missing = node.find_missing(request.clone()).await.unwrap().into_inner().missing;
    let told: Vec<_> = missing.iter().map(|one| (one.index, one.volume_ids.clone())).collect();
    assert_eq!(told, [(3, vec![dot.volume("db").to_string()])]);

    // Another snapshot of that name is not it.
    run(&["zfs", "snapshot", &of_db]);
    assert_eq!(
        node.find_missing(request.clone()).await.unwrap().into_inner().missing,
        missing
    );

    let head = dot.dataset(&machine, fork, "");
    run(&["zfs", "destroy", "-r", &head]);
    let missing = node.find_missing(request.clone()).await.unwrap().into_inner().missing;
    assert_eq!(missing.iter().map(|one| one.index).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(missing[0].volume_ids.len(), 2);

    // It is not made anew by whom it was known to.
    let mut again = dot.branch(fork);
    for volume in &mut again.volumes {
        volume.known_guid = forked.volumes.iter().find(|made| made.id == volume.id).unwrap().guid;
    }
    let refused = node.ensure_branch(again).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::NotFound, "{refused:?}");
    assert!(!machine.names().contains(&head));

    // What is left of the commit goes when it is deleted, also without the head's own snapshot.
    let of_head = format!("{}@{commit}", dot.dataset(&machine, dot.main, ""));
    run(&["zfs", "release", "dotmesh", &of_head]);
    run(&["zfs", "destroy", &of_head]);
    let delete = DeleteCommitRequest {
        dot_id: dot.id.to_string(),
        commit_id: commit.to_string(),
        head_id: dot.main.to_string(),
        pool_guid: dot.pool,
    };
    node.delete_commit(delete).await.unwrap();
    until("nothing of the commit is left", async || {
        !machine.names().iter().any(|name| name.ends_with(&format!("@{commit}")))
    })
    .await;
}
