//! What is asked of pools, and what is told about them.

use std::fmt;
use std::path::PathBuf;

use crate::{Guid, PoolName, Properties};

/// A pool to create. Always with `cachefile=none` (nothing imports it but who knows it) and without a mountpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    /// Its name.
    pub name: PoolName,
    /// Absolute paths of files or devices, each a top-level vdev of its own, as the host sees them. Files must exist
    /// and have their size.
    pub vdevs: Vec<PathBuf>,
    /// Pool properties and features (`-o`), as `ashift`.
    pub properties: Properties,
    /// Properties of the root dataset (`-O`).
    pub root_properties: Properties,
}

/// Which pool to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolSelector {
    /// By name; fails when two importable pools share it.
    Name(PoolName),
    /// By identity; it is imported under the name it has.
    Guid(Guid),
}

/// A pool to import. Always with `-N` (mount nothing) and `cachefile=none`, never by force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRequest {
    /// Which.
    pub pool: PoolSelector,
    /// Folders, files or devices to look at; empty means the host's devices.
    pub search: Vec<PathBuf>,
}

/// A pool that could be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportablePool {
    /// Its name.
    pub name: PoolName,
    /// Its identity.
    pub guid: Guid,
    /// Its state were it imported.
    pub health: Health,
}

/// A pool's state: `zpoolconcepts(7)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// All is well.
    Online,
    /// It works, with less redundancy.
    Degraded,
    /// It does not work.
    Faulted,
    /// Taken offline by somebody.
    Offline,
    /// A device was pulled out.
    Removed,
    /// Devices cannot be opened.
    Unavailable,
    /// All I/O waits until somebody clears the error.
    Suspended,
    /// A word this version does not know.
    Unknown,
}

impl Health {
    /// The state that `zpool` calls by this word.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word {
            "ONLINE" => Self::Online,
            "DEGRADED" => Self::Degraded,
            "FAULTED" => Self::Faulted,
            "OFFLINE" => Self::Offline,
            "REMOVED" => Self::Removed,
            "UNAVAIL" => Self::Unavailable,
            "SUSPENDED" => Self::Suspended,
            _ => Self::Unknown,
        }
    }

    /// Whether reads and writes work.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Online | Self::Degraded)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Online => "ONLINE",
            Self::Degraded => "DEGRADED",
            Self::Faulted => "FAULTED",
            Self::Offline => "OFFLINE",
            Self::Removed => "REMOVED",
            Self::Unavailable => "UNAVAIL",
            Self::Suspended => "SUSPENDED",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// An imported pool as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolStatus {
    /// Its identity: stays over export, import and rewind; `zpool reguid` changes it.
    pub guid: Guid,
    /// Another number at each import: the same one twice means the pool was imported all the time between.
    pub load_guid: Guid,
    /// Its state.
    pub health: Health,
    /// Bytes of all vdevs, before redundancy.
    pub size: u64,
    /// Bytes in use, before redundancy.
    pub allocated: u64,
    /// Bytes not in use. Part of it is kept back by ZFS ("slop"): what a dataset can use is its `available`.
    pub free: u64,
    /// Bytes of destroyed datasets still being freed in the background.
    pub freeing: u64,
    /// Percent; absent when ZFS cannot tell.
    pub fragmentation: Option<u8>,
    /// Imported read-only.
    pub readonly: bool,
}
