//! CreateVolume: an empty volume is a Dot of its own, one with a source a branch in the source's Dot.

use std::collections::HashMap;
use std::sync::Arc;

use dotmesh_csi_proto::csi as proto;
use dotmesh_csi_proto::csi::volume_content_source::{self, SnapshotSource, VolumeSource};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::{Handle, SnapshotId};
use dotmesh_model::id::{DotId, HeadId};
use dotmesh_model::tuning::{BlockSize, Tuning};
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::Status;

use super::alone::{Alone, Snapshot, Volume, branch_request, branches, commits, snapshots, volume_of};
use super::controller::{parse_format, parse_range, parse_tuning};
use super::ids::{Kind, Name, VolumeKey};
use super::mark::{Mark, Purpose};
use super::{here, invalid, node::parse_handle};
use crate::layout::{BranchRecord, DotIdentity, DotState, GRAIN};
use crate::ops::{AttachRequest, Begun, DotDescription, Error, Ops, OriginRequest};

/// Its size when none is asked for and it begins empty, in bytes.
const DEFAULT_SIZE: u64 = 1 << 30;

/// A volume to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Create {
    name: Name,
    source: Option<Source>,
    /// Bytes it shall have at least, if that was said.
    size: Option<u64>,
    /// Bytes it may have at most.
    limit: u64,
    format: VolumeFormat,
    /// What of the parameters concerns that format.
    tuning: Tuning,
}

/// What a volume begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Snapshot(SnapshotId),
    Volume(Handle),
}

/// A volume that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Made {
    pub handle: Handle,
    /// Bytes.
    pub size: u64,
}

impl Source {
    const fn dot(self) -> DotId {
        match self {
            Self::Snapshot(id) => id.dot,
            Self::Volume(handle) => handle.dot,
        }
    }

    fn not_found(self) -> Error {
        Error::NotFound(match self {
            Self::Snapshot(id) => format!("the source, snapshot {id}, is not there"),
            Self::Volume(handle) => format!("the source, volume {handle}, is not there or was not made here"),
        })
    }
}

