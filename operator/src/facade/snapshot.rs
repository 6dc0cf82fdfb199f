//! Snapshots of the CSI are Commits: CreateSnapshot makes one of the branch that the claim mounts, over all volumes of its
//! Dot, and hands out the volume that was asked for; DeleteSnapshot deletes it.
//!
//! csi-snapshotter takes Unavailable, Aborted, DeadlineExceeded and ResourceExhausted for "goes on", and asks again; after
//! everything else it forgets the snapshot and never deletes it. So that is answered only while there is no Commit.

pub mod list;
pub mod plan;

use std::collections::HashMap;
use std::time::Duration;

use dotmesh_crds::names::{LABEL_SNAPSHOT, snapshot_object};
use dotmesh_crds::{Commit, Dot};
use dotmesh_csi_proto::csi::CreateSnapshotRequest;
use dotmesh_model::handle::{GroupId, Handle, SnapshotId, SnapshotRef};
use dotmesh_model::id::{CommitId, DotId};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::timeout;
use uuid::Uuid;

use super::delete::find_dot;
use super::group::{group_of, is_of_group};
use super::held;
use super::request::{RequestError, SIDECARS};
use super::watch::{WatchObject, changed};
use crate::api::{Api, ApiError, ApiErrorKind, Guard, Key, Kind};
use crate::meta::{belongs_to, is_deleting};
use crate::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use list::taken;
pub(super) use plan::build_spec;
use plan::{Refusal, Step, World, plan};

/// What snapshot-controller calls the VolumeSnapshotContent of a VolumeSnapshot with this uid.
fn content_name(uid: &str) -> String {
    format!("snapcontent-{uid}")
}

/// A snapshot that shall be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeSnapshot {
    /// By which it is found again.
    pub uid: Uuid,
    /// The volume.
    pub source: Handle,
    /// The VolumeSnapshot that it is for, if that is said.
    pub of: Option<Key>,
}

/// A snapshot that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its id.
    pub id: SnapshotRef,
    /// The group that it is a member of.
    pub group: Option<GroupId>,
    /// The volume, as it was asked for.
    pub source: Handle,
    /// Bytes that a volume from it has at least.
    pub size_bytes: u64,
    /// When it was taken.
    pub time: Timestamp,
}

