//! Branches and Commits of data that was taken over: their objects are made again, by what the data says of itself.
//!
//! Each is made with its id in an annotation and gets its status afterwards; their own controllers leave them alone until
//! then. The Dot has all of them when a new look at node and API finds none without.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_crds::branch::BranchOrigin;
use dotmesh_crds::commit::MetadataValue;
use dotmesh_crds::condition::Reason;
use dotmesh_crds::names::{
    ANNOTATION_HEAD, ANNOTATION_RESTORED, FINALIZER, LABEL_AUTOMATIC, LABEL_DOT, default_branch_object,
};
use dotmesh_crds::{Branch, BranchSpec, BranchStatus, Commit, CommitSpec, CommitStatus, Dot};
use dotmesh_csi_proto::node::{DescribeDotRequest, StoredBranch, StoredCommit};
use dotmesh_model::name::BranchName;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::apply::INITIAL_MESSAGE;
use super::observe::Observed;
use crate::api::{Api, ApiErrorKind, Guard, Key, Kind};
use crate::branch::report::build_volumes;
use crate::commit::report::build_snapshots;
use crate::context::{Context, ReconcileError};
use crate::meta::{dot_id, namespace_of, owned_by, owner_dot, uid};
use crate::nodes::Nodes;
use crate::pool::suspects;
use crate::remnant::branches_of;
use crate::status::{Verdict, apply_status};

/// Longest name of our objects.
const NAME_MAX: usize = 63;
/// So much of an id tells an object from another of its name.
const SHORT_ID: usize = 8;

/// What the data holds, and which of its objects are complete.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    branches: Vec<StoredBranch>,
    commits: Vec<StoredCommit>,
    /// Claims whose handles still resolve on the node.
    pub claims: Vec<String>,
    /// Ids whose objects are there and complete.
    done: BTreeSet<String>,
    /// The Commit object of the initial commit.
    pub initial: Option<String>,
    /// Objects were made since the look.
    pub is_changed: bool,
    /// What keeps the next object away.
    pub blocked: Option<Verdict>,
}

/// An object that is to be made.
#[derive(Debug, Clone, PartialEq)]
pub enum Missing {
    /// A Branch.
    Branch(Box<StoredBranch>),
    /// A Commit.
    Commit(Box<StoredCommit>),
}

impl Stored {
    /// The next object that is not complete: commits first, as branches name them.
    pub fn missing(&self) -> Option<Missing> {
        let is_missing = |id: &String| !self.done.contains(id);
        let mut commits = self.commits.iter().filter(|commit| is_missing(&commit.commit_id));
        let mut branches = self.branches.iter().filter(|branch| is_missing(&branch.branch_id));
        let commit = commits.next().map(|commit| Missing::Commit(Box::new(commit.clone())));
        commit.or_else(|| Some(Missing::Branch(Box::new(branches.next()?.clone()))))
    }
}

/// Asks the API which of the data has its object, or is a Remnant of its own; then the node what there is: what is
/// destroyed in between is not taken for missing.
///
/// # Errors
/// Those of both.
pub async fn describe<A: Api, N: Nodes>(
    context: &Context<A, N>,
    dot: &Dot,
    node: &str,
    pool_guid: u64,
) -> Result<Stored, ReconcileError> {
    let mut stored = Stored::default();
    let (namespace, fields) = (dot.namespace(), format!("spec.dot={}", dot.name_any()));
    let is_its = |owner: Option<&str>| owner == Some(uid(dot));
    let branches: Vec<Branch> = context.api.list(namespace.as_deref(), Some(&fields)).await?;
    let commits: Vec<Commit> = context.api.list(namespace.as_deref(), Some(&fields)).await?;
    for branch in branches.iter().filter(|branch| is_its(owner_dot(*branch))) {
        stored
            .done
            .extend(branch.status.as_ref().and_then(|status| status.id.clone()));
    }
    for commit in commits.iter().filter(|commit| is_its(owner_dot(*commit))) {
        let recorded = commit.status.as_ref().and_then(|status| status.id.clone());
        // One that was taken and is not recorded yet has its uid for an id.
        stored.done.insert(recorded.unwrap_or_else(|| uid(commit).to_owned()));
        if commit.labels().contains_key(LABEL_AUTOMATIC) {
            stored.initial = Some(commit.name_any());
        }
    }
    let left = branches_of(&context.api, dot_id(dot)).await?;
    stored.done.extend(left.into_iter().map(|remnant| remnant.spec.id));
    read(context, dot, node, pool_guid, &mut stored).await?;
    Ok(stored)
}

