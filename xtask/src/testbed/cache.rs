//! What is built once per machine: folders named by a hash of their recipe.
//!
//! An artefact is built in a temporary folder beside its place and renamed when complete, so that what stands under the
//! final name is whole. A file lock (flock(2)) per artefact lets a second run wait for the first instead of building it again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::report;

/// How long an artefact that nothing uses is kept.
const KEPT_UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);

/// `$XDG_CACHE_HOME/dotmesh`, else `~/.cache/dotmesh`.
pub(crate) fn root() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    Ok(base.join("dotmesh"))
}

/// Takes the lock file `path`, waiting for whoever has it; it is given back when the value is dropped.
pub(crate) fn lock(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    let file = File::create(path).with_context(|| format!("open {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

/// What an artefact is made from: everything that, when changed, must lead to a new one.
pub(crate) struct Recipe {
    name: String,
    hash: Sha256,
}

impl Recipe {
    /// An empty recipe for an artefact called `name`.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            hash: Sha256::new(),
        }
    }

    /// Adds an ingredient.
    pub(crate) fn with(mut self, ingredient: impl AsRef<[u8]>) -> Self {
        let bytes = ingredient.as_ref();
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
        self
    }

    /// Adds the content of a file.
    pub(crate) fn with_file(self, path: &Path) -> Result<Self> {
        let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(self.with(content))
    }

    /// The folder with the finished artefact; built by `build`, which gets the folder to fill, unless it is there.
    ///
    /// # Errors
    /// Those of `build`; what it left is removed.
    pub(crate) fn build(self, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let digest = self.hash.finalize();
        let key: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
        let folder = root()?.join("artefacts");
        let done = folder.join(format!("{}-{key}", self.name));
        if done.is_dir() {
            mark_used(&done)?;
            return Ok(done);
        }
        let _lock = lock(&folder.join(format!("{}-{key}.lock", self.name)))?;
        if done.is_dir() {
            return Ok(done);
        }
        let unfinished = folder.join(format!(".{}-{key}", self.name));
        remove_tree(&unfinished)?;
        fs::create_dir_all(&unfinished).with_context(|| format!("make {}", unfinished.display()))?;
        report::step(&format!("build {} (once)", self.name), || {
            let result = build(&unfinished);
            if result.is_err() {
                remove_tree(&unfinished)?;
            }
            result
        })?;
        fs::rename(&unfinished, &done).with_context(|| format!("rename to {}", done.display()))?;
        forget_unused(&folder, &self.name)?;
        Ok(done)
    }
}

/// Remembers, as the folder's modification time, that an artefact is still of use.
fn mark_used(artefact: &Path) -> Result<()> {
    let now = fs::FileTimes::new().set_modified(SystemTime::now());
    let marked = File::open(artefact).and_then(|folder| folder.set_times(now));
    marked.with_context(|| format!("mark {} as used", artefact.display()))
}

/// Removes artefacts of this name, from other recipes, that nobody used for a long time.
fn forget_unused(folder: &Path, name: &str) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let key = path
            .file_name()
            .and_then(|file| file.to_str())
            .and_then(|file| file.strip_prefix(&format!("{name}-")));
        let ours = key.is_some_and(|key| key.len() == 12 && key.chars().all(|c| c.is_ascii_hexdigit()));
        let used = fs::metadata(&path).and_then(|metadata| metadata.modified());
        if ours && used.is_ok_and(|used| used.elapsed().is_ok_and(|time| time > KEPT_UNUSED)) {
            remove_tree(&path)?;
        }
    }
    Ok(())
}

/// Removes a folder and what is in it, unless something is mounted there.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mount table")?;
    let prefix = format!("{}/", path.display());
    if let Some(mount) = mounts
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .find(|m| format!("{m}/").starts_with(&prefix))
    {
        bail!("{mount} is mounted; unmount it first");
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Where the log of a build goes.
pub(crate) fn build_log(name: &str) -> Result<PathBuf> {
    let folder = root()?.join("logs");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join(format!("{name}.log"));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove the last log"),
        _ => Ok(path),
    }
}
