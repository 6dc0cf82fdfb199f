//! The Commit's status, and events about what is wrong.

use dotmesh_crds::commit::CommitVolume;
use dotmesh_crds::condition::READY;
use dotmesh_crds::{Commit, CommitStatus};
use dotmesh_csi_proto::node::CommitResponse;
use k8s_openapi::jiff::Timestamp;

use super::group;
use super::observe::Observed;
use super::validate::{Valid, validate};
use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::nodes::Nodes;
use crate::status::{Verdict, write_status};

const ACTION: &str = "Commit";

/// The status as it is, without the condition that is told by others.
fn own_status(commit: &Commit) -> CommitStatus {
    let mut status = commit.status.clone().unwrap_or_default();
    status.conditions.retain(|condition| condition.type_ == READY);
    status
}

/// The status after this pass.
pub fn build_status(seen: &Observed, verdict: &Verdict, now: Timestamp) -> CommitStatus {
    let before = own_status(&seen.commit);
    let generation = seen.commit.metadata.generation;
    let conditions = verdict.conditions(&before.conditions, generation, now);
    let mut status = match (&seen.taken, validate(seen)) {
        (Some(taken), Ok(valid)) => CommitStatus {
            group: group::record(seen),
            ..build_taken(taken, &valid)
        },
        _ => before,
    };
    status.observed_generation = generation;
    status.conditions = conditions;
    status
}

fn build_taken(taken: &CommitResponse, valid: &Valid) -> CommitStatus {
    CommitStatus {
        id: Some(valid.commit.to_string()),
        branch: Some(valid.branch_name.to_string()),
        head: Some(valid.head.to_string()),
        node: Some(valid.node.clone()),
        ..build_snapshots(taken, |id| valid.volumes.get(&id.parse().ok()?).cloned())
    }
}

/// What a node says of a commit's snapshots; volumes are named by their ids where nobody knows their names.
pub fn build_snapshots(taken: &CommitResponse, name_of: impl Fn(&str) -> Option<String>) -> CommitStatus {
    let bytes = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let volumes = taken.snapshots.iter().map(|snapshot| CommitVolume {
        name: name_of(&snapshot.volume_id).unwrap_or_else(|| snapshot.volume_id.clone()),
        id: snapshot.volume_id.clone(),
        guid: snapshot.guid.to_string(),
        referenced_bytes: bytes(snapshot.referenced_bytes),
        written_bytes: bytes(snapshot.written_bytes),
    });
    let mut volumes: Vec<CommitVolume> = volumes.collect();
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    CommitStatus {
        parent: Some(taken.parent_commit_id.clone()).filter(|parent| !parent.is_empty()),
        time: Timestamp::from_second(taken.created_unix)
            .ok()
            .map(|time| time.to_string()),
        createtxg: Some(bytes(taken.createtxg)),
        volumes,
        ..CommitStatus::default()
    }
}

/// Whether the status would change.
pub fn is_news<A: Api, N: Nodes>(context: &Context<A, N>, seen: &Observed, verdict: &Verdict) -> bool {
    own_status(&seen.commit) != build_status(seen, verdict, context.now())
}

/// Writes the status if it says something new, and the event that goes with it.
pub async fn report<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &Observed,
    verdict: &Verdict,
) -> Result<(), ReconcileError> {
    let before = own_status(&seen.commit);
    let after = build_status(seen, verdict, context.now());
    write_status::<_, Commit, _>(&context.api, &seen.commit, &before, &after).await?;
    crate::status::tell(&context.api, &seen.commit, verdict, &before.conditions, ACTION).await;
    Ok(())
}
