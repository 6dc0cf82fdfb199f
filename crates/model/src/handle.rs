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
        let foreign = |_| InvalidSnapshotId;
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(InvalidSnapshotId);
        if part()? != SNAPSHOT_VERSION {
            return Err(InvalidSnapshotId);
        }
        let id = Self {
            dot: part()?.parse().map_err(foreign)?,
            volume: part()?.parse().map_err(foreign)?,
            commit: part()?.parse().map_err(foreign)?,
        };
        parts.next().is_none().then_some(id).ok_or(InvalidSnapshotId)
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
        fn a_snapshots_id_has_one_spelling(text in "([sg][12]\\.|)[0-9a-f.-]{0,120}|\\PC{0,40}") {
            if let Ok(id) = text.parse::<SnapshotId>() {
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
