//! Groups of snapshots of the CSI are Commits of one instant: one of each branch that the claims mount, over all volumes
//! of its Dot.
//!
//! The first Commit says which ones there are to be, so a call that is repeated after any crash makes what is missing, and
//! not others. csi-snapshotter deletes members with their group only; that deletes the first Commit last.

pub mod plan;
pub mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dotmesh_crds::names::{LABEL_SNAPSHOT, snapshot_object};
use dotmesh_crds::{Commit, Dot};
use dotmesh_csi_proto::csi::CreateVolumeGroupSnapshotRequest;
use dotmesh_model::handle::{GroupId, Handle, SnapshotRef};
use dotmesh_model::id::{CommitId, DotId, VolumeId};
use futures::future::select_all;
use kube::ResourceExt;
use tokio::time::timeout;
use uuid::Uuid;

use super::delete::find_dot;
use super::held;
use super::request::RequestError;
use super::snapshot::list::taken;
use super::snapshot::{Taken, find_commit, parse_handle, parse_of, parse_uid, stays};
use super::watch::{Changes, WatchObject, changed};
use crate::api::{Api, ApiError, ApiErrorKind, Guard, Key};
use crate::meta::dot_id;
use crate::volume_snapshot::{VolumeGroupSnapshot, VolumeGroupSnapshotContent};
use plan::{Member, Refusal, Step, World, parse_members, plan};

/// What snapshot-controller calls the VolumeGroupSnapshotContent of a VolumeGroupSnapshot with this uid.
fn content_name(uid: &str) -> String {
    format!("groupsnapcontent-{uid}")
}

/// A group that shall be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeGroup {
    /// By which it is found again.
    pub uid: Uuid,
    /// The volumes.
    pub sources: BTreeSet<Handle>,
    /// The VolumeGroupSnapshot that it is for, if that is said.
    pub of: Option<Key>,
}

/// A group that is there, perhaps not all of it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its snapshots.
    pub members: Vec<Taken>,
    /// Nothing of it is missing.
    pub is_whole: bool,
}

/// Why there is no group.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The request cannot be served by anybody.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not a volume of this driver.
    #[error("there is no volume {0:?}")]
    UnknownHandle(String),
    /// There will be none, or not now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing of that id.
    #[error("there is no group of snapshots {0:?}")]
    NotFound(String),
    /// The caller means other snapshots than the group has.
    #[error("snapshot_ids: {snapshot:?} is {says} group {group}")]
    OtherMembers {
        /// The snapshot.
        snapshot: String,
        /// What is wrong with it.
        says: &'static str,
        /// The group.
        group: GroupId,
    },
    /// Work goes on; a repeated call finds it.
    #[error("the Commits are not ready within {0:?}")]
    Deadline(Duration),
    /// The API did not do what was needed; what was begun goes on.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl TryFrom<CreateVolumeGroupSnapshotRequest> for TakeGroup {
    type Error = GroupError;

    fn try_from(request: CreateVolumeGroupSnapshotRequest) -> Result<Self, GroupError> {
        let CreateVolumeGroupSnapshotRequest {
            name,
            source_volume_ids,
            secrets: _,
            parameters,
        } = request;
        let uid = parse_uid(&name)?;
        let of = parse_of("volumegroupsnapshot", &parameters)?;
        if source_volume_ids.is_empty() {
            return Err(RequestError::NoVolumeId.into());
        }
        let mut sources = BTreeSet::new();
        for id in &source_volume_ids {
            let handle = parse_handle(id).map_err(GroupError::UnknownHandle)?;
            if !sources.insert(handle) {
                return Err(RequestError::TwiceTheSame(handle).into());
            }
        }
        Ok(Self { uid, sources, of })
    }
}

/// Takes the group, or finds the one an earlier call took.
///
/// # Errors
/// When it is not there within the budget; a repeated call goes on.
pub async fn take_group<A: Api, W: WatchObject>(
    api: &A,
    watches: &W,
    request: &TakeGroup,
    budget: Duration,
) -> Result<Group, GroupError> {
    timeout(budget, work(api, watches, request))
        .await
        .unwrap_or(Err(GroupError::Deadline(budget)))
}

