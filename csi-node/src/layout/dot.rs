//! What the properties of a Dot's, a head's and a volume's dataset say.
//!
//! A head is live when a branch property names it as live; that property is written last, so a half-built head cannot
//! be reached. Tombstones are positive: what no property calls dead is never destroyed.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_model::id::{BranchId, ClaimUid, CommitId, HeadId, VolumeId};
use dotmesh_zfs::{PropName, PropValue};
use serde::{Deserialize, Serialize};

use super::encoding::{DecodeError, decode_json, decode_text, encode_json, encode_text, fields, value};
use super::{CHECKOUT, DELETED, DOT, HEAD, OBJECT};

const BRANCH_PREFIX: &str = "io.dotmesh:branch.";
const CLAIM_PREFIX: &str = "io.dotmesh:claim.";
const DEAD_PREFIX: &str = "io.dotmesh:dead.";

fn property(prefix: &str, id: impl std::fmt::Display) -> PropName {
    format!("{prefix}{id}")
        .parse()
        .expect("prefixes and ids are legal in property names")
}

/// Who a Dot is, for people and for rebuilding its object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DotIdentity {
    /// Kubernetes namespace; empty when made without Kubernetes.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// What a branch property says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchRecord {
    /// The branch points at this head.
    Live {
        /// What the branch's pods write to.
        head: HeadId,
        /// As git would call it.
        name: String,
    },
    /// The branch was deleted; these heads may be collected.
    Dead {
        /// All heads it had that nothing else accounts for.
        heads: Vec<HeadId>,
        /// As git would call it; empty when it was never made.
        name: String,
    },
}

impl BranchRecord {
    /// As git would call it; empty when it was never made.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Live { name, .. } | Self::Dead { name, .. } => name,
        }
    }
}

/// Commits of one head that were deleted together: one tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadCommits {
    /// The head that they were taken of.
    pub head: HeadId,
    /// Those that may still be there.
    pub commits: BTreeSet<CommitId>,
}

/// Most commits in one tombstone, so that its value stays below 4 KiB.
pub const MAX_DEAD: usize = 100;

/// What a claim follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// Whatever branch the Dot has checked out.
    Checkout,
    /// This branch.
    Branch(BranchId),
}

/// What a claim is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    /// The volume.
    pub volume: VolumeId,
    /// Of which branch.
    pub follows: Follows,
}

/// What the properties of a Dot's dataset say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DotState {
    /// Who it is; absent when its creation was interrupted.
    pub identity: Option<DotIdentity>,
    /// Its branches, live and dead.
    pub branches: BTreeMap<BranchId, BranchRecord>,
    /// The branch that claims follow which follow the Dot.
    pub checkout: Option<BranchId>,
    /// Its attachments.
    pub claims: BTreeMap<ClaimUid, Attachment>,
    /// Tombstones of commits, by the commit each is named after.
    pub dead_commits: BTreeMap<CommitId, DeadCommits>,
    /// The Dot's own tombstone.
    pub deleted: bool,
}

