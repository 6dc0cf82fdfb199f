//! The CSI volume handle: (version, Dot id, volume id, claim UID).
//!
//! One per PersistentVolume and never shared. What the claim follows is not in it but in its attachment. A volume that
//! stands in its pod's spec itself has an id of the kubelet's making instead.

use std::fmt;
use std::str::FromStr;

use crate::id::{ClaimUid, CommitId, DotId, VolumeId};

/// CSI asks for ids of at most 128 bytes ("Size Limits").
pub const MAX_LEN: usize = 128;

const VERSION: &str = "1";
const LEN: usize = VERSION.len() + 3 * (1 + DotId::LEN);
const _: () = assert!(LEN <= MAX_LEN);

/// A parsed volume handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle {
    /// The Dot that holds the data.
    pub dot: DotId,
    /// Which of its volumes.
    pub volume: VolumeId,
    /// The claim that the handle was made for.
    pub claim: ClaimUid,
}

/// The text is no handle of ours: delete treats it as gone, everything else as not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHandle {
    /// Not of the form `1.<dot>.<volume>.<claim>`.
    #[error("not a volume handle of this driver")]
    Malformed,
    /// Written by a newer version of the driver.
    #[error("a volume handle of an unknown version")]
    UnknownVersion,
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}.{}", self.dot, self.volume, self.claim)
    }
}

impl FromStr for Handle {
    type Err = InvalidHandle;

    fn from_str(text: &str) -> Result<Self, InvalidHandle> {
        if text.len() > MAX_LEN {
            return Err(InvalidHandle::Malformed);
        }
        let parts: Vec<&str> = text.split('.').collect();
        let (version, rest) = parts.split_first().ok_or(InvalidHandle::Malformed)?;
        if version.is_empty() || !version.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidHandle::Malformed);
        }
        if *version != VERSION {
            return Err(InvalidHandle::UnknownVersion);
        }
        let &[dot, volume, claim] = rest else {
            return Err(InvalidHandle::Malformed);
        };
        let malformed = |_| InvalidHandle::Malformed;
        Ok(Self {
            dot: dot.parse().map_err(malformed)?,
            volume: volume.parse().map_err(malformed)?,
            claim: claim.parse().map_err(malformed)?,
        })
    }
}

/// A CSI snapshot's id: the snapshot of one volume in a commit, as `s1.<dot>.<volume>.<commit>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// The Dot that holds it.
    pub dot: DotId,
    /// Which of its volumes.
    pub volume: VolumeId,
    /// The commit.
    pub commit: CommitId,
}

const SNAPSHOT_VERSION: &str = "s1";
const _: () = assert!(SNAPSHOT_VERSION.len() + 3 * (1 + DotId::LEN) <= MAX_LEN);

/// The text is no snapshot's id of ours: delete treats it as gone, everything else as not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this driver")]
pub struct InvalidSnapshotId;

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SNAPSHOT_VERSION}.{}.{}.{}", self.dot, self.volume, self.commit)
    }
}

impl FromStr for SnapshotId {
    type Err = InvalidSnapshotId;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshotId> {
        let [dot, volume, commit] = parts(SNAPSHOT_VERSION, text)?;
        Ok(Self {
            dot: dot.parse().map_err(foreign)?,
            volume: volume.parse().map_err(foreign)?,
            commit: commit.parse().map_err(foreign)?,
        })
    }
}

/// What stands behind the version in an id, in so many parts.
fn parts<'a, const N: usize>(version: &str, text: &'a str) -> Result<[&'a str; N], InvalidSnapshotId> {
    let rest = text.strip_prefix(version).and_then(|rest| rest.strip_prefix('.'));
    let parts: Vec<&str> = rest.ok_or(InvalidSnapshotId)?.split('.').collect();
    parts.try_into().map_err(|_| InvalidSnapshotId)
}

fn foreign(_: crate::id::InvalidId) -> InvalidSnapshotId {
    InvalidSnapshotId
}

/// The id of a snapshot as its user has it: by itself, or as a member of a group, as `m1.<dot>.<volume>.<commit>`.
///
/// csi-snapshotter deletes members with their group only, and never deletes a snapshot by itself whose id it has heard
/// of as a member's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnapshotRef {
    /// By itself.
    Alone(SnapshotId),
    /// As a member of a group.
    Member(SnapshotId),
}

const MEMBER_VERSION: &str = "m1";

impl SnapshotRef {
    /// The snapshot.
    #[must_use]
    pub const fn snapshot(self) -> SnapshotId {
        match self {
            Self::Alone(id) | Self::Member(id) => id,
        }
    }
}

impl fmt::Display for SnapshotRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(id) => id.fmt(f),
            Self::Member(SnapshotId { dot, volume, commit }) => write!(f, "{MEMBER_VERSION}.{dot}.{volume}.{commit}"),
        }
    }
}

impl FromStr for SnapshotRef {
    type Err = InvalidSnapshotId;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshotId> {
        match text.strip_prefix(MEMBER_VERSION) {
            Some(rest) => format!("{SNAPSHOT_VERSION}{rest}").parse().map(Self::Member),
            None => text.parse().map(Self::Alone),
        }
    }
}

