//! What a mount shows, by the mount table alone.
//!
//! A filesystem of ZFS has its dataset as its source. One on a volume of ZFS has the node of the device as its source,
//! and a bind of such a node has it as its root: nodes are where [`crate::layout::device_node`] says.

use std::path::Path;

use dotmesh_model::id::{DotId, HeadId, VolumeId};
use dotmesh_mount::{DeviceFs, MountEntry, MountTable};
use dotmesh_zfs::DatasetName;

use crate::layout::{parse_device_node, parse_volume_dataset};

/// A head's volume.
pub(super) type Shown = (DotId, HeadId, VolumeId);

/// How a volume is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Its files, in a filesystem of ZFS.
    Zfs,
    /// Its files, in a filesystem on its device.
    Filesystem,
    /// The node of its device.
    Device,
}

/// The volume that a mount shows, when it is one of ours.
pub(super) fn shown(entry: &MountEntry) -> Option<(Shown, Form)> {
    let on_device = [DeviceFs::Ext4, DeviceFs::Xfs].map(DeviceFs::as_str);
    if entry.fs_type == "zfs" {
        return parse_volume_dataset(&entry.source).map(|shown| (shown, Form::Zfs));
    }
    if on_device.contains(&entry.fs_type.as_str())
        && let Some(shown) = parse_device_node(Path::new(&entry.source))
    {
        return Some((shown, Form::Filesystem));
    }
    parse_device_node(&entry.root).map(|shown| (shown, Form::Device))
}

/// Every mount of this dataset, in whatever form.
pub(super) fn of_dataset<'a>(table: &'a MountTable, dataset: &'a DatasetName) -> impl Iterator<Item = &'a MountEntry> {
    let volume = parse_volume_dataset(dataset.as_str());
    table.iter().filter(move |entry| match shown(entry) {
        Some((found, Form::Filesystem | Form::Device)) => Some(found) == volume,
        Some((_, Form::Zfs)) | None => entry.fs_type == "zfs" && entry.source == dataset.as_str(),
    })
}
