//! What nodes tell of what they have.

use super::*;

pub(super) fn describe(pool: &Pool) -> PoolState {
    PoolState {
        name: pool.name.clone(),
        guid: pool.guid,
        health: "ONLINE".to_owned(),
        size_bytes: pool.file_bytes.max(20 << 30),
        allocated_bytes: pool.filled,
        available_bytes: (19 << 30) - pool.filled.min(19 << 30),
        fragmentation_percent: 0,
        zfs_userland: "2.3.9".to_owned(),
        zfs_kernel: "2.3.9".to_owned(),
        compared: true,
        file_bytes: pool.file_bytes,
    }
}

/// What is missing of it; absent: nothing.
pub(super) fn missing(pool: &Pool, recorded: &Recorded) -> Option<Vec<String>> {
    let Some(dot) = pool.dots.get(&recorded.dot_id) else {
        return Some(recorded.volumes.iter().map(|volume| volume.id.clone()).collect());
    };
    let there: Option<BTreeMap<&str, u64>> = if !recorded.commit_id.is_empty() {
        dot.commits.get(&recorded.commit_id).map(|(_, commit)| {
            let snapshots = commit.snapshots.iter();
            snapshots
                .map(|snapshot| (snapshot.volume_id.as_str(), snapshot.guid))
                .collect()
        })
    } else if !recorded.head_id.is_empty() {
        dot.heads.get(&recorded.head_id).map(|head| {
            let volumes = head.values();
            volumes.map(|volume| (volume.id.as_str(), volume.guid)).collect()
        })
    } else {
        Some(BTreeMap::new())
    };
    let found = there.clone().unwrap_or_default();
    let is_other = |volume: &&RecordedVolume| found.get(volume.id.as_str()) != Some(&volume.guid);
    let others: Vec<String> = recorded
        .volumes
        .iter()
        .filter(is_other)
        .map(|volume| volume.id.clone())
        .collect();
    (there.is_none() || !others.is_empty()).then_some(others)
}

/// Commits that one answer of [`Nodes::describe_dot`] tells of at most.
const PAGE: usize = 2;

pub(super) fn describe_dot(dot: &Dot, after: &str) -> DescribeDotResponse {
    let branches = dot.branches.iter().map(|(id, head)| {
        let (name, object_name) = dot.branch_names.get(id).cloned().unwrap_or_default();
        let volumes = dot.heads.get(head).into_iter().flat_map(BTreeMap::values);
        StoredBranch {
            branch_id: id.clone(),
            name,
            head_id: head.clone(),
            object_name,
            volumes: volumes
                .map(|state| StoredVolume {
                    name: dot.volume_names.get(&state.id).cloned().unwrap_or_default(),
                    state: Some(state.clone()),
                })
                .collect(),
            origin: dot.head_origins.get(head).cloned(),
        }
    });
    let left = dot.commits.iter().filter(|(id, _)| id.as_str() > after);
    let commits = left.clone().take(PAGE).map(|(id, (head, state))| StoredCommit {
        commit_id: id.clone(),
        head_id: head.clone(),
        record: dot.records.get(id).cloned(),
        state: Some(state.clone()),
    });
    DescribeDotResponse {
        namespace: dot.identity.0.clone(),
        name: dot.identity.1.clone(),
        claim_uids: dot.claims.iter().cloned().collect(),
        branches: branches.collect(),
        commits: commits.collect(),
        more: left.count() > PAGE,
    }
}

pub(super) fn not_found(what: &str, id: &str) -> (NodeErrorKind, String) {
    (NodeErrorKind::NotFound, format!("no {what} {id}"))
}
