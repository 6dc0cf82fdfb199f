//! The whole copy: count, copy, compare, and leave nothing of our own behind.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, mkdirat, mknodat, readlinkat, symlinkat, syncfs};
use rustix::io::Errno;

use crate::attributes::{self, Entry};
use crate::data::{Contents, RECORD_INTERVAL};
use crate::effects::Effects;
use crate::error::{CopyError, shown};
use crate::meta::Meta;
use crate::progress::Counters;
use crate::state::{self, State};
use crate::tree::{LOST_AND_FOUND, Trail, names, open_file, open_folder, open_top, remove};
use crate::verify::{Besides, compare};

/// What is to be copied, and how.
pub struct Request<'a> {
    /// Folder to copy from.
    pub source: &'a Path,
    /// Folder to copy into.
    pub target: &'a Path,
    /// Identifies this run of the machine.
    pub boot: &'a str,
    /// Bytes after which a file that is not complete is recorded; absent: as usual.
    pub record_interval: Option<u64>,
    /// The way to the target.
    pub effects: Effects<'a>,
    /// Told how far the copy is.
    pub counters: &'a Counters,
}

/// Copies all of it, from where an earlier run ended. Afterwards the target has what the source has, and it is on disk.
///
/// # Errors
/// Why it ended before. What is in the target then is what the next run goes on from.
pub fn copy(request: &Request<'_>) -> Result<(), CopyError> {
    let source = open_top(request.source).map_err(|error| CopyError::source("open", b"", error))?;
    let target = open_top(request.target).map_err(|error| CopyError::target("open", b"", error))?;
    let top = names(&source).map_err(|error| CopyError::source("list", b"", error))?;
    let (own, is_begun) = state::find(&top, target.as_fd())?;
    if !is_begun && let Some(name) = first_entry(target.as_fd())? {
        // Whoever ended well and is run once more has nothing left to do.
        return match compared(request, &own, false) {
            Ok(()) => finish(request, source.as_fd(), target.as_fd()),
            Err(CopyError::Differs { .. }) => Err(CopyError::NotEmpty {
                path: shown(name.to_bytes()),
            }),
            Err(error) => Err(error),
        };
    }
    let mut run = Run {
        request,
        state: State::open(request.effects, target.as_fd(), own, request.boot)?,
        linked: HashSet::new(),
        trail: Trail::default(),
        lacks_devices: false,
    };
    request.counters.total(count(&source)?);
    run.folders(source.as_fd(), target.as_fd())?;
    let (own, lacks_devices) = (run.state.name().to_owned(), run.lacks_devices);
    compared(request, &own, lacks_devices)?;
    run.state.end(target.as_fd())?;
    finish(request, source.as_fd(), target.as_fd())
}

/// The first entry of the target that is not the filesystem's own.
fn first_entry(target: BorrowedFd<'_>) -> Result<Option<CString>, CopyError> {
    let there = names(target).map_err(|error| CopyError::target("list", b"", error))?;
    Ok(there.into_iter().find(|name| name.as_c_str() != LOST_AND_FOUND))
}

fn compared(request: &Request<'_>, own: &CStr, lacks_devices: bool) -> Result<(), CopyError> {
    let besides = Besides {
        own,
        devices: lacks_devices,
    };
    let source = open_top(request.source).map_err(|error| CopyError::source("open", b"", error))?;
    let target = open_top(request.target).map_err(|error| CopyError::target("open", b"", error))?;
    compare(source, target, &besides)
}

/// The top's own attributes, when nothing in it changes any more; then all of it is on disk.
fn finish(request: &Request<'_>, source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), CopyError> {
    let meta = Meta::of(source).map_err(|error| CopyError::source("look at", b"", error))?;
    let from = (Entry::Open(source), &meta);
    attributes::apply(request.effects, request.counters, from, Entry::Open(target), b"")?;
    request.effects.run("sync", b"", || syncfs(target))
}

/// Bytes of all files, each counted once however many names it has.
fn count(source: &OwnedFd) -> Result<u64, CopyError> {
    let mut linked = HashSet::new();
    let mut trail = Trail::default();
    let failed = |what, trail: &Trail, error| CopyError::source(what, trail.bytes(), error);
    let top = source.try_clone().map_err(|error| failed("open", &trail, error))?;
    let inside = names(&top).map_err(|error| failed("list", &trail, error))?;
    let mut open = vec![(top, inside.into_iter(), 0)];
    let mut total = 0;
    while let Some((folder, left, length)) = open.last_mut() {
        let Some(name) = left.next() else {
            trail.back(*length);
            open.pop();
            continue;
        };
        let length = trail.enter(&name);
        let meta = Meta::at(folder.as_fd(), &name).map_err(|error| failed("look at", &trail, error))?;
        match meta {
            Some(meta) if meta.is_folder() && !(length == 0 && name.as_c_str() == LOST_AND_FOUND) => {
                let inner = open_folder(&*folder, &name).map_err(|error| failed("open", &trail, error))?;
                let inside = names(&inner).map_err(|error| failed("list", &trail, error))?;
                open.push((inner, inside.into_iter(), length));
                continue;
            }
            Some(meta) if meta.links == 1 || linked.insert(meta.inode) => total += meta.data(),
            Some(_) | None => {}
        }
        trail.back(length);
    }
    Ok(total)
}