impl DotState {
    /// Reads the local properties of a Dot's dataset; properties that are not ours are passed over.
    ///
    /// # Errors
    /// One of ours that cannot be read: then nothing of the Dot may be changed.
    pub fn decode<'a>(properties: impl IntoIterator<Item = (&'a PropName, &'a str)>) -> Result<Self, DecodeError> {
        let mut state = Self::default();
        for (name, text) in properties {
            state.decode_one(name, text)?;
        }
        Ok(state)
    }

    fn decode_one(&mut self, name: &PropName, text: &str) -> Result<(), DecodeError> {
        let malformed = || DecodeError::malformed(name);
        if *name == DOT {
            self.identity = Some(decode_json(name, single(name, text)?)?);
        } else if *name == CHECKOUT {
            self.checkout = Some(single(name, text)?.parse().map_err(|_| malformed())?);
        } else if *name == DELETED {
            single(name, text)?;
            self.deleted = true;
        } else if let Some(id) = name.as_str().strip_prefix(BRANCH_PREFIX) {
            let id = id.parse().map_err(|_| malformed())?;
            self.branches.insert(id, decode_branch(name, text)?);
        } else if let Some(id) = name.as_str().strip_prefix(CLAIM_PREFIX) {
            let id = id.parse().map_err(|_| malformed())?;
            self.claims.insert(id, decode_attachment(name, text)?);
        } else if let Some(id) = name.as_str().strip_prefix(DEAD_PREFIX) {
            let id = id.parse().map_err(|_| malformed())?;
            self.dead_commits.insert(id, decode_dead_commits(name, text)?);
        }
        Ok(())
    }

    /// The head that a branch points at.
    #[must_use]
    pub fn live_head(&self, branch: BranchId) -> Option<HeadId> {
        match self.branches.get(&branch)? {
            BranchRecord::Live { head, .. } => Some(*head),
            BranchRecord::Dead { .. } => None,
        }
    }

    /// The branch that points at a head.
    #[must_use]
    pub fn branch_of(&self, wanted: HeadId) -> Option<BranchId> {
        self.branches
            .keys()
            .copied()
            .find(|branch| self.live_head(*branch) == Some(wanted))
    }

    /// Whether a commit has a tombstone.
    #[must_use]
    pub fn is_dead(&self, commit: CommitId) -> bool {
        self.dead_commits.values().any(|dead| dead.commits.contains(&commit))
    }

    /// The tombstones that these commits still need. What a tombstone is named after was deleted with it, and is gone
    /// when the tombstone does not name it any more.
    #[must_use]
    pub fn bury(&self, commits: impl IntoIterator<Item = (HeadId, CommitId)>) -> BTreeMap<CommitId, DeadCommits> {
        let mut by_head: BTreeMap<HeadId, BTreeSet<CommitId>> = BTreeMap::new();
        for (head, commit) in commits {
            if !self.is_dead(commit) && !self.dead_commits.contains_key(&commit) {
                by_head.entry(head).or_default().insert(commit);
            }
        }
        let mut tombstones = BTreeMap::new();
        for (head, commits) in by_head {
            let commits: Vec<CommitId> = commits.into_iter().collect();
            for part in commits.chunks(MAX_DEAD) {
                let commits = part.iter().copied().collect();
                tombstones.insert(part[0], DeadCommits { head, commits });
            }
        }
        tombstones
    }

    /// Whether the collector has anything to do.
    #[must_use]
    pub fn has_tombstones(&self) -> bool {
        let dead = |record: &BranchRecord| matches!(record, BranchRecord::Dead { .. });
        self.deleted || !self.dead_commits.is_empty() || self.branches.values().any(dead)
    }
}

/// The only field of a value.
fn single<'a>(name: &PropName, text: &'a str) -> Result<&'a str, DecodeError> {
    match fields(name, text)?.as_slice() {
        [field] => Ok(field),
        _ => Err(DecodeError::malformed(name)),
    }
}

fn decode_branch(name: &PropName, text: &str) -> Result<BranchRecord, DecodeError> {
    let malformed = |_| DecodeError::malformed(name);
    match fields(name, text)?.as_slice() {
        ["live", head, branch] => Ok(BranchRecord::Live {
            head: head.parse().map_err(malformed)?,
            name: decode_text(name, branch)?,
        }),
        ["dead", heads, branch] => Ok(BranchRecord::Dead {
            heads: heads
                .split(',')
                .filter(|head| !head.is_empty())
                .map(|head| head.parse().map_err(malformed))
                .collect::<Result<_, _>>()?,
            name: decode_text(name, branch)?,
        }),
        _ => Err(DecodeError::malformed(name)),
    }
}

fn decode_dead_commits(name: &PropName, text: &str) -> Result<DeadCommits, DecodeError> {
    let malformed = |_| DecodeError::malformed(name);
    match fields(name, text)?.as_slice() {
        [head, commits] => Ok(DeadCommits {
            head: head.parse().map_err(malformed)?,
            commits: commits
                .split(',')
                .map(|commit| commit.parse().map_err(malformed))
                .collect::<Result<_, _>>()?,
        }),
        _ => Err(DecodeError::malformed(name)),
    }
}

