//! The importer's folder in the target: the file that is being copied, and what the next run must know to go on.
//!
//! What a killed process wrote is there; what a machine had written when it went down may not be. So the state records
//! in which run of the machine (`boot`) and until when all was on disk (`synced`); entries that were changed in a
//! stretch of time that a machine's end may have torn are copied again.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, fdatasync, flock, fsync, ftruncate, linkat, mkdirat, openat, renameat,
    syncfs, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::effects::Effects;
use crate::error::{CopyError, shown};
use crate::meta::{Meta, Moment};
use crate::tree::{Trail, names, open_folder, remove};

/// Version of what is recorded.
const VERSION: u32 = 1;
/// What is recorded.
const STATE: &CStr = c"state";
/// The same, until all of it is written.
const NEW_STATE: &CStr = c"state.new";
/// The file that is being copied.
const PART: &CStr = c"part";

/// Between two times at which all is written to disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(60);

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    version: u32,
    /// In which run of the machine.
    boot: String,
    /// What had changed by then is on disk.
    synced: Moment,
    /// What changed from the first until the second of each may not be.
    torn: Vec<(Moment, Moment)>,
    part: Option<Part>,
}

/// How much of a file is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    inode: u64,
    size: u64,
    modified: Moment,
    offset: u64,
}

impl Part {
    fn is_of(&self, source: &Meta) -> bool {
        (self.inode, self.size, self.modified) == (source.inode.1, source.size, source.modified)
    }
}

/// The importer's folder, while one run has it.
pub struct State<'a> {
    effects: Effects<'a>,
    /// Its name in the target.
    name: CString,
    folder: OwnedFd,
    recorded: Recorded,
    synced_at: Instant,
}

/// A name that the source does not have.
fn choose_name(source: &[CString]) -> CString {
    let candidate = |number: u32| {
        let name = match number {
            0 => ".dotmesh-import".to_owned(),
            number => format!(".dotmesh-import-{number}"),
        };
        CString::new(name).unwrap_or_default()
    };
    (0..)
        .map(candidate)
        .find(|name| source.binary_search(name).is_err())
        .unwrap_or_default()
}

/// The name that the folder has, or will have, and whether it is there.
///
/// # Errors
/// When the target cannot be read.
pub fn find(source: &[CString], target: BorrowedFd<'_>) -> Result<(CString, bool), CopyError> {
    let name = choose_name(source);
    let found = Meta::at(target, &name).map_err(|error| CopyError::target("look at", name.to_bytes(), error))?;
    Ok((name, found.is_some()))
}

