//! Heads and the branches that point at them.
//!
//! A head is built under its own id, volume by volume, and verified; only then the branch's property names it, in one
//! `zfs set`. A repeated call completes what an interrupted one began: creating with properties is not one transaction,
//! so each property is looked at again.

use std::collections::BTreeMap;

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{BranchId, CommitId, DotId, HeadId, VolumeId};
use dotmesh_model::name::{BranchName, VolumeName};
use dotmesh_model::tuning::{BlockSize, Tuning};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{
    CloneRequest, CreateKind, CreateRequest, GetRequest, Guid, Kind, ListRequest, ObjectName, PropName, PropValue,
    Properties, Row, SnapshotName, Source, Zfs,
};

use super::{Error, KnownPool, Ops};
use crate::layout::{
    BranchRecord, DotState, GRAIN, HEAD, OBJECT, Stage, VOLUME, VolumeRecord, decode_head, decode_object,
    decode_volume, encode_branch, encode_checkout, encode_head, encode_object, encode_volume,
};
use current::{Current, check_formats, check_head, check_known, record_of, verify_head};

mod adopt;
mod current;
mod seed;
mod zvols;

pub use seed::{Seed, SeedCommit};
pub(super) use zvols::{filesystem, volume_device};

const GUID: PropName = PropName::from_static("guid");
pub(super) const ORIGIN: PropName = PropName::from_static("origin");
pub(super) const REFQUOTA: PropName = PropName::from_static("refquota");
pub(super) const VOLSIZE: PropName = PropName::from_static("volsize");
pub(super) const REFRESERVATION: PropName = PropName::from_static("refreservation");
pub(super) const SYNC: PropName = PropName::from_static("sync");
pub(super) const COMPRESSION: PropName = PropName::from_static("compression");
pub(super) const RECORDSIZE: PropName = PropName::from_static("recordsize");
pub(super) const VOLBLOCKSIZE: PropName = PropName::from_static("volblocksize");
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
    /// Bytes that its content may take, or of its device.
    pub size: u64,
    /// What it is to those who use it.
    pub format: VolumeFormat,
    /// How its data is kept.
    pub tuning: Tuning,
    /// Its dataset, if it was made already: then it is never made anew.
    pub known: Option<Guid>,
    /// What it is cloned from although its head is not.
    pub seed: Option<Seed>,
}

