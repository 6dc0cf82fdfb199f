//! Filesystems on volumes of [`super::FakeZfs`]: made, checked, and told to fake mounts.

use std::sync::PoisonError;

use super::FakeZfs;
use super::state::State;
use crate::{BlockFilesystem, DatasetName, ErrorKind, Kind};

/// A volume as whoever opens its device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FakeVolume {
    /// Its identity: its dataset's GUID.
    pub identity: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// The kernel's word for the filesystem on it.
    pub filesystem: Option<&'static str>,
    /// Whether nothing was ever written to it, or to what it is a clone of.
    pub is_blank: bool,
}

impl State {
    pub(super) fn make_filesystem(&mut self, name: &DatasetName, filesystem: BlockFilesystem) -> Result<(), ErrorKind> {
        if self.dataset(name)?.kind != Kind::Volume {
            return Err(ErrorKind::DeviceMissing);
        }
        if self.is_mounted(name) {
            return Err(ErrorKind::Busy);
        }
        if let Some(dataset) = self.dataset_mut(name) {
            dataset.filesystem = Some(filesystem);
        }
        Ok(())
    }

    pub(super) fn check_filesystem(&self, name: &DatasetName, filesystem: BlockFilesystem) -> Result<(), ErrorKind> {
        let dataset = self.dataset(name)?;
        if dataset.kind != Kind::Volume {
            return Err(ErrorKind::DeviceMissing);
        }
        if self.is_mounted(name) {
            return Err(ErrorKind::Busy);
        }
        // Without its superblock, e2fsck can do nothing.
        if dataset.filesystem == Some(filesystem) {
            Ok(())
        } else {
            Err(ErrorKind::Other)
        }
    }

    fn volume(&self, name: &str) -> Option<FakeVolume> {
        let dataset = self.dataset(&name.parse().ok()?).ok()?;
        (dataset.kind == Kind::Volume).then(|| FakeVolume {
            identity: dataset.guid.0,
            bytes: dataset.volsize,
            filesystem: dataset.filesystem.map(BlockFilesystem::as_str),
            is_blank: dataset.filesystem.is_none() && dataset.written == 0 && dataset.origin.is_none(),
        })
    }
}

impl FakeZfs {
    /// The volume of this name, in an imported pool that answers.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<FakeVolume> {
        self.locked(|state| state.volume(name))
    }

    /// Tells [`FakeZfs::volume`] without keeping this alive: what fake mounts of the same host look up.
    pub fn tell_volumes(&self) -> impl Fn(&str) -> Option<FakeVolume> + Send + Sync + 'static {
        let state = std::sync::Arc::downgrade(&self.state);
        move |name| {
            let state = state.upgrade()?;
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.volume(name)
        }
    }
}
