//! A head's datasets as they are, and whether they are what was asked for.

use std::collections::BTreeMap;

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::VolumeId;
use dotmesh_model::tuning::{BlockSize, Compression, Sync, Tuning};
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{Guid, PropName, Properties, PropertyRow, SnapshotName, Source};

use super::{
    BranchRequest, COMPRESSION, GUID, ORIGIN, RECORDSIZE, REFQUOTA, REFRESERVATION, SYNC, VOLBLOCKSIZE, VOLSIZE,
    VolumeRequest, VolumeState,
};
use crate::layout::{HeadOrigin, HeadRecord, Stage, VOLUME, VolumeRecord, decode_volume};
use crate::ops::{Error, KnownPool};

/// A head's datasets as they are.
#[derive(Debug, Default)]
pub(super) struct Current {
    pub(super) exists: bool,
    pub(super) record: Option<HeadRecord>,
    pub(super) object: Option<String>,
    pub(super) volumes: BTreeMap<VolumeId, CurrentVolume>,
}

/// A volume's dataset as it is.
#[derive(Debug, Default)]
pub(super) struct CurrentVolume {
    pub(super) guid: Option<Guid>,
    pub(super) origin: Option<SnapshotName>,
    /// Of a filesystem.
    refquota: u64,
    /// Of a volume of ZFS.
    volsize: Option<u64>,
    /// Bytes that are kept for it.
    reserved: u64,
    /// Set of itself.
    compression: Option<Compression>,
    recordsize: Option<BlockSize>,
    volblocksize: Option<BlockSize>,
    sync: Option<Sync>,
    pub(super) record: Option<VolumeRecord>,
}

impl CurrentVolume {
    pub(super) fn read(&mut self, row: &PropertyRow) -> Result<(), Error> {
        if row.property == GUID {
            self.guid = row.value.parse().ok();
        } else if row.property == ORIGIN {
            self.origin = row.value.parse().ok();
        } else if row.property == REFQUOTA {
            self.refquota = row.value.parse().unwrap_or(0);
        } else if row.property == VOLSIZE {
            self.volsize = row.value.parse().ok();
        } else if row.property == REFRESERVATION {
            self.reserved = row.value.parse().unwrap_or(0);
        } else if row.property == COMPRESSION && row.source == Source::Local {
            self.compression = row.value.parse().ok();
        } else if row.property == RECORDSIZE && row.source == Source::Local {
            self.recordsize = block_size(&row.value, BlockSize::RECORD);
        } else if row.property == SYNC && row.source == Source::Local {
            self.sync = row.value.parse().ok();
        } else if row.property == VOLBLOCKSIZE {
            self.volblocksize = block_size(&row.value, BlockSize::VOLUME);
        } else if row.property == VOLUME && row.source == Source::Local {
            self.record = Some(decode_volume(&row.value)?);
        }
        Ok(())
    }

    /// Bytes that its content may take, or of its device.
    pub(super) fn size(&self) -> u64 {
        self.volsize.unwrap_or(self.refquota)
    }

    /// Whether all bytes of a volume of ZFS are reserved: what was written to one that is not may be lost when the pool
    /// is full.
    pub(super) fn is_thick(&self) -> bool {
        self.volsize.is_none_or(|size| self.reserved >= size)
    }

    /// How its data is kept, as far as that was said of itself. Of what is not one of our words nothing is said.
    pub(super) fn tuning(&self) -> Tuning {
        let Self {
            compression,
            recordsize,
            volblocksize,
            sync,
            ..
        } = self;
        Tuning {
            compression: compression.clone(),
            recordsize: *recordsize,
            volblocksize: *volblocksize,
            thin: (!self.is_thick()).then_some(true),
            sync: *sync,
        }
    }

    /// Its format, when it is all there.
    pub(super) fn complete(&self) -> Option<VolumeFormat> {
        let record = self.record.as_ref().filter(|record| record.stage == Stage::Ready)?;
        (self.size() > 0).then_some(record.format)
    }

