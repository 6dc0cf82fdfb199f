//! Files in memory, on the stage. What is in a pool's file is not kept, only how long that is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::stage::Stage;
use crate::ops::{Device, Error, Files, Found};

/// Content and length by path.
type Stored = BTreeMap<PathBuf, (Vec<u8>, u64)>;

/// What lies where. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Stored>>);

impl Disk {
    /// How long a file is.
    pub(super) fn length(&self, path: &Path) -> Option<u64> {
        self.0.lock().unwrap().get(path).map(|(_, length)| *length)
    }

    /// Somebody makes a file of so many bytes.
    pub(super) fn put(&self, path: &Path, length: u64) {
        self.0.lock().unwrap().insert(path.to_owned(), (Vec::new(), length));
    }

    /// What is on it, without pools' files.
    pub(super) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = self.0.lock().unwrap();
        let files = files.iter().map(|(path, (content, _))| (path.clone(), content.clone()));
        files.collect()
    }
}

/// The way of a program to the disk.
#[derive(Debug, Clone)]
pub(super) struct StagedFiles {
    pub(super) disk: Disk,
    pub(super) stage: Stage,
}

impl StagedFiles {
    /// Files of the host itself answer always, in their time.
    fn effect<'a, T: Send + 'a>(
        &'a self,
        doing: &'static str,
        path: &'a Path,
        work: impl FnOnce(&mut Stored) -> T + Send + 'a,
    ) -> BoxFuture<'a, io::Result<T>> {
        let text = format!("{doing} ({path:?},)");
        let late = io::Error::from(io::ErrorKind::TimedOut);
        let effect = async { Ok(work(&mut self.disk.0.lock().unwrap())) };
        self.stage.pass(text, (Duration::MAX, late), effect).boxed()
    }
}

impl Files for StagedFiles {
    fn read<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        self.effect("read", file, |files| {
            files.get(file).map(|(content, _)| content.clone())
        })
    }

    fn list<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        self.effect("list", folder, |files| {
            let below = files.keys().filter(|file| file.parent() == Some(folder));
            let names = below.filter_map(|file| file.file_name());
            names.map(|name| name.to_string_lossy().into_owned()).collect()
        })
    }

    fn replace<'a>(&'a self, file: &'a Path, content: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        self.effect("replace", file, |files| {
            let length = content.len() as u64;
            files.insert(file.to_owned(), (content, length));
        })
    }

    fn remove<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.effect("remove", file, |files| drop(files.remove(file)))
    }

    fn look<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Found, Error>> {
        let found = self.effect("look", path, |files| match files.get(path) {
            None => Found::Nothing,
            Some((_, 0)) => Found::Empty,
            Some(_) => Found::File,
        });
        found.map(internal).boxed()
    }

    fn allocate<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<(), Error>> {
        let allocated = self.effect("allocate", path, move |files| {
            files.entry(path.to_owned()).or_default().1 = size;
        });
        allocated.map(internal).boxed()
    }

    fn grow<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<u64, Error>> {
        let grown = self.effect("grow", path, move |files| {
            let (_, length) = files.entry(path.to_owned()).or_default();
            *length = size.max(*length);
            *length
        });
        grown.map(internal).boxed()
    }

    fn look_at_device<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Device, Error>> {
        let none = Error::Invalid(format!("{} is no block device", path.display()));
        std::future::ready(Err(none)).boxed()
    }
}

fn internal<T>(result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|error| Error::Internal(error.to_string()))
}
