//! The snapshots that there are.

use std::collections::BTreeMap;

use dotmesh_crds::names::{ANNOTATION_SOURCE, LABEL_SNAPSHOT, snapshot_object};
use dotmesh_crds::{Commit, Dot};
use dotmesh_model::handle::{GroupId, Handle, SnapshotId, SnapshotRef};
use dotmesh_model::id::{ClaimUid, DotId, VolumeId};
use dotmesh_model::size::parse_quantity;
use kube::ResourceExt;
use uuid::Uuid;

use super::super::group::plan::parse_members;
use super::super::group::{group_id, is_of_group};
use super::Taken;
use crate::api::{Api, ApiError};
use crate::claim::entries;
use crate::meta::{belongs_to, dot_id};
use crate::status::is_ready;

/// The snapshots that somebody asked for and that are there, by consistent reads.
///
/// # Errors
/// Those of the API.
pub async fn list_snapshots<A: Api>(api: &A) -> Result<Vec<Taken>, ApiError> {
    let dots: Vec<Dot> = api.list(None, None).await?;
    let key = |namespace: Option<String>, name: &str| (namespace, name.to_owned());
    let dots: BTreeMap<_, Dot> = dots
        .into_iter()
        .map(|dot| (key(dot.namespace(), &dot.name_any()), dot))
        .collect();
    let commits: Vec<Commit> = api.list(None, None).await?;
    let asked = || {
        commits
            .iter()
            .filter(|commit| commit.labels().contains_key(LABEL_SNAPSHOT))
    };
    let dot_of = |commit: &Commit| dots.get(&key(commit.namespace(), &commit.spec.dot));
    let firsts: BTreeMap<_, GroupId> = asked()
        .filter(|commit| parse_members(commit).is_some())
        .filter_map(|first| {
            Some((
                key(first.namespace(), &first.name_any()),
                group_id(dot_of(first)?, first)?,
            ))
        })
        .collect();
    let mut found = Vec::new();
    for commit in asked() {
        let Some(dot) = dot_of(commit) else { continue };
        let uid = commit.labels().get(LABEL_SNAPSHOT).map_or("", String::as_str);
        let group = firsts.get(&key(commit.namespace(), &snapshot_object(uid))).copied();
        for source in sources(commit) {
            let Some(taken) = taken(dot, commit, source.volume) else {
                continue;
            };
            let taken = Taken { source, ..taken };
            match group {
                Some(group) => found.push(taken.in_group(group)),
                // One of a group whose first Commit is gone is nobody's.
                None if is_of_group(commit) => {}
                None => found.push(taken),
            }
        }
    }
    Ok(found)
}

/// The volumes that a Commit was asked of.
fn sources(commit: &Commit) -> impl Iterator<Item = Handle> {
    let said = commit.annotations().get(ANNOTATION_SOURCE);
    said.into_iter()
        .flat_map(|said| said.split(','))
        .filter_map(|source| source.parse().ok())
}

/// The snapshot of a volume in a Commit of a Dot, when it is there.
pub fn taken(dot: &Dot, commit: &Commit, volume: VolumeId) -> Option<Taken> {
    let status = commit.status.as_ref()?;
    if !is_ready(&status.conditions) || !belongs_to(commit, dot) {
        return None;
    }
    let id = volume.to_string();
    status.volumes.iter().find(|found| found.id == id)?;
    let mut volumes = dot.status.iter().flat_map(|status| &status.volumes);
    let there = volumes.find(|found| found.id == id)?;
    let of: DotId = dot_id(dot).parse().ok()?;
    // Nobody asked for those that people committed: who holds the volume stands for it.
    let holder = || {
        let mut entries = entries::entries(dot).iter();
        let holder = entries.find(|entry| VolumeId::derive(of, &entry.volume) == volume);
        let claim = holder.and_then(|entry| entry.uid.parse().ok());
        Handle {
            dot: of,
            volume,
            claim: claim.unwrap_or(ClaimUid::new(Uuid::nil())),
        }
    };
    Some(Taken {
        id: SnapshotRef::Alone(SnapshotId {
            dot: of,
            volume,
            commit: status.id.as_deref()?.parse().ok()?,
        }),
        group: None,
        source: sources(commit)
            .find(|source| source.volume == volume)
            .unwrap_or_else(holder),
        size_bytes: parse_quantity(&there.size).ok()?,
        time: status.time.as_deref()?.parse().ok()?,
    })
}
