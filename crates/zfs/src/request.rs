//! What is asked of datasets, and the rows that come back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{
    DatasetName, ErrorKind, HoldTag, NameError, ObjectName, PoolName, PropName, Properties, SnapName, SnapshotName,
    Verb, ZfsError,
};

/// What `create` makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateKind {
    /// A filesystem. It is never mounted by the command (`-u`).
    Filesystem,
    /// A block device.
    Volume {
        /// Bytes, not 0; ZFS rounds up to the next multiple of the block size.
        size: u64,
        /// Without a reservation: acknowledged writes are lost when the pool is full.
        sparse: bool,
        /// Bytes, a power of two; ZFS's default when absent.
        block_size: Option<u64>,
    },
}

/// A dataset to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// Its full name.
    pub dataset: DatasetName,
    /// Filesystem or volume.
    pub kind: CreateKind,
    /// Native and user properties, set in the same command. Not one transaction: after a crash the dataset may be
    /// there without them.
    pub properties: Properties,
    /// Also create missing ancestors, without properties (`-p`). Then a dataset that exists already is *not* an error
    /// and keeps what it has.
    pub parents: bool,
}

/// A clone to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneRequest {
    /// The snapshot it begins as.
    pub snapshot: SnapshotName,
    /// The name of the new dataset; its parent must exist.
    pub dataset: DatasetName,
    /// A clone inherits nothing from its origin: all that shall hold is said here or inherited from its parent.
    /// Not one transaction, as with [`CreateRequest::properties`].
    pub properties: Properties,
}

/// A filesystem that the kernel puts on a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockFilesystem {
    /// `ext4`
    Ext4,
    /// `xfs`
    Xfs,
}

impl BlockFilesystem {
    /// The kernel's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// A volume and where the host's programs find its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDevice {
    /// The volume.
    pub dataset: DatasetName,
    /// A node of its device in the host's file system. That it leads to that volume is for the caller to make sure.
    pub node: PathBuf,
}

/// A kind of thing in a pool that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `filesystem`
    Filesystem,
    /// `volume`
    Volume,
    /// `snapshot`
    Snapshot,
}

impl Kind {
    /// The word for `-t` and in the `type` column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filesystem => "filesystem",
            Self::Volume => "volume",
            Self::Snapshot => "snapshot",
        }
    }
}

/// A listing: `zfs list -Hp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// Where to begin. One that does not exist fails the whole listing.
    pub roots: Vec<ObjectName>,
    /// How many levels below the roots; `Some(0)` lists them alone, `None` everything below. A dataset's snapshots are
    /// one level below it.
    pub depth: Option<u32>,
    /// Which kinds to list; always said, because a pool's `listsnapshots` changes the default.
    pub kinds: Vec<Kind>,
    /// The columns beside the name. A column's value may be inherited; use [`GetRequest`] where that matters.
    pub columns: Vec<PropName>,
}

/// One row of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whose row it is.
    pub name: ObjectName,
    /// Column to value; a column that ZFS prints as `-` (unset, not applicable) is absent.
    pub values: BTreeMap<PropName, String>,
}

impl Row {
    /// The value of a column, unless unset.
    #[must_use]
    pub fn value(&self, column: &PropName) -> Option<&str> {
        self.values.get(column).map(String::as_str)
    }

    /// A column that is a number: bytes, a count, a GUID, a transaction group or a UNIX time. `none` counts as 0, as
    /// ZFS itself treats a quota of none.
    ///
    /// # Errors
    /// [`NameError::Number`] when it is absent or something else.
    pub fn number(&self, column: &PropName) -> Result<u64, NameError> {
        match self.value(column) {
            Some("none") => Ok(0),
            Some(text) => text.parse().map_err(|_| NameError::Number),
            None => Err(NameError::Number),
        }
    }
}

/// Properties to read with their sources: `zfs get -Hp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetRequest {
    /// Whose. One that does not exist fails the whole request.
    pub targets: Vec<ObjectName>,
    /// Which; empty means all.
    pub properties: Vec<PropName>,
    /// Only values from these sources; empty means any.
    pub sources: Vec<SourceKind>,
    /// How many levels below the targets, as in [`ListRequest::depth`].
    pub depth: Option<u32>,
    /// Which kinds, when `depth` is not `Some(0)`.
    pub kinds: Vec<Kind>,
}

impl GetRequest {
    /// The local properties of exactly these targets: what was set on them and not inherited.
    #[must_use]
    pub fn local(targets: Vec<ObjectName>, properties: Vec<PropName>) -> Self {
        Self {
            targets,
            properties,
            sources: vec![SourceKind::Local],
            depth: Some(0),
            kinds: Vec::new(),
        }
    }
}

/// A filter on where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Set on the object itself.
    Local,
    /// Set on an ancestor, or for a snapshot on its dataset.
    Inherited,
    /// Nobody set it.
    Default,
    /// Came in a replication stream.
    Received,
    /// Of one mount.
    Temporary,
    /// A statistic.
    None,
}

impl SourceKind {
    /// The word for `-s`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Inherited => "inherited",
            Self::Default => "default",
            Self::Received => "received",
            Self::Temporary => "temporary",
            Self::None => "none",
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Set on the object itself.
    Local,
    /// Set on this ancestor.
    Inherited(DatasetName),
    /// Nobody set it.
    Default,
    /// Came in a replication stream.
    Received,
    /// Of one mount.
    Temporary,
    /// A statistic, or a property that is not set.
    None,
}

/// One property of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyRow {
    /// Whose it is.
    pub name: ObjectName,
    /// Which it is.
    pub property: PropName,
    /// What it is; `-` when unset.
    pub value: String,
    /// Where it comes from.
    pub source: Source,
}

/// One hold on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What is held.
    pub snapshot: SnapshotName,
    /// By which tag, as printed: somebody else's may be any text.
    pub tag: String,
}

impl Hold {
    /// Whether this hold has that tag.
    #[must_use]
    pub fn is(&self, tag: &HoldTag) -> bool {
        self.tag == tag.as_str()
    }
}

/// The pool that all these lie in: what is absent can be told for one pool at a time only.
pub(crate) fn one_pool<'a>(
    verb: Verb,
    datasets: impl IntoIterator<Item = &'a DatasetName>,
) -> Result<PoolName, ZfsError> {
    let mut pools: Vec<PoolName> = datasets.into_iter().map(DatasetName::pool).collect();
    pools.dedup();
    match pools.pop() {
        Some(pool) if pools.is_empty() => Ok(pool),
        _ => Err(ZfsError {
            kind: ErrorKind::Other,
            verb,
            stderr: "names of several pools in one command".into(),
        }),
    }
}

/// The property `written@snap`: bytes written since that snapshot.
pub(crate) fn written_since(snap: &SnapName) -> Result<PropName, NameError> {
    format!("written@{snap}").parse()
}