fn decode_attachment(name: &PropName, text: &str) -> Result<Attachment, DecodeError> {
    let malformed = |_| DecodeError::malformed(name);
    let (volume, follows) = match fields(name, text)?.as_slice() {
        [volume, "checkout"] => (*volume, Follows::Checkout),
        [volume, "branch", branch] => (*volume, Follows::Branch(branch.parse().map_err(malformed)?)),
        _ => return Err(DecodeError::malformed(name)),
    };
    Ok(Attachment {
        volume: volume.parse().map_err(malformed)?,
        follows,
    })
}

/// The property that says who a Dot is.
#[must_use]
pub fn encode_identity(identity: &DotIdentity) -> (PropName, PropValue) {
    (DOT, value(&[&encode_json(identity)]))
}

/// The property of a branch.
#[must_use]
pub fn encode_branch(branch: BranchId, record: &BranchRecord) -> (PropName, PropValue) {
    let text = match record {
        BranchRecord::Live { head, name } => value(&["live", &head.to_string(), &encode_text(name)]),
        BranchRecord::Dead { heads, name } => {
            let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
            value(&["dead", &heads.join(","), &encode_text(name)])
        }
    };
    (property(BRANCH_PREFIX, branch), text)
}

/// The property that names a Dot's checked-out branch.
#[must_use]
pub fn encode_checkout(branch: BranchId) -> (PropName, PropValue) {
    (CHECKOUT, value(&[&branch.to_string()]))
}

/// The property that is a Dot's tombstone.
#[must_use]
pub fn encode_deleted() -> (PropName, PropValue) {
    (DELETED, value(&[""]))
}

/// The property of an attachment.
#[must_use]
pub fn encode_attachment(claim: ClaimUid, attachment: Attachment) -> (PropName, PropValue) {
    let volume = attachment.volume.to_string();
    let text = match attachment.follows {
        Follows::Checkout => value(&[&volume, "checkout"]),
        Follows::Branch(branch) => value(&[&volume, "branch", &branch.to_string()]),
    };
    (claim_property(claim), text)
}

/// The name of a claim's property.
#[must_use]
pub fn claim_property(claim: ClaimUid) -> PropName {
    property(CLAIM_PREFIX, claim)
}

/// The name of a branch's property.
#[must_use]
pub fn branch_property(branch: BranchId) -> PropName {
    property(BRANCH_PREFIX, branch)
}

/// The property that is a tombstone of commits, named after one of them.
#[must_use]
pub fn encode_dead_commits(named: CommitId, dead: &DeadCommits) -> (PropName, PropValue) {
    let commits: Vec<String> = dead.commits.iter().map(ToString::to_string).collect();
    (
        dead_property(named),
        value(&[&dead.head.to_string(), &commits.join(",")]),
    )
}

/// The name of the tombstone that is named after a commit.
#[must_use]
pub fn dead_property(commit: CommitId) -> PropName {
    property(DEAD_PREFIX, commit)
}

/// What a head was cloned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadOrigin {
    /// The commit.
    pub commit: CommitId,
    /// The head the commit was taken of.
    pub head: HeadId,
}

/// What a head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadRecord {
    /// The branch it was built for.
    pub branch: BranchId,
    /// What it was cloned from; absent: it began empty.
    pub origin: Option<HeadOrigin>,
}

#[derive(Serialize, Deserialize)]
struct StoredHead {
    branch: String,
    origin: Option<StoredOrigin>,
}

#[derive(Serialize, Deserialize)]
struct StoredOrigin {
    commit: String,
    head: String,
}

/// The property of a head.
#[must_use]
pub fn encode_head(record: &HeadRecord) -> (PropName, PropValue) {
    let stored = StoredHead {
        branch: record.branch.to_string(),
        origin: record.origin.map(|origin| StoredOrigin {
            commit: origin.commit.to_string(),
            head: origin.head.to_string(),
        }),
    };
    (HEAD, value(&[&encode_json(&stored)]))
}

