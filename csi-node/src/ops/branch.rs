//! Heads and the branches that point at them.
//!
//! A head is built under its own id, volume by volume, and verified; only then the branch's property names it, in one
//! `zfs set`. A repeated call completes what an interrupted one began: creating with properties is not one transaction,
//! so each property is looked at again.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_model::id::{BranchId, CommitId, DotId, HeadId, VolumeId};
use dotmesh_model::name::{BranchName, VolumeName};
use dotmesh_model::size::MIN_VOLUME_BYTES;
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{
    CloneRequest, CreateKind, CreateRequest, GetRequest, Guid, Kind, ListRequest, ObjectName, PropName, Properties,
    PropertyRow, SnapshotName, Source, Zfs,
};

use super::{Error, KnownPool, Ops};
use crate::layout::{
    BranchRecord, DotState, HEAD, HeadOrigin, HeadRecord, OBJECT, VOLUME, decode_head, decode_object, decode_volume,
    encode_branch, encode_checkout, encode_head, encode_object, encode_volume,
};

const GUID: PropName = PropName::from_static("guid");
const ORIGIN: PropName = PropName::from_static("origin");
const REFQUOTA: PropName = PropName::from_static("refquota");
const REFERENCED: PropName = PropName::from_static("referenced");

/// A branch that shall be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRequest {
    /// The Dot.
    pub dot: DotId,
    /// The branch.
    pub branch: BranchId,
    /// As git would call it.
    pub name: BranchName,
    /// The head it points at.
    pub head: HeadId,
    /// Its volumes. What the head has beside them stays.
    pub volumes: Vec<VolumeRequest>,
    /// What the head is cloned from; absent: it begins empty.
    pub origin: Option<OriginRequest>,
    /// Claims that follow the Dot follow this branch.
    pub checkout: bool,
    /// Name of its object, recorded on the head; may be empty.
    pub object: String,
}

/// A volume that shall be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Its id.
    pub id: VolumeId,
    /// Its name.
    pub name: VolumeName,
    /// Bytes that its content may take.
    pub size: u64,
    /// Its dataset, if it was made already: then it is never made anew.
    pub known: Option<Guid>,
}

/// A commit to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRequest {
    /// The commit.
    pub commit: CommitId,
    /// The head it was taken of.
    pub head: HeadId,
    /// What was recorded of its snapshots. A volume that is not among them starts empty.
    pub guids: BTreeMap<VolumeId, Guid>,
}

/// A volume as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeState {
    /// Its id.
    pub id: VolumeId,
    /// Its dataset's GUID.
    pub guid: Guid,
    /// Bytes that its content may take.
    pub size: u64,
    /// Cloned, not begun empty.
    pub cloned: bool,
}

/// A head's datasets as they are.
#[derive(Debug, Default)]
struct Current {
    exists: bool,
    record: Option<HeadRecord>,
    object: Option<String>,
    volumes: BTreeMap<VolumeId, CurrentVolume>,
}

#[derive(Debug, Default)]
struct CurrentVolume {
    guid: Option<Guid>,
    origin: Option<SnapshotName>,
    refquota: u64,
    name: Option<String>,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// The head is there with all these volumes, and the branch points at it.
    ///
    /// # Errors
    /// [`Error::NotFound`] of Dot and origin; [`Error::Deleted`]; [`Error::Conflict`] when the branch or head is
    /// something else already or the origin's snapshots are not the recorded ones; [`Error::OutOfSpace`];
    /// [`Error::Invalid`].
    pub async fn ensure_branch(&self, request: &BranchRequest) -> Result<Vec<VolumeState>, Error> {
        let pool = self.known_pool()?;
        check_volumes(&pool, request)?;
        let _guard = self.host.dots.exclusive(request.dot).await;
        let state = self.living_dot(&pool, request.dot).await?;
        check_branch(&state, request)?;
        let mut current = self.read_head(&pool, request.dot, request.head).await?;
        check_head(request, &current)?;
        check_known(request, &current)?;
        if is_planted(Mutant::TheFlipBeforeTheClones) {
            self.point(&pool, &state, request).await?;
            return verify_head(&pool, request, &current);
        }
        if self.complete_head(&pool, request, &current).await? {
            current = self.read_head(&pool, request.dot, request.head).await?;
        }
        let volumes = verify_head(&pool, request, &current)?;
        self.point(&pool, &state, request).await?;
        Ok(volumes)
    }

