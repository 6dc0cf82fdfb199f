//! The newest commit that must be in a pool: by it the node notices that the pool was taken back to an earlier
//! state, in which nothing may count as absent.

use dotmesh_crds::names::ANNOTATION_GIVEN_UP;
use dotmesh_crds::{Commit, Dot, Pool};
use dotmesh_csi_proto::node::NewestCommit;
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;

use crate::api::{Api, ApiError, Key};
use crate::meta::{is_deleting, owner_dot, uid};
use crate::status::is_ready;

/// Looks for it among all Commits of the node, by consistent reads: a cache that is behind would name an older one,
/// which a pool that was taken back has.
///
/// # Errors
/// Those of the API.
pub async fn find<A: Api>(api: &A, pool: &Pool) -> Result<Option<NewestCommit>, ApiError> {
    let given_up = given_up_until(pool);
    let of_node = format!("status.node={}", pool.spec.node_name);
    let all: Vec<Commit> = api.list(None, Some(&of_node)).await?;
    let mut newest: Vec<_> = all
        .iter()
        .filter_map(|commit| Some((must_be_there(commit)?, commit)))
        .filter(|(group, _)| *group > given_up)
        .collect();
    newest.sort_by_key(|(group, _)| std::cmp::Reverse(*group));
    for (_, commit) in newest {
        let dot = Key {
            namespace: commit.namespace(),
            name: commit.spec.dot.clone(),
        };
        // Where a Dot lies never changes, so that an old cache is good enough to pass one over.
        let is_elsewhere = |dot: &Dot| owner_dot(commit) == Some(uid(dot)) && lies_elsewhere(dot, pool);
        if api.cached::<Dot>(&dot).is_some_and(|dot| is_elsewhere(&dot)) {
            continue;
        }
        let dot: Option<Dot> = api.get(&dot).await?;
        let dot = dot.filter(|dot| !lies_elsewhere(dot, pool));
        if let Some(found) = dot.and_then(|dot| describe(commit, &dot)) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn lies_elsewhere(dot: &Dot, pool: &Pool) -> bool {
    let recorded = dot.status.as_ref().and_then(|status| status.pool.as_ref());
    recorded.is_some_and(|recorded| *recorded != pool.name_any() && !is_planted(Mutant::TheNewestCommitOfTheNode))
}

/// What a person gave up; nothing when the number cannot be read.
fn given_up_until(pool: &Pool) -> u64 {
    let given_up = pool.annotations().get(ANNOTATION_GIVEN_UP);
    given_up.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The transaction group of a Ready commit that nobody deletes.
fn must_be_there(commit: &Commit) -> Option<u64> {
    let status = commit.status.as_ref()?;
    let group = status.createtxg.and_then(|group| u64::try_from(group).ok());
    group.filter(|_| !is_deleting(commit) && is_ready(&status.conditions))
}

/// A commit that must be there, for the node. The tombstone of a Dot covers its commits, which may stay for a moment
/// longer.
fn describe(commit: &Commit, dot: &Dot) -> Option<NewestCommit> {
    let createtxg = must_be_there(commit)?;
    let status = commit.status.as_ref()?;
    if is_deleting(dot) || owner_dot(commit) != Some(uid(dot)) {
        return None;
    }
    let dot_id = dot.status.as_ref().and_then(|status| status.id.clone());
    Some(NewestCommit {
        dot_id: dot_id.unwrap_or_else(|| uid(dot).to_owned()),
        head_id: status.head.clone()?,
        commit_id: status.id.clone()?,
        createtxg,
        object: Key::of(commit).to_string(),
    })
}
