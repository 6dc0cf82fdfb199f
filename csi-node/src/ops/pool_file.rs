//! The file that a pool lies in: allocated as a whole, so that the host's file system can never run out of space under
//! the pool.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::Error;
use super::files::Found;

/// The path as this program sees it.
///
/// # Errors
/// A path that is not absolute, or has `..` in it.
pub(super) fn here(host_root: Option<&Path>, path: &Path) -> Result<PathBuf, Error> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path.file_name().is_none() {
        return Err(Error::Invalid(format!(
            "the pool's file {} is not an absolute, plain path",
            path.display()
        )));
    }
    let below = path.strip_prefix("/").unwrap_or(path);
    Ok(host_root.unwrap_or(Path::new("/")).join(below))
}

/// Looks at the path without following a link.
pub(super) fn look(path: &Path) -> Result<Found, Error> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() == 0 => Ok(Found::Empty),
        Ok(meta) if meta.is_file() => Ok(Found::File),
        Ok(_) => Err(Error::Invalid(format!("{} is not a regular file", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(failed("looking at", path, &error)),
    }
}

/// Makes the file, or the beginning of one that an interrupted attempt left, and allocates all its bytes. When there
/// is no room the file is removed again.
pub(super) fn allocate(path: &Path, size: u64) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(|error| failed("making the folder of", path, &error))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| failed("making", path, &error))?;
    let allocated = allocate_open(&file, size).and_then(|()| file.sync_all());
    if let Err(error) = allocated {
        drop(file);
        std::fs::remove_file(path).map_err(|error| failed("removing", path, &error))?;
        let full = matches!(failed("allocating", path, &error), Error::OutOfSpace(_));
        return Err(if full {
            Error::OutOfSpace(format!(
                "no space for a pool of {size} bytes at {}: make room there or ask for a smaller pool",
                path.display()
            ))
        } else {
            failed("allocating", path, &error)
        });
    }
    Ok(())
}

fn allocate_open(file: &std::fs::File, size: u64) -> io::Result<()> {
    let size = i64::try_from(size).map_err(|_| io::Error::from_raw_os_error(Errno::EFBIG as i32))?;
    file.set_len(0)?;
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(io::Error::from_raw_os_error(errno as i32)),
        }
    }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Error {
    let text = format!("{doing} {}: {error}", path.display());
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => Error::OutOfSpace(text),
        Some(Errno::ELOOP) => Error::Invalid(text),
        Some(Errno::EOPNOTSUPP) => Error::Invalid(format!(
            "{}: the file system there cannot allocate files ahead; choose a path on ext4 or xfs",
            path.display()
        )),
        _ => Error::Internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn every_byte_is_allocated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/pool.img");
        assert_eq!(look(&path), Ok(Found::Nothing));
        allocate(&path, 1 << 20).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.len(), 1 << 20);
        assert!(meta.blocks() * 512 >= 1 << 20);
        assert_eq!(meta.mode() & 0o777, 0o600);
        assert_eq!(look(&path), Ok(Found::File));
    }

    #[test]
    fn without_room_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.img");
        for size in [1 << 60, u64::MAX] {
            assert!(matches!(allocate(&path, size), Err(Error::OutOfSpace(_))));
            assert_eq!(look(&path), Ok(Found::Nothing));
        }
    }

    #[test]
    fn links_folders_and_crooked_paths_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(matches!(look(&link), Err(Error::Invalid(_))));
        assert!(allocate(&link, 4096).is_err());
        assert!(matches!(look(folder.path()), Err(Error::Invalid(_))));
        for crooked in ["pool.img", "/a/../b", "/", ""] {
            assert!(
                matches!(here(None, Path::new(crooked)), Err(Error::Invalid(_))),
                "{crooked}"
            );
        }
        assert_eq!(
            here(Some(Path::new("/host")), Path::new("/a/b")).unwrap(),
            Path::new("/host/a/b")
        );
        assert_eq!(here(None, Path::new("/a/b")).unwrap(), Path::new("/a/b"));
    }
}
