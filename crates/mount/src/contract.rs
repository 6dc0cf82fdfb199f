//! One suite of sequences for every [`Mount`]: run on [`crate::FakeMount`] by `cargo test`, on the real kernel by the
//! same where it is allowed to (root, in a mount namespace of its own), and with ZFS by the test target `node`.

mod zvols;

pub use zvols::{Volumes, run_zvols};

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::{Mount, MountErrorKind, MountOption, ZfsMount};

/// What the suite needs beside the trait.
pub trait Surroundings {
    /// Writes a file at this path.
    fn file(&self, path: &Path);
    /// Makes a symbolic link at this path, to anything.
    fn link(&self, path: &Path);
    /// Whether a file can be written at this path.
    fn writable(&self, path: &Path) -> Option<bool>;
}

/// An expectation that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {found}")]
pub struct Violation {
    /// Which expectation.
    pub step: String,
    /// What was found.
    pub found: String,
}

type Checked = Result<(), Violation>;

fn equal<T: PartialEq + Debug>(step: &str, found: T, wanted: T) -> Checked {
    if found == wanted {
        return Ok(());
    }
    Err(Violation {
        step: step.to_owned(),
        found: format!("found {found:?} instead of {wanted:?}"),
    })
}

fn fails<T: Debug>(step: &str, result: Result<T, crate::MountError>, wanted: MountErrorKind) -> Checked {
    equal(step, result.map_err(|error| error.kind).err(), Some(wanted))
}

fn works<T>(step: &str, result: Result<T, crate::MountError>) -> Result<T, Violation> {
    result.map_err(|error| Violation {
        step: step.to_owned(),
        found: error.to_string(),
    })
}

/// Runs what needs no ZFS, in an existing empty folder that is a mount point of its own.
///
/// # Errors
/// The first expectation that did not hold.
pub async fn run_binds<M: Mount>(mount: &M, around: &impl Surroundings, root: &Path) -> Checked {
    folders(mount, around, root).await?;
    binds(mount, around, root).await?;
    links(mount, around, root).await
}

/// Runs what needs ZFS, in an existing folder, with two datasets whose `mountpoint` is `legacy`, and the name of one
/// that does not exist.
///
/// # Errors
/// The first expectation that did not hold.
pub async fn run_zfs<M: Mount>(mount: &M, around: &impl Surroundings, root: &Path, names: [&str; 3]) -> Checked {
    let [dataset, other, missing] = names;
    let (private, pod, second) = (root.join("private"), root.join("pod"), root.join("second"));
    for folder in [&private, &pod, &second] {
        works("make a target", mount.make_dir(folder).await)?;
    }
    let request = |source: &str, target: &PathBuf| ZfsMount {
        source: source.to_owned(),
        target: target.clone(),
        readonly: false,
        context: None,
    };
    fails(
        "a dataset that is not there",
        mount.mount_zfs(&request(missing, &private)).await,
        MountErrorKind::NotFound,
    )?;
    works("mount a dataset", mount.mount_zfs(&request(dataset, &private)).await)?;
    fails(
        "again on it",
        mount.mount_zfs(&request(other, &private)).await,
        MountErrorKind::AlreadyMounted,
    )?;
    around.file(&private.join("f"));
    works("bind it", mount.bind(&private, &pod, false, &[]).await)?;
    equal(
        "the bind shows the file",
        works("read", mount.is_empty_dir(&pod).await)?,
        false,
    )?;
    works("mount another", mount.mount_zfs(&request(other, &second)).await)?;
    equal(
        "which is empty",
        works("read", mount.is_empty_dir(&second).await)?,
        true,
    )?;
    let table = works("read the table", mount.list().await)?;
    equal("mounts of the dataset", table.of_zfs(dataset).count(), 2)?;
    equal(
        "source of the bind",
        table.at(&pod).map(|entry| entry.source.clone()),
        Some(dataset.to_owned()),
    )?;
    works("sync it", mount.syncfs(&pod).await)?;
    works("make the bind read-only", mount.remount_bind(&pod, true).await)?;
    let table = works("read the table", mount.list().await)?;
    let readonly = |path: &PathBuf| table.at(path).map(|entry| (entry.readonly, entry.superblock_readonly));
    equal(
        "the bind alone is read-only",
        (readonly(&pod), readonly(&private)),
        (Some((true, false)), Some((false, false))),
    )?;
    works("take the bind away", mount.unmount(&pod, false).await)?;
    works("take the private mount away", mount.unmount(&private, false).await)?;
    works("take the other away", mount.unmount(&second, false).await)?;
    works("mount it again", mount.mount_zfs(&request(dataset, &private)).await)?;
    equal(
        "the file is still there",
        works("read", mount.is_empty_dir(&private).await)?,
        false,
    )?;
    works("and away", mount.unmount(&private, true).await)?;
    for folder in [&private, &pod, &second] {
        works("remove a target", mount.remove_dir(folder).await)?;
    }
    Ok(())
}

