//! How ZFS keeps a volume's data, in the words of zfsprops(7).

use dotmesh_model::tuning::{Tuning, TuningError};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Properties of ZFS. What is not said is as the pool has it.
///
/// What the words can be is ruled where people write them ([`crate::dot::DotVolume`]): rules cost the server something in every list.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ZfsProperties {
    /// How data is compressed that is written from now on: off, on, lz4, zle, gzip, gzip-1 to gzip-9, zstd, zstd-1 to zstd-19.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub compression: Option<String>,
    /// The largest block of a file that is written anew: a power of two from 512 to 1Mi. For volumes of fsType zfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub recordsize: Option<String>,
    /// The size of a block device's blocks: a power of two from 4Ki to 128Ki. For ext4, xfs and block devices; it is decided when
    /// the volume is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub volblocksize: Option<String>,
    /// Nothing is reserved for a block device: many fit into the pool, and writes that it took are lost when the pool is full.
    /// For ext4, xfs and block devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thin: Option<bool>,
    /// When what a program has asked to be on disk (fsync) is there: standard, as ZFS does by itself; always, for all that it
    /// writes; disabled, some seconds later: what it wrote last is lost when the node loses its power, also what a database
    /// has committed. For data that can be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub sync: Option<String>,
}

impl ZfsProperties {
    /// As values.
    ///
    /// # Errors
    /// For the first that ZFS would not take.
    pub fn tuning(&self) -> Result<Tuning, TuningError> {
        let Self {
            compression,
            recordsize,
            volblocksize,
            thin,
            sync,
        } = self;
        let words = Tuning::of_parameters(|name| match name {
            "compression" => compression.as_deref(),
            "recordsize" => recordsize.as_deref(),
            "volblocksize" => volblocksize.as_deref(),
            "sync" => sync.as_deref(),
            _ => None,
        })?;
        Ok(Tuning { thin: *thin, ..words })
    }

    /// What was recorded: nothing, where that cannot be read. For what people write take [`Self::tuning`].
    #[must_use]
    pub fn recorded(zfs: Option<&Self>) -> Tuning {
        zfs.and_then(|zfs| zfs.tuning().ok()).unwrap_or_default()
    }

    /// The words for values; none when nothing is said.
    #[must_use]
    pub fn of(tuning: &Tuning) -> Option<Self> {
        let Tuning {
            compression,
            recordsize,
            volblocksize,
            thin,
            sync,
        } = tuning;
        (*tuning != Tuning::default()).then(|| Self {
            compression: compression.as_ref().map(ToString::to_string),
            recordsize: recordsize.map(|size| size.to_string()),
            volblocksize: volblocksize.map(|size| size.to_string()),
            thin: *thin,
            sync: sync.map(|sync| sync.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_values_lead_to_one_another() {
        let words = ZfsProperties {
            compression: Some("zstd-3".to_owned()),
            recordsize: Some("16Ki".to_owned()),
            volblocksize: Some("8Ki".to_owned()),
            thin: Some(false),
            sync: Some("disabled".to_owned()),
        };
        assert_eq!(ZfsProperties::of(&words.tuning().unwrap()), Some(words));
        assert_eq!(ZfsProperties::of(&Tuning::default()), None);
        let wrong = ZfsProperties {
            recordsize: Some("16k".to_owned()),
            ..ZfsProperties::default()
        };
        assert!(wrong.tuning().unwrap_err().to_string().starts_with("recordsize"));
        assert_eq!(ZfsProperties::recorded(Some(&wrong)), Tuning::default());
    }
}
