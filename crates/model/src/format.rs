//! What a volume is to those who use it: a filesystem of some kind, or a block device.

use std::fmt;
use std::str::FromStr;

use crate::size::MIN_VOLUME_BYTES;

/// The format of a volume: said when it is made, and never changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VolumeFormat {
    /// A filesystem of ZFS itself.
    #[default]
    Zfs,
    /// An ext4 on a block device of ZFS.
    Ext4,
    /// An xfs on a block device of ZFS.
    Xfs,
    /// A block device of ZFS as it is.
    Block,
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no format of a volume: it is zfs, ext4, xfs or block")]
pub struct UnknownFormat(pub String);

impl VolumeFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Zfs, Self::Ext4, Self::Xfs, Self::Block];

    /// The word for it; of a filesystem what Kubernetes calls its `fsType`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zfs => "zfs",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Block => "block",
        }
    }

    /// The least bytes that a volume of this format has. `mkfs.xfs` makes none below 300 MiB.
    #[must_use]
    pub const fn min_bytes(self) -> u64 {
        match self {
            Self::Zfs | Self::Block => MIN_VOLUME_BYTES,
            Self::Ext4 => 16 << 20,
            Self::Xfs => 300 << 20,
        }
    }

    /// What a Kubernetes `fsType` means: nothing said is ZFS itself.
    ///
    /// # Errors
    /// For what is none of ours.
    pub fn of_fs_type(fs_type: &str) -> Result<Self, UnknownFormat> {
        match fs_type {
            "" => Ok(Self::Zfs),
            // No word for a filesystem.
            "block" => Err(UnknownFormat(fs_type.to_owned())),
            other => other.parse(),
        }
    }
}

impl fmt::Display for VolumeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for VolumeFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == text);
        found.ok_or_else(|| UnknownFormat(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_formats_come_back() {
        for format in VolumeFormat::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
            assert!(format.min_bytes() >= MIN_VOLUME_BYTES);
        }
        assert_eq!(VolumeFormat::of_fs_type(""), Ok(VolumeFormat::Zfs));
        assert_eq!(VolumeFormat::of_fs_type("xfs"), Ok(VolumeFormat::Xfs));
        for other in ["btrfs", "block", "ZFS"] {
            assert!(VolumeFormat::of_fs_type(other).is_err(), "{other}");
        }
    }
}