/// What a head's property says.
///
/// # Errors
/// When it cannot be read.
pub fn decode_head(text: &str) -> Result<HeadRecord, DecodeError> {
    let malformed = |_| DecodeError::malformed(&HEAD);
    let stored: StoredHead = decode_json(&HEAD, single(&HEAD, text)?)?;
    let origin = match stored.origin {
        None => None,
        Some(origin) => Some(HeadOrigin {
            commit: origin.commit.parse().map_err(malformed)?,
            head: origin.head.parse().map_err(malformed)?,
        }),
    };
    Ok(HeadRecord {
        branch: stored.branch.parse().map_err(malformed)?,
        origin,
    })
}

/// The property that names a branch's object.
#[must_use]
pub fn encode_object(name: &str) -> (PropName, PropValue) {
    (OBJECT, value(&[&encode_text(name)]))
}

/// The name of a branch's object.
///
/// # Errors
/// When it cannot be read.
pub fn decode_object(text: &str) -> Result<String, DecodeError> {
    decode_text(&OBJECT, single(&OBJECT, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dotmesh_zfs::Properties;

    const A: &str = "0c5a6f6e-1111-4222-8333-444455556666";
    const B: &str = "0c5a6f6e-2222-4222-8333-444455556666";

    fn decode(properties: &Properties) -> Result<DotState, DecodeError> {
        let texts: Vec<(PropName, String)> = properties
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect();
        DotState::decode(texts.iter().map(|(name, text)| (name, text.as_str())))
    }

    fn dead(head: &str, commits: &[&str]) -> DeadCommits {
        DeadCommits {
            head: head.parse().unwrap(),
            commits: commits.iter().map(|commit| commit.parse().unwrap()).collect(),
        }
    }

    fn full() -> DotState {
        DotState {
            identity: Some(DotIdentity {
                namespace: "dev".into(),
                name: "shop".into(),
            }),
            branches: [
                (
                    A.parse().unwrap(),
                    BranchRecord::Live {
                        head: B.parse().unwrap(),
                        name: "feature/x:1 ü".into(),
                    },
                ),
                (
                    B.parse().unwrap(),
                    BranchRecord::Dead {
                        heads: vec![A.parse().unwrap(), B.parse().unwrap()],
                        name: String::new(),
                    },
                ),
            ]
            .into(),
            checkout: Some(A.parse().unwrap()),
            claims: [
                (
                    A.parse().unwrap(),
                    Attachment {
                        volume: B.parse().unwrap(),
                        follows: Follows::Checkout,
                    },
                ),
                (
                    B.parse().unwrap(),
                    Attachment {
                        volume: A.parse().unwrap(),
                        follows: Follows::Branch(A.parse().unwrap()),
                    },
                ),
            ]
            .into(),
            dead_commits: [(A.parse().unwrap(), dead(B, &[A, B]))].into(),
            deleted: true,
        }
    }

    fn encode(state: &DotState) -> Properties {
        let mut properties: Vec<(PropName, PropValue)> = Vec::new();
        properties.extend(state.identity.as_ref().map(encode_identity));
        properties.extend(state.branches.iter().map(|(id, record)| encode_branch(*id, record)));
        properties.extend(state.checkout.map(encode_checkout));
        properties.extend(
            state
                .claims
                .iter()
                .map(|(id, attachment)| encode_attachment(*id, *attachment)),
        );
        properties.extend(
            state
                .dead_commits
                .iter()
                .map(|(id, dead)| encode_dead_commits(*id, dead)),
        );
        properties.extend(state.deleted.then(encode_deleted));
        properties.into_iter().collect()
    }

    #[test]
    fn a_dots_state_survives_the_round_trip() {
        let state = full();
        assert_eq!(decode(&encode(&state)), Ok(state));
    }

    #[test]
    fn properties_of_others_are_passed_over() {
        let properties = Properties::new()
            .with(
                "com.sun:auto-snapshot".parse().unwrap(),
                PropValue::from_static("false"),
            )
            .with("quota".parse().unwrap(), 5)
            .with("io.dotmesh:later".parse().unwrap(), PropValue::from_static("9:x"));
        assert_eq!(decode(&properties), Ok(DotState::default()));
    }

    #[test]
    fn a_newer_or_damaged_property_makes_the_dot_unreadable() {
        for (name, _) in encode(&full()).iter() {
            let newer = Properties::new().with(name.clone(), PropValue::from_static("2:x"));
            assert!(
                matches!(decode(&newer), Err(DecodeError::UnknownVersion { .. })),
                "{name}"
            );
            for text in ["", "x", "1:x:y:z:w", ":x"] {
                let damaged = Properties::new().with(name.clone(), text.parse::<PropValue>().unwrap());
                assert!(
                    matches!(decode(&damaged), Err(DecodeError::Malformed { .. })),
                    "{name}={text}"
                );
            }
        }
    }

    #[test]
    fn the_format_is_the_one_in_the_pools_out_there() {
        let (name, text) = encode_branch(
            A.parse().unwrap(),
            &BranchRecord::Live {
                head: B.parse().unwrap(),
                name: "main".into(),
            },
        );
        assert_eq!(name.as_str(), format!("io.dotmesh:branch.{A}"));
        assert_eq!(text.to_string(), format!("1:live:{B}:bWFpbg"));
        assert_eq!(encode_deleted().1.to_string(), "1:");
        let (name, text) = encode_dead_commits(A.parse().unwrap(), &dead(B, &[A, B]));
        assert_eq!(
            (name.as_str(), text.to_string()),
            (&*format!("io.dotmesh:dead.{A}"), format!("1:{B}:{A},{B}"))
        );
    }

    #[test]
    fn commits_are_buried_once_by_head_and_in_values_of_a_bearable_length() {
        let state = DotState {
            dead_commits: [(A.parse().unwrap(), dead(B, &[B]))].into(),
            ..DotState::default()
        };
        let (one, other): (HeadId, HeadId) = (A.parse().unwrap(), B.parse().unwrap());
        // The second is buried already, the first was buried with it and is gone.
        let known = [A, B].map(|commit| (one, commit.parse().unwrap()));
        assert_eq!(state.bury(known), BTreeMap::new());
        let new = |n: u128| uuid::Uuid::from_u128(n).to_string().parse::<CommitId>().unwrap();
        let commits = (1..=MAX_DEAD as u128 + 1).map(|n| (one, new(n)));
        let buried = state.bury(commits.chain([(other, new(1000)), (other, new(1000))]));
        let lens: Vec<_> = buried
            .iter()
            .map(|(named, dead)| (*named, dead.head, dead.commits.len()))
            .collect();
        let last = new(MAX_DEAD as u128 + 1);
        assert_eq!(lens, [(new(1), one, MAX_DEAD), (last, one, 1), (new(1000), other, 1)]);
        for (named, dead) in &buried {
            let (_, text) = encode_dead_commits(*named, dead);
            assert!(text.to_string().len() < 4096, "{named}");
        }
    }

    #[test]
    fn heads_and_objects_survive_the_round_trip() {
        for origin in [
            None,
            Some(HeadOrigin {
                commit: A.parse().unwrap(),
                head: B.parse().unwrap(),
            }),
        ] {
            let record = HeadRecord {
                branch: B.parse().unwrap(),
                origin,
            };
            assert_eq!(decode_head(&encode_head(&record).1.to_string()), Ok(record));
        }
        assert_eq!(decode_object(&encode_object("try").1.to_string()), Ok("try".into()));
        assert!(matches!(decode_object("2:x"), Err(DecodeError::UnknownVersion { .. })));
        assert!(matches!(decode_head("2:x"), Err(DecodeError::UnknownVersion { .. })));
    }
}