    /// The sizes of a head's volumes, by id; nothing when the head is not there.
    ///
    /// # Errors
    /// Those of the pool.
    pub async fn volume_sizes(&self, dot: DotId, head: HeadId) -> Result<BTreeMap<VolumeId, u64>, Error> {
        let pool = self.known_pool()?;
        let current = self.read_head(&pool, dot, head).await?;
        let sizes = current.volumes.into_iter().map(|(id, volume)| (id, volume.refquota));
        Ok(sizes.collect())
    }

    /// The volumes of a head that are completely there, and the commit it was cloned from.
    pub(super) async fn head_volumes(
        &self,
        pool: &KnownPool,
        dot: DotId,
        head: HeadId,
    ) -> Result<(BTreeSet<VolumeId>, Option<CommitId>), Error> {
        let current = self.read_head(pool, dot, head).await?;
        if !current.exists {
            return Err(Error::NotFound(format!("head {head} is not in Dot {dot}")));
        }
        let complete =
            |(id, volume): (&VolumeId, &CurrentVolume)| (volume.name.is_some() && volume.refquota > 0).then_some(*id);
        let volumes = current.volumes.iter().filter_map(complete).collect();
        let origin = current.record.and_then(|record| record.origin);
        Ok((volumes, origin.map(|origin| origin.commit)))
    }

    async fn read_head(&self, pool: &KnownPool, dot: DotId, head: HeadId) -> Result<Current, Error> {
        let dataset = pool.layout.head(dot, head);
        let request = GetRequest {
            targets: vec![ObjectName::from(dataset.clone())],
            properties: vec![GUID, ORIGIN, REFQUOTA, HEAD, OBJECT, VOLUME],
            sources: Vec::new(),
            depth: Some(1),
            kinds: vec![Kind::Filesystem],
        };
        let looked = self.host.zfs.get(&request).await;
        let Some(rows) = self
            .unless_absent(pool, &format!("reading head {head}"), looked)
            .await?
        else {
            return Ok(Current::default());
        };
        let mut current = Current {
            exists: true,
            ..Current::default()
        };
        for row in &rows {
            if *row.name.dataset() == dataset {
                if row.property == HEAD && row.source == Source::Local {
                    current.record = Some(decode_head(&row.value)?);
                } else if row.property == OBJECT && row.source == Source::Local {
                    current.object = Some(decode_object(&row.value)?);
                }
            } else if let Ok(id) = row.name.dataset().base().parse() {
                current.volumes.entry(id).or_default().read(row)?;
            }
        }
        Ok(current)
    }

