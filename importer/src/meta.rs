//! What a filesystem tells of one entry, in the same types on each machine.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// A moment of a filesystem's clock: seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment(pub i64, pub u32);

/// An entry of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: FileType,
    /// Permissions, with set-user-ID, set-group-ID and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes that are allocated.
    pub allocated: u64,
    /// When its contents changed.
    pub modified: Moment,
    /// When anything of it changed.
    pub changed: Moment,
    /// When it was read.
    pub accessed: Moment,
    /// Which filesystem, and which of its inodes.
    pub inode: (u64, u64),
    /// How many names it has.
    pub links: u64,
    /// The device that it stands for.
    pub device: u64,
}

/// Conversions that lose nothing on any machine, whatever the machine calls the types.
#[expect(clippy::unnecessary_cast, reason = "the types differ between architectures")]
impl From<Stat> for Meta {
    fn from(stat: Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode as _),
            mode: stat.st_mode as u32 & 0o7777,
            uid: stat.st_uid as u32,
            gid: stat.st_gid as u32,
            size: stat.st_size as u64,
            allocated: stat.st_blocks as u64 * 512,
            modified: Moment(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: Moment(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
            accessed: Moment(stat.st_atime as i64, stat.st_atime_nsec as u32),
            inode: (stat.st_dev as u64, stat.st_ino as u64),
            links: stat.st_nlink as u64,
            device: stat.st_rdev as u64,
        }
    }
}

impl Meta {
    /// Of what is open.
    ///
    /// # Errors
    /// The system's.
    pub fn of(fd: impl AsFd) -> io::Result<Self> {
        Ok(fstat(fd)?.into())
    }

    /// Of an entry, links not followed; absent when there is none of that name.
    ///
    /// # Errors
    /// The system's.
    pub fn at(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Self>> {
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Whether it stands for a device.
    #[must_use]
    pub fn is_device(&self) -> bool {
        matches!(self.kind, FileType::CharacterDevice | FileType::BlockDevice)
    }

    /// Bytes that are to be copied of it: a file's, without its holes.
    #[must_use]
    pub fn data(&self) -> u64 {
        match self.kind == FileType::RegularFile {
            true => self.size.min(self.allocated),
            false => 0,
        }
    }
}