/// A volume that is there, perhaps not completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Bytes that its content may take, or of its device; 0: it has no size yet.
    pub size: u64,
    /// What it is to those who use it, if that is known.
    pub format: Option<VolumeFormat>,
    /// How its data is kept, as far as that was said of itself.
    pub tuning: Tuning,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeState {
    /// Its id.
    pub id: VolumeId,
    /// Its dataset's GUID.
    pub guid: Guid,
    /// Bytes that its content may take, or of its device: then perhaps a little more than was asked for.
    pub size: u64,
    /// What it is to those who use it.
    pub format: VolumeFormat,
    /// How its data is kept, as far as that was said of itself.
    pub tuning: Tuning,
    /// Cloned, not begun empty.
    pub cloned: bool,
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
        check_formats(request, &current)?;
        if is_planted(Mutant::TheFlipBeforeTheClones) {
            self.point(&pool, &state, request).await?;
            return verify_head(&pool, request, &current);
        }
        if self.complete_head(&pool, &state, request, &current).await? {
            current = self.read_head(&pool, request.dot, request.head).await?;
        }
        if self.complete_zvols(&pool, request, &current).await? {
            current = self.read_head(&pool, request.dot, request.head).await?;
        }
        let volumes = verify_head(&pool, request, &current)?;
        self.grow_mounted(request).await?;
        self.point(&pool, &state, request).await?;
        Ok(volumes)
    }

    /// A head's volumes, by id; none when the head is not there.
    ///
    /// # Errors
    /// Those of the pool.
    pub async fn volumes_of(&self, dot: DotId, head: HeadId) -> Result<BTreeMap<VolumeId, Begun>, Error> {
        let pool = self.known_pool()?;
        let current = self.read_head(&pool, dot, head).await?;
        let volumes = current.volumes.into_iter().map(|(id, volume)| {
            let begun = Begun {
                size: volume.size(),
                format: volume.record.as_ref().map(|record| record.format),
                tuning: volume.tuning(),
            };
            (id, begun)
        });
        Ok(volumes.collect())
    }

    /// The volumes of a head that are completely there, and the commit it was cloned from.
    pub(super) async fn head_volumes(
        &self,
        pool: &KnownPool,
        dot: DotId,
        head: HeadId,
    ) -> Result<(BTreeMap<VolumeId, VolumeFormat>, Option<CommitId>), Error> {
        let current = self.read_head(pool, dot, head).await?;
        if !current.exists {
            return Err(Error::NotFound(format!("head {head} is not in Dot {dot}")));
        }
        let volumes = current.volumes.iter();
        let volumes = volumes
            .filter_map(|(id, volume)| Some((*id, volume.complete()?)))
            .collect();
        let origin = current.record.and_then(|record| record.origin);
        Ok((volumes, origin.map(|origin| origin.commit)))
    }

    async fn read_head(&self, pool: &KnownPool, dot: DotId, head: HeadId) -> Result<Current, Error> {
        let dataset = pool.layout.head(dot, head);
        let request = GetRequest {
            targets: vec![ObjectName::from(dataset.clone())],
            properties: vec![
                GUID,
                ORIGIN,
                REFQUOTA,
                VOLSIZE,
                REFRESERVATION,
                COMPRESSION,
                SYNC,
                RECORDSIZE,
                VOLBLOCKSIZE,
                HEAD,
                OBJECT,
                VOLUME,
            ],
            sources: Vec::new(),
            depth: Some(1),
            kinds: vec![Kind::Filesystem, Kind::Volume],
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
    async fn complete_head(
        &self,
        pool: &KnownPool,
        state: &DotState,
        request: &BranchRequest,
        current: &Current,
    ) -> Result<bool, Error> {
        let head = pool.layout.head(request.dot, request.head);
        // First, so that of what is refused nothing is left.
        let missing: Vec<&VolumeRequest> = request
            .volumes
            .iter()
            .filter(|volume| !current.volumes.contains_key(&volume.id))
            .collect();
        let mut origins = self.check_origins(pool, request, &missing).await?;
        origins.extend(self.check_seeds(pool, state, &missing).await?);
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
                self.create(pool, &head, CreateKind::Filesystem, properties).await?;
            }
        }
        for volume in &request.volumes {
            let dataset = pool.layout.volume(request.dot, request.head, volume.id);
            let origin = origins.get(&volume.id);
            let (name, value) = encode_volume(&VolumeRecord {
                name: volume.name.to_string(),
                format: volume.format,
                stage: volume.first_stage(origin.is_some()),
            });
            let mut properties = Properties::new().with(name, value);
            if volume.format == VolumeFormat::Zfs {
                properties.insert(REFQUOTA, volume.size);
            }
            // A clone has those of the folder it lies in, not of its origin.
            if let Some(compression) = &volume.tuning.compression {
                properties.insert(COMPRESSION, word_value(&COMPRESSION, compression.as_str())?);
            }
            if let Some(sync) = volume.tuning.sync {
                properties.insert(SYNC, word_value(&SYNC, sync.as_str())?);
            }
            if let Some(size) = volume.tuning.recordsize {
                properties.insert(RECORDSIZE, size.bytes());
            }
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
            match origin {
                None => self.create(pool, &dataset, volume.kind(), properties).await?,
                // A clone of a volume has its size, and nothing reserved: see `complete_zvols`.
                Some(snapshot) => self.clone_snapshot(pool, snapshot, &dataset, properties).await?,
            }
        }
        Ok(changed)
    }

    async fn create(
        &self,
        pool: &KnownPool,
        dataset: &dotmesh_zfs::DatasetName,
        kind: CreateKind,
        properties: Properties,
    ) -> Result<(), Error> {
        let create = CreateRequest {
            dataset: dataset.clone(),
            kind,
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

    async fn clone_snapshot(
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
            columns: vec![GUID, REFERENCED, VOLSIZE, VOLUME],
        };
        let what = format!("commit {} of head {}", origin.commit, origin.head);
        let rows = match self.host.zfs.list(&list).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(pool, &format!("reading {what}"), &what, &error).await),
        };
        let mut origins = BTreeMap::new();
        for (volume, guid, snapshot) in wanted {
            let row = rows.iter().find(|row| row.name.snapshot() == Some(&snapshot));
            check_source(volume, &snapshot, guid, row, &format!("commit {}", origin.commit))?;
            if let Some(row) = row {
                check_format(volume, &snapshot, row)?;
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

impl VolumeRequest {
    /// What it is made as.
    fn kind(&self) -> CreateKind {
        match self.format {
            VolumeFormat::Zfs => CreateKind::Filesystem,
            VolumeFormat::Ext4 | VolumeFormat::Xfs | VolumeFormat::Block => CreateKind::Volume {
                size: self.device_bytes(),
                sparse: self.tuning.is_thin(),
                block_size: self.tuning.volblocksize.map(BlockSize::bytes),
            },
        }
    }

    /// Bytes of its device.
    fn device_bytes(&self) -> u64 {
        self.size.checked_next_multiple_of(GRAIN).unwrap_or(self.size)
    }

    /// How far it is when its dataset is there: a clone has the filesystem of its origin.
    fn first_stage(&self, is_clone: bool) -> Stage {
        match self.format {
            VolumeFormat::Ext4 | VolumeFormat::Xfs if !is_clone => Stage::New,
            VolumeFormat::Ext4 | VolumeFormat::Xfs | VolumeFormat::Zfs | VolumeFormat::Block => Stage::Ready,
        }
    }
}

fn word_value(name: &PropName, word: &str) -> Result<PropValue, Error> {
    let value = word.parse();
    value.map_err(|error| Error::Internal(format!("{name}: {error}")))
}

/// What is cloned is the recorded snapshot, and not larger than the size.
fn check_source(
    volume: &VolumeRequest,
    snapshot: &SnapshotName,
    guid: Guid,
    row: Option<&Row>,
    what: &str,
) -> Result<(), Error> {
    let number = |column: &PropName| row.and_then(|row| row.number(column).ok());
    let found = number(&GUID).map(Guid);
    if found != Some(guid) {
        return Err(Error::Conflict(format!(
            "{snapshot} is not the snapshot that was recorded: its GUID is {}, not {guid}",
            found.map_or("unknown".into(), |guid| guid.to_string())
        )));
    }
    let content = number(&REFERENCED).unwrap_or(0);
    // A block device is never made smaller, whatever is asked for.
    if volume.format == VolumeFormat::Zfs && content > volume.size {
        return Err(Error::Invalid(format!(
            "volume {} holds {content} bytes at {what}; {} bytes are too few for it",
            volume.name, volume.size
        )));
    }
    Ok(())
}

/// A clone is what its origin was: the snapshot shows what its volume says of itself.
fn check_format(volume: &VolumeRequest, snapshot: &SnapshotName, row: &Row) -> Result<(), Error> {
    let record = row.value(&VOLUME).map(decode_volume).transpose()?;
    let is_volume = row.number(&VOLSIZE).is_ok();
    let format = record.map(|record| record.format);
    if format == Some(volume.format) && is_volume == (volume.format != VolumeFormat::Zfs) {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "{snapshot} is of a volume of format {}, volume {} shall have format {}",
        format.map_or("unknown", VolumeFormat::as_str),
        volume.name,
        volume.format
    )))
}

fn check_volumes(pool: &KnownPool, request: &BranchRequest) -> Result<(), Error> {
    let mut seen = BTreeMap::new();
    for volume in &request.volumes {
        let VolumeRequest {
            id,
            name,
            size,
            format,
            tuning,
            known: _,
            seed,
        } = volume;
        if seed.is_some() && request.origin.is_some() {
            return Err(Error::Invalid(format!(
                "volume {name}: a head begins with a commit of its Dot or with what others have, not with both"
            )));
        }
        if *tuning != tuning.clone().of_format(*format) {
            return Err(Error::Invalid(format!(
                "volume {name}: recordsize is for format zfs, volblocksize and thin are for the others; it has format {format}"
            )));
        }
        if seen.insert(id, name).is_some() {
            return Err(Error::Invalid(format!("volume {name} ({id}) is asked for twice")));
        }
        let least = format.min_bytes();
        if *size < least {
            return Err(Error::Invalid(format!(
                "volume {name} of {size} bytes is too small; the least of format {format} is {least}"
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