impl Taken {
    /// The same one as a member of a group.
    #[must_use]
    pub fn in_group(self, group: GroupId) -> Self {
        Self {
            id: SnapshotRef::Member(self.id.snapshot()),
            group: Some(group),
            ..self
        }
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The request cannot be served by anybody.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Not a volume of this driver.
    #[error("there is no volume {0:?}")]
    UnknownHandle(String),
    /// There will be none, or not now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It goes with its group only.
    #[error("snapshot {0} is one of a group of snapshots: delete that")]
    Member(SnapshotRef),
    /// Work goes on; a repeated call finds it.
    #[error("the Commit is not ready within {0:?}")]
    Deadline(Duration),
    /// The API did not do what was needed; what was begun goes on.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl TryFrom<CreateSnapshotRequest> for TakeSnapshot {
    type Error = SnapshotError;

    fn try_from(request: CreateSnapshotRequest) -> Result<Self, SnapshotError> {
        let CreateSnapshotRequest {
            source_volume_id,
            name,
            secrets: _,
            parameters,
            accessibility_requirements: _,
        } = request;
        if source_volume_id.is_empty() {
            return Err(RequestError::NoVolumeId.into());
        }
        let uid = parse_uid(&name)?;
        let of = parse_of("volumesnapshot", &parameters)?;
        Ok(Self {
            uid,
            source: parse_handle(&source_volume_id).map_err(SnapshotError::UnknownHandle)?,
            of,
        })
    }
}

/// As much of a text as is told to people.
fn cut(text: &str) -> String {
    text.chars().take(128).collect()
}

/// The object of this kind that csi-snapshotter says, when it is told to, a snapshot is for. There are no parameters of
/// ours.
pub(super) fn parse_of(kind: &str, parameters: &HashMap<String, String>) -> Result<Option<Key>, RequestError> {
    if let Some(key) = parameters.keys().filter(|key| !key.starts_with(SIDECARS)).min() {
        return Err(RequestError::UnknownParameter(cut(key)));
    }
    let said = |what: &str| {
        let said = parameters.get(&format!("{SIDECARS}{kind}/{what}"));
        said.filter(|said| !said.is_empty())
    };
    let of = said("namespace").zip(said("name"));
    Ok(of.map(|(namespace, name)| Key::namespaced(namespace, name.as_str())))
}

/// The uid that csi-snapshotter puts at the end of a name.
pub(super) fn parse_uid(name: &str) -> Result<Uuid, RequestError> {
    let uid = name.len().checked_sub(Uuid::nil().hyphenated().to_string().len());
    let uid = uid.and_then(|at| name.get(at..)?.parse().ok());
    uid.ok_or_else(|| RequestError::SnapshotName(cut(name)))
}

/// The handle; else what there is instead, for people.
pub(super) fn parse_handle(text: &str) -> Result<Handle, String> {
    text.parse().map_err(|_| cut(text))
}

/// Takes the snapshot, or finds the one an earlier call took.
///
/// # Errors
/// When it is not there within the budget; a repeated call goes on.
pub async fn take_snapshot<A: Api, W: WatchObject>(
    api: &A,
    watches: &W,
    request: &TakeSnapshot,
    budget: Duration,
) -> Result<Taken, SnapshotError> {
    timeout(budget, work(api, watches, request))
        .await
        .unwrap_or(Err(SnapshotError::Deadline(budget)))
}

async fn work<A: Api, W: WatchObject>(api: &A, watches: &W, request: &TakeSnapshot) -> Result<Taken, SnapshotError> {
    let dot = find_dot(api, request.source.dot).await?;
    let dot = Key::of(&dot.ok_or(Refusal::NotFound(request.source))?);
    let key = Key {
        namespace: dot.namespace.clone(),
        name: snapshot_object(&request.uid.to_string()),
    };
    let mut changes = watches.watch_object::<Commit>(&key);
    let mut world = World::default();
    loop {
        held::observe(api, &dot, request.source, &mut world.held).await?;
        world.commit = api.get(&key).await?;
        world.object = match request.of.as_ref().filter(|_| world.commit.is_none()) {
            Some(of) => api.get::<VolumeSnapshot>(of).await?,
            None => None,
        };
        match plan(request, &world)? {
            Step::Answer(taken) => return Ok(taken),
            Step::Wait => changed(&mut changes, world.commit.as_ref()).await,
            Step::Create(commit) => match api.create(&*commit).await {
                Ok(_) => {}
                // Another call was faster.
                Err(error) if error.kind == ApiErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
}

/// The Dot and the Commit of this id, by consistent reads: of the one that the caches know, else of all of the Dot.
///
/// # Errors
/// Those of the API.
pub async fn find_commit<A: Api>(api: &A, dot: DotId, commit: CommitId) -> Result<Option<(Dot, Commit)>, ApiError> {
    let Some(dot) = find_dot(api, dot).await? else {
        return Ok(None);
    };
    let id = Some(commit.to_string());
    let is_it = |found: &Commit| belongs_to(found, &dot) && found.status.as_ref().is_some_and(|status| status.id == id);
    for cached in api.cached_where::<Commit>(is_it) {
        let current: Option<Commit> = api.get(&Key::of(&*cached)).await?;
        if let Some(found) = current.filter(is_it) {
            return Ok(Some((dot, found)));
        }
    }
    let fields = format!("spec.dot={}", dot.name_any());
    let commits: Vec<Commit> = api.list(dot.namespace().as_deref(), Some(&fields)).await?;
    let found = commits.into_iter().find(is_it);
    Ok(found.map(|commit| (dot, commit)))
}

/// The Dot and the Commit of a snapshot's id, by consistent reads.
///
/// # Errors
/// Those of the API.
pub async fn find_snapshot<A: Api>(api: &A, id: SnapshotId) -> Result<Option<(Dot, Commit)>, ApiError> {
    let volume = id.volume.to_string();
    let found = find_commit(api, id.dot, id.commit).await?;
    Ok(found.filter(|(_, commit)| {
        let status = commit.status.as_ref();
        status.is_some_and(|status| status.volumes.iter().any(|found| found.id == volume))
    }))
}

/// A snapshot that is there, by consistent reads.
///
/// # Errors
/// Those of the API.
pub async fn get_snapshot<A: Api>(api: &A, id: SnapshotRef) -> Result<Option<Taken>, ApiError> {
    let snapshot = id.snapshot();
    let Some((dot, commit)) = find_snapshot(api, snapshot).await? else {
        return Ok(None);
    };
    let Some(taken) = taken(&dot, &commit, snapshot.volume) else {
        return Ok(None);
    };
    Ok(match id {
        SnapshotRef::Alone(_) => Some(taken),
        SnapshotRef::Member(_) => {
            let group = group_of(api, &dot, &commit).await?;
            group.map(|group| taken.in_group(group))
        }
    })
}

/// Whether a Commit stays because the content of that name does, which it was taken for.
pub(super) async fn stays<K: Kind, A: Api>(api: &A, commit: &Commit, content: String) -> Result<bool, ApiError> {
    let own: Option<K> = api.get(&Key::cluster(content)).await?;
    let stays = own.is_some_and(|own| !is_deleting(&own));
    if stays {
        tracing::info!(commit = %Key::of(commit), "stays: its own {} does", K::kind(&()));
    }
    Ok(stays)
}

/// Deletes the Commit of a snapshot; one that people made stays, and so does one of a group of snapshots. What is not
/// there is deleted already.
///
/// It stays, too, while the VolumeSnapshotContent that it was taken for does: the call is for another one then, which
/// somebody has written with the same handle, for whatever namespace.
///
/// # Errors
/// [`SnapshotError::Member`]; those of the API.
pub async fn delete_snapshot<A: Api>(api: &A, id: SnapshotRef) -> Result<(), SnapshotError> {
    let Some((_, commit)) = find_snapshot(api, id.snapshot()).await? else {
        return Ok(());
    };
    if let SnapshotRef::Member(_) = id {
        return Err(SnapshotError::Member(id));
    }
    let uid = commit.labels().get(LABEL_SNAPSHOT);
    let Some(uid) = uid.filter(|_| !is_of_group(&commit)) else {
        return Ok(());
    };
    if stays::<VolumeSnapshotContent, _>(api, &commit, content_name(uid)).await? {
        return Ok(());
    }
    let deleted = api.delete::<Commit>(&Key::of(&commit), &Guard::same(&commit)).await;
    Ok(deleted?)
}
