//! Where a pool lies on its node: in a file, on block devices, or wherever somebody else put it who made it.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;

/// Where a pool lies, as it is asked for and remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// In a file of the host's file system.
    File {
        /// Absolute.
        path: PathBuf,
    },
    /// On block devices of the host, each a part of the pool.
    Devices {
        /// Absolute, below /dev.
        devices: Vec<PathBuf>,
    },
    /// Somebody made it, and it is never made here.
    Existing {
        /// The zpool's name.
        existing: String,
    },
}

impl Place {
    /// Whether paths are what they should be: absolute, plain, and of devices below /dev.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the one that is not.
    pub(super) fn check(&self) -> Result<(), Error> {
        let invalid = |what: String| Err(Error::Invalid(what));
        match self {
            Self::File { path } if !is_plain(path) => invalid(format!(
                "the pool's file {} is not an absolute, plain path",
                path.display()
            )),
            Self::Devices { devices } if devices.is_empty() => invalid("a pool has at least one device".into()),
            Self::Devices { devices } => {
                let is_fine =
                    |path: &&PathBuf| is_plain(path) && path.starts_with("/dev") && path.components().count() > 2;
                match devices.iter().find(|path| !is_fine(path)) {
                    Some(path) => invalid(format!("{} is not a plain path below /dev", path.display())),
                    None => Ok(()),
                }
            }
            Self::File { .. } | Self::Existing { .. } => Ok(()),
        }
    }

    /// What a pool there is made of.
    pub(super) fn vdevs(&self) -> &[PathBuf] {
        match self {
            Self::File { path } => std::slice::from_ref(path),
            Self::Devices { devices } => devices,
            Self::Existing { .. } => &[],
        }
    }

    /// Whether both need the same file or device.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.vdevs().iter().any(|path| other.vdevs().contains(path))
    }

    /// Where `zpool import` is to look, absent paths included; empty: at all devices of the host. A disk that was given
    /// as a whole holds its part of the pool in a partition that ZFS made.
    pub(super) fn search(&self) -> Vec<PathBuf> {
        match self {
            Self::File { path } => vec![path.clone()],
            Self::Devices { devices } => {
                let both = devices
                    .iter()
                    .flat_map(|device| [device.clone(), first_partition(device)]);
                both.collect()
            }
            Self::Existing { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => write!(f, "in {}", path.display()),
            Self::Devices { devices } => {
                let names: Vec<_> = devices.iter().map(|device| device.display().to_string()).collect();
                write!(f, "on {}", names.join(", "))
            }
            Self::Existing { .. } => f.write_str("on the node's devices"),
        }
    }
}

fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    path.is_absolute()
        && path.file_name().is_some()
        && parts.all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

/// What udev and the kernel call the first partition of a disk (`zfs_append_partition` in libzutil).
fn first_partition(disk: &Path) -> PathBuf {
    let name = disk.to_string_lossy();
    let infix = if name.starts_with("/dev/disk/") {
        "-part"
    } else if name.ends_with(|last: char| last.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    PathBuf::from(format!("{name}{infix}1"))
}

/// How much of a device's beginning [`has_partition_table`] looks at.
pub(super) const BEGINNING: usize = 4096 + 8;

/// Whether this is the beginning of a device with a partition table, or with a boot sector, which looks alike.
/// `zpool create` notices only a GPT, and of that only partitions that hold something.
pub(super) fn has_partition_table(beginning: &[u8]) -> bool {
    // A GPT's header is in the second sector, whatever the size of a sector.
    let is_gpt = [512, 4096]
        .into_iter()
        .any(|at| beginning.get(at..at + 8) == Some(b"EFI PART".as_slice()));
    is_gpt || beginning.get(510..512) == Some(&[0x55, 0xaa])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(paths: &[&str]) -> Place {
        Place::Devices {
            devices: paths.iter().map(PathBuf::from).collect(),
        }
    }

    #[test]
    fn devices_are_plain_paths_below_dev() {
        for paths in [&["/dev/vdb"][..], &["/dev/disk/by-id/wwn-0x5", "/dev/mapper/a-b"]] {
            assert_eq!(devices(paths).check(), Ok(()), "{paths:?}");
        }
        for paths in [
            &[][..],
            &["/dev"],
            &["/dev/"],
            &["vdb"],
            &["/etc/passwd"],
            &["/dev/../etc/passwd"],
            &["/dev/vdb", "/devil"],
        ] {
            assert!(matches!(devices(paths).check(), Err(Error::Invalid(_))), "{paths:?}");
        }
        for path in ["pool.img", "/a/../b", "/", ""] {
            let place = Place::File { path: path.into() };
            assert!(matches!(place.check(), Err(Error::Invalid(_))), "{path}");
        }
    }

    #[test]
    fn a_disks_first_partition_is_called_as_udev_does() {
        for (disk, partition) in [
            ("/dev/vdb", "/dev/vdb1"),
            ("/dev/nvme0n1", "/dev/nvme0n1p1"),
            ("/dev/loop7", "/dev/loop7p1"),
            ("/dev/disk/by-id/ata-x_1", "/dev/disk/by-id/ata-x_1-part1"),
        ] {
            assert_eq!(first_partition(Path::new(disk)), Path::new(partition));
        }
    }

    #[test]
    fn partition_tables_are_told_from_emptiness() {
        let mut beginning = vec![0; BEGINNING];
        assert!(!has_partition_table(&beginning));
        assert!(!has_partition_table(&[]));
        beginning[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert!(has_partition_table(&beginning));
        for at in [512, 4096] {
            let mut beginning = vec![0; BEGINNING];
            beginning[at..at + 8].copy_from_slice(b"EFI PART");
            assert!(has_partition_table(&beginning), "{at}");
        }
    }

    #[test]
    fn places_are_remembered_in_these_words() {
        let existing = Place::Existing {
            existing: "tank".into(),
        };
        for (place, text) in [
            (Place::File { path: "/p".into() }, r#"{"path":"/p"}"#),
            (devices(&["/dev/vdb"]), r#"{"devices":["/dev/vdb"]}"#),
            (existing, r#"{"existing":"tank"}"#),
        ] {
            assert_eq!(serde_json::to_string(&place).unwrap(), text);
            assert_eq!(serde_json::from_str::<Place>(text).unwrap(), place);
        }
        assert!(serde_json::from_str::<Place>("{}").is_err());
    }
}