async fn work<A: Api, W: WatchObject>(api: &A, watches: &W, request: &TakeGroup) -> Result<Group, GroupError> {
    let mut dots = BTreeMap::new();
    for source in &request.sources {
        let dot = find_dot(api, source.dot).await?;
        let dot = dot.ok_or(Refusal::NotFound(*source))?;
        dots.insert(*source, Key::of(&dot));
    }
    let mut changes: BTreeMap<String, Changes<Commit>> = BTreeMap::new();
    loop {
        let world = observe(api, request, &dots).await?;
        match plan(request, &world)? {
            Step::Answer(group) => return Ok(group),
            Step::Create(commit) => match api.create(&*commit).await {
                Ok(_) => {}
                // Another call was faster.
                Err(error) if error.kind == ApiErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            },
            Step::Wait => {
                for commit in world.commits.values() {
                    let (name, key) = (commit.name_any(), Key::of(commit));
                    changes.entry(name).or_insert_with(|| watches.watch_object(&key));
                }
                let any = changes
                    .iter_mut()
                    .map(|(name, changes)| Box::pin(changed(changes, world.commits.get(name))));
                select_all(any).await;
            }
        }
    }
}

async fn observe<A: Api>(api: &A, request: &TakeGroup, dots: &BTreeMap<Handle, Key>) -> Result<World, ApiError> {
    let mut world = World::default();
    for (source, dot) in dots {
        let mut held = held::World::default();
        held::observe(api, dot, *source, &mut held).await?;
        world.held.insert(*source, held);
    }
    let beside = dots.values().next();
    let first = Key {
        namespace: beside.and_then(|dot| dot.namespace.clone()),
        name: snapshot_object(&request.uid.to_string()),
    };
    match (api.get::<Commit>(&first).await?, &request.of) {
        (Some(first), _) => world.commits = read_members(api, first).await?,
        (None, Some(of)) => world.object = api.get::<VolumeGroupSnapshot>(of).await?,
        (None, None) => {}
    }
    Ok(world)
}

/// The first Commit and those that it names, as far as they are there.
async fn read_members<A: Api>(api: &A, first: Commit) -> Result<BTreeMap<String, Commit>, ApiError> {
    let mut commits = BTreeMap::new();
    let own = Key::of(&first);
    for Member { commit: name, .. } in parse_members(&first).unwrap_or_default() {
        let key = Key {
            name: name.clone(),
            ..own.clone()
        };
        if key != own
            && let Some(member) = api.get(&key).await?
        {
            commits.insert(name, member);
        }
    }
    commits.insert(own.name, first);
    Ok(commits)
}

/// The group of this id, as far as it is there.
///
/// # Errors
/// [`GroupError::OtherMembers`] when the caller means other snapshots; those of the API.
pub async fn find_group<A: Api>(api: &A, id: GroupId, named: &[String]) -> Result<Option<Group>, GroupError> {
    let Some((dot, first)) = find_commit(api, id.dot, id.commit).await? else {
        return Ok(None);
    };
    let (group, _) = describe(api, id, &dot, first).await?;
    check_named(&group, named)?;
    Ok(Some(group))
}

/// The group that begins with this Commit of the Dot, and its Commits by name.
async fn describe<A: Api>(
    api: &A,
    id: GroupId,
    dot: &Dot,
    first: Commit,
) -> Result<(Group, BTreeMap<String, Commit>), ApiError> {
    if let Some(wanted) = parse_members(&first) {
        let commits = read_members(api, first).await?;
        return Ok((members_there(api, id, &wanted, &commits).await?, commits));
    }
    let status = first.status.as_ref();
    let volumes = status.into_iter().flat_map(|status| &status.volumes);
    let ids: Vec<VolumeId> = volumes.filter_map(|volume| volume.id.parse().ok()).collect();
    let found: Vec<Taken> = ids.iter().filter_map(|volume| taken(dot, &first, *volume)).collect();
    let group = Group {
        id,
        is_whole: !ids.is_empty() && found.len() == ids.len(),
        members: found.into_iter().map(|taken| taken.in_group(id)).collect(),
    };
    Ok((group, BTreeMap::from([(first.name_any(), first)])))
}

async fn members_there<A: Api>(
    api: &A,
    id: GroupId,
    wanted: &[Member],
    commits: &BTreeMap<String, Commit>,
) -> Result<Group, ApiError> {
    let mut members = Vec::new();
    for Member { commit, dot, sources } in wanted {
        let Some(commit) = commits.get(commit) else { continue };
        let key = Key {
            namespace: commit.namespace(),
            name: dot.clone(),
        };
        let Some(dot) = api.get::<Dot>(&key).await? else {
            continue;
        };
        let of_it = sources.iter().filter_map(|source| {
            let source: Handle = source.parse().ok()?;
            let taken = taken(&dot, commit, source.volume)?;
            Some(Taken { source, ..taken }.in_group(id))
        });
        members.extend(of_it);
    }
    let count: usize = wanted.iter().map(|member| member.sources.len()).sum();
    Ok(Group {
        id,
        is_whole: members.len() == count,
        members,
    })
}

