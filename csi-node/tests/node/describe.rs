//! What a Dot holds is read from its properties: all of it, and nothing that was deleted.

use std::collections::BTreeMap;

use dotmesh_csi_proto::node::{
    CommitRecord, DeleteBranchRequest, DeleteCommitRequest, DescribeDotRequest, DescribeDotResponse, EnsureDotRequest,
    Reason,
};
use uuid::Uuid;

use crate::machine::{Dot, Machine, SIZE, guids, reason};

async fn describe(machine: &Machine, dot: &Dot) -> DescribeDotResponse {
    let request = DescribeDotRequest {
        dot_id: dot.id.to_string(),
        after_commit_id: String::new(),
        pool_guid: dot.pool,
    };
    machine.node().await.describe_dot(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_dot_says_of_itself_what_was_made_of_it() {
    let machine = Machine::with_pool().await;
    let dot = Dot::on(&machine);
    let mut node = machine.node().await;
    let unknown = DescribeDotRequest {
        dot_id: Uuid::new_v4().to_string(),
        after_commit_id: String::new(),
        pool_guid: dot.pool,
    };
    assert_eq!(reason(&node.describe_dot(unknown).await.unwrap_err()), Reason::NotFound);

    node.ensure_dot(dot.ensure()).await.unwrap();
    let main = node.ensure_branch(dot.branch(dot.main)).await.unwrap().into_inner();
    let (first, second, gone) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let record = CommitRecord {
        namespace: "dev".into(),
        name: "before-migration".into(),
        branch_name: "main".into(),
        message: "why: \"ü\"\n\tindeed".into(),
        author: "Ada <ada@example.com>".into(),
        metadata: [("build".to_owned(), "512".to_owned())].into(),
        committer: "grace".into(),
    };
    let mut request = dot.commit(first, dot.main);
    request.record = Some(record.clone());
    let taken = node.commit(request).await.unwrap().into_inner();
    let fork = Uuid::new_v4();
    let cloned = node
        .ensure_branch(dot.fork(fork, first, dot.main, &taken))
        .await
        .unwrap()
        .into_inner();
    let on_fork = node.commit(dot.commit(second, fork)).await.unwrap().into_inner();
    assert_eq!(on_fork.parent_commit_id, first.to_string());
    // A branch and a commit that were deleted are not told, although others need the commit's snapshots.
    node.commit(dot.commit(gone, fork)).await.unwrap();
    let dead = Uuid::new_v4();
    node.ensure_branch(dot.fork(dead, first, dot.main, &taken))
        .await
        .unwrap();
    let delete = DeleteBranchRequest {
        dot_id: dot.id.to_string(),
        branch_id: dead.to_string(),
        head_ids: vec![dead.to_string()],
        pool_guid: dot.pool,
    };
    node.delete_branch(delete).await.unwrap();
    let delete = DeleteCommitRequest {
        dot_id: dot.id.to_string(),
        commit_id: gone.to_string(),
        head_id: fork.to_string(),
        pool_guid: dot.pool,
    };
    node.delete_commit(delete).await.unwrap();

    let found = describe(&machine, &dot).await;
    assert_eq!(
        (found.namespace.as_str(), found.name.as_str(), found.more),
        ("dev", "shop", false)
    );
    let branches: BTreeMap<&str, _> = found
        .branches
        .iter()
        .map(|branch| (branch.branch_id.as_str(), branch))
        .collect();
    assert_eq!(branches.len(), 2);
    let (main_id, fork_id) = (dot.main.to_string(), fork.to_string());
    for (id, name, object, made) in [
        (&main_id, "main".to_owned(), "shop-main", &main),
        (&fork_id, format!("fork-{fork}"), "shop-fork", &cloned),
    ] {
        let branch = branches[id.as_str()];
        assert_eq!(
            (branch.name.as_str(), branch.object_name.as_str(), &branch.head_id),
            (name.as_str(), object, id)
        );
        let volumes: Vec<_> = branch
            .volumes
            .iter()
            .filter_map(|volume| volume.state.clone())
            .collect();
        let by_id = |mut states: Vec<_>| {
            states.sort_by(|a: &dotmesh_csi_proto::node::VolumeState, b| a.id.cmp(&b.id));
            states
        };
        assert_eq!(by_id(volumes), by_id(made.volumes.clone()));
        let mut names: Vec<&str> = branch.volumes.iter().map(|volume| volume.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cache", "db"]);
        assert!(made.volumes.iter().all(|volume| volume.size_bytes == SIZE));
    }
    let origin = branches[fork_id.as_str()].origin.clone().unwrap();
    assert_eq!((origin.commit_id, origin.head_id), (first.to_string(), main_id.clone()));
    let expected: BTreeMap<_, _> = guids(&taken).into_iter().collect();
    assert_eq!(origin.snapshot_guids.into_iter().collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(branches[main_id.as_str()].origin, None);

    let commits: BTreeMap<&str, _> = found
        .commits
        .iter()
        .map(|commit| (commit.commit_id.as_str(), commit))
        .collect();
    assert_eq!(commits.len(), 2);
    let of_first = commits[first.to_string().as_str()];
    assert_eq!(
        (of_first.head_id.as_str(), of_first.record.as_ref()),
        (main_id.as_str(), Some(&record))
    );
    assert_eq!(of_first.state.as_ref(), Some(&taken));
    // What it says of space is of the moment.
    let state = commits[second.to_string().as_str()].state.clone().unwrap();
    assert_eq!(
        (state.parent_commit_id, state.createtxg),
        (on_fork.parent_commit_id.clone(), on_fork.createtxg)
    );
    assert_eq!(
        guids(&on_fork),
        guids(commits[second.to_string().as_str()].state.as_ref().unwrap())
    );
}

#[tokio::test]
async fn a_dot_that_is_there_can_become_anothers_and_none_is_made() {
    let machine = Machine::with_pool().await;
    let (dot, absent) = (Dot::on(&machine), Dot::on(&machine));
    let mut node = machine.node().await;
    node.ensure_dot(dot.ensure()).await.unwrap();
    let other = |dot: &Dot| EnsureDotRequest {
        name: "back".into(),
        ..dot.ensure()
    };
    assert_eq!(
        reason(&node.ensure_dot(other(&dot)).await.unwrap_err()),
        Reason::Conflict
    );
    let over = |dot: &Dot| EnsureDotRequest {
        take_over: true,
        ..other(dot)
    };
    assert_eq!(
        reason(&node.ensure_dot(over(&absent)).await.unwrap_err()),
        Reason::NotFound
    );
    for _ in 0..2 {
        node.ensure_dot(over(&dot)).await.unwrap();
    }
    assert_eq!(describe(&machine, &dot).await.name, "back");
}
