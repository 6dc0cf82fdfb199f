//! Volumes of a head that are volumes of ZFS: their size, their reservation, and the filesystems on them.
//!
//! A filesystem is made once, on a device that is blank, before the volume is ready; nothing that is not ready is ever
//! mounted, committed or cloned. That the device was blank is on disk before anything is written to it, so a repeated
//! call after a crash in between knows that what it finds there is of no worth.

use dotmesh_model::format::VolumeFormat;
use dotmesh_mount::{DeviceFs, Mount, Zvol};
use dotmesh_zfs::{BlockFilesystem, DatasetName, PropValue, Properties, VolumeDevice, Zfs};

use super::current::{Current, CurrentVolume};
use super::{BranchRequest, REFRESERVATION, VOLSIZE, VolumeRequest};
use crate::layout::{Stage, VolumeRecord, device_node, encode_volume};
use crate::ops::{Error, KnownPool, Ops};

/// As large as the volume, with what ZFS needs beside it.
const AUTO: PropValue = PropValue::from_static("auto");
const NONE: PropValue = PropValue::from_static("none");

/// What a format is to `mkfs` and to the kernel; nothing for those without a filesystem on a device.
pub(in crate::ops) const fn filesystem(format: VolumeFormat) -> Option<(BlockFilesystem, DeviceFs)> {
    match format {
        VolumeFormat::Ext4 => Some((BlockFilesystem::Ext4, DeviceFs::Ext4)),
        VolumeFormat::Xfs => Some((BlockFilesystem::Xfs, DeviceFs::Xfs)),
        VolumeFormat::Zfs | VolumeFormat::Block => None,
    }
}

/// A volume's dataset and the node of its device.
pub(in crate::ops) fn volume_device(zvol: &Zvol, dataset: &DatasetName) -> VolumeDevice {
    VolumeDevice {
        dataset: dataset.clone(),
        node: zvol.node.clone(),
    }
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Makes volumes of ZFS as large as they shall be, with all of it reserved unless they are thin, and ready. Returns whether anything was
    /// missing.
    pub(super) async fn complete_zvols(
        &self,
        pool: &KnownPool,
        request: &BranchRequest,
        current: &Current,
    ) -> Result<bool, Error> {
        let mut changed = false;
        for volume in request
            .volumes
            .iter()
            .filter(|volume| volume.format != VolumeFormat::Zfs)
        {
            let Some(there) = current.volumes.get(&volume.id) else {
                continue;
            };
            let dataset = pool.layout.volume(request.dot, request.head, volume.id);
            if there.size() < volume.size {
                changed = true;
                self.note_usage();
                let larger = Properties::new().with(VOLSIZE, volume.device_bytes());
                self.set_volume(&dataset, &larger).await?;
            }
            if there.is_thick() == volume.tuning.is_thin() {
                changed = true;
                self.note_usage();
                let reserved = if volume.tuning.is_thin() { NONE } else { AUTO };
                let reservation = Properties::new().with(REFRESERVATION, reserved);
                self.set_volume(&dataset, &reservation).await?;
            }
            if let Some(record) = there.record.as_ref().filter(|record| record.stage != Stage::Ready) {
                changed = true;
                self.cache.drop_head(request.head);
                self.make_filesystem(request, volume, there, (&dataset, record)).await?;
            }
        }
        Ok(changed)
    }

    async fn make_filesystem(
        &self,
        request: &BranchRequest,
        volume: &VolumeRequest,
        there: &CurrentVolume,
        (dataset, record): (&DatasetName, &VolumeRecord),
    ) -> Result<(), Error> {
        let stage = |stage| {
            let (name, value) = encode_volume(&VolumeRecord {
                stage,
                ..record.clone()
            });
            Properties::new().with(name, value)
        };
        let Some((filesystem, _)) = filesystem(volume.format) else {
            return self.set_volume(dataset, &stage(Stage::Ready)).await;
        };
        let worth = |what: &str| {
            Error::Conflict(format!(
                "volume {} of head {} has no {filesystem} yet and {what}; nothing is written to it",
                volume.name,
                request.head,
                filesystem = volume.format
            ))
        };
        if there.origin.is_some() {
            return Err(worth("is a clone"));
        }
        let node = device_node(request.dot, request.head, volume.id);
        let table = self.host.mount_table().await?;
        let is_mounted = |source: &str| source == dataset.as_str() || std::path::Path::new(source) == node;
        if table.iter().any(|entry| is_mounted(&entry.source)) {
            return Err(worth("is mounted"));
        }
        let zvol = Zvol {
            volume: dataset.to_string(),
            node,
        };
        let device = |error| Error::mount(&format!("reading the device of {dataset}"), &error);
        if record.stage == Stage::New {
            if !self.host.mount.is_zvol_blank(&zvol).await.map_err(device)? {
                return Err(worth("something is on it that Dotmesh did not write"));
            }
            self.set_volume(dataset, &stage(Stage::Formatting)).await?;
        } else {
            self.host.mount.find_zvol(&zvol).await.map_err(device)?;
        }
        self.note_usage();
        self.host
            .zfs
            .make_filesystem(&volume_device(&zvol, dataset), filesystem)
            .await
            .map_err(|error| Error::zfs(&format!("making a filesystem on {dataset}"), &error))?;
        self.set_volume(dataset, &stage(Stage::Ready)).await?;
        // Whoever mounts it makes its node again.
        self.host.forget_device((request.dot, request.head, volume.id)).await
    }

    /// Filesystems that are mounted grow with their devices; others when they are mounted.
    pub(super) async fn grow_mounted(&self, request: &BranchRequest) -> Result<(), Error> {
        let on_device = |volume: &&VolumeRequest| filesystem(volume.format).is_some();
        let mut volumes = request.volumes.iter().filter(on_device).peekable();
        if volumes.peek().is_none() {
            return Ok(());
        }
        let table = self.host.mount_table().await?;
        for volume in volumes {
            let private = self.host.private_dir(request.head, volume.id);
            if table.at(&private).is_some() {
                self.host.grow(&private).await?;
            }
        }
        Ok(())
    }
}