/// Whether the caller means this group. One who names no members does; of one that is not whole any more, members may be
/// named that are gone (CSI, GetVolumeGroupSnapshot and DeleteVolumeGroupSnapshot).
fn check_named(group: &Group, named: &[String]) -> Result<(), GroupError> {
    if named.is_empty() {
        return Ok(());
    }
    let members: BTreeSet<String> = group.members.iter().map(|member| member.id.to_string()).collect();
    let other = |snapshot: &str, says| {
        Err(GroupError::OtherMembers {
            snapshot: snapshot.to_owned(),
            says,
            group: group.id,
        })
    };
    if let Some(missing) = members.iter().find(|member| !named.contains(member)) {
        return other(missing, "not named, and one of");
    }
    let is_foreign = |text: &&String| match text.parse() {
        Ok(SnapshotRef::Member(_)) => group.is_whole && !members.contains(*text),
        Ok(SnapshotRef::Alone(_)) | Err(_) => true,
    };
    named
        .iter()
        .find(is_foreign)
        .map_or(Ok(()), |foreign| other(foreign, "none of"))
}

/// Deletes the Commits of a group that was asked for; what people made stays. What is not there is deleted already.
///
/// They stay, too, while the VolumeGroupSnapshotContent that they were taken for does: the call is for another one then,
/// which somebody has written with the same handle.
///
/// # Errors
/// [`GroupError::OtherMembers`] when the caller means other snapshots; those of the API.
pub async fn delete_group<A: Api>(api: &A, id: GroupId, named: &[String]) -> Result<(), GroupError> {
    let mut commits = Vec::new();
    match find_commit(api, id.dot, id.commit).await? {
        Some((dot, first)) => {
            let name = first.name_any();
            let (group, mut all) = describe(api, id, &dot, first).await?;
            check_named(&group, named)?;
            // It goes last: by it the others are found again.
            let first = all.remove(&name);
            commits.extend(all.into_values().chain(first));
        }
        // Somebody deleted the first one: the others are those that the caller names.
        None => {
            for member in named {
                let Ok(SnapshotRef::Member(member)) = member.parse() else {
                    continue;
                };
                let found = find_commit(api, member.dot, member.commit).await?;
                commits.extend(found.map(|(_, commit)| commit));
            }
        }
    }
    for commit in commits.iter().filter(|commit| is_of_group(commit)) {
        let Some(uid) = commit.labels().get(LABEL_SNAPSHOT) else {
            continue;
        };
        if stays::<VolumeGroupSnapshotContent, _>(api, commit, content_name(uid)).await? {
            continue;
        }
        match api.delete::<Commit>(&Key::of(commit), &Guard::same(commit)).await {
            Err(error) if error.kind != ApiErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Whether it was made for a group of snapshots of the CSI.
pub fn is_of_group(commit: &Commit) -> bool {
    let uid = commit.labels().get(LABEL_SNAPSHOT);
    uid.is_some_and(|uid| commit.name_any() != snapshot_object(uid)) || parse_members(commit).is_some()
}

/// The group that a Commit is in: that which it was made for, else one of its own.
///
/// # Errors
/// Those of the API.
pub async fn group_of<A: Api>(api: &A, dot: &Dot, commit: &Commit) -> Result<Option<GroupId>, ApiError> {
    let uid = commit.labels().get(LABEL_SNAPSHOT).filter(|_| is_of_group(commit));
    let Some(uid) = uid else {
        return Ok(group_id(dot, commit));
    };
    let beside = |name: String| Key {
        namespace: commit.namespace(),
        name,
    };
    let Some(first) = api.get::<Commit>(&beside(snapshot_object(uid))).await? else {
        return Ok(None);
    };
    let dot = api.get::<Dot>(&beside(first.spec.dot.clone())).await?;
    Ok(dot.and_then(|dot| group_id(&dot, &first)))
}

/// The id of the group that begins with this Commit.
pub fn group_id(dot: &Dot, first: &Commit) -> Option<GroupId> {
    let commit: CommitId = first.status.as_ref()?.id.as_deref()?.parse().ok()?;
    let dot: DotId = dot_id(dot).parse().ok()?;
    Some(GroupId { dot, commit })
}
