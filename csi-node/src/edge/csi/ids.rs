//! Ids of what is made here without Kubernetes: all of them follow from the name that was asked for, so a repeated
//! request finds what the first one made.
//!
//! A name that is used again while something of its deletion is left (a snapshot keeps the blocks of a deleted volume)
//! gets the next of its keys.

use std::fmt;
use std::str::FromStr;

use dotmesh_model::handle::Handle;
use dotmesh_model::id::{BranchId, ClaimUid, CommitId, DotId, HeadId, VolumeId};
use dotmesh_model::name::BranchName;
use uuid::Uuid;

/// The namespaces (RFC 9562) of ids that are made from names here.
const VOLUMES: Uuid = Uuid::from_u128(0x6d1c_3e0a_52c6_4c0f_9e57_0f6b_2a61_7d34);
const SNAPSHOTS: Uuid = Uuid::from_u128(0x2b0f_9c61_7d4e_4a83_8f15_c94d_30e2_5ba7);
const GROUPS: Uuid = Uuid::from_u128(0xd83a_6e52_19b7_4f0c_a2c8_57e1_94fb_06d9);

/// The volume of a Dot that is made here.
pub(super) const VOLUME: &str = "data";
/// Longest name, in bytes (CSI, "Size Limits").
const MAX_NAME_LEN: usize = 128;
/// How many keys a name has: how often it can be used anew before anything of its first uses is collected.
const KEYS: usize = 8;
/// What the name of a clone's branch begins with; its key follows.
const CLONE_PREFIX: &str = "csi-";

/// What is asked for by a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Volume,
    Snapshot,
    Group,
}

/// A name of the caller's, and what ids are made of for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    text: String,
    keys: Vec<Uuid>,
}

impl Name {
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn parse(kind: Kind, text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Err("name is missing".to_owned());
        }
        if text.len() > MAX_NAME_LEN {
            return Err(format!("name is longer than {MAX_NAME_LEN} bytes"));
        }
        Ok(Self {
            keys: keys(kind, &text).collect(),
            text,
        })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// What the name itself is locked by.
    pub(super) fn first(&self) -> Uuid {
        self.keys[0]
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Uuid> {
        self.keys.iter().copied()
    }
}

fn keys(kind: Kind, name: &str) -> impl Iterator<Item = Uuid> {
    let namespace = match kind {
        Kind::Volume => VOLUMES,
        Kind::Snapshot => SNAPSHOTS,
        Kind::Group => GROUPS,
    };
    let first = Uuid::new_v5(&namespace, name.as_bytes());
    std::iter::successors(Some(first), |key| Some(Uuid::new_v5(key, b"again"))).take(KEYS)
}

/// Whether a Dot was made here for the volume of this name.
pub(super) fn is_own_dot(dot: DotId, name: &str) -> bool {
    keys(Kind::Volume, name).any(|key| key == dot.uuid())
}

/// What a volume's name stands for. One that began empty has a Dot of its own, whose id it is; a clone is a branch in
/// the Dot of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VolumeKey(pub(super) Uuid);

impl VolumeKey {
    pub(super) const fn own_dot(self) -> DotId {
        DotId::new(self.0)
    }

    pub(super) fn branch(self) -> BranchId {
        BranchId::new(Uuid::new_v5(&self.0, b"branch"))
    }

    pub(super) fn head(self) -> HeadId {
        HeadId::first_of(self.branch())
    }

    pub(super) fn claim(self) -> ClaimUid {
        ClaimUid::new(Uuid::new_v5(&self.0, b"claim"))
    }

    /// The commit that a clone of a volume begins at; it is deleted when the clone is there.
    pub(super) fn clone_commit(self) -> CommitId {
        CommitId::new(Uuid::new_v5(&self.0, b"clone"))
    }

    /// The name of its branch in that Dot.
    pub(super) fn branch_name(self, dot: DotId) -> BranchName {
        let name = (dot != self.own_dot()).then(|| format!("{CLONE_PREFIX}{}", self.0).parse().ok());
        name.flatten().unwrap_or_default()
    }

    /// The key of the volume that a branch was made for here, if it was.
    pub(super) fn of_branch(dot: DotId, branch: BranchId, name: &str) -> Option<Self> {
        let own = Self(dot.uuid());
        let clone = || name.strip_prefix(CLONE_PREFIX)?.parse().ok().map(Self);
        let is_it = |key: &Self| key.branch() == branch;
        Some(own).filter(is_it).or_else(|| clone().filter(is_it))
    }

