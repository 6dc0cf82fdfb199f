//! What a commit's snapshots say: the record from which its object can be rebuilt.
//!
//! Commits of several heads are taken by one `zfs snapshot`, whose properties go on every snapshot of the command. So
//! the record is one of a map by commit id; each snapshot's reader picks its own. Long payloads go over several
//! properties: `io.dotmesh:commit` begins with their number, the rest are `io.dotmesh:commit.1`, `.2` and so on.

use std::collections::BTreeMap;

use dotmesh_model::id::CommitId;
use dotmesh_zfs::{PropName, Properties};
use serde::{Deserialize, Serialize};

use super::COMMIT;
use super::encoding::{DecodeError, decode_json, encode_json, fields, value};

/// Longest part in one property, in bytes (8192 would abort the `zfs` program).
const CHUNK_LEN: usize = 4096;

/// Longest record of one commit as JSON, in bytes: its parts are arguments of one command.
pub const MAX_RECORD_LEN: usize = 256 * 1024;

/// One commit as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredCommit {
    /// Of its object.
    pub namespace: String,
    /// Of its object.
    pub name: String,
    /// Id of the branch.
    pub branch: String,
    /// As git would call the branch.
    pub branch_name: String,
    /// What people wrote.
    pub message: String,
    /// Who they say they are.
    pub author: String,
    /// Who asked for it, as the API server knows them; empty when it did not say.
    pub committer: String,
    /// More of what people wrote.
    pub metadata: BTreeMap<String, String>,
    /// Ids of the volumes it covers.
    pub volumes: Vec<String>,
    /// The commit before it on the head, else the one the head was cloned from.
    pub parent: Option<String>,
}

impl StoredCommit {
    /// Its length as JSON, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |json| json.len())
    }
}

fn part_name(index: usize) -> PropName {
    if index == 0 {
        return COMMIT;
    }
    format!("{COMMIT}.{index}")
        .parse()
        .expect("a number is legal in a property name")
}

/// Whether it is the record or a part of it.
#[must_use]
pub fn is_commit_property(name: &PropName) -> bool {
    name.as_str()
        .strip_prefix(COMMIT.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The properties of all snapshots of one command.
#[must_use]
pub fn encode_commits(commits: &BTreeMap<CommitId, StoredCommit>) -> Properties {
    let by_id: BTreeMap<String, &StoredCommit> = commits.iter().map(|(id, commit)| (id.to_string(), commit)).collect();
    let text = encode_json(&by_id);
    let parts = text.len().div_ceil(CHUNK_LEN).max(1);
    let mut properties = Properties::new();
    for index in 0..parts {
        let end = text.len().min((index + 1) * CHUNK_LEN);
        let part = &text[index * CHUNK_LEN..end];
        let text = if index == 0 {
            value(&[&parts.to_string(), part])
        } else {
            value(&[part])
        };
        properties.insert(part_name(index), text);
    }
    properties
}

/// The commits that a snapshot's local properties tell of; nothing when they tell of none.
///
/// # Errors
/// When they cannot be read.
pub fn decode_commits(
    properties: &BTreeMap<PropName, String>,
) -> Result<Option<BTreeMap<String, StoredCommit>>, DecodeError> {
    let Some(first) = properties.get(&COMMIT) else {
        return Ok(None);
    };
    let malformed = || DecodeError::malformed(&COMMIT);
    let &[count, part] = fields(&COMMIT, first)?.as_slice() else {
        return Err(malformed());
    };
    let count: usize = count.parse().map_err(|_| malformed())?;
    let mut text = part.to_owned();
    for index in 1..count {
        let name = part_name(index);
        let part = properties.get(&name).ok_or_else(malformed)?;
        let &[part] = fields(&name, part)?.as_slice() else {
            return Err(malformed());
        };
        text.push_str(part);
    }
    decode_json(&COMMIT, &text).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0c5a6f6e-1111-4222-8333-444455556666";
    const B: &str = "0c5a6f6e-2222-4222-8333-444455556666";

    fn round_trip(commits: &BTreeMap<CommitId, StoredCommit>) -> (usize, BTreeMap<String, StoredCommit>) {
        let properties = encode_commits(commits);
        let texts: BTreeMap<PropName, String> = properties
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect();
        assert!(texts.keys().all(is_commit_property));
        assert!(texts.values().all(|text| text.len() <= CHUNK_LEN + 16));
        (texts.len(), decode_commits(&texts).unwrap().unwrap())
    }

    #[test]
    fn long_records_go_over_several_properties() {
        for len in [0, 1, 3000, 3072, 4096, 100_000] {
            let commit = StoredCommit {
                message: "ü\t\n".repeat(len),
                parent: Some(B.into()),
                ..StoredCommit::default()
            };
            let (parts, read) = round_trip(&[(A.parse().unwrap(), commit.clone())].into());
            assert!(len < 3000 || parts > 1);
            assert_eq!(read, [(A.to_owned(), commit)].into());
        }
    }

    #[test]
    fn commits_of_one_command_are_told_apart() {
        let named = |name: &str| StoredCommit {
            name: name.into(),
            ..StoredCommit::default()
        };
        let (_, read) = round_trip(&[(A.parse().unwrap(), named("a")), (B.parse().unwrap(), named("b"))].into());
        assert_eq!((&*read[A].name, &*read[B].name), ("a", "b"));
    }

    #[test]
    fn a_missing_part_or_a_newer_version_is_an_error_and_nothing_is_no_commit() {
        assert_eq!(decode_commits(&BTreeMap::new()), Ok(None));
        let missing = [(COMMIT, "1:2:e30".to_owned())].into();
        assert!(matches!(decode_commits(&missing), Err(DecodeError::Malformed { .. })));
        let newer = [(COMMIT, "2:1:e30".to_owned())].into();
        assert!(matches!(
            decode_commits(&newer),
            Err(DecodeError::UnknownVersion { .. })
        ));
    }

    #[test]
    fn fields_of_later_versions_of_the_record_are_passed_over_and_missing_ones_are_empty() {
        let text = encode_json(&serde_json::json!({A: {"name": "a", "later": {"x": 1}}}));
        let read = decode_commits(&[(COMMIT, format!("1:1:{text}"))].into())
            .unwrap()
            .unwrap();
        assert_eq!(read[A].name, "a");
        assert_eq!(read[A].parent, None);
        assert_eq!(read[A].committer, "");
    }
}
