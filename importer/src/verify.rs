//! Source and target, side by side, after all was copied: what one has the other must have, as it is.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, readlinkat};

use crate::error::CopyError;
use crate::meta::Meta;
use crate::tree::{LOST_AND_FOUND, Trail, names, open_folder};

/// What is left out of the comparison.
pub struct Besides<'a> {
    /// The importer's folder at the top of the target.
    pub own: &'a CStr,
    /// Devices that may not be made are not there.
    pub devices: bool,
}

/// Whether an entry of the source is one that is never copied.
#[must_use]
pub fn is_left_out(meta: &Meta, besides: &Besides<'_>) -> bool {
    matches!(meta.kind, FileType::Socket | FileType::Unknown) || besides.devices && meta.is_device()
}

/// A pair of folders whose entries are being compared.
struct Frame {
    source: OwnedFd,
    target: OwnedFd,
    names: std::vec::IntoIter<CString>,
    length: usize,
}

/// Compares two trees, but for their tops' own attributes.
///
/// # Errors
/// [`CopyError::Differs`], with the first difference.
pub fn compare(source: OwnedFd, target: OwnedFd, besides: &Besides<'_>) -> Result<(), CopyError> {
    let mut trail = Trail::default();
    let mut inodes = HashMap::new();
    let mut open = vec![enter(source, target, 0, besides, &trail)?];
    while let Some(frame) = open.last_mut() {
        let Some(name) = frame.names.next() else {
            trail.back(frame.length);
            open.pop();
            continue;
        };
        let length = trail.enter(&name);
        let one = look(frame.source.as_fd(), &name, &trail, true)?;
        let other = look(frame.target.as_fd(), &name, &trail, false)?;
        differ(&one, &other, &trail)?;
        if one.kind == FileType::Symlink {
            let read = |folder: BorrowedFd<'_>| readlinkat(folder, &name, Vec::new());
            let target = |error| CopyError::target("read", trail.bytes(), std::io::Error::from(error));
            let from = read(frame.source.as_fd()).map_err(|error| CopyError::source("read", trail.bytes(), error))?;
            if from != read(frame.target.as_fd()).map_err(target)? {
                return Err(CopyError::differs(trail.bytes(), "its target differs"));
            }
        }
        if one.is_folder() {
            let (from, to) = (
                open_folder(&frame.source, &name).map_err(|error| CopyError::source("open", trail.bytes(), error))?,
                open_folder(&frame.target, &name).map_err(|error| CopyError::target("open", trail.bytes(), error))?,
            );
            open.push(enter(from, to, length, besides, &trail)?);
            continue;
        }
        if one.links > 1 && *inodes.entry(one.inode).or_insert(other.inode) != other.inode {
            return Err(CopyError::differs(trail.bytes(), "it is no hard link any more"));
        }
        trail.back(length);
    }
    Ok(())
}

fn look(folder: BorrowedFd<'_>, name: &CStr, trail: &Trail, is_source: bool) -> Result<Meta, CopyError> {
    let found = Meta::at(folder, name).map_err(|error| match is_source {
        true => CopyError::source("look at", trail.bytes(), error),
        false => CopyError::target("look at", trail.bytes(), error),
    })?;
    found.ok_or_else(|| CopyError::differs(trail.bytes(), "it is gone"))
}

/// The entries of both, which must be the same.
fn enter(
    source: OwnedFd,
    target: OwnedFd,
    length: usize,
    besides: &Besides<'_>,
    trail: &Trail,
) -> Result<Frame, CopyError> {
    let is_top = trail.bytes().is_empty();
    let mut wanted = names(&source).map_err(|error| CopyError::source("list", trail.bytes(), error))?;
    let mut there = names(&target).map_err(|error| CopyError::target("list", trail.bytes(), error))?;
    if is_top {
        wanted.retain(|name| name.as_c_str() != LOST_AND_FOUND);
        there.retain(|name| name.as_c_str() != LOST_AND_FOUND && name.as_c_str() != besides.own);
    }
    let mut kept = Vec::with_capacity(wanted.len());
    for name in wanted {
        let meta = Meta::at(source.as_fd(), &name);
        let meta = meta.map_err(|error| CopyError::source("look at", trail.bytes(), error))?;
        if !meta.is_some_and(|meta| is_left_out(&meta, besides)) {
            kept.push(name);
        }
    }
    if kept != there {
        return Err(CopyError::differs(trail.bytes(), "it has other entries"));
    }
    Ok(Frame {
        source,
        target,
        names: kept.into_iter(),
        length,
    })
}

fn differ(one: &Meta, other: &Meta, trail: &Trail) -> Result<(), CopyError> {
    let is_link = one.kind == FileType::Symlink;
    let is_file = one.kind == FileType::RegularFile;
    let what = if one.kind != other.kind {
        "it is something else"
    } else if is_file && one.size != other.size {
        "its size differs"
    } else if (one.uid, one.gid) != (other.uid, other.gid) {
        "its owner differs"
    } else if !is_link && one.mode != other.mode {
        "its mode differs"
    } else if one.is_device() && one.device != other.device {
        "it is another device"
    } else if one.modified != other.modified {
        "its modification time differs"
    } else {
        return Ok(());
    };
    Err(CopyError::differs(trail.bytes(), what))
}
