//! The contents of one file, holes as holes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::Errno;

use crate::effects::Effects;
use crate::error::CopyError;
use crate::meta::Meta;
use crate::progress::Counters;
use crate::state::State;

/// Bytes that are read and written at a time.
const CHUNK: usize = 1 << 20;

/// Bytes after which a file that is not complete is recorded.
pub const RECORD_INTERVAL: u64 = 256 << 20;

/// A file that is being copied.
pub struct Contents<'a> {
    /// Its source.
    pub source: &'a File,
    /// What the source was when it was opened.
    pub meta: &'a Meta,
    /// What it is copied into.
    pub part: &'a File,
    /// Where it lies in both trees.
    pub path: &'a [u8],
    /// Bytes after which it is recorded how far it is.
    pub record_interval: u64,
}

/// The next stretch with data at or after `from`: where it begins and ends. A filesystem that cannot tell has data
/// everywhere.
fn next_data(source: BorrowedFd<'_>, from: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let begin = match seek(source, SeekFrom::Data(from)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((from, size))),
        Err(error) => return Err(error.into()),
    };
    if begin >= size {
        return Ok(None);
    }
    let end = seek(source, SeekFrom::Hole(begin))?;
    Ok(Some((begin, end.min(size))))
}

impl Contents<'_> {
    /// Copies it from an offset to its end.
    ///
    /// # Errors
    /// Those of the source and the target, and when the source became shorter.
    pub fn copy(
        &self,
        effects: Effects<'_>,
        state: &mut State<'_>,
        counters: &Counters,
        from: u64,
    ) -> Result<(), CopyError> {
        let (size, budget) = (self.meta.size, self.meta.data());
        let mut counted = from.min(budget);
        counters.copied(counted);
        let mut buffer = vec![0; CHUNK];
        let (mut at, mut recorded) = (from, from);
        while at < size {
            let stretch = next_data(self.source.as_fd(), at, size);
            let Some((begin, end)) = stretch.map_err(|error| CopyError::source("read", self.path, error))? else {
                break;
            };
            at = begin;
            while at < end {
                let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
                let read = self
                    .source
                    .read_at(&mut buffer[..wanted], at)
                    .map_err(|error| CopyError::source("read", self.path, error))?;
                if read == 0 {
                    return Err(CopyError::differs(self.path, "it is shorter than it was"));
                }
                effects.run("write", self.path, || self.part.write_all_at(&buffer[..read], at))?;
                at += read as u64;
                let now = (counted + read as u64).min(budget);
                counters.copied(now - counted);
                counted = now;
                if at - recorded >= self.record_interval && at < size {
                    state.reached(self.part.as_fd(), self.meta, at)?;
                    recorded = at;
                }
            }
        }
        effects.run("cut", self.path, || ftruncate(self.part, size))?;
        counters.copied(budget - counted);
        Ok(())
    }
}
