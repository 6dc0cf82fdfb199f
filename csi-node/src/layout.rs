//! How Dots lie in a pool: names of datasets and snapshots, and what their user properties say.
//!
//! ```text
//! <pool>/dotmesh                                    mountpoint=legacy, snapdir=disabled, atime=off, acltype=posix, quota, for which size
//! <pool>/dotmesh/<dot-id>                           the Dot: who it is, branches, attachments, tombstones
//! <pool>/dotmesh/<dot-id>/<head-id>                 container of one head
//! <pool>/dotmesh/<dot-id>/<head-id>/<volume-id>     a filesystem, refquota = size; or a volume of ZFS, all of it reserved
//! <head>@<commit-id>, <volume>@<commit-id>          one commit, made by one `zfs snapshot`
//! ```
//!
//! A property's value begins with the version of its format and a colon. Believed is only what is set on the object
//! itself (`source=local`), because user properties are inherited. Pure: runs nothing, knows no clock.

mod commit;
mod dot;
mod encoding;
mod volume;

use dotmesh_model::id::{CommitId, DotId, HeadId, VolumeId};
use dotmesh_zfs::{DatasetName, HoldTag, PoolName, PropName, PropValue, SnapName, SnapshotName};

pub use commit::{MAX_RECORD_LEN, StoredCommit, decode_commits, encode_commits, is_commit_property};
pub use dot::{
    Attachment, BranchRecord, DeadCommits, DotIdentity, DotState, Follows, HeadOrigin, HeadRecord, MAX_DEAD,
    branch_property, claim_property, dead_property, decode_head, decode_object, encode_attachment, encode_branch,
    encode_checkout, encode_dead_commits, encode_deleted, encode_head, encode_identity, encode_object,
};
pub use encoding::DecodeError;
pub use volume::{DEVICES, GRAIN, Stage, VolumeRecord, decode_volume, device_node, encode_volume, parse_device_node};

/// The dataset below a pool's own that holds everything of ours.
pub const ROOT: &str = "dotmesh";

/// Longest pool name that is accepted, in bytes, so that every name below it is legal.
pub const MAX_POOL_LEN: usize = 64;

const LONGEST: usize =
    MAX_POOL_LEN + 1 + ROOT.len() + 1 + DotId::LEN + 1 + HeadId::LEN + 1 + VolumeId::LEN + 1 + CommitId::LEN;
const _: () = assert!(LONGEST <= 255, "the longest name must fit ZFS_MAX_DATASET_NAME_LEN");

/// The tag of the one hold that guards a commit against other people's `zfs destroy`.
pub const HOLD: HoldTag = HoldTag::from_static("dotmesh");

/// On the root: the size of the pool that its quota was made for.
pub const SIZED: PropName = PropName::from_static("io.dotmesh:sized");
/// On the Dot's dataset: its namespace and name.
pub const DOT: PropName = PropName::from_static("io.dotmesh:dot");
/// On the Dot's dataset: the branch that claims follow which follow the Dot.
pub const CHECKOUT: PropName = PropName::from_static("io.dotmesh:checkout");
/// On the Dot's dataset: its tombstone.
pub const DELETED: PropName = PropName::from_static("io.dotmesh:deleted");
/// On a head's dataset: its branch and origin.
pub const HEAD: PropName = PropName::from_static("io.dotmesh:head");
/// On a head's dataset: the name of its branch's object.
pub const OBJECT: PropName = PropName::from_static("io.dotmesh:object");
/// On a volume's dataset: its name, its format, and how far it is.
pub const VOLUME: PropName = PropName::from_static("io.dotmesh:volume");
/// On somebody else's snapshot: the volume that may begin as a clone of it, as namespace, Dot and name with slashes
/// between. People write it, so it has no version.
pub const ADOPT: PropName = PropName::from_static("io.dotmesh:adopt");
/// On a commit's snapshots: its record; read from the head's.
pub const COMMIT: PropName = PropName::from_static("io.dotmesh:commit");

const LENGTHS: &str = "ids have one length, and lengths were checked when this was compiled";

/// The pool's name is too long for the names below it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pool name {0} is longer than {MAX_POOL_LEN} bytes")]
pub struct PoolNameTooLong(PoolName);

/// Names of everything of ours in one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pool: PoolName,
    root: DatasetName,
}