    /// Makes what is missing. Returns whether anything was.
    async fn complete_head(&self, pool: &KnownPool, request: &BranchRequest, current: &Current) -> Result<bool, Error> {
        let head = pool.layout.head(request.dot, request.head);
        let mut changed = false;
        let mut properties = Properties::new();
        if current.record.is_none() {
            let (name, value) = encode_head(&record_of(request));
            properties.insert(name, value);
        }
        // Another one when the branch came back under another object.
        if !request.object.is_empty() && current.object.as_ref() != Some(&request.object) {
            let (name, value) = encode_object(&request.object);
            properties.insert(name, value);
        }
        if !properties.is_empty() {
            changed = true;
            self.note_usage();
            if current.exists {
                self.set_volume(&head, &properties).await?;
            } else {
                self.create_filesystem(pool, &head, properties).await?;
            }
        }
        let missing: Vec<&VolumeRequest> = request
            .volumes
            .iter()
            .filter(|volume| !current.volumes.contains_key(&volume.id))
            .collect();
        let origins = self.check_origins(pool, request, &missing).await?;
        for volume in &request.volumes {
            let dataset = pool.layout.volume(request.dot, request.head, volume.id);
            let (name, value) = encode_volume(volume.name.as_str());
            let mut properties = Properties::new().with(name, value).with(REFQUOTA, volume.size);
            if let Some(there) = current.volumes.get(&volume.id) {
                properties = there.missing(volume, properties);
                if !properties.is_empty() {
                    changed = true;
                    self.cache.drop_head(request.head);
                    self.set_volume(&dataset, &properties).await?;
                }
                continue;
            }
            changed = true;
            self.cache.drop_head(request.head);
            match origins.get(&volume.id) {
                None => self.create_filesystem(pool, &dataset, properties).await?,
                Some(snapshot) => self.clone_filesystem(pool, snapshot, &dataset, properties).await?,
            }
        }
        Ok(changed)
    }

    async fn create_filesystem(
        &self,
        pool: &KnownPool,
        dataset: &dotmesh_zfs::DatasetName,
        properties: Properties,
    ) -> Result<(), Error> {
        let create = CreateRequest {
            dataset: dataset.clone(),
            kind: CreateKind::Filesystem,
            properties,
            parents: false,
        };
        match self.host.zfs.create(&create).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self
                .failed(
                    pool,
                    &format!("creating {dataset}"),
                    &format!("what {dataset} lies in"),
                    &error,
                )
                .await),
        }
    }

    async fn clone_filesystem(
        &self,
        pool: &KnownPool,
        snapshot: &SnapshotName,
        dataset: &dotmesh_zfs::DatasetName,
        properties: Properties,
    ) -> Result<(), Error> {
        let clone = CloneRequest {
            snapshot: snapshot.clone(),
            dataset: dataset.clone(),
            properties,
        };
        match self.host.zfs.clone_snapshot(&clone).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self
                .failed(
                    pool,
                    &format!("cloning {snapshot} as {dataset}"),
                    &snapshot.to_string(),
                    &error,
                )
                .await),
        }
    }

    async fn set_volume(&self, dataset: &dotmesh_zfs::DatasetName, properties: &Properties) -> Result<(), Error> {
        self.host
            .zfs
            .set(dataset, properties)
            .await
            .map_err(|error| Error::zfs(&format!("writing properties of {dataset}"), &error))
    }

    /// The snapshots that missing volumes are cloned from: there, the recorded ones, and not larger than the size.
    async fn check_origins(
        &self,
        pool: &KnownPool,
        request: &BranchRequest,
        missing: &[&VolumeRequest],
    ) -> Result<BTreeMap<VolumeId, SnapshotName>, Error> {
        let Some(origin) = &request.origin else {
            return Ok(BTreeMap::new());
        };
        let wanted: Vec<(&VolumeRequest, Guid, SnapshotName)> = missing
            .iter()
            .filter_map(|volume| {
                let guid = origin.guids.get(&volume.id)?;
                let snapshot = pool
                    .layout
                    .volume_snapshot(request.dot, origin.head, volume.id, origin.commit);
                Some((*volume, *guid, snapshot))
            })
            .collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list = ListRequest {
            roots: wanted
                .iter()
                .map(|(.., snapshot)| ObjectName::from(snapshot.clone()))
                .collect(),
            depth: Some(0),
            kinds: vec![Kind::Snapshot],
            columns: vec![GUID, REFERENCED],
        };
        let what = format!("commit {} of head {}", origin.commit, origin.head);
        let rows = match self.host.zfs.list(&list).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(pool, &format!("reading {what}"), &what, &error).await),
        };
        let mut origins = BTreeMap::new();
        for (volume, guid, snapshot) in wanted {
            let row = rows.iter().find(|row| row.name.snapshot() == Some(&snapshot));
            let number = |column: &PropName| row.and_then(|row| row.number(column).ok());
            let found = number(&GUID).map(Guid);
            if found != Some(guid) {
                return Err(Error::Conflict(format!(
                    "{snapshot} is not the snapshot that was recorded: its GUID is {}, not {guid}",
                    found.map_or("unknown".into(), |guid| guid.to_string())
                )));
            }
            let content = number(&REFERENCED).unwrap_or(0);
            if content > volume.size {
                return Err(Error::Invalid(format!(
                    "volume {} holds {content} bytes at commit {}; {} bytes are too few for it",
                    volume.name, origin.commit, volume.size
                )));
            }
            origins.insert(volume.id, snapshot);
        }
        Ok(origins)
    }

    /// The branch points at the head under its name, and is checked out where it shall be.
    async fn point(&self, pool: &KnownPool, state: &DotState, request: &BranchRequest) -> Result<(), Error> {
        let mut properties = Vec::new();
        let live = BranchRecord::Live {
            head: request.head,
            name: request.name.to_string(),
        };
        if state.branches.get(&request.branch) != Some(&live) {
            properties.push(encode_branch(request.branch, &live));
        }
        if request.checkout && state.checkout != Some(request.branch) {
            properties.push(encode_checkout(request.branch));
        }
        if properties.is_empty() {
            return Ok(());
        }
        self.set_dot(pool, request.dot, properties).await
    }
}

