//! What is recorded with a commit that was taken here: of which volume it is a snapshot, and as what.

use std::collections::BTreeMap;

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::Handle;
use uuid::Uuid;

/// What the names of ours in a commit's metadata begin with.
const PREFIX: &str = "csi.dotmesh.io/";

/// Why a commit was taken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody asked for a snapshot.
    Snapshot,
    /// It is one of so many that were taken together.
    Member {
        /// The group's key.
        group: Uuid,
        /// How many they were.
        members: usize,
    },
    /// A volume is cloned from it; nobody sees it.
    Clone,
}

/// A commit of one volume, taken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub purpose: Purpose,
    /// The volume; it may be gone.
    pub source: Handle,
    /// Bytes it had: what is made of the snapshot has no less.
    pub size: u64,
    pub format: VolumeFormat,
    /// Bytes of its device's blocks: what is made of the snapshot has the same.
    pub block: Option<u64>,
}

impl Mark {
    pub(super) fn encode(&self) -> BTreeMap<String, String> {
        let mut all = vec![
            ("source", self.source.to_string()),
            ("size", self.size.to_string()),
            ("format", self.format.to_string()),
        ];
        all.extend(self.block.map(|bytes| ("volblocksize", bytes.to_string())));
        match self.purpose {
            Purpose::Snapshot => {}
            Purpose::Member { group, members } => all.extend([
                ("group", group.hyphenated().to_string()),
                ("members", members.to_string()),
            ]),
            Purpose::Clone => all.push(("clone", String::new())),
        }
        all.into_iter()
            .map(|(name, value)| (format!("{PREFIX}{name}"), value))
            .collect()
    }

    /// Nothing: it was not taken here.
    pub(super) fn decode(metadata: &BTreeMap<String, String>) -> Option<Self> {
        let said = |name: &str| metadata.get(&format!("{PREFIX}{name}"));
        let purpose = match (said("group"), said("clone")) {
            (Some(group), _) => Purpose::Member {
                group: group.parse().ok()?,
                members: said("members")?.parse().ok()?,
            },
            (None, Some(_)) => Purpose::Clone,
            (None, None) => Purpose::Snapshot,
        };
        Some(Self {
            purpose,
            source: said("source")?.parse().ok()?,
            size: said("size")?.parse().ok()?,
            format: said("format")?.parse().ok()?,
            block: said("volblocksize").map(|bytes| bytes.parse()).transpose().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_round_trip_beside_what_others_wrote() {
        let id = "0c5a6f6e-1111-4222-8333-444455556666";
        let group = id.parse().unwrap();
        for purpose in [Purpose::Snapshot, Purpose::Clone, Purpose::Member { group, members: 3 }] {
            for block in [None, Some(16 << 10)] {
                let mark = Mark {
                    purpose,
                    source: format!("1.{id}.{id}.{id}").parse().unwrap(),
                    size: 1 << 30,
                    format: VolumeFormat::Ext4,
                    block,
                };
                let mut metadata = mark.encode();
                metadata.insert("build".to_owned(), "512".to_owned());
                assert_eq!(Mark::decode(&metadata), Some(mark));
                metadata.remove("csi.dotmesh.io/size");
                assert_eq!(Mark::decode(&metadata), None);
            }
        }
        assert_eq!(Mark::decode(&BTreeMap::new()), None);
    }
}