    /// The volume's id for others.
    pub(super) fn handle(self, dot: DotId) -> Handle {
        Handle {
            dot,
            volume: VolumeId::derive(dot, VOLUME),
            claim: self.claim(),
        }
    }
}

/// The id of a group of snapshots: `g1.<group>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId(pub(super) Uuid);

/// It is nothing that was made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this driver")]
pub(super) struct ForeignId;

const GROUP_VERSION: &str = "g1";

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{GROUP_VERSION}.{}", self.0.hyphenated())
    }
}

impl FromStr for GroupId {
    type Err = ForeignId;

    fn from_str(text: &str) -> Result<Self, ForeignId> {
        let id = text.strip_prefix(GROUP_VERSION).and_then(|rest| rest.strip_prefix('.'));
        let id = id.and_then(|id| id.parse().ok()).map(Self);
        // An id has one spelling.
        id.filter(|id| id.to_string() == text).ok_or(ForeignId)
    }
}

/// The ids that names get when they are used for the first time.
#[cfg(test)]
pub(in crate::edge) mod first {
    use dotmesh_model::handle::SnapshotId;

    use super::{CommitId, GroupId, Kind, Uuid, VOLUME, VolumeId, VolumeKey, keys};

    fn key(kind: Kind, name: &str) -> Uuid {
        keys(kind, name).next().unwrap()
    }

    /// Of a volume in the Dot that was made for another, or for itself.
    pub(in crate::edge) fn volume(name: &str, dot_of: &str) -> String {
        let dot = VolumeKey(key(Kind::Volume, dot_of)).own_dot();
        VolumeKey(key(Kind::Volume, name)).handle(dot).to_string()
    }

    pub(in crate::edge) fn snapshot(name: &str, dot_of: &str) -> String {
        let dot = VolumeKey(key(Kind::Volume, dot_of)).own_dot();
        let id = SnapshotId {
            dot,
            volume: VolumeId::derive(dot, VOLUME),
            commit: CommitId::new(key(Kind::Snapshot, name)),
        };
        id.to_string()
    }

    pub(in crate::edge) fn group(name: &str) -> String {
        GroupId(key(Kind::Group, name)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "0c5a6f6e-1111-4222-8333-444455556666";

    #[test]
    fn a_name_has_keys_of_its_own_for_each_kind() {
        let name = |kind| Name::parse(kind, "one".to_owned()).unwrap();
        let kinds = [Kind::Volume, Kind::Snapshot, Kind::Group];
        let mut all: Vec<Uuid> = kinds.iter().flat_map(|kind| name(*kind).keys).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), kinds.len() * KEYS);
        assert_eq!(name(Kind::Volume), name(Kind::Volume));
        assert!(Name::parse(Kind::Volume, String::new()).is_err());
        assert!(Name::parse(Kind::Volume, "x".repeat(MAX_NAME_LEN + 1)).is_err());
        // Golden: a change here would lose the volumes that were made.
        assert_eq!(
            VolumeKey(name(Kind::Volume).first())
                .handle(A.parse().unwrap())
                .to_string(),
            GOLDEN
        );
    }

    const GOLDEN: &str = "1.0c5a6f6e-1111-4222-8333-444455556666.79e9f83f-db06-5393-be7f-3096b044c108.f9b98f2b-d2a1-55be-92a9-6ef5e72ace72";

    #[test]
    fn a_branch_tells_whose_it_is() {
        let (own, clone) = (VolumeKey(A.parse().unwrap()), VolumeKey(Uuid::from_u128(7)));
        let dot = own.own_dot();
        for key in [own, clone] {
            let name = key.branch_name(dot);
            assert_eq!(VolumeKey::of_branch(dot, key.branch(), name.as_str()), Some(key));
        }
        assert_eq!(own.branch_name(dot), BranchName::default());
        let other = BranchId::new(Uuid::from_u128(9));
        for name in ["main", "csi-", "csi-x", clone.branch_name(dot).as_str()] {
            assert_eq!(VolumeKey::of_branch(dot, other, name), None, "{name}");
        }
    }

    #[test]
    fn a_groups_id_survives_the_round_trip() {
        let group = GroupId(A.parse().unwrap());
        assert_eq!(group.to_string().parse(), Ok(group));
    }

    proptest! {
        #[test]
        fn an_id_has_one_spelling(text in "(g[12]\\.|)[0-9a-f.-]{0,120}|\\PC{0,40}") {
            if let Ok(id) = text.parse::<GroupId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