impl<'a> State<'a> {
    /// Makes the folder or opens the one that an earlier run left. `boot` identifies this run of the machine.
    ///
    /// # Errors
    /// [`CopyError::Locked`] while another process has it; when what was recorded cannot be read.
    pub fn open(effects: Effects<'a>, target: BorrowedFd<'_>, name: CString, boot: &str) -> Result<Self, CopyError> {
        let path = name.to_bytes().to_owned();
        effects.run("make", &path, || match mkdirat(target, &name, Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            made => made,
        })?;
        let folder = open_folder(target, &name).map_err(|error| CopyError::target("open", &path, error))?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(CopyError::Locked),
            locked => locked.map_err(|error| CopyError::target("lock", &path, error.into()))?,
        }
        let before = read(folder.as_fd(), &path)?;
        let mut state = Self {
            effects,
            recorded: Recorded {
                version: VERSION,
                boot: boot.to_owned(),
                synced: Moment(i64::MIN, 0),
                torn: Vec::new(),
                part: None,
            },
            name,
            folder,
            synced_at: Instant::now(),
        };
        let is_same = before.as_ref().is_none_or(|before| before.boot == boot);
        state.recorded = before.unwrap_or(state.recorded);
        if state.recorded.part.is_none() {
            // Of a file that nothing is known of; it may be what fills the target.
            let mut trail = Trail::default();
            trail.enter(&state.name);
            trail.enter(PART);
            remove(effects, state.folder.as_fd(), PART, &mut trail)?;
        }
        let now = state.save()?;
        if !is_same {
            state.recorded.torn.push((state.recorded.synced, now));
            state.recorded.synced = now;
            boot.clone_into(&mut state.recorded.boot);
            state.save()?;
        }
        Ok(state)
    }

    /// Its name in the target.
    #[must_use]
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Whether an entry that was changed then is what it was made, also if the machine went down since.
    #[must_use]
    pub fn trusts(&self, changed: Moment) -> bool {
        let is_torn = |(from, until): &(Moment, Moment)| *from <= changed && changed <= *until;
        !self.recorded.torn.iter().any(is_torn)
    }

    fn path(&self, name: &CStr) -> Vec<u8> {
        let mut trail = Trail::default();
        trail.enter(&self.name);
        trail.enter(name);
        trail.bytes().to_owned()
    }

    /// Writes all down, durably. Returns the time by the filesystem's clock.
    fn save(&mut self) -> Result<Moment, CopyError> {
        let path = self.path(STATE);
        let text = serde_json::to_vec(&self.recorded).unwrap_or_default();
        let now = self.effects.run("record", &path, || {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&self.folder, NEW_STATE, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(&text)?;
            fsync(&file)?;
            Ok::<_, std::io::Error>(Meta::of(&file)?.changed)
        })?;
        self.effects.run("replace", &path, || {
            renameat(&self.folder, NEW_STATE, &self.folder, STATE)
        })?;
        Ok(now)
    }

    /// Opens the file that `source` is copied into. Returns it with the number of bytes that it has already.
    ///
    /// # Errors
    /// The target's.
    pub fn begin(&mut self, source: &Meta) -> Result<(OwnedFd, u64), CopyError> {
        let path = self.path(PART);
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        if let Some(part) = self.recorded.part.clone().filter(|part| part.is_of(source)) {
            match openat(&self.folder, PART, flags, mode) {
                Ok(file) => {
                    // What came after the last record may be anything.
                    self.effects.run("cut", &path, || ftruncate(&file, part.offset))?;
                    return Ok((file, part.offset));
                }
                Err(Errno::NOENT) => {}
                Err(error) => return Err(CopyError::target("open", &path, error.into())),
            }
        }
        // What is recorded of one file must never be believed of the next.
        if self.recorded.part.take().is_some() {
            self.save()?;
        }
        let file = self.effects.run("create", &path, || {
            openat(&self.folder, PART, flags | OFlags::CREATE | OFlags::TRUNC, mode)
        })?;
        Ok((file, 0))
    }

    /// Records that so many bytes of the file are there, once they are on disk.
    ///
    /// # Errors
    /// The target's.
    pub fn reached(&mut self, file: BorrowedFd<'_>, source: &Meta, offset: u64) -> Result<(), CopyError> {
        self.effects.run("sync", &self.path(PART), || fdatasync(file))?;
        self.recorded.part = Some(Part {
            inode: source.inode.1,
            size: source.size,
            modified: source.modified,
            offset,
        });
        self.save().map(drop)
    }

    /// The file is complete: it gets its name.
    ///
    /// # Errors
    /// The target's.
    pub fn finish(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), CopyError> {
        self.effects
            .run("put in place", path, || renameat(&self.folder, PART, parent, name))
    }

    /// Another name of an entry that is in place, by which its further names are made.
    ///
    /// # Errors
    /// The target's.
    pub fn remember(&self, inode: (u64, u64), parent: BorrowedFd<'_>, name: &CStr) -> Result<(), CopyError> {
        let link = link_name(inode);
        let mut trail = Trail::default();
        trail.enter(&self.name);
        trail.enter(&link);
        remove(self.effects, self.folder.as_fd(), &link, &mut trail)?;
        self.effects.run("link", &self.path(&link), || {
            linkat(parent, name, &self.folder, &link, AtFlags::empty())
        })
    }

    /// One more name of an entry that was remembered.
    ///
    /// # Errors
    /// The target's.
    pub fn link(&self, inode: (u64, u64), parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), CopyError> {
        self.effects.run("link", path, || {
            linkat(&self.folder, link_name(inode), parent, name, AtFlags::empty())
        })
    }

    /// The entry that was remembered.
    ///
    /// # Errors
    /// The target's.
    pub fn remembered(&self, inode: (u64, u64)) -> Result<Option<Meta>, CopyError> {
        let link = link_name(inode);
        Meta::at(self.folder.as_fd(), &link).map_err(|error| CopyError::target("look at", &self.path(&link), error))
    }

    /// From time to time: writes all to disk, and records that it is.
    ///
    /// # Errors
    /// The target's.
    pub fn tick(&mut self) -> Result<(), CopyError> {
        if self.synced_at.elapsed() < SYNC_INTERVAL {
            return Ok(());
        }
        let now = self.save()?;
        self.effects.run("sync", b"", || syncfs(&self.folder))?;
        self.recorded.synced = now;
        self.synced_at = Instant::now();
        self.save().map(drop)
    }

    /// Nothing of it is needed any more.
    ///
    /// # Errors
    /// The target's.
    pub fn end(self, target: BorrowedFd<'_>) -> Result<(), CopyError> {
        let path = self.name.to_bytes();
        let inside = names(&self.folder).map_err(|error| CopyError::target("list", path, error))?;
        // The record last: without it the rest would mean nothing.
        let (record, rest): (Vec<_>, Vec<_>) = inside.into_iter().partition(|name| name.as_c_str() == STATE);
        for name in rest.iter().chain(&record) {
            self.effects.run("remove", &self.path(name), || {
                unlinkat(&self.folder, name, AtFlags::empty())
            })?;
        }
        self.effects
            .run("remove", path, || unlinkat(target, &self.name, AtFlags::REMOVEDIR))
    }
}

fn link_name((device, inode): (u64, u64)) -> CString {
    CString::new(format!("link-{device}-{inode}")).unwrap_or_default()
}

/// What an earlier run recorded, if it came to that.
fn read(folder: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Recorded>, CopyError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(folder, STATE, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(CopyError::target("open", path, error.into())),
    };
    let mut text = Vec::new();
    (&file)
        .read_to_end(&mut text)
        .map_err(|error| CopyError::target("read", path, error))?;
    let unusable = |why: String| CopyError::State { path: shown(path), why };
    let recorded: Recorded = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
    match recorded.version {
        VERSION => Ok(Some(recorded)),
        version => Err(unusable(format!("it is of version {version}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_has_a_name_that_the_source_has_not() {
        let names = |all: &[&str]| -> Vec<CString> { all.iter().map(|name| CString::new(*name).unwrap()).collect() };
        assert_eq!(choose_name(&names(&[])).as_c_str(), c".dotmesh-import");
        let taken = names(&[".dotmesh-import", ".dotmesh-import-1", "a"]);
        assert_eq!(choose_name(&taken).as_c_str(), c".dotmesh-import-2");
    }
}
