//! The file in which a node remembers a pool, so that it imports it by itself after a reboot: one for each, called
//! like it, so that what is wrong with one concerns no other.
//!
//! It is a memory of identity, not of state: what the pool holds is read from the pool.

use std::io;
use std::path::Path;

use dotmesh_zfs::Guid;
use serde::{Deserialize, Serialize};

use super::Place;
use super::files::Files;

/// The version of the file that this program writes.
const VERSION: u32 = 1;

/// What is remembered of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    version: u32,
    /// The zpool's name.
    pub name: String,
    /// Where it lies.
    #[serde(flatten)]
    pub place: Place,
    /// Its identity; absent from before it is made or taken over until that is done.
    guid: Option<u64>,
    /// Bytes of its file that it is known to use: what it was made with, or has grown to completely. 0: not known, or
    /// it has no file.
    #[serde(default)]
    pub file_bytes: u64,
}

impl Remembered {
    pub(crate) fn new(name: &str, place: &Place, guid: Option<Guid>, file_bytes: u64) -> Self {
        Self {
            version: VERSION,
            name: name.to_owned(),
            place: place.clone(),
            guid: guid.map(|guid| guid.0),
            file_bytes,
        }
    }

    pub(crate) fn guid(&self) -> Option<Guid> {
        self.guid.map(Guid)
    }

    /// What the file says; nothing when there is none.
    pub(crate) async fn read(files: &dyn Files, file: &Path) -> io::Result<Option<Self>> {
        let Some(text) = files.read(file).await? else {
            return Ok(None);
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
    pub(crate) async fn write(&self, files: &dyn Files, file: &Path) -> io::Result<()> {
        files.replace(file, serde_json::to_vec_pretty(self)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::ops::HostFiles;

    fn file_at(path: &str) -> Place {
        Place::File { path: path.into() }
    }

    #[tokio::test]
    async fn what_is_remembered_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/pool.json");
        assert_eq!(Remembered::read(&HostFiles, &file).await.unwrap(), None);
        let remembered = Remembered::new("dotmesh", &file_at("/p.img"), Some(Guid(u64::MAX)), 1 << 30);
        remembered.write(&HostFiles, &file).await.unwrap();
        assert_eq!(Remembered::read(&HostFiles, &file).await.unwrap(), Some(remembered));
        HostFiles.remove(&file).await.unwrap();
        HostFiles.remove(&file).await.unwrap();
        assert_eq!(Remembered::read(&HostFiles, &file).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_was_remembered_before_files_grew_is_read_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pool.json");
        std::fs::write(&file, r#"{"version":1,"name":"p","path":"/p","guid":1}"#).unwrap();
        let remembered = Remembered::read(&HostFiles, &file).await.unwrap();
        assert_eq!(remembered, Some(Remembered::new("p", &file_at("/p"), Some(Guid(1)), 0)));
    }

    #[tokio::test]
    async fn a_newer_or_damaged_file_is_an_error_and_not_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pool.json");
        for text in [
            "",
            "{}",
            r#"{"version":1,"name":"p","guid":1}"#,
            r#"{"version":2,"name":"p","path":"/p","guid":1}"#,
        ] {
            std::fs::write(&file, text).unwrap();
            assert!(Remembered::read(&HostFiles, &file).await.is_err(), "{text}");
        }
    }
}