async fn folders<M: Mount>(mount: &M, around: &impl Surroundings, root: &Path) -> Checked {
    let deep = root.join("a/b/c");
    works("make folders", mount.make_dir(&deep).await)?;
    works("make them again", mount.make_dir(&deep).await)?;
    equal(
        "a new folder is empty",
        works("read", mount.is_empty_dir(&deep).await)?,
        true,
    )?;
    fails(
        "remove one with a folder in it",
        mount.remove_dir(&root.join("a/b")).await,
        MountErrorKind::NotEmpty,
    )?;
    around.file(&deep.join("f"));
    equal(
        "a file makes it non-empty",
        works("read", mount.is_empty_dir(&deep).await)?,
        false,
    )?;
    fails(
        "remove one with a file in it",
        mount.remove_dir(&deep).await,
        MountErrorKind::NotEmpty,
    )?;
    fails(
        "remove a file",
        mount.remove_dir(&deep.join("f")).await,
        MountErrorKind::NotADirectory,
    )?;
    fails(
        "make a folder below a file",
        mount.make_dir(&deep.join("f/g")).await,
        MountErrorKind::NotADirectory,
    )?;
    works("remove what is not there", mount.remove_dir(&root.join("x/y")).await)?;
    fails(
        "read what is not there",
        mount.is_empty_dir(&root.join("x")).await,
        MountErrorKind::NotFound,
    )?;
    let usage = works("statfs", mount.statfs(&deep).await)?;
    equal(
        "a filesystem has a size",
        usage.total_bytes > 0 && usage.available_bytes <= usage.total_bytes,
        true,
    )?;
    for bad in ["a", "/a/../b", "/a//b", "/a/./b"] {
        fails(
            "a path that is not plain",
            mount.make_dir(Path::new(bad)).await,
            MountErrorKind::BadPath,
        )?;
    }
    Ok(())
}

