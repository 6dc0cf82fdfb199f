//! A machine's files, and csi-node's [`Files`] over them on the stage.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_csi_node::ops::{Error, Files, Found};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::fault::{Class, Failure};
use crate::stage::{Life, Stage};

/// Files by path; shared by cloning.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>);

impl Disk {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        work: impl Fn(&mut BTreeMap<PathBuf, Vec<u8>>) -> T + Send + Sync + 'a,
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
        self.io(Class::FileRead, text, move |files| files.get(file).cloned())
    }

    fn replace<'a>(&'a self, file: &'a Path, content: Vec<u8>) -> BoxFuture<'a, io::Result<()>> {
        let text = move || format!("replace {}", file.display());
        self.io(Class::FileWrite, text, move |files| {
            files.insert(file.to_owned(), content.clone());
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
            Some(content) if content.is_empty() => Found::Empty,
            Some(_) => Found::File,
        });
        found.map(internal).boxed()
    }

    fn allocate<'a>(&'a self, path: &'a Path, _: u64) -> BoxFuture<'a, Result<(), Error>> {
        let text = move || format!("allocate {}", path.display());
        let allocated = self.io(Class::FileWrite, text, move |files| {
            files.insert(path.to_owned(), vec![0]);
        });
        allocated.map(internal).boxed()
    }
}

fn internal<T>(result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|error| Error::Internal(error.to_string()))
}