async fn read<A: Api, N: Nodes>(
    context: &Context<A, N>,
    dot: &Dot,
    node: &str,
    pool_guid: u64,
    stored: &mut Stored,
) -> Result<(), ReconcileError> {
    let mut request = DescribeDotRequest {
        dot_id: dot_id(dot).to_owned(),
        after_commit_id: String::new(),
        pool_guid,
    };
    loop {
        let page = context.nodes.describe_dot(node, request.clone()).await?;
        stored.branches = page.branches;
        stored.claims = page.claim_uids;
        stored.commits.extend(page.commits);
        match stored.commits.last().filter(|_| page.more) {
            Some(last) if last.commit_id != request.after_commit_id => request.after_commit_id = last.commit_id.clone(),
            Some(_) | None => break,
        }
    }
    Ok(())
}

/// What the data of a Dot that goes on holds and no object stands for: what was there before the objects were read, has
/// none, and is there still.
///
/// # Errors
/// Those of API and node.
pub async fn find_strays<A: Api, N: Nodes>(
    context: &Context<A, N>,
    dot: &Dot,
    node: &str,
    pool_guid: u64,
) -> Result<Stored, ReconcileError> {
    let mut before = Stored::default();
    read(context, dot, node, pool_guid, &mut before).await?;
    let was: BTreeSet<&str> = before.commits.iter().map(|commit| commit.commit_id.as_str()).collect();
    let mut stored = describe(context, dot, node, pool_guid).await?;
    stored.commits.retain(|commit| was.contains(commit.commit_id.as_str()));
    let was = |branch: &StoredBranch| before.branches.iter().any(|was| was.branch_id == branch.branch_id);
    stored.branches.retain(was);
    stored.claims.retain(|claim| before.claims.contains(claim));
    Ok(stored)
}

/// Makes a Remnant of a branch that no object stands for.
///
/// # Errors
/// Those of the API.
pub async fn leave_branch<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &mut Observed,
    branch: &StoredBranch,
) -> Result<(), ReconcileError> {
    let namespace = namespace_of(&context.api, &seen.dot).await?;
    let (Some(stored), Some(pool), Some((namespace, _))) = (&mut seen.stored, seen.pool.as_deref(), namespace) else {
        return Ok(());
    };
    let origin = origin_of(branch, &stored.commits);
    suspects::leave_branch(context, &seen.dot, pool, &namespace, branch, origin).await?;
    stored.done.insert(branch.branch_id.clone());
    Ok(())
}

/// Makes one object, or completes it.
///
/// # Errors
/// Those of the API.
pub async fn make<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &mut Observed,
    missing: Missing,
) -> Result<(), ReconcileError> {
    let (dot, now) = (seen.dot.clone(), context.now());
    let Some(stored) = seen.stored.as_mut() else {
        return Ok(());
    };
    let (id, made) = match missing {
        Missing::Branch(branch) => {
            let names = branch_names(&dot, &branch);
            let status = branch_status(&branch, &stored.commits, now);
            let make = |name| build_branch(&dot, &branch, name);
            (
                branch.branch_id.clone(),
                complete(&context.api, &dot, names, make, &status).await?,
            )
        }
        Missing::Commit(commit) => {
            let names = commit_names(&commit);
            let status = commit_status(&dot, &commit, now);
            let make = |name| build_commit(&dot, &commit, name);
            (
                commit.commit_id.clone(),
                complete(&context.api, &dot, names, make, &status).await?,
            )
        }
    };
    match made {
        Ok(()) => {
            stored.done.insert(id);
            stored.is_changed = true;
        }
        Err(verdict) => stored.blocked = Some(verdict),
    }
    Ok(())
}

