//! The file in which a node remembers its pool, so that it imports it by itself after a reboot.
//!
//! It is a memory of identity, not of state: what the pool holds is read from the pool.

use std::io;
use std::path::{Path, PathBuf};

use dotmesh_zfs::Guid;
use serde::{Deserialize, Serialize};

/// The version of the file that this program writes.
const VERSION: u32 = 1;

/// What is remembered of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    version: u32,
    /// The zpool's name.
    pub name: String,
    /// Where its file lies, in the host's file system.
    pub path: PathBuf,
    /// Its identity; absent from before it is made or taken over until that is done.
    guid: Option<u64>,
}

impl Remembered {
    pub(crate) fn new(name: &str, path: &Path, guid: Option<Guid>) -> Self {
        Self {
            version: VERSION,
            name: name.to_owned(),
            path: path.to_owned(),
            guid: guid.map(|guid| guid.0),
        }
    }

    pub(crate) fn guid(&self) -> Option<Guid> {
        self.guid.map(Guid)
    }

    /// What the file says; nothing when there is none.
    pub(crate) fn read(file: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let remembered: Self = serde_json::from_slice(&text)?;
        if remembered.version != VERSION {
            return Err(io::Error::other(format!(
                "{} has format version {}, which this program does not know",
                file.display(),
                remembered.version
            )));
        }
        Ok(Some(remembered))
    }

    /// Replaces the file as a whole and durably.
    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        let folder = file
            .parent()
            .ok_or_else(|| io::Error::other("the state file has no folder"))?;
        std::fs::create_dir_all(folder)?;
        let new = file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        std::fs::File::open(&new)?.sync_all()?;
        std::fs::rename(&new, file)?;
        std::fs::File::open(folder)?.sync_all()
    }

    /// Removes the file.
    pub(crate) fn forget(file: &Path) -> io::Result<()> {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/pool.json");
        assert_eq!(Remembered::read(&file).unwrap(), None);
        let remembered = Remembered::new("dotmesh", Path::new("/p.img"), Some(Guid(u64::MAX)));
        remembered.write(&file).unwrap();
        assert_eq!(Remembered::read(&file).unwrap(), Some(remembered));
        Remembered::forget(&file).unwrap();
        Remembered::forget(&file).unwrap();
        assert_eq!(Remembered::read(&file).unwrap(), None);
    }

    #[test]
    fn a_newer_or_damaged_file_is_an_error_and_not_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pool.json");
        for text in ["", "{}", r#"{"version":2,"name":"p","path":"/p","guid":1}"#] {
            std::fs::write(&file, text).unwrap();
            assert!(Remembered::read(&file).is_err(), "{text}");
        }
    }
}