impl Layout {
    /// The names in this pool.
    ///
    /// # Errors
    /// When the pool's name is longer than [`MAX_POOL_LEN`].
    pub fn new(pool: PoolName) -> Result<Self, PoolNameTooLong> {
        if pool.as_str().len() > MAX_POOL_LEN {
            return Err(PoolNameTooLong(pool));
        }
        let root = pool.root().child(ROOT).expect(LENGTHS);
        Ok(Self { pool, root })
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &PoolName {
        &self.pool
    }

    /// The dataset that everything of ours lies below.
    #[must_use]
    pub fn root(&self) -> &DatasetName {
        &self.root
    }

    /// Whether everything in a dataset is ours.
    #[must_use]
    pub fn owns(&self, dataset: &DatasetName) -> bool {
        *dataset == self.root || dataset.is_below(&self.root)
    }

    /// A Dot's dataset.
    #[must_use]
    pub fn dot(&self, dot: DotId) -> DatasetName {
        self.root.child(&dot.to_string()).expect(LENGTHS)
    }

    /// A head's dataset.
    #[must_use]
    pub fn head(&self, dot: DotId, head: HeadId) -> DatasetName {
        self.dot(dot).child(&head.to_string()).expect(LENGTHS)
    }

    /// The dataset of a volume in a head.
    #[must_use]
    pub fn volume(&self, dot: DotId, head: HeadId, volume: VolumeId) -> DatasetName {
        self.head(dot, head).child(&volume.to_string()).expect(LENGTHS)
    }

    /// The snapshot of a head's container.
    #[must_use]
    pub fn head_snapshot(&self, dot: DotId, head: HeadId, commit: CommitId) -> SnapshotName {
        snapshot(self.head(dot, head), commit)
    }

    /// The snapshot of a volume in a head.
    #[must_use]
    pub fn volume_snapshot(&self, dot: DotId, head: HeadId, volume: VolumeId, commit: CommitId) -> SnapshotName {
        snapshot(self.volume(dot, head, volume), commit)
    }
}

/// The size in bytes of the pool that the root's quota was made for.
#[must_use]
pub fn encode_sized(bytes: u64) -> PropValue {
    encoding::value(&[&bytes.to_string()])
}

/// The commit's snapshot of this dataset of ours.
#[must_use]
pub fn snapshot(dataset: DatasetName, commit: CommitId) -> SnapshotName {
    SnapshotName::new(dataset, snap_name(commit)).expect(LENGTHS)
}

/// The name of a commit's snapshots.
#[must_use]
pub fn snap_name(commit: CommitId) -> SnapName {
    commit.to_string().parse().expect(LENGTHS)
}

/// What a dataset's name says when it is a volume of ours: Dot, head and volume. The pool may have any name.
#[must_use]
pub fn parse_volume_dataset(name: &str) -> Option<(DotId, HeadId, VolumeId)> {
    let parts: Vec<&str> = name.split('/').collect();
    let &[_, ROOT, dot, head, volume] = parts.as_slice() else {
        return None;
    };
    Some((dot.parse().ok()?, head.parse().ok()?, volume.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0c5a6f6e-1111-4222-8333-444455556666";

    #[test]
    fn the_longest_legal_names_are_names() {
        let longest = "p".repeat(MAX_POOL_LEN);
        let layout = Layout::new(longest.parse().unwrap()).unwrap();
        let (dot, head, volume, commit) = (
            ID.parse().unwrap(),
            ID.parse().unwrap(),
            ID.parse().unwrap(),
            ID.parse().unwrap(),
        );
        assert_eq!(
            layout.volume_snapshot(dot, head, volume, commit).to_string().len(),
            LONGEST
        );
        assert!(Layout::new(format!("{longest}p").parse().unwrap()).is_err());
    }

    #[test]
    fn a_volume_is_known_by_its_datasets_name() {
        let layout = Layout::new("tank".parse().unwrap()).unwrap();
        let (dot, head, volume) = (ID.parse().unwrap(), ID.parse().unwrap(), ID.parse().unwrap());
        let name = layout.volume(dot, head, volume);
        assert_eq!(
            name.to_string(),
            format!("tank/dotmesh/{ID}/{ID}/{ID}"),
            "golden: a change would lose all data"
        );
        assert_eq!(parse_volume_dataset(name.as_str()), Some((dot, head, volume)));
        for other in [
            "tank",
            "tank/other/x/y/z",
            &format!("tank/dotmesh/{ID}/{ID}"),
            &format!("{name}/x"),
        ] {
            assert_eq!(parse_volume_dataset(other), None, "{other}");
        }
    }
}