async fn binds<M: Mount>(mount: &M, around: &impl Surroundings, root: &Path) -> Checked {
    let (source, target, full) = (root.join("source"), root.join("target"), root.join("full"));
    for folder in [&source, &target, &full] {
        works("make a folder", mount.make_dir(folder).await)?;
    }
    around.file(&source.join("f"));
    around.file(&full.join("f"));
    fails(
        "bind on a full folder",
        mount.bind(&source, &full, false, &[]).await,
        MountErrorKind::NotEmpty,
    )?;
    fails(
        "bind on nothing",
        mount.bind(&source, &root.join("no"), false, &[]).await,
        MountErrorKind::NotFound,
    )?;
    fails(
        "bind of nothing",
        mount.bind(&root.join("no"), &target, false, &[]).await,
        MountErrorKind::NotFound,
    )?;
    fails(
        "unmount what is not mounted",
        mount.unmount(&target, false).await,
        MountErrorKind::NotMounted,
    )?;
    fails(
        "unmount what is not there",
        mount.unmount(&root.join("no"), false).await,
        MountErrorKind::NotFound,
    )?;
    fails(
        "remount what is not mounted",
        mount.remount_bind(&target, true).await,
        MountErrorKind::NotMounted,
    )?;
    works("bind read-only", mount.bind(&source, &target, true, &[]).await)?;
    equal(
        "cannot write there",
        around.writable(&target.join("g")).unwrap_or(false),
        false,
    )?;
    equal(
        "can write at the source",
        around.writable(&source.join("g")).unwrap_or(true),
        true,
    )?;
    fails(
        "bind again",
        mount.bind(&source, &target, true, &[]).await,
        MountErrorKind::AlreadyMounted,
    )?;
    let table = works("read the table", mount.list().await)?;
    equal(
        "the table shows it",
        table.at(&target).map(|entry| entry.readonly),
        Some(true),
    )?;
    equal("once", table.layers(&target), 1)?;
    works("make it writable", mount.remount_bind(&target, false).await)?;
    let table = works("read the table", mount.list().await)?;
    equal(
        "the table shows that",
        table.at(&target).map(|entry| entry.readonly),
        Some(false),
    )?;
    let other = root.join("other");
    works("make a folder", mount.make_dir(&other).await)?;
    let options = [MountOption::NoExec, MountOption::NoSuid, MountOption::NoAtime];
    works(
        "bind it there with options",
        mount.bind(&source, &other, true, &options).await,
    )?;
    let table = works("read the table", mount.list().await)?;
    let has = |path: &Path| {
        let entry = table.at(path);
        entry.map(|entry| (MountOption::ALL.map(|option| entry.has(option)), entry.readonly))
    };
    equal(
        "it has all of that",
        has(&other),
        Some(([true, false, true, true, false], true)),
    )?;
    equal("and the first has nothing", has(&target), Some(([false; 5], false)))?;
    works("make it writable", mount.remount_bind(&other, false).await)?;
    let table = works("read the table", mount.list().await)?;
    let has = table
        .at(&other)
        .map(|entry| (entry.has(MountOption::NoExec), entry.readonly));
    equal("its options stay", has, Some((true, false)))?;
    works("unmount the other", mount.unmount(&other, false).await)?;
    fails(
        "remove a mount point",
        mount.remove_dir(&target).await,
        MountErrorKind::Busy,
    )?;
    works("unmount", mount.unmount(&target, false).await)?;
    equal(
        "nothing is left of it",
        works("read", mount.is_empty_dir(&target).await)?,
        true,
    )?;
    works("bind once more", mount.bind(&source, &target, false, &[]).await)?;
    works("unmount lazily", mount.unmount(&target, true).await)?;
    fails(
        "it is gone",
        mount.unmount(&target, true).await,
        MountErrorKind::NotMounted,
    )?;
    works("remove the target", mount.remove_dir(&target).await)
}

async fn links<M: Mount>(mount: &M, around: &impl Surroundings, root: &Path) -> Checked {
    let (source, link) = (root.join("s"), root.join("link"));
    works("make a folder", mount.make_dir(&source).await)?;
    around.link(&link);
    let kind = || MountErrorKind::SymbolicLink;
    fails("bind on a link", mount.bind(&source, &link, false, &[]).await, kind())?;
    fails("bind of a link", mount.bind(&link, &source, false, &[]).await, kind())?;
    fails(
        "bind through a link",
        mount.bind(&source, &link.join("x"), false, &[]).await,
        kind(),
    )?;
    fails(
        "make a folder through a link",
        mount.make_dir(&link.join("x")).await,
        kind(),
    )?;
    fails(
        "unmount through a link",
        mount.unmount(&link.join("x"), false).await,
        kind(),
    )?;
    fails(
        "remove a link",
        mount.remove_dir(&link).await,
        MountErrorKind::NotADirectory,
    )?;
    let request = ZfsMount {
        source: "p/a".into(),
        target: link,
        readonly: false,
        context: None,
    };
    fails("mount on a link", mount.mount_zfs(&request).await, kind())
}

#[cfg(test)]
mod tests;
