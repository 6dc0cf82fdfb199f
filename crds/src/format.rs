//! What a volume is to pods, in the words of Kubernetes: a volume mode, and for files a filesystem.

use dotmesh_model::format::VolumeFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether pods get files or a block device.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VolumeMode {
    /// Files.
    #[default]
    Filesystem,
    /// A block device.
    Block,
}

/// The filesystem that files are in.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum FsType {
    /// ZFS itself.
    #[default]
    Zfs,
    /// ext4, on a block device of ZFS.
    Ext4,
    /// xfs, on a block device of ZFS.
    Xfs,
}

/// The format that both words say; nothing said is files in ZFS.
#[must_use]
pub fn format_of(mode: Option<VolumeMode>, fs_type: Option<FsType>) -> VolumeFormat {
    match (mode.unwrap_or_default(), fs_type.unwrap_or_default()) {
        (VolumeMode::Block, _) => VolumeFormat::Block,
        (VolumeMode::Filesystem, FsType::Zfs) => VolumeFormat::Zfs,
        (VolumeMode::Filesystem, FsType::Ext4) => VolumeFormat::Ext4,
        (VolumeMode::Filesystem, FsType::Xfs) => VolumeFormat::Xfs,
    }
}

/// The words for a format: none where that is what nothing says.
#[must_use]
pub fn words_of(format: VolumeFormat) -> (Option<VolumeMode>, Option<FsType>) {
    match format {
        VolumeFormat::Zfs => (None, None),
        VolumeFormat::Ext4 => (None, Some(FsType::Ext4)),
        VolumeFormat::Xfs => (None, Some(FsType::Xfs)),
        VolumeFormat::Block => (Some(VolumeMode::Block), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_a_format_say_it() {
        for format in VolumeFormat::ALL {
            let (mode, fs_type) = words_of(format);
            assert_eq!(format_of(mode, fs_type), format);
        }
        assert_eq!(
            format_of(Some(VolumeMode::Filesystem), Some(FsType::Zfs)),
            VolumeFormat::Zfs
        );
    }
}