impl Create {
    /// As the answer tells it.
    pub(super) fn content_source(&self) -> Option<proto::VolumeContentSource> {
        let source = match self.source? {
            Source::Snapshot(id) => snapshot_source(id),
            Source::Volume(handle) => volume_source(handle),
        };
        Some(proto::VolumeContentSource { r#type: Some(source) })
    }
}

pub(super) fn snapshot_source(id: SnapshotId) -> volume_content_source::Type {
    let snapshot_id = id.to_string();
    volume_content_source::Type::Snapshot(SnapshotSource { snapshot_id })
}

pub(super) fn volume_source(handle: Handle) -> volume_content_source::Type {
    let volume_id = handle.to_string();
    volume_content_source::Type::Volume(VolumeSource { volume_id })
}

pub(super) fn parse_create(request: proto::CreateVolumeRequest, node: &str) -> Result<Create, Status> {
    let name = Name::parse(Kind::Volume, request.name).map_err(invalid)?;
    let format = parse_format(&request.volume_capabilities)?;
    if let Some(wanted) = &request.accessibility_requirements
        && !wanted.requisite.is_empty()
        && !wanted.requisite.iter().any(|topology| here(topology, node))
    {
        return Err(Status::resource_exhausted(format!(
            "volumes can be made on node {node} only"
        )));
    }
    let (size, limit) = parse_range(request.capacity_range, format)?;
    let mutable = parse_mutable(&request.mutable_parameters, format)?;
    let tuning = mutable.or(parse_tuning(&request.parameters)?).of_format(format);
    // Last: what is missing is told before what is not found.
    let source = match request.volume_content_source {
        None => None,
        Some(source) => Some(parse_source(source)?),
    };
    Ok(Create {
        name,
        source,
        size,
        limit,
        format,
        tuning,
    })
}

fn parse_source(source: proto::VolumeContentSource) -> Result<Source, Status> {
    match source.r#type {
        None => Err(invalid("volume_content_source has neither a snapshot nor a volume")),
        Some(volume_content_source::Type::Volume(source)) => parse_handle(&source.volume_id).map(Source::Volume),
        Some(volume_content_source::Type::Snapshot(source)) => {
            parse_snapshot_id(&source.snapshot_id).map(Source::Snapshot)
        }
    }
}

/// An id that must be there; one that is not ours names nothing.
pub(super) fn parse_snapshot_id(text: &str) -> Result<SnapshotId, Status> {
    if text.is_empty() {
        return Err(invalid("snapshot_id is missing"));
    }
    text.parse()
        .map_err(|error| Status::not_found(format!("snapshot {text:?}: {error}")))
}

/// What can be changed of a volume that is there: how data is kept that is written from then on.
pub(super) fn parse_mutable(parameters: &HashMap<String, String>, format: VolumeFormat) -> Result<Tuning, Status> {
    let tuning = parse_changes(parameters)?;
    check_changes(&tuning, format).map_err(invalid)?;
    Ok(tuning)
}

/// The same of a volume of any format.
pub(super) fn parse_changes(parameters: &HashMap<String, String>) -> Result<Tuning, Status> {
    let mutable = ["compression", "recordsize"];
    if let Some(key) = parameters.keys().filter(|key| !mutable.contains(&key.as_str())).min() {
        return Err(invalid(format!(
            "mutable_parameters: {key:?} is not one that can be changed; there are {}",
            mutable.join(" and ")
        )));
    }
    Tuning::of_parameters(|name| parameters.get(name).map(String::as_str))
        .map_err(|error| invalid(format!("mutable_parameters: {error}")))
}

/// # Errors
/// A sentence that says what the format has not.
pub(super) fn check_changes(tuning: &Tuning, format: VolumeFormat) -> Result<(), String> {
    if *tuning == tuning.clone().of_format(format) {
        return Ok(());
    }
    Err(format!(
        "mutable_parameters: recordsize is for format zfs, the volume has format {format}"
    ))
}

/// Where a volume is.
struct Place<Z, M> {
    ops: Arc<Ops<Z, M>>,
    dot: DotId,
    key: VolumeKey,
}

/// A name in use, or none.
struct Known<Z, M> {
    /// Where the volume of that name is, complete or not.
    there: Option<Place<Z, M>>,
    /// The keys that no volume has had which is not collected yet.
    free: Vec<VolumeKey>,
}

impl<Z: Zfs, M: Mount> Alone<Z, M> {
    /// The volume is there. What was made for one that cannot be made is taken back.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the volume of that name is another; [`Error::NotFound`] of the source;
    /// [`Error::OutOfRange`] when the source has more bytes than are asked for; [`Error::OutOfSpace`];
    /// [`Error::Invalid`].
    pub(super) async fn create(&self, create: &Create) -> Result<Made, Error> {
        let _name = self.lock_name(create.name.first()).await;
        let known = self.look_up(&create.name).await?;
        if let Some(Place { ops, dot, key }) = known.there {
            let home = create.source.map_or(key.own_dot(), Source::dot);
            if home != dot {
                return Err(conflict(create, "another source"));
            }
            let _alone = self.lock_dot(dot).await;
            return self.create_in(&ops, dot, key, create).await;
        }
        for key in known.free {
            let dot = create.source.map_or(key.own_dot(), Source::dot);
            let ops = match (self.pool_of(dot).await?, create.source) {
                (Some(ops), _) => ops,
                (None, None) => self.first_pool().await?,
                (None, Some(source)) => return Err(source.not_found()),
            };
            let _alone = self.lock_dot(dot).await;
            match self.create_in(&ops, dot, key, create).await {
                // Something of an earlier volume of that name is left.
                Err(Error::Deleted(_)) => {}
                made => return made,
            }
        }
        Err(Error::Deleted(format!(
            "earlier volumes of the name {:?} are still being deleted; repeat, or choose another name",
            create.name.as_str()
        )))
    }

    /// Which volume has the name, anywhere on the node.
    async fn look_up(&self, name: &Name) -> Result<Known<Z, M>, Error> {
        let mut known = Known {
            there: None,
            free: name.keys().map(VolumeKey).collect(),
        };
        for ops in self.pools.all().await? {
            for (dot, state) in ops.dot_states().await? {
                for (branch, record) in &state.branches {
                    let Some(key) = VolumeKey::of_branch(dot, *branch, record.name()) else {
                        continue;
                    };
                    let is_live = !state.deleted && matches!(record, BranchRecord::Live { .. });
                    if is_live && known.free.contains(&key) {
                        let ops = Arc::clone(&ops);
                        known.there = Some(Place { ops, dot, key });
                    } else if !is_live {
                        known.free.retain(|free| *free != key);
                    }
                }
            }
        }
        Ok(known)
    }

