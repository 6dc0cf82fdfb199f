//! The next step for a Commit. Pure.

use dotmesh_crds::names::{ANNOTATION_HEAD, ANNOTATION_RESTORED};
use dotmesh_crds::{Commit, CommitStatus};
use dotmesh_csi_proto::node::{CommitRecord, CommitRequest, DeleteCommitRequest};
use dotmesh_model::id::HeadId;
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;

use super::group::{self, Part};
use super::observe::Observed;
use super::validate::{Valid, is_taken, validate};
use crate::driver::Plan;
use crate::loss::{lost, named, told, what_helps};
use crate::meta::{dot_id, is_deleting, is_protected, uid};
use crate::pool::meant;
use crate::status::Verdict;

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Protect it, and record the head that will be snapshotted.
    Adopt {
        /// The head.
        head: HeadId,
    },
    /// Make the snapshots.
    Take {
        /// Where.
        node: String,
        /// What.
        request: Box<CommitRequest>,
    },
    /// Delete the object.
    Discard,
    /// Record the tombstone.
    Delete {
        /// Where.
        node: String,
        /// Of what.
        request: DeleteCommitRequest,
    },
    /// Let the object go.
    Release,
}

/// The next step.
pub fn plan(seen: &Observed) -> Plan<Step> {
    let commit = &seen.commit;
    if is_deleting(commit) {
        return plan_deletion(seen);
    }
    if seen.is_done_with {
        return Plan::Do(Step::Discard);
    }
    if let Some(status) = commit.status.as_ref().filter(|status| is_taken(status)) {
        return plan_taken(seen, status);
    }
    if is_coming_back(commit) {
        return Plan::Rest;
    }
    let valid = match validate(seen) {
        Ok(valid) => valid,
        Err(verdict) => return Plan::Report(verdict),
    };
    if seen.taken.is_some() || is_planted(Mutant::ReadyBeforeTheSnapshots) {
        return Plan::Report(Verdict::ready());
    }
    if !is_protected(commit) || !commit.annotations().contains_key(ANNOTATION_HEAD) {
        return Plan::DoGuarded(Step::Adopt { head: valid.head });
    }
    let pool_guid = match meant_pool(seen) {
        Ok(pool_guid) => pool_guid,
        Err(verdict) => return Plan::Report(verdict),
    };
    let together = match commit.spec.group.as_ref() {
        None => Vec::new(),
        Some(group) => match group::part(seen, group, &valid, pool_guid) {
            Ok(Part::Take(together)) => together,
            Ok(Part::Wait) => return Plan::Rest,
            Err(verdict) => return Plan::Report(verdict),
        },
    };
    Plan::Do(Step::Take {
        node: valid.node.clone(),
        request: Box::new(CommitRequest {
            together,
            ..build_request(seen, valid, pool_guid)
        }),
    })
}

/// The GUID of the pool where its Dot lies.
pub fn meant_pool(seen: &Observed) -> Result<u64, Verdict> {
    let status = seen.dot.as_deref().and_then(|dot| dot.status.as_ref());
    let recorded = status.and_then(|status| status.pool.as_deref());
    meant(seen.pool.as_deref(), recorded.unwrap_or_default())
}

/// Nothing more is done to a Commit that was taken; only the loss of its snapshots is told. The tombstone of its Dot
/// covers it.
fn plan_taken(seen: &Observed, status: &CommitStatus) -> Plan<Step> {
    if seen.dot.as_deref().is_none_or(is_deleting) {
        return Plan::Rest;
    }
    match lost(&seen.data, &status.conditions, |volumes| tell_loss(status, volumes)) {
        Some(verdict) => Plan::Report(verdict),
        None if told(&status.conditions).is_some() || is_changed(&seen.commit, status) => {
            Plan::Report(Verdict::ready())
        }
        None => Plan::Rest,
    }
}

/// Whether its spec has changed since: by what is published of it, and that is done elsewhere.
fn is_changed(commit: &Commit, status: &CommitStatus) -> bool {
    status.observed_generation != commit.metadata.generation
}

fn tell_loss(status: &CommitStatus, volumes: &[String]) -> String {
    let all = status.volumes.iter();
    let all = all.map(|volume| (volume.id.as_str(), volume.name.as_str()));
    let what = match volumes {
        [] => "what holds its snapshots together was".to_owned(),
        some => format!("its snapshots of {} were", named(some, all)),
    };
    let helps = what_helps("Commit", status.node.as_deref());
    format!("{what} destroyed by something else than Dotmesh: {helps}")
}

