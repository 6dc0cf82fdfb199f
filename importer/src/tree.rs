//! Folders by descriptor: opened without following a link, listed, and taken away.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, unlinkat};

use crate::effects::Effects;
use crate::error::CopyError;
use crate::meta::Meta;

/// The folder in which `fsck` keeps what it finds: of a filesystem, and not of who uses it.
pub const LOST_AND_FOUND: &CStr = c"lost+found";

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the top of a tree, which may be named by any path.
///
/// # Errors
/// The system's.
pub fn open_top(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, FOLDER.difference(OFlags::NOFOLLOW), Mode::empty())?)
}

/// Opens a folder in another one.
///
/// # Errors
/// The system's; a link is none.
pub fn open_folder(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    Ok(openat(parent, name, FOLDER, Mode::empty())?)
}

/// Opens a file to read it.
///
/// # Errors
/// The system's; a link is none.
pub fn open_file(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    // What is a pipe by now must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// The names in a folder, in order.
///
/// # Errors
/// The system's.
pub fn names(folder: impl AsFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// A path that is walked along: bytes, as names are.
#[derive(Debug, Clone, Default)]
pub struct Trail(Vec<u8>);

impl Trail {
    /// Into an entry. Returns what [`Self::back`] wants.
    pub fn enter(&mut self, name: &CStr) -> usize {
        let length = self.0.len();
        if length > 0 {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name.to_bytes());
        length
    }

    /// Back to where it was entered.
    pub fn back(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// As bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Takes an entry of the target away, with all that is in it. The trail is at the entry.
///
/// # Errors
/// The system's.
pub fn remove(effects: Effects<'_>, parent: BorrowedFd<'_>, name: &CStr, trail: &mut Trail) -> Result<(), CopyError> {
    let meta = Meta::at(parent, name).map_err(|error| CopyError::target("look at", trail.bytes(), error))?;
    let Some(meta) = meta else { return Ok(()) };
    let flags = if meta.is_folder() {
        let folder = open_folder(parent, name).map_err(|error| CopyError::target("open", trail.bytes(), error))?;
        let inside = names(&folder).map_err(|error| CopyError::target("list", trail.bytes(), error))?;
        for name in inside {
            let length = trail.enter(&name);
            remove(effects, folder.as_fd(), &name, trail)?;
            trail.back(length);
        }
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    effects.run("remove", trail.bytes(), || unlinkat(parent, name, flags))
}
