//! What a volume's dataset says of itself, and the path at which a node of its device is kept.

use std::path::{Path, PathBuf};

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{DotId, HeadId, VolumeId};
use dotmesh_zfs::{PropName, PropValue};

use super::encoding::{DecodeError, decode_text, encode_text, fields, value};
use super::{ROOT, VOLUME};

/// Where nodes of devices are: below the host's `/dev`, which is empty after a start, when devices have other numbers.
pub const DEVICES: &str = "/dev/dotmesh";

/// A volume's size is rounded up to a multiple of so many bytes, when it is a block device of ZFS: of any block that such
/// a device may have.
pub const GRAIN: u64 = 1 << 20;

/// How far a volume is. Only a ready one is ever mounted or committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A filesystem is to be made on it, if nothing is on it.
    New,
    /// Nothing was on it, and a filesystem is being made: what is on it is of no worth.
    Formatting,
    /// It is what its format says, and may hold data.
    Ready,
}

impl Stage {
    const ALL: [Self; 3] = [Self::New, Self::Formatting, Self::Ready];

    const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Formatting => "formatting",
            Self::Ready => "ready",
        }
    }
}

/// What a volume's dataset says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRecord {
    /// Its name.
    pub name: String,
    /// What it is to those who use it.
    pub format: VolumeFormat,
    /// How far it is.
    pub stage: Stage,
}

/// The property of a volume.
#[must_use]
pub fn encode_volume(record: &VolumeRecord) -> (PropName, PropValue) {
    let VolumeRecord { name, format, stage } = record;
    let fields = [&encode_text(name), format.as_str(), stage.as_str()];
    (VOLUME, value(&fields))
}

/// What a volume's property says.
///
/// # Errors
/// When it cannot be read.
pub fn decode_volume(text: &str) -> Result<VolumeRecord, DecodeError> {
    let malformed = || DecodeError::malformed(&VOLUME);
    let fields = fields(&VOLUME, text)?;
    let [name, format, stage] = fields[..] else {
        return Err(malformed());
    };
    let stage = Stage::ALL.into_iter().find(|known| known.as_str() == stage);
    Ok(VolumeRecord {
        name: decode_text(&VOLUME, name)?,
        format: format.parse().map_err(|_| malformed())?,
        stage: stage.ok_or_else(malformed)?,
    })
}

/// Where the node of a volume's device is.
#[must_use]
pub fn device_node(dot: DotId, head: HeadId, volume: VolumeId) -> PathBuf {
    let folder = Path::new(DEVICES).join(dot.to_string());
    folder.join(head.to_string()).join(volume.to_string())
}

/// Whose device has its node at this path: wherever `/dev` is seen, or within its filesystem.
#[must_use]
pub fn parse_device_node(path: &Path) -> Option<(DotId, HeadId, VolumeId)> {
    let mut parts = path.iter().rev().map(|part| part.to_str());
    let (volume, head, dot) = (parts.next()??, parts.next()??, parts.next()??);
    let ours = parts.next()?? == ROOT;
    ours.then(|| Some((dot.parse().ok()?, head.parse().ok()?, volume.parse().ok()?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0c5a6f6e-1111-4222-8333-444455556666";

    #[test]
    fn volumes_survive_the_round_trip() {
        for format in VolumeFormat::ALL {
            for stage in Stage::ALL {
                let record = VolumeRecord {
                    name: "pg-data".into(),
                    format,
                    stage,
                };
                assert_eq!(decode_volume(&encode_volume(&record).1.to_string()), Ok(record));
            }
        }
        assert!(matches!(decode_volume("7:x"), Err(DecodeError::UnknownVersion { .. })));
        for damaged in [
            "1:eA",
            "1:eA:zfs",
            "1:eA:zfs:done",
            "1:eA:fat:ready",
            "1:eA:zfs:ready:more",
            "1:!:zfs:ready",
        ] {
            let decoded = decode_volume(damaged);
            assert!(matches!(decoded, Err(DecodeError::Malformed { .. })), "{damaged}");
        }
    }

    #[test]
    fn a_node_says_whose_device_it_is() {
        let (dot, head, volume) = (A.parse().unwrap(), A.parse().unwrap(), A.parse().unwrap());
        let node = device_node(dot, head, volume);
        assert_eq!(node.to_string_lossy(), format!("/dev/dotmesh/{A}/{A}/{A}"));
        let within = node.strip_prefix("/dev").unwrap();
        for path in [&node, &Path::new("/host").join(within), &Path::new("/").join(within)] {
            assert_eq!(parse_device_node(path), Some((dot, head, volume)), "{path:?}");
        }
        for other in ["/dev/vda1", "/", "", "/dev/zvol/p/dotmesh"] {
            assert_eq!(parse_device_node(Path::new(other)), None, "{other}");
        }
    }
}