/// What the node is asked for, of this Commit alone.
pub fn build_request(seen: &Observed, valid: Valid, pool_guid: u64) -> CommitRequest {
    let (commit, spec) = (&seen.commit, &seen.commit.spec);
    CommitRequest {
        dot_id: valid.dot.to_string(),
        branch_id: valid.branch.to_string(),
        head_id: valid.head.to_string(),
        commit_id: valid.commit.to_string(),
        volume_ids: valid.volumes.keys().map(ToString::to_string).collect(),
        record: Some(CommitRecord {
            namespace: commit.namespace().unwrap_or_default(),
            name: commit.name_any(),
            branch_name: valid.branch_name.to_string(),
            message: spec.message.clone().unwrap_or_default(),
            author: spec.author.clone().unwrap_or_default(),
            committer: spec.committer.clone().unwrap_or_default(),
            metadata: spec
                .metadata
                .iter()
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .collect(),
        }),
        pool_guid,
        together: Vec::new(),
    }
}

/// What identifies a Commit for ever: what it recorded, else its uid. They differ where it came back with its Dot.
fn commit_id(commit: &Commit) -> &str {
    let recorded = commit.status.as_ref().and_then(|status| status.id.as_deref());
    recorded.unwrap_or_else(|| uid(commit))
}

/// Whether it comes back with its Dot, and its Dot's controller has not completed it.
fn is_coming_back(commit: &Commit) -> bool {
    commit.annotations().contains_key(ANNOTATION_RESTORED)
        && commit.status.as_ref().is_none_or(|status| !is_taken(status))
}

/// Without a recorded head nothing was ever asked of a node; with the Dot gone, its tombstone covers the Commit. Of one
/// that is coming back only the object goes, and is made again.
fn plan_deletion(seen: &Observed) -> Plan<Step> {
    let commit = &seen.commit;
    if !is_protected(commit) {
        return Plan::Rest;
    }
    let head = commit.annotations().get(ANNOTATION_HEAD);
    let status = seen.dot.as_deref().and_then(|dot| dot.status.as_ref());
    let node = status.filter(|s| s.pool.is_some()).and_then(|s| s.node.clone());
    let (Some(head), Some(dot), Some(node)) = (head.filter(|_| !is_coming_back(commit)), seen.dot.as_deref(), node)
    else {
        return Plan::Do(Step::Release);
    };
    if let Some(plan) = seen.leaves.plan(dot, Step::Release) {
        return plan;
    }
    if seen.is_tombstoned || is_planted(Mutant::CommitGoesBeforeItsSnapshots) {
        return Plan::Do(Step::Release);
    }
    match meant_pool(seen) {
        Ok(pool_guid) => Plan::Do(Step::Delete {
            node,
            request: DeleteCommitRequest {
                dot_id: dot_id(dot).to_owned(),
                commit_id: commit_id(commit).to_owned(),
                head_id: head.clone(),
                pool_guid,
            },
        }),
        Err(verdict) => Plan::Report(verdict),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::Data;
    use crate::meta::Leaves;

    #[test]
    fn the_node_is_told_all_that_the_object_says() {
        let id = "0c5a6f6e-1111-4222-8333-444455556666";
        let commit = "{apiVersion: dotmesh.io/v1alpha1, kind: Commit, metadata: {name: c1, namespace: dev}, \
             spec: {dot: shop, message: why, author: Ada <ada@example.com>, committer: grace, metadata: {build: '512'}}}";
        let seen = Observed {
            commit: serde_yaml::from_str(commit).unwrap(),
            is_fresh: true,
            dot: None,
            pool: None,
            leaves: Leaves::Alone,
            is_retiring: false,
            branches: Vec::new(),
            others: Vec::new(),
            data: Data::Unknown,
            is_done_with: false,
            taken: None,
            is_tombstoned: false,
        };
        let valid = Valid {
            dot: id.parse().unwrap(),
            node: "n1".to_owned(),
            branch: id.parse().unwrap(),
            branch_name: "main".parse().unwrap(),
            head: id.parse().unwrap(),
            commit: id.parse().unwrap(),
            volumes: [(id.parse().unwrap(), "db".to_owned())].into(),
        };
        let record = CommitRecord {
            namespace: "dev".to_owned(),
            name: "c1".to_owned(),
            branch_name: "main".to_owned(),
            message: "why".to_owned(),
            author: "Ada <ada@example.com>".to_owned(),
            committer: "grace".to_owned(),
            metadata: [("build".to_owned(), "512".to_owned())].into(),
        };
        assert_eq!(build_request(&seen, valid, 1).record, Some(record));
    }
}
