//! A machine's files, and csi-node's [`Files`] over them on the stage.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_csi_node::ops::{Device, Error, Files, Found};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::fault::{Class, Failure};
use crate::stage::{Life, Stage};

/// A file. What is in a pool's file is not kept, only how long that is.
#[derive(Debug, Clone, Default)]
struct File {
    content: Vec<u8>,
    length: u64,
}

/// Files by path.
type Stored = BTreeMap<PathBuf, File>;

/// Files by path; shared by cloning.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Stored>>);

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells how long a file is: what fake ZFS of the same machine looks up.
    pub fn tell_lengths(&self) -> impl Fn(&Path) -> Option<u64> + Send + Sync + 'static {
        let disk = self.clone();
        move |path| disk.lock().get(path).map(|file| file.length)
    }
}

/// One incarnation's way to the files.
pub struct SimFiles {
    stage: Stage,
    life: Life,
    disk: Disk,
}

impl fmt::Debug for SimFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl SimFiles {
    /// For an incarnation of csi-node.
    #[must_use]
    pub fn new(stage: Stage, life: Life, disk: Disk) -> Self {
        Self { stage, life, disk }
    }

    fn io<'a, T: Send + 'a>(
        &'a self,
        class: Class,
        text: impl FnOnce() -> String + Send + 'a,
        work: impl Fn(&mut Stored) -> T + Send + Sync + 'a,
    ) -> BoxFuture<'a, io::Result<T>> {
        let failed = |failure: Failure| io::Error::other(format!("{failure:?}"));
        let work = Arc::new(work);
        async move {
            let perform = || {
                let result = work(&mut self.disk.lock());
                std::future::ready(Ok(result))
            };
            self.stage.effect(&self.life, class, text, failed, perform).await
        }
        .boxed()
    }
}

impl Files for SimFiles {
    fn read<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        let text = move || format!("read {}", file.display());
        self.io(Class::FileRead, text, move |files| {
            files.get(file).map(|file| file.content.clone())
        })
    }

    fn list<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, io::Result<Vec<String>>> {
        let text = move || format!("list {}", folder.display());
        self.io(Class::FileRead, text, move |files| {
            let below = files.keys().filter(|file| file.parent() == Some(folder));
            let names = below.filter_map(|file| file.file_name());
            names.map(|name| name.to_string_lossy().into_owned()).collect()
        })
    }

    fn replace<'a>(&'a self, file: &'a Path, content: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        let text = move || format!("replace {}", file.display());
        self.io(Class::FileWrite, text, move |files| {
            let (content, length) = (content.clone(), content.len() as u64);
            files.insert(file.to_owned(), File { content, length });
        })
    }

    fn remove<'a>(&'a self, file: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let text = move || format!("remove {}", file.display());
        self.io(Class::FileWrite, text, move |files| {
            files.remove(file);
        })
    }

    fn look<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Found, Error>> {
        let text = move || format!("look at {}", path.display());
        let found = self.io(Class::FileRead, text, move |files| match files.get(path) {
            None => Found::Nothing,
            Some(file) if file.length == 0 => Found::Empty,
            Some(_) => Found::File,
        });
        found.map(internal).boxed()
    }

    fn allocate<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<(), Error>> {
        let text = move || format!("allocate {}", path.display());
        let allocated = self.io(Class::FileWrite, text, move |files| {
            files.entry(path.to_owned()).or_default().length = size;
        });
        allocated.map(internal).boxed()
    }

    fn grow<'a>(&'a self, path: &'a Path, size: u64) -> BoxFuture<'a, Result<u64, Error>> {
        let text = move || format!("grow {} to {size} bytes", path.display());
        let grown = self.io(Class::FileWrite, text, move |files| {
            let file = files.entry(path.to_owned()).or_default();
            file.length = file.length.max(size);
            file.length
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