    async fn create_in(
        &self,
        ops: &Arc<Ops<Z, M>>,
        dot: DotId,
        key: VolumeKey,
        create: &Create,
    ) -> Result<Made, Error> {
        // In a place of their own: they are large, and few are asked for.
        let made = match create.source {
            None => Box::pin(create_empty(ops, key, create)).await,
            Some(source) => Box::pin(create_clone(ops, dot, key, create, source)).await,
        };
        if let (Err(Error::OutOfSpace(_) | Error::Invalid(_)), None) = (&made, create.source) {
            ops.withdraw_dot(dot).await?;
        }
        made
    }
}

fn conflict(create: &Create, what: &str) -> Error {
    let name = create.name.as_str();
    Error::Conflict(format!("volume {name:?} has {what} already, not what is asked for"))
}

async fn create_empty<Z: Zfs, M: Mount>(ops: &Arc<Ops<Z, M>>, key: VolumeKey, create: &Create) -> Result<Made, Error> {
    let handle = key.handle(key.own_dot());
    let dot = handle.dot;
    let identity = DotIdentity {
        namespace: String::new(),
        name: create.name.as_str().to_owned(),
    };
    ops.ensure_dot(dot, &identity).await?;
    let asked = create
        .size
        .unwrap_or(DEFAULT_SIZE.min(create.limit))
        .max(create.format.min_bytes());
    let volumes = ops.volumes_of(dot, key.head()).await?;
    let size = match volumes.get(&handle.volume) {
        // Not sized yet: an attempt was interrupted.
        None | Some(Begun { size: 0, .. }) => asked,
        Some(Begun { size, tuning, .. }) => {
            check_made(create, asked, *size, tuning)?;
            *size
        }
    };
    let request = branch_request(key, dot, (size, create.format), create.tuning.clone())?;
    let made = ops.ensure_branch(&request).await?;
    attach(ops, handle, key).await?;
    let size = made.first().map_or(size, |made| made.size);
    Ok(Made { handle, size })
}

/// A volume that was made before is what is asked for.
fn check_made(create: &Create, asked: u64, size: u64, tuning: &Tuning) -> Result<(), Error> {
    if !(asked..=create.limit.max(asked)).contains(&size) {
        return Err(conflict(create, &format!("{size} bytes")));
    }
    if create.tuning.contradicts(tuning) {
        return Err(conflict(create, "other parameters"));
    }
    Ok(())
}

/// From then on it can be published.
async fn attach<Z: Zfs, M: Mount>(ops: &Ops<Z, M>, handle: Handle, key: VolumeKey) -> Result<(), Error> {
    let attach = AttachRequest {
        dot: handle.dot,
        claim: handle.claim,
        volume: handle.volume,
        branch: (handle.dot != key.own_dot()).then(|| key.branch()),
    };
    ops.attach(&attach).await
}

async fn create_clone<Z: Zfs, M: Mount>(
    ops: &Arc<Ops<Z, M>>,
    dot: DotId,
    key: VolumeKey,
    create: &Create,
    source: Source,
) -> Result<Made, Error> {
    let described = match ops.describe_dot(dot).await {
        Err(Error::NotFound(_) | Error::Deleted(_)) => return Err(source.not_found()),
        described => described?,
    };
    let there = branches(dot, &described).find(|volume| volume.key == key);
    let begun = commits(dot, &described).any(|commit| commit.id.commit == key.clone_commit());
    let (size, head) = match there {
        Some(volume) => check_clone(ops, create, source, volume).await?,
        None => begin_clone(ops, key, create, source, &described).await?,
    };
    // What the clone needs of that commit stays with it. Before the end, so that a repeated call sees to it.
    if matches!(source, Source::Volume(_)) {
        match there.is_none() || begun {
            true => ops.delete_commit(dot, key.clone_commit(), head).await.map(drop)?,
            false => ops.collect_now(dot).await?,
        }
    }
    let handle = key.handle(dot);
    attach(ops, handle, key).await?;
    Ok(Made { handle, size })
}

/// A clone that was begun or made before is what is asked for. Returns its size, and the head it was cloned from.
async fn check_clone<Z: Zfs, M: Mount>(
    ops: &Ops<Z, M>,
    create: &Create,
    source: Source,
    volume: Volume<'_>,
) -> Result<(u64, HeadId), Error> {
    let other = || conflict(create, "another source");
    let origin = volume.head.origin.as_ref().ok_or_else(other)?;
    let is_from_it = match source {
        Source::Snapshot(id) => origin.commit == id.commit,
        Source::Volume(handle) => {
            let state = ops.dot_state(volume.dot).await?.unwrap_or_default();
            origin.commit == volume.key.clone_commit() && Some(origin.head) == head_of(&state, handle)
        }
    };
    if !is_from_it {
        return Err(other());
    }
    let (size, format) = (volume.state.size, volume.state.format);
    if format != create.format {
        return Err(conflict(create, &format!("format {format}")));
    }
    check_made(create, create.size.unwrap_or_default(), size, &volume.state.tuning)?;
    Ok((size, origin.head))
}

/// The head of a volume that was made here, deleted or not.
fn head_of(state: &DotState, handle: Handle) -> Option<HeadId> {
    let keys = state
        .branches
        .iter()
        .filter_map(|(branch, record)| VolumeKey::of_branch(handle.dot, *branch, record.name()));
    let mut keys = keys.filter(|key| key.handle(handle.dot) == handle);
    keys.next().map(VolumeKey::head)
}

/// Makes the branch of a clone. What was made for one that cannot be made is taken back. Returns its size, and the head
/// it was cloned from.
async fn begin_clone<Z: Zfs, M: Mount>(
    ops: &Arc<Ops<Z, M>>,
    key: VolumeKey,
    create: &Create,
    source: Source,
    described: &DotDescription,
) -> Result<(u64, HeadId), Error> {
    let dot = source.dot();
    let (mark, origin) = match source {
        Source::Snapshot(id) => {
            let snapshot = snapshots(dot, described).find(|snapshot| snapshot.id == id);
            let snapshot = snapshot.ok_or_else(|| source.not_found())?;
            check_size(create, &snapshot.mark)?;
            (snapshot.mark, origin_of(&snapshot))
        }
        Source::Volume(handle) => {
            let volume = volume_of(handle, described).map_err(|_| source.not_found())?;
            let request = volume.commit_request(key.clone_commit(), create.name.as_str(), Purpose::Clone);
            let begun = commits(dot, described).find(|commit| commit.id.commit == key.clone_commit());
            let mark = begun.as_ref().map(|begun| begun.mark);
            let mark = mark.or_else(|| Mark::decode(&request.record.metadata));
            let mark = mark.ok_or_else(|| Error::Internal("a mark cannot be read".to_owned()))?;
            check_size(create, &mark)?;
            if begun.as_ref().is_some_and(|begun| begun.mark.source != handle) {
                return Err(conflict(create, "another source"));
            }
            let taken = ops.commit(&request).await?;
            let origin = OriginRequest {
                commit: request.commit,
                head: request.head,
                guids: taken.snapshots.iter().map(|one| (one.volume, one.guid)).collect(),
            };
            (mark, origin)
        }
    };
    let size = create.size.unwrap_or(mark.size).max(mark.size);
    let mut request = branch_request(key, dot, (size, create.format), create.tuning.clone())?;
    let head = origin.head;
    request.origin = Some(origin);
    match ops.ensure_branch(&request).await {
        Ok(made) => Ok((made.first().map_or(size, |made| made.size), head)),
        Err(error @ (Error::OutOfSpace(_) | Error::Invalid(_))) => {
            ops.delete_branch(dot, key.branch(), &[key.head()]).await?;
            if let Source::Volume(_) = source {
                ops.delete_commit(dot, key.clone_commit(), head).await?;
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

fn origin_of(snapshot: &Snapshot<'_>) -> OriginRequest {
    let guids = snapshot.commit.state.snapshots.iter();
    OriginRequest {
        commit: snapshot.commit.id,
        head: snapshot.commit.head,
        guids: guids.map(|one| (one.volume, one.guid)).collect(),
    }
}

/// A clone is what its source is, and has no fewer bytes.
fn check_size(create: &Create, mark: &Mark) -> Result<(), Error> {
    let &Mark {
        size, format, block, ..
    } = mark;
    if create.format != format {
        let wanted = create.format;
        return Err(Error::Invalid(format!(
            "the source has format {format}, and not {wanted}: a clone has the same"
        )));
    }
    let wanted_block = create.tuning.volblocksize.map(BlockSize::bytes);
    if wanted_block.is_some_and(|wanted| block.is_some_and(|block| block != wanted)) {
        return Err(Error::Invalid(
            "parameters: volblocksize of a clone is that of its source".to_owned(),
        ));
    }
    // A device has whole grains.
    let asked = create.size.map(|asked| match format {
        VolumeFormat::Zfs => asked,
        VolumeFormat::Ext4 | VolumeFormat::Xfs | VolumeFormat::Block => {
            asked.checked_next_multiple_of(GRAIN).unwrap_or(asked)
        }
    });
    if asked.is_some_and(|asked| asked < size) || create.limit < size {
        return Err(Error::OutOfRange(format!(
            "the source has {size} bytes, and a clone of it has no fewer"
        )));
    }
    Ok(())
}