/// Makes the object under the first of the names that nobody else has, and writes its status. Or what keeps it away.
async fn complete<A: Api, K: Kind, S: Serialize + Sync>(
    api: &A,
    dot: &Dot,
    names: Vec<String>,
    make: impl Fn(String) -> K,
    status: &S,
) -> Result<Result<(), Verdict>, ReconcileError> {
    let mut last = String::new();
    for name in names {
        let wanted = make(name.clone());
        let found = match api.create(&wanted).await {
            Ok(made) => made,
            Err(error) if error.kind == ApiErrorKind::AlreadyExists => match api.get::<K>(&Key::of(&wanted)).await? {
                Some(found) => found,
                None => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        let kind = K::kind(&());
        let mark = |object: &K| object.annotations().get(ANNOTATION_RESTORED).cloned();
        if owner_dot(&found) == Some(uid(dot)) && mark(&found) == mark(&wanted) {
            apply_status(api, &found, &Guard::unchanged(&found), status).await?;
            return Ok(Ok(()));
        }
        if is_left(api, &found).await? {
            let why = format!("waits until {kind} {name:?} of a Dot that is gone has gone too");
            return Ok(Err(Verdict::new(Reason::Progressing, why)));
        }
        last = format!("{kind} {name:?}");
    }
    let why = format!("the name of {last} is needed for what is restored, and that is something else; delete that one");
    Ok(Err(Verdict::new(Reason::Conflict, why)))
}

/// Whether an object's Dot is gone, so that it goes by itself.
async fn is_left<A: Api, K: Kind>(api: &A, object: &K) -> Result<bool, ReconcileError> {
    let (Some(owner), Some(name)) = (owner_dot(object), object.labels().get(LABEL_DOT)) else {
        return Ok(false);
    };
    let key = Key {
        namespace: object.namespace(),
        name: name.clone(),
    };
    let dot: Option<Dot> = api.get(&key).await?;
    Ok(dot.is_none_or(|dot| uid(&dot) != owner))
}

/// With the beginning of its id: for when somebody else has the name.
fn other_name(name: &str, id: &str) -> String {
    let short: String = id.chars().take(SHORT_ID).collect();
    let kept: String = name.chars().take(NAME_MAX - SHORT_ID - 1).collect();
    format!("{}-{short}", kept.trim_end_matches('-'))
}

fn branch_names(dot: &Dot, branch: &StoredBranch) -> Vec<String> {
    let default = default_branch_object(&dot.name_any());
    if branch.name == BranchName::DEFAULT {
        return vec![default];
    }
    let other = other_name(&dot.name_any(), &branch.branch_id);
    let recorded = Some(branch.object_name.clone()).filter(|name| !name.is_empty() && *name != default);
    recorded.into_iter().chain([other]).collect()
}

fn commit_names(commit: &StoredCommit) -> Vec<String> {
    let name = commit
        .record
        .as_ref()
        .map(|record| record.name.clone())
        .unwrap_or_default();
    let other = other_name(if name.is_empty() { "commit" } else { &name }, &commit.commit_id);
    Some(name)
        .filter(|name| !name.is_empty())
        .into_iter()
        .chain([other])
        .collect()
}

fn metadata(dot: &Dot, name: String, id: &str, is_automatic: bool) -> ObjectMeta {
    let mut labels = vec![(LABEL_DOT.to_owned(), dot.name_any())];
    if is_automatic {
        labels.push((LABEL_AUTOMATIC.to_owned(), "true".to_owned()));
    }
    ObjectMeta {
        name: Some(name),
        namespace: dot.namespace(),
        labels: Some(labels.into_iter().collect()),
        annotations: Some([(ANNOTATION_RESTORED.to_owned(), id.to_owned())].into()),
        finalizers: Some(vec![FINALIZER.to_owned()]),
        owner_references: Some(vec![owned_by(dot)]),
        ..ObjectMeta::default()
    }
}

fn build_branch(dot: &Dot, branch: &StoredBranch, name: String) -> Branch {
    let is_default = branch.name == BranchName::DEFAULT;
    Branch {
        metadata: metadata(dot, name, &branch.branch_id, is_default),
        spec: BranchSpec {
            dot: dot.name_any(),
            name: branch.name.clone(),
            from: branch
                .origin
                .as_ref()
                .map(|origin| origin.commit_id.clone())
                .unwrap_or_default(),
            restore_from: None,
        },
        status: None,
    }
}

fn origin_of(branch: &StoredBranch, commits: &[StoredCommit]) -> Option<BranchOrigin> {
    let name_of = |id: &str| {
        let commit = commits.iter().find(|commit| commit.commit_id == id);
        commit
            .and_then(|commit| commit.record.as_ref())
            .map(|record| record.name.clone())
            .unwrap_or_default()
    };
    branch.origin.as_ref().map(|origin| BranchOrigin {
        commit: origin.commit_id.clone(),
        commit_name: name_of(&origin.commit_id),
        head: origin.head_id.clone(),
        guids: origin
            .snapshot_guids
            .iter()
            .map(|(id, guid)| (id.clone(), guid.to_string()))
            .collect(),
    })
}

fn branch_status(branch: &StoredBranch, commits: &[StoredCommit], now: Timestamp) -> BranchStatus {
    let states = branch.volumes.iter();
    let states = states.filter_map(|volume| Some((volume.name.clone(), volume.state.as_ref()?)));
    BranchStatus {
        observed_generation: Some(1),
        id: Some(branch.branch_id.clone()),
        head: Some(branch.head_id.clone()),
        origin: origin_of(branch, commits),
        volumes: build_volumes(states),
        users: Vec::new(),
        conditions: Verdict::ready().conditions(&[], Some(1), now),
    }
}

fn build_commit(dot: &Dot, commit: &StoredCommit, name: String) -> Commit {
    let record = commit.record.clone().unwrap_or_default();
    let has_parent = commit
        .state
        .as_ref()
        .is_some_and(|state| !state.parent_commit_id.is_empty());
    let is_initial = !has_parent && record.message == INITIAL_MESSAGE && record.name.ends_with("-initial");
    let mut meta = metadata(dot, name, &commit.commit_id, is_initial);
    meta.annotations
        .get_or_insert_default()
        .insert(ANNOTATION_HEAD.to_owned(), commit.head_id.clone());
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let values = record.metadata.into_iter();
    Commit {
        metadata: meta,
        spec: CommitSpec {
            dot: dot.name_any(),
            branch: text(record.branch_name),
            message: text(record.message),
            author: text(record.author),
            committer: text(record.committer),
            metadata: values.map(|(key, value)| (key, MetadataValue(value))).collect(),
            // Those that were taken with it may be of Dots that are gone.
            group: None,
            // Whether it is published is for the Dot that it comes back with.
            publish: false,
        },
        status: None,
    }
}

fn commit_status(dot: &Dot, commit: &StoredCommit, now: Timestamp) -> CommitStatus {
    let record = commit.record.clone().unwrap_or_default();
    let known = dot.status.iter().flat_map(|status| &status.volumes);
    let names: BTreeMap<&str, &str> = known.map(|volume| (volume.id.as_str(), volume.name.as_str())).collect();
    let name_of = |id: &str| names.get(id).map(|name| (*name).to_owned());
    CommitStatus {
        observed_generation: Some(1),
        id: Some(commit.commit_id.clone()),
        branch: Some(record.branch_name),
        head: Some(commit.head_id.clone()),
        node: dot.status.as_ref().and_then(|status| status.node.clone()),
        conditions: Verdict::ready().conditions(&[], Some(1), now),
        ..build_snapshots(&commit.state.clone().unwrap_or_default(), name_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_has_gets_the_beginning_of_the_id() {
        let id = "0c5a6f6e-1111-4222-8333-444455556666";
        assert_eq!(other_name("before-migration", id), "before-migration-0c5a6f6e");
        let long = "x".repeat(NAME_MAX);
        assert_eq!(other_name(&long, id).len(), NAME_MAX);
        assert_eq!(other_name("a-", id), "a-0c5a6f6e");
    }
}
