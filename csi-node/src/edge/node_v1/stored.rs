//! A Dot's description as messages, as much of it at a time as fits one.

use dotmesh_csi_proto::node as proto;
use dotmesh_model::id::CommitId;
use prost::Message;

use super::parse;
use crate::ops::{CommitDescription, CommitRecord, DotDescription, DotInPool, HeadDescription};

/// Bytes of commits in one message: far below what gRPC takes (4 MiB), and above any single one.
const PAGE: usize = 1 << 20;

/// The description, with the commits after one: as many as fit.
pub(super) fn description(description: DotDescription, after: Option<CommitId>) -> proto::DescribeDotResponse {
    let DotDescription {
        identity,
        claims,
        branches,
        commits,
    } = description;
    let left = commits
        .into_iter()
        .filter(|commit| after.is_none_or(|after| commit.id > after));
    let (mut page, mut bytes, mut more) = (Vec::new(), 0, false);
    for commit in left.map(commit) {
        if bytes > PAGE {
            more = true;
            break;
        }
        bytes += commit.encoded_len();
        page.push(commit);
    }
    proto::DescribeDotResponse {
        namespace: identity.namespace,
        name: identity.name,
        claim_uids: claims.iter().map(ToString::to_string).collect(),
        branches: branches.into_iter().map(branch).collect(),
        commits: page,
        more,
    }
}

pub(super) fn dot_in_pool(dot: DotInPool) -> proto::DotInPool {
    let DotInPool {
        dot,
        branches,
        claims,
        commits,
    } = dot;
    proto::DotInPool {
        dot_id: dot.to_string(),
        branch_ids: branches.iter().map(ToString::to_string).collect(),
        claim_uids: claims.iter().map(ToString::to_string).collect(),
        commits,
    }
}

fn branch(branch: HeadDescription) -> proto::StoredBranch {
    let HeadDescription {
        branch,
        name,
        head,
        object,
        volumes,
        origin,
    } = branch;
    proto::StoredBranch {
        branch_id: branch.to_string(),
        name,
        head_id: head.to_string(),
        object_name: object,
        volumes: volumes
            .into_iter()
            .map(|(name, state)| proto::StoredVolume {
                name,
                state: Some(parse::volume_state(state)),
            })
            .collect(),
        origin: origin.map(|origin| proto::Origin {
            commit_id: origin.commit.to_string(),
            head_id: origin.head.to_string(),
            snapshot_guids: origin.guids.iter().map(|(id, guid)| (id.to_string(), guid.0)).collect(),
        }),
    }
}

fn commit(commit: CommitDescription) -> proto::StoredCommit {
    let CommitDescription {
        id,
        head,
        record,
        state,
    } = commit;
    let CommitRecord {
        namespace,
        name,
        branch_name,
        message,
        author,
        committer,
        metadata,
    } = record;
    proto::StoredCommit {
        commit_id: id.to_string(),
        head_id: head.to_string(),
        record: Some(proto::CommitRecord {
            namespace,
            name,
            branch_name,
            message,
            author,
            metadata: metadata.into_iter().collect(),
            committer,
        }),
        state: Some(parse::commit_state(state)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::DotIdentity;
    use crate::ops::CommitState;

    #[test]
    fn long_histories_come_in_parts_that_fit() {
        let commit = |number: u128| CommitDescription {
            id: CommitId::new(uuid::Uuid::from_u128(number)),
            head: "0c5a6f6e-1111-4222-8333-444455556666".parse().unwrap(),
            record: CommitRecord {
                message: "x".repeat(200_000),
                ..CommitRecord::default()
            },
            state: CommitState {
                snapshots: Vec::new(),
                createtxg: dotmesh_zfs::Txg(1),
                created: 0,
                parent: None,
            },
        };
        let all = || DotDescription {
            identity: DotIdentity::default(),
            claims: Vec::new(),
            branches: Vec::new(),
            commits: (0..20).map(commit).collect(),
        };
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let page = description(all(), after);
            assert!(page.encoded_len() < 2 << 20);
            seen.extend(page.commits.iter().map(|commit| commit.commit_id.clone()));
            after = seen.last().map(|id| id.parse().unwrap());
            if !page.more {
                break;
            }
        }
        let expected: Vec<String> = all().commits.iter().map(|commit| commit.id.to_string()).collect();
        assert_eq!(seen, expected);
    }
}