    /// Those of the wanted properties that it lacks. A size only grows.
    pub(super) fn missing(&self, volume: &VolumeRequest, wanted: Properties) -> Properties {
        let lacks = |name: &PropName| {
            if *name == REFQUOTA {
                let is_other = self.refquota != volume.size && is_planted(Mutant::AQuotaIsSetWhateverItWas);
                self.refquota < volume.size || is_other
            } else if *name == COMPRESSION {
                self.compression != volume.tuning.compression
            } else if *name == RECORDSIZE {
                self.recordsize != volume.tuning.recordsize
            } else if *name == SYNC {
                self.sync != volume.tuning.sync
            } else {
                self.record.is_none()
            }
        };
        wanted
            .iter()
            .filter(|(name, _)| lacks(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// What is there is of the wanted format.
    fn check_format(&self, volume: &VolumeRequest) -> Result<(), Error> {
        let format = self.record.as_ref().map_or(volume.format, |record| record.format);
        let is_device = volume.format != VolumeFormat::Zfs;
        if format == volume.format && self.volsize.is_some() == is_device {
            return Ok(());
        }
        let found = match (self.record.is_some(), self.volsize.is_some()) {
            (true, _) => format!("has format {format}"),
            (false, true) => "is a block device".to_owned(),
            (false, false) => "is a filesystem of ZFS".to_owned(),
        };
        Err(Error::Conflict(format!(
            "volume {} ({}) {found}, and not format {}: that never changes",
            volume.name, volume.id, volume.format
        )))
    }
}

/// The exact bytes that `zfs get -p` shows.
fn block_size(text: &str, bounds: (BlockSize, BlockSize)) -> Option<BlockSize> {
    BlockSize::new(text.parse().ok()?, bounds)
}

/// No volume that is there is of another format.
pub(super) fn check_formats(request: &BranchRequest, current: &Current) -> Result<(), Error> {
    let there = |volume: &VolumeRequest| match current.volumes.get(&volume.id) {
        Some(there) => there.check_format(volume),
        None => Ok(()),
    };
    request.volumes.iter().try_for_each(there)
}

pub(super) fn record_of(request: &BranchRequest) -> HeadRecord {
    HeadRecord {
        branch: request.branch,
        origin: request.origin.as_ref().map(|origin| HeadOrigin {
            commit: origin.commit,
            head: origin.head,
        }),
    }
}

pub(super) fn check_head(request: &BranchRequest, current: &Current) -> Result<(), Error> {
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
pub(super) fn check_known(request: &BranchRequest, current: &Current) -> Result<(), Error> {
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
pub(super) fn verify_head(
    pool: &KnownPool,
    request: &BranchRequest,
    current: &Current,
) -> Result<Vec<VolumeState>, Error> {
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
        let of_commit = request.origin.as_ref().and_then(|origin| {
            let snapshot = pool
                .layout
                .volume_snapshot(request.dot, origin.head, volume.id, origin.commit);
            origin.guids.get(&volume.id).map(|_| snapshot)
        });
        let of_seed = volume.seed.as_ref().map(|seed| seed.snapshot(&pool.layout));
        // What others' snapshots have to do with it is asked about until the volume is known.
        let dot = pool.layout.dot(request.dot);
        let is_its = |origin: &&SnapshotName| origin.dataset().is_below(&dot);
        let (found, wanted) = match &of_seed {
            Some(seed) => (there.origin.as_ref(), Some(seed)),
            None => (there.origin.as_ref().filter(is_its), of_commit.as_ref()),
        };
        if found != wanted {
            let text = |origin: Option<&SnapshotName>| origin.map_or("nothing".into(), ToString::to_string);
            return Err(Error::Conflict(format!(
                "volume {} of head {} was cloned from {}, not from {}",
                volume.name,
                request.head,
                text(found),
                text(wanted)
            )));
        }
        let name = there.record.as_ref().map(|record| &record.name);
        if name.is_none_or(|name| name != volume.name.as_str()) {
            return Err(Error::Conflict(format!(
                "volume {} of head {} is called {name:?}, not {}",
                volume.id, request.head, volume.name
            )));
        }
        let is_thick = there.is_thick() || volume.tuning.is_thin();
        if there.size() < volume.size || !is_thick || there.complete() != Some(volume.format) {
            return Err(incomplete());
        }
        Ok(VolumeState {
            id: volume.id,
            guid: there.guid.ok_or_else(incomplete)?,
            size: there.size(),
            format: volume.format,
            tuning: there.tuning(),
            cloned: there.origin.is_some(),
        })
    };
    request.volumes.iter().map(verify).collect()
}