/// The id of a CSI group of snapshots: its first commit, as `g1.<dot>.<commit>`. Its members are snapshots of that commit,
/// and of those that were asked for with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId {
    /// The Dot that holds the commit.
    pub dot: DotId,
    /// The commit.
    pub commit: CommitId,
}

const GROUP_VERSION: &str = "g1";

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{GROUP_VERSION}.{}.{}", self.dot, self.commit)
    }
}

impl FromStr for GroupId {
    type Err = InvalidSnapshotId;

    fn from_str(text: &str) -> Result<Self, InvalidSnapshotId> {
        let [dot, commit] = parts(GROUP_VERSION, text)?;
        Ok(Self {
            dot: dot.parse().map_err(foreign)?,
            commit: commit.parse().map_err(foreign)?,
        })
    }
}

/// Which volume the kubelet means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeRef {
    /// That of a PersistentVolume.
    Claim(Handle),
    /// One that stands in its pod's spec: `csi-` and a hash of the pod's uid and the volume's name there (Kubernetes,
    /// `pkg/volume/csi`). What it is of, only the mount says.
    Inline,
}

/// What the kubelet's ids of inline volumes begin with.
const INLINE: &str = "csi-";

impl FromStr for VolumeRef {
    type Err = InvalidHandle;

    fn from_str(text: &str) -> Result<Self, InvalidHandle> {
        let hash = text.strip_prefix(INLINE).filter(|_| text.len() <= MAX_LEN);
        let is_hash = |hash: &str| {
            hash.len() >= 16
                && hash
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        if hash.is_some_and(is_hash) {
            return Ok(Self::Inline);
        }
        text.parse().map(Self::Claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "0c5a6f6e-1111-4222-8333-444455556666";

    #[test]
    fn a_handle_survives_the_round_trip() {
        let handle = Handle {
            dot: A.parse().unwrap(),
            volume: A.parse().unwrap(),
            claim: A.parse().unwrap(),
        };
        assert_eq!(handle.to_string().len(), LEN);
        assert_eq!(handle.to_string().parse(), Ok(handle));
        let snapshot = SnapshotId {
            dot: A.parse().unwrap(),
            volume: A.parse().unwrap(),
            commit: A.parse().unwrap(),
        };
        assert_eq!(snapshot.to_string().parse(), Ok(snapshot));
        assert!(snapshot.to_string().parse::<Handle>().is_err());
        for of in [SnapshotRef::Alone(snapshot), SnapshotRef::Member(snapshot)] {
            assert_eq!(of.to_string().parse(), Ok(of));
        }
        assert!(SnapshotRef::Member(snapshot).to_string().parse::<SnapshotId>().is_err());
        let group = GroupId {
            dot: handle.dot,
            commit: snapshot.commit,
        };
        assert_eq!(group.to_string().parse(), Ok(group));
        assert!(group.to_string().parse::<SnapshotRef>().is_err());
    }

    #[test]
    fn a_newer_version_is_told_from_nonsense() {
        assert_eq!(
            format!("2.{A}.{A}").parse::<Handle>(),
            Err(InvalidHandle::UnknownVersion)
        );
        for wrong in [
            "",
            ".",
            "1",
            "x.y",
            &format!("1.{A}.{A}"),
            &format!("1.{A}.{A}.{A}.{A}"),
            &format!("1.{A}.{A}.../.."),
        ] {
            assert_eq!(wrong.parse::<Handle>(), Err(InvalidHandle::Malformed), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_accepts_only_its_own_spelling(text in "\\PC{0,140}") {
            if let Ok(handle) = text.parse::<Handle>() {
                prop_assert_eq!(handle.to_string(), text);
            }
        }

        #[test]
        fn ids_of_snapshots_and_groups_have_one_spelling(text in "([smg][12]\\.|)[0-9a-f.-]{0,120}|\\PC{0,40}") {
            if let Ok(id) = text.parse::<SnapshotRef>() {
                prop_assert_eq!(id.to_string(), &*text);
            }
            if let Ok(id) = text.parse::<GroupId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn an_inline_volumes_id_is_the_kubelets() {
        let hash = "0123456789abcdef".repeat(4);
        assert_eq!(format!("csi-{hash}").parse(), Ok(VolumeRef::Inline));
        for wrong in [
            "csi-",
            "csi-../../etc",
            "csi-0123456789ABCDEF",
            "csi-0123456789abcde",
            &hash,
        ] {
            assert_eq!(wrong.parse::<VolumeRef>(), Err(InvalidHandle::Malformed), "{wrong:?}");
        }
        assert_eq!(
            format!("csi-{}", "a".repeat(MAX_LEN)).parse::<VolumeRef>(),
            Err(InvalidHandle::Malformed)
        );
        let handle = format!("1.{A}.{A}.{A}");
        assert_eq!(handle.parse(), Ok(VolumeRef::Claim(handle.parse().unwrap())));
    }
}