impl CurrentVolume {
    fn read(&mut self, row: &PropertyRow) -> Result<(), Error> {
        if row.property == GUID {
            self.guid = row.value.parse().ok();
        } else if row.property == ORIGIN {
            self.origin = row.value.parse().ok();
        } else if row.property == REFQUOTA {
            self.refquota = row.value.parse().unwrap_or(0);
        } else if row.property == VOLUME && row.source == Source::Local {
            self.name = Some(decode_volume(&row.value)?);
        }
        Ok(())
    }

    /// Those of the wanted properties that it lacks. A size only grows.
    fn missing(&self, volume: &VolumeRequest, wanted: Properties) -> Properties {
        let lacks = |name: &PropName| {
            if *name == REFQUOTA {
                let is_other = self.refquota != volume.size && is_planted(Mutant::AQuotaIsSetWhateverItWas);
                self.refquota < volume.size || is_other
            } else {
                self.name.is_none()
            }
        };
        wanted
            .iter()
            .filter(|(name, _)| lacks(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

fn record_of(request: &BranchRequest) -> HeadRecord {
    HeadRecord {
        branch: request.branch,
        origin: request.origin.as_ref().map(|origin| HeadOrigin {
            commit: origin.commit,
            head: origin.head,
        }),
    }
}

fn check_volumes(pool: &KnownPool, request: &BranchRequest) -> Result<(), Error> {
    let mut seen = BTreeMap::new();
    for volume in &request.volumes {
        let VolumeRequest {
            id,
            name,
            size,
            known: _,
        } = volume;
        if seen.insert(id, name).is_some() {
            return Err(Error::Invalid(format!("volume {name} ({id}) is asked for twice")));
        }
        if *size < MIN_VOLUME_BYTES {
            return Err(Error::Invalid(format!(
                "volume {name} of {size} bytes is too small; the least is {MIN_VOLUME_BYTES}"
            )));
        }
        // The operator's rule as well: a size that it has recorded is never taken back.
        if *size > pool.size {
            return Err(Error::OutOfSpace(format!(
                "volume {name} of {size} bytes is larger than pool {} of {} bytes",
                pool.layout.pool(),
                pool.size
            )));
        }
    }
    Ok(())
}

fn check_branch(state: &DotState, request: &BranchRequest) -> Result<(), Error> {
    let BranchRequest { dot, branch, head, .. } = request;
    let dead_head = state.branches.values().any(|record| match record {
        BranchRecord::Live { .. } => false,
        BranchRecord::Dead { heads, .. } => heads.contains(head),
    });
    if dead_head {
        return Err(Error::Deleted(format!("head {head} of Dot {dot} is being deleted")));
    }
    match state.branches.get(branch) {
        Some(BranchRecord::Dead { .. }) => {
            return Err(Error::Deleted(format!("branch {branch} of Dot {dot} is being deleted")));
        }
        Some(BranchRecord::Live { head: current, name }) if current != head => {
            return Err(Error::Conflict(format!(
                "branch {branch} is {name} at head {current}, not {} at head {head}",
                request.name
            )));
        }
        Some(BranchRecord::Live { .. }) | None => {}
    }
    if let Some(other) = state.branch_of(*head).filter(|other| other != branch) {
        return Err(Error::Conflict(format!("head {head} is the head of branch {other}")));
    }
    if let Some(origin) = &request.origin
        && state.is_dead(origin.commit)
    {
        let live = state.live_head(*branch) == Some(*head);
        if !live {
            return Err(Error::Deleted(format!("commit {} is being deleted", origin.commit)));
        }
    }
    Ok(())
}

fn check_head(request: &BranchRequest, current: &Current) -> Result<(), Error> {
    match current.record {
        Some(record) if record != record_of(request) => Err(Error::Conflict(format!(
            "head {} was built for branch {} {}, not as asked for",
            request.head,
            record.branch,
            match record.origin {
                None => "and began empty".to_owned(),
                Some(origin) => format!("from commit {} of head {}", origin.commit, origin.head),
            }
        ))),
        _ => Ok(()),
    }
}

/// What was made once and is not there was destroyed by somebody; an empty volume in its place would hide that.
fn check_known(request: &BranchRequest, current: &Current) -> Result<(), Error> {
    let found = |volume: &VolumeRequest| current.volumes.get(&volume.id)?.guid;
    let lost = |volume: &&VolumeRequest| volume.known.is_some_and(|known| found(volume) != Some(known));
    match request.volumes.iter().find(lost) {
        None => Ok(()),
        Some(volume) => Err(Error::NotFound(format!(
            "volume {} of head {} was made, and is not in the pool any more",
            volume.name, request.head
        ))),
    }
}

/// Each volume is what was asked for: an empty one, or a clone of exactly that snapshot.
fn verify_head(pool: &KnownPool, request: &BranchRequest, current: &Current) -> Result<Vec<VolumeState>, Error> {
    if current.record != Some(record_of(request)) {
        return Err(Error::Internal(format!("head {} is not complete", request.head)));
    }
    let verify = |volume: &VolumeRequest| {
        let incomplete = || {
            Error::Internal(format!(
                "volume {} of head {} is not complete",
                volume.name, request.head
            ))
        };
        let there = current.volumes.get(&volume.id).ok_or_else(incomplete)?;
        let wanted = request.origin.as_ref().and_then(|origin| {
            let snapshot = pool
                .layout
                .volume_snapshot(request.dot, origin.head, volume.id, origin.commit);
            origin.guids.get(&volume.id).map(|_| snapshot)
        });
        if there.origin != wanted {
            let text = |origin: &Option<SnapshotName>| origin.as_ref().map_or("nothing".into(), ToString::to_string);
            return Err(Error::Conflict(format!(
                "volume {} of head {} was cloned from {}, not from {}",
                volume.name,
                request.head,
                text(&there.origin),
                text(&wanted)
            )));
        }
        if there.name.as_deref() != Some(volume.name.as_str()) {
            return Err(Error::Conflict(format!(
                "volume {} of head {} is called {:?}, not {}",
                volume.id, request.head, there.name, volume.name
            )));
        }
        if there.refquota < volume.size {
            return Err(incomplete());
        }
        Ok(VolumeState {
            id: volume.id,
            guid: there.guid.ok_or_else(incomplete)?,
            size: there.refquota,
            cloned: wanted.is_some(),
        })
    };
    request.volumes.iter().map(verify).collect()
}