/// A pair of folders whose entries are being copied.
struct Frame {
    source: OwnedFd,
    target: OwnedFd,
    /// What the source was when its entries were listed.
    meta: Meta,
    names: std::vec::IntoIter<CString>,
    length: usize,
}

struct Run<'a> {
    request: &'a Request<'a>,
    state: State<'a>,
    /// Inodes of the source with several names, of which the first is in place.
    linked: HashSet<(u64, u64)>,
    trail: Trail,
    lacks_devices: bool,
}

impl Run<'_> {
    /// All folders with what is in them; the attributes of each when its entries are done.
    fn folders(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), CopyError> {
        let clone = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned()
                .map_err(|error| CopyError::source("open", b"", error))
        };
        let mut open = vec![self.enter(clone(source)?, clone(target)?, 0)?];
        while let Some(frame) = open.last_mut() {
            if let Some(name) = frame.names.next() {
                let length = self.trail.enter(&name);
                match self.entry(frame, &name)? {
                    Some((source, target)) => {
                        let inner = self.enter(source, target, length)?;
                        open.push(inner);
                    }
                    None => self.trail.back(length),
                }
                continue;
            }
            if open.len() > 1
                && let Some(frame) = open.last()
            {
                let (from, to) = (Entry::Open(frame.source.as_fd()), Entry::Open(frame.target.as_fd()));
                self.attributes((from, &frame.meta), to)?;
                self.request.counters.file();
                self.trail.back(frame.length);
            }
            open.pop();
        }
        Ok(())
    }

    /// Lists what is to be copied of a folder, and takes away what it has no more.
    fn enter(&mut self, source: OwnedFd, target: OwnedFd, length: usize) -> Result<Frame, CopyError> {
        let path = self.trail.bytes();
        let is_top = path.is_empty();
        let meta = Meta::of(&source).map_err(|error| CopyError::source("look at", path, error))?;
        let mut wanted = names(&source).map_err(|error| CopyError::source("list", path, error))?;
        let there = names(&target).map_err(|error| CopyError::target("list", path, error))?;
        if is_top {
            wanted.retain(|name| name.as_c_str() != LOST_AND_FOUND);
        }
        for name in there {
            let is_own = is_top && (name.as_c_str() == self.state.name() || name.as_c_str() == LOST_AND_FOUND);
            if !is_own && wanted.binary_search(&name).is_err() {
                let length = self.trail.enter(&name);
                remove(self.request.effects, target.as_fd(), &name, &mut self.trail)?;
                self.trail.back(length);
            }
        }
        Ok(Frame {
            source,
            target,
            meta,
            names: wanted.into_iter(),
            length,
        })
    }

    fn attributes(&self, from: (Entry<'_>, &Meta), to: Entry<'_>) -> Result<(), CopyError> {
        let Request { effects, counters, .. } = self.request;
        attributes::apply(*effects, counters, from, to, self.trail.bytes())
    }

    /// One entry; a folder is made and handed back, opened in both trees.
    fn entry(&mut self, frame: &Frame, name: &CStr) -> Result<Option<(OwnedFd, OwnedFd)>, CopyError> {
        self.state.tick()?;
        let (source, target) = (frame.source.as_fd(), frame.target.as_fd());
        let path = self.trail.bytes();
        let meta = Meta::at(source, name).map_err(|error| CopyError::source("look at", path, error))?;
        let Some(meta) = meta else {
            return Err(CopyError::differs(path, "it is gone"));
        };
        let there = Meta::at(target, name).map_err(|error| CopyError::target("look at", path, error))?;
        if meta.is_folder() {
            return self.folder(source, target, name, there).map(Some);
        }
        if matches!(meta.kind, FileType::Socket | FileType::Unknown) {
            self.clear(target, name, there)?;
            self.request.counters.skipped();
            return Ok(None);
        }
        if meta.links > 1 && self.linked.contains(&meta.inode) {
            return self.further_name(target, name, (&meta, there)).map(|()| None);
        }
        let is_made = if meta.kind == FileType::RegularFile {
            self.file(source, target, name, (&meta, there))?;
            true
        } else {
            self.special(source, target, name, (&meta, there))?
        };
        if is_made {
            if meta.links > 1 {
                self.state.remember(meta.inode, target, name)?;
                self.linked.insert(meta.inode);
            }
            self.request.counters.file();
        }
        Ok(None)
    }

    /// Makes room for an entry.
    fn clear(&mut self, target: BorrowedFd<'_>, name: &CStr, there: Option<Meta>) -> Result<(), CopyError> {
        match there {
            Some(_) => remove(self.request.effects, target, name, &mut self.trail),
            None => Ok(()),
        }
    }

    fn folder(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        there: Option<Meta>,
    ) -> Result<(OwnedFd, OwnedFd), CopyError> {
        if !there.is_some_and(|there| there.is_folder()) {
            self.clear(target, name, there)?;
            // Nobody else enters before it has its own attributes.
            let make = || mkdirat(target, name, Mode::RWXU);
            self.request.effects.run("make", self.trail.bytes(), make)?;
        }
        let path = self.trail.bytes();
        Ok((
            open_folder(source, name).map_err(|error| CopyError::source("open", path, error))?,
            open_folder(target, name).map_err(|error| CopyError::target("open", path, error))?,
        ))
    }

    fn further_name(
        &mut self,
        target: BorrowedFd<'_>,
        name: &CStr,
        (meta, there): (&Meta, Option<Meta>),
    ) -> Result<(), CopyError> {
        let first = self.state.remembered(meta.inode)?;
        if there.map(|there| there.inode) != first.map(|first| first.inode) {
            self.clear(target, name, there)?;
            self.state.link(meta.inode, target, name, self.trail.bytes())?;
        }
        self.request.counters.file();
        Ok(())
    }

    /// Whether an earlier run has copied it. One name too many is of a link that the source has no more.
    fn is_there(&self, meta: &Meta, there: Option<Meta>) -> bool {
        there.is_some_and(|there| {
            let is_linked = |meta: &Meta| meta.links > 1;
            there.kind == FileType::RegularFile
                && (there.size, there.modified) == (meta.size, meta.modified)
                && (is_linked(meta) || !is_linked(&there))
                && self.state.trusts(there.changed)
        })
    }

    fn file(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        (meta, there): (&Meta, Option<Meta>),
    ) -> Result<(), CopyError> {
        let Request { effects, counters, .. } = *self.request;
        let path = self.trail.bytes();
        let from = open_file(source, name).map_err(|error| CopyError::source("open", path, error))?;
        let from = File::from(from);
        let opened = Meta::of(&from).map_err(|error| CopyError::source("look at", path, error))?;
        if (opened.inode, opened.kind) != (meta.inode, meta.kind) {
            return Err(CopyError::differs(path, "it is something else"));
        }
        if self.is_there(meta, there) {
            let to = open_file(target, name).map_err(|error| CopyError::target("open", path, error))?;
            self.attributes((Entry::Open(from.as_fd()), meta), Entry::Open(to.as_fd()))?;
            counters.copied(meta.data());
            return Ok(());
        }
        self.clear(target, name, there)?;
        let (part, offset) = self.state.begin(&opened)?;
        let part = File::from(part);
        let contents = Contents {
            source: &from,
            meta: &opened,
            part: &part,
            path: self.trail.bytes(),
            record_interval: self.request.record_interval.unwrap_or(RECORD_INTERVAL),
        };
        contents.copy(effects, &mut self.state, counters, offset)?;
        self.attributes((Entry::Open(from.as_fd()), &opened), Entry::Open(part.as_fd()))?;
        self.state.finish(target, name, self.trail.bytes())
    }

    /// Links, pipes and devices: made anew when they are not as the source's. Whether it could be made.
    fn special(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        (meta, there): (&Meta, Option<Meta>),
    ) -> Result<bool, CopyError> {
        let Request { effects, counters, .. } = *self.request;
        let path = self.trail.bytes();
        let read = |folder: BorrowedFd<'_>| readlinkat(folder, name, Vec::new());
        let link = match meta.kind == FileType::Symlink {
            true => Some(read(source).map_err(|error| CopyError::source("read", path, error))?),
            false => None,
        };
        let is_same = there.is_some_and(|there| {
            there.kind == meta.kind
                && there.device == meta.device
                && (meta.links > 1 || there.links == 1)
                && (link.is_none() || read(target).ok() == link)
        });
        if !is_same {
            self.clear(target, name, there)?;
            let path = self.trail.bytes();
            let is_made = effects.run("make", path, || match &link {
                Some(link) => symlinkat(link, target, name).map(|()| true),
                None => match mknodat(target, name, meta.kind, Mode::from_raw_mode(0o600), meta.device) {
                    Err(Errno::PERM) if meta.is_device() => Ok(false),
                    made => made.map(|()| true),
                },
            })?;
            if !is_made {
                self.lacks_devices = true;
                counters.skipped();
                return Ok(false);
            }
        }
        self.attributes((Entry::In(source, name), meta), Entry::In(target, name))?;
        Ok(true)
    }
}
