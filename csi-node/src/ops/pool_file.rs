//! The file that a pool lies in: allocated as a whole, so that the host's file system can never run out of space under
//! the pool.

use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::Error;
use super::files::Found;

/// The host's absolute path as this program sees it.
pub(super) fn here(host_root: Option<&Path>, path: &Path) -> PathBuf {
    let below = path.strip_prefix("/").unwrap_or(path);
    host_root.unwrap_or(Path::new("/")).join(below)
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
    let allocated = file
        .set_len(0)
        .and_then(|()| reserve(&file, FallocateFlags::empty(), size));
    if let Err(error) = allocated.and_then(|()| file.sync_all()) {
        drop(file);
        std::fs::remove_file(path).map_err(|error| failed("removing", path, &error))?;
        return Err(unallocated(path, &error, || {
            format!(
                "no space for a pool of {size} bytes at {}: make room there or ask for a smaller pool",
                path.display()
            )
        }));
    }
    Ok(())
}

/// Makes the file larger, with all its bytes allocated; never smaller. When there is no room it is left as it was, with
/// whatever lies in it. Returns how long it is.
pub(super) fn grow(path: &Path, size: u64) -> Result<u64, Error> {
    let failed_here = |error: io::Error| failed("growing", path, &error);
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
        .open(path)
        .map_err(failed_here)?;
    match file.try_lock() {
        Ok(()) => {}
        // A call that was given up goes on until the kernel is done.
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Busy(format!("{} is being made larger already", path.display())));
        }
        Err(TryLockError::Error(error)) => return Err(failed_here(error)),
    }
    let before = file.metadata().map_err(failed_here)?.len();
    if before >= size {
        return Ok(before);
    }
    // The length tells what is allocated, so it changes last.
    if let Err(error) = reserve(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, size) {
        // Gives back what lies beyond the end.
        file.set_len(before).map_err(failed_here)?;
        return Err(unallocated(path, &error, || {
            format!(
                "no space for {} to grow from {before} to {size} bytes: make room there; the pool is as it was",
                path.display()
            )
        }));
    }
    file.set_len(size).and_then(|()| file.sync_all()).map_err(failed_here)?;
    Ok(size)
}

fn reserve(file: &std::fs::File, flags: FallocateFlags, size: u64) -> io::Result<()> {
    let size = i64::try_from(size).map_err(|_| io::Error::from_raw_os_error(Errno::EFBIG as i32))?;
    loop {
        match fallocate(file, flags, 0, size) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(io::Error::from_raw_os_error(errno as i32)),
        }
    }
}

/// Why nothing was allocated; `full` says it when there was no room.
fn unallocated(path: &Path, error: &io::Error, full: impl FnOnce() -> String) -> Error {
    let error = failed("allocating", path, error);
    if matches!(error, Error::OutOfSpace(_)) {
        Error::OutOfSpace(full())
    } else {
        error
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
    fn a_file_grows_with_what_is_in_it_and_never_shrinks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.img");
        assert!(grow(&path, 1 << 20).is_err(), "nothing is made");
        allocate(&path, 1 << 20).unwrap();
        let mut precious = vec![7; 1 << 20];
        std::fs::write(&path, &precious).unwrap();
        for size in [2 << 20, 1 << 20] {
            assert_eq!(grow(&path, size), Ok(2 << 20));
            let meta = std::fs::metadata(&path).unwrap();
            assert_eq!(meta.len(), 2 << 20);
            assert!(meta.blocks() * 512 >= 2 << 20);
        }
        precious.resize(2 << 20, 0);
        assert_eq!(std::fs::read(&path).unwrap(), precious);
    }

    #[test]
    fn without_room_a_file_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.img");
        allocate(&path, 1 << 20).unwrap();
        for size in [1 << 60, u64::MAX] {
            assert!(matches!(grow(&path, size), Err(Error::OutOfSpace(_))));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        }
        let other = std::fs::File::open(&path).unwrap();
        other.lock().unwrap();
        assert!(matches!(grow(&path, 2 << 20), Err(Error::Busy(_))));
        drop(other);
        grow(&path, 2 << 20).unwrap();
    }

    #[test]
    fn links_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(matches!(look(&link), Err(Error::Invalid(_))));
        assert!(allocate(&link, 4096).is_err());
        assert!(matches!(look(folder.path()), Err(Error::Invalid(_))));
    }

    #[test]
    fn the_hosts_paths_are_seen_below_its_root() {
        assert_eq!(
            here(Some(Path::new("/host")), Path::new("/a/b")),
            Path::new("/host/a/b")
        );
        assert_eq!(here(None, Path::new("/a/b")), Path::new("/a/b"));
    }
}
