//! The host's files that operations touch: what a node remembers, and what its pool lies in.
//!
//! A seam and nothing else: what is in the files, and what is concluded from it, is decided by [`super::known`] and
//! [`super::pool`].

use std::fmt;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Error;
use super::{place, pool_file};

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A file without a byte in it.
    Empty,
    /// A file.
    File,
}

/// A block device, without a look at all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// How large it is.
    pub bytes: u64,
    /// It has a partition table, or something that looks like one.
    pub is_partitioned: bool,
}

/// Files of the host.
pub trait Files: fmt::Debug + Send + Sync + 'static {
    /// The whole file; nothing when there is none.
    fn read<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>>;

    /// The names of what is in the folder; none when there is no such folder.
    fn list<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>>;

    /// Replaces the file as a whole and durably; makes its folder.
    fn replace<'a>(&'a self, file: &'a Path, content: Vec<u8>) -> BoxFuture<'a, io::Result<()>>;

    /// Removes the file; one that is not there is fine.
    fn remove<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Looks at the path without following a link.
    fn look<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Found, Error>>;

    /// Makes the file, or the beginning of one that an interrupted attempt left, and allocates all its bytes. When
    /// there is no room the file is removed again.
    fn allocate<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<(), Error>>;

    /// Makes the file larger, with all its bytes allocated; never smaller. When there is no room it is left as it was.
    /// Returns how long it is.
    fn grow<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<u64, Error>>;

    /// Looks at a block device; [`Error::Invalid`] when there is none at this path.
    fn look_at_device<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Device, Error>>;
}

/// The real ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFiles;

impl Files for HostFiles {
    fn read<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        let content = match std::fs::read(file) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        std::future::ready(content).boxed()
    }

    fn list<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        let names = match std::fs::read_dir(folder) {
            Ok(entries) => entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        std::future::ready(names).boxed()
    }

    fn replace<'a>(&'a self, file: &'a Path, content: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        std::future::ready(replace(file, &content)).boxed()
    }

    fn remove<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let removed = match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        std::future::ready(removed).boxed()
    }

    fn look<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Found, Error>> {
        std::future::ready(pool_file::look(path)).boxed()
    }

    fn allocate<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<(), Error>> {
        at_length(path, move |path| pool_file::allocate(path, size)).boxed()
    }

    fn grow<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<u64, Error>> {
        at_length(path, move |path| pool_file::grow(path, size)).boxed()
    }

    fn look_at_device<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Device, Error>> {
        std::future::ready(look_at_device(path)).boxed()
    }
}

fn look_at_device(path: &Path) -> Result<Device, Error> {
    let failed = |error: io::Error| Error::Invalid(format!("looking at device {}: {error}", path.display()));
    // Others than block devices are not even opened.
    if !std::fs::metadata(path).map_err(failed)?.file_type().is_block_device() {
        return Err(Error::Invalid(format!("{} is no block device", path.display())));
    }
    let mut device = std::fs::File::open(path).map_err(failed)?;
    let mut beginning = Vec::new();
    let mut part = (&mut device).take(place::BEGINNING as u64);
    part.read_to_end(&mut beginning).map_err(failed)?;
    Ok(Device {
        bytes: device.seek(io::SeekFrom::End(0)).map_err(failed)?,
        is_partitioned: place::has_partition_table(&beginning),
    })
}

/// What may take as long as writing all of the file: not on the runtime's own threads.
async fn at_length<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || work(&path))
        .await
        .unwrap_or_else(|error| Err(Error::Internal(format!("allocating the pool's file: {error}"))))
}

fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let folder = file
        .parent()
        .ok_or_else(|| io::Error::other("the state file has no folder"))?;
    std::fs::create_dir_all(folder)?;
    let new = file.with_extension("new");
    std::fs::write(&new, content)?;
    std::fs::File::open(&new)?.sync_all()?;
    std::fs::rename(&new, file)?;
    std::fs::File::open(folder)?.sync_all()
}
