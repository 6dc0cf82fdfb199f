//! Everything of an entry but its contents: owner, mode, times, extended attributes. What is as it should be already is
//! left alone, so that a second run writes nothing.
//!
//! The order matters: a change of owner takes set-user-ID bits and capabilities away, an access control list changes
//! the mode, and everything changes the time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fgetxattr,
    flistxattr, fremovexattr, fsetxattr, futimens, lgetxattr, llistxattr, lremovexattr, lsetxattr, utimensat,
};
use rustix::io::Errno;

use crate::effects::Effects;
use crate::error::{CopyError, shown};
use crate::meta::{Meta, Moment};
use crate::progress::Counters;

/// Bytes of a list of names and of a value, at most (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const LIST_MAX: usize = 65536;

/// An entry, by itself when it is open, else by its folder: devices, pipes and links are never opened.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// It is open.
    Open(BorrowedFd<'a>),
    /// The one of this name in this folder; if it is a link, that.
    In(BorrowedFd<'a>, &'a CStr),
}

/// A path whose last part is not followed, and all before it is the folder that is open.
fn path_in(folder: BorrowedFd<'_>, name: &CStr) -> CString {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    CString::new(path).unwrap_or_default()
}

impl Entry<'_> {
    fn list(self) -> Result<Vec<u8>, Errno> {
        let mut list = vec![0; LIST_MAX];
        let listed = match self {
            Self::Open(fd) => flistxattr(fd, &mut list[..]),
            Self::In(folder, name) => llistxattr(path_in(folder, name), &mut list[..]),
        };
        match listed {
            Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
            listed => {
                list.truncate(listed?);
                Ok(list)
            }
        }
    }

    fn get(self, attribute: &CStr) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; LIST_MAX];
        let length = match self {
            Self::Open(fd) => fgetxattr(fd, attribute, &mut value[..]),
            Self::In(folder, name) => lgetxattr(path_in(folder, name), attribute, &mut value[..]),
        }?;
        value.truncate(length);
        Ok(value)
    }

    fn set(self, attribute: &CStr, value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fsetxattr(fd, attribute, value, XattrFlags::empty()),
            Self::In(folder, name) => lsetxattr(path_in(folder, name), attribute, value, XattrFlags::empty()),
        }
    }

    fn unset(self, attribute: &CStr) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fremovexattr(fd, attribute),
            Self::In(folder, name) => lremovexattr(path_in(folder, name), attribute),
        }
    }

    fn own(self, uid: u32, gid: u32) -> Result<(), Errno> {
        let (owner, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match self {
            Self::Open(fd) => fchown(fd, owner, group),
            Self::In(folder, name) => chownat(folder, name, owner, group, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Of a link there is none.
    fn permit(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => fchmod(fd, mode),
            Self::In(folder, name) => chmodat(folder, name, mode, AtFlags::empty()),
        }
    }

    fn date(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => futimens(fd, times),
            Self::In(folder, name) => utimensat(folder, name, times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn meta(self) -> io::Result<Meta> {
        match self {
            Self::Open(fd) => Meta::of(fd),
            Self::In(folder, name) => Meta::at(folder, name)?.ok_or_else(|| Errno::NOENT.into()),
        }
    }
}

/// What becomes of an extended attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Keep,
    /// An access control list: never left out.
    Insist,
    /// It needs a right that the importer may not have.
    Try,
    /// A label of the mount, not of the data.
    Ignore,
    /// It means something to the source's filesystem alone.
    Skip,
}

fn rule(attribute: &CStr) -> Rule {
    match attribute.to_bytes() {
        b"system.posix_acl_access" | b"system.posix_acl_default" => Rule::Insist,
        b"security.capability" => Rule::Keep,
        b"security.selinux" => Rule::Ignore,
        name if name.starts_with(b"user.") => Rule::Keep,
        name if name.starts_with(b"trusted.") => Rule::Try,
        _ => Rule::Skip,
    }
}

fn attributes(entry: Entry<'_>) -> Result<Vec<CString>, Errno> {
    let list = entry.list()?;
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.filter_map(|name| CString::new(name).ok()).collect())
}

/// Gives an entry of the target all that its source has beside its contents, `meta` of which was read before.
///
/// # Errors
/// Those of the source and the target; an access control list that the target cannot keep.
pub fn apply(
    effects: Effects<'_>,
    counters: &Counters,
    (source, meta): (Entry<'_>, &Meta),
    target: Entry<'_>,
    path: &[u8],
) -> Result<(), CopyError> {
    let look = || target.meta().map_err(|error| CopyError::target("look at", path, error));
    let there = look()?;
    if (there.uid, there.gid) != (meta.uid, meta.gid) {
        effects.run("give its owner to", path, || target.own(meta.uid, meta.gid))?;
    }
    apply_extended(effects, counters, source, target, path)?;
    let is_link = meta.kind == FileType::Symlink;
    if !is_link && look()?.mode != meta.mode {
        effects.run("set the mode of", path, || target.permit(meta.mode))?;
    }
    if look()?.modified != meta.modified {
        let times = Timestamps {
            last_access: spec(meta.accessed),
            last_modification: spec(meta.modified),
        };
        effects.run("set the times of", path, || target.date(&times))?;
    }
    Ok(())
}

fn spec(Moment(seconds, nanoseconds): Moment) -> Timespec {
    Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    }
}

fn apply_extended(
    effects: Effects<'_>,
    counters: &Counters,
    source: Entry<'_>,
    target: Entry<'_>,
    path: &[u8],
) -> Result<(), CopyError> {
    let mut wanted = BTreeMap::new();
    for name in attributes(source).map_err(|error| CopyError::source("list the attributes of", path, error))? {
        match rule(&name) {
            Rule::Keep | Rule::Insist | Rule::Try => match source.get(&name) {
                Ok(value) => {
                    wanted.insert(name, value);
                }
                // It went meanwhile, or may not be read.
                Err(Errno::NODATA) => {}
                Err(Errno::PERM) if rule(&name) == Rule::Try => counters.skipped(),
                Err(error) => return Err(CopyError::source("read an attribute of", path, error)),
            },
            Rule::Ignore => {}
            Rule::Skip => counters.skipped(),
        }
    }
    let there = attributes(target).map_err(|error| CopyError::target("list the attributes of", path, error.into()))?;
    let there: BTreeSet<CString> = there.into_iter().collect();
    for name in there.iter().filter(|name| !wanted.contains_key(*name)) {
        if matches!(rule(name), Rule::Keep | Rule::Insist) {
            effects.run("take an attribute from", path, || target.unset(name))?;
        }
    }
    for (name, value) in &wanted {
        if there.contains(name) && target.get(name).as_ref() == Ok(value) {
            continue;
        }
        let rule = rule(name);
        let set = effects.run("give an attribute to", path, || match target.set(name, value) {
            Err(Errno::OPNOTSUPP) if rule == Rule::Insist => Ok(Some(Rule::Insist)),
            Err(Errno::PERM | Errno::OPNOTSUPP) if rule == Rule::Try => Ok(Some(Rule::Try)),
            result => result.map(|()| None),
        })?;
        match set {
            None => {}
            Some(Rule::Insist) => return Err(CopyError::NoAccessLists { path: shown(path) }),
            Some(_) => counters.skipped(),
        }
    }
    Ok(())
}
