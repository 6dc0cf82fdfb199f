//! One suite of sequences for every [`Zfs`]: run on [`crate::FakeZfs`] by `cargo test`, on OpenZFS by the
//! test target `node`. It compares results and kinds of error, so that the fake cannot drift from the real thing.
//!
//! All expectations are tried; those that did not hold are returned together.

mod datasets;
mod full;
mod pools;
mod snapshots;
mod volumes;

use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};

use crate::{
    CreateKind, CreateRequest, DatasetName, ErrorKind, GetRequest, Kind, ListRequest, ObjectName, PoolName, PropName,
    PropValue, Properties, Row, SnapName, SnapshotName, Zfs, ZfsError,
};

/// What the suite needs beside the trait.
pub trait Surroundings {
    /// Writes this many new bytes to a filesystem, so that ZFS counts them when this returns.
    fn write(&self, dataset: &DatasetName, bytes: u64);
    /// Mounts a filesystem, and with `used` opens a file of it; or ends both.
    fn set_mounted(&self, dataset: &DatasetName, mounted: bool, used: bool);
    /// Writes to a filesystem until its pool is full.
    fn fill(&self, dataset: &DatasetName);
    /// Makes the file of a pool larger by so many bytes.
    fn grow(&self, vdev: &Path, bytes: u64);
    /// Whether it is still mounted.
    fn is_mounted(&self, dataset: &DatasetName) -> bool;
    /// A node of a volume's device, as soon as it is there.
    fn device(&self, volume: &DatasetName) -> PathBuf;
    /// Opens a volume's device, or closes it.
    fn set_open(&self, volume: &DatasetName, open: bool);
    /// Returns when nobody looks at new devices any more.
    fn settle(&self);
}

/// Where the suite works.
#[derive(Debug, Clone)]
pub struct Setup {
    /// A pool's name that is free. The suite makes the pool and leaves it imported.
    pub pool: PoolName,
    /// An existing, empty file of at least 256 MiB, alone in its folder.
    pub vdev: PathBuf,
}

/// The expectations that were tried, and those that did not hold.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many were tried.
    pub tried: usize,
    /// One line for each that did not hold.
    pub violations: Vec<String>,
}

impl Findings {
    fn equal<T: PartialEq + Debug>(&mut self, step: impl Display, found: T, wanted: T) {
        self.tried += 1;
        if found != wanted {
            self.violations
                .push(format!("{step}: found {found:?} instead of {wanted:?}"));
        }
    }

    fn works<T>(&mut self, step: impl Display, result: Result<T, ZfsError>) -> Option<T> {
        self.tried += 1;
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.violations.push(format!("{step}: {error}"));
                None
            }
        }
    }

    fn fails<T: Debug>(&mut self, step: impl Display, result: Result<T, ZfsError>, wanted: &ErrorKind) {
        self.tried += 1;
        match result {
            Err(error) if error.kind == *wanted => {}
            other => self
                .violations
                .push(format!("{step}: found {other:?} instead of {wanted:?}")),
        }
    }
}

const MOUNTPOINT: PropName = PropName::from_static("mountpoint");
const LEGACY: PropValue = PropValue::from_static("legacy");
const GUID: PropName = PropName::from_static("guid");
const CREATETXG: PropName = PropName::from_static("createtxg");
const REFQUOTA: PropName = PropName::from_static("refquota");
const ORIGIN: PropName = PropName::from_static("origin");
const ID: PropName = PropName::from_static("org.example:id");
const NOTE: PropName = PropName::from_static("org.example:note");
const ABSENT: PropName = PropName::from_static("org.example:absent");
const ONE: PropValue = PropValue::from_static("one");
const TWO: PropValue = PropValue::from_static("two");

fn child(parent: &DatasetName, name: &str) -> DatasetName {
    parent.child(name).expect("a legal name")
}

fn at(dataset: &DatasetName, snap: &str) -> SnapshotName {
    dataset.at(&snap_name(snap)).expect("a legal name")
}

fn snap_name(text: &str) -> SnapName {
    text.parse().expect("a legal name")
}

fn filesystem(dataset: &DatasetName) -> CreateRequest {
    CreateRequest {
        dataset: dataset.clone(),
        kind: CreateKind::Filesystem,
        properties: Properties::new(),
        parents: false,
    }
}

fn names(rows: Option<Vec<Row>>) -> Vec<String> {
    let mut names: Vec<String> = rows.into_iter().flatten().map(|row| row.name.to_string()).collect();
    names.sort();
    names
}

fn listing(root: impl Into<ObjectName>, depth: Option<u32>, kinds: &[Kind], columns: &[PropName]) -> ListRequest {
    ListRequest {
        roots: vec![root.into()],
        depth,
        kinds: kinds.to_vec(),
        columns: columns.to_vec(),
    }
}

/// Columns of one object.
async fn columns<Z: Zfs>(zfs: &Z, name: impl Into<ObjectName>, columns: &[PropName]) -> Result<Row, ZfsError> {
    let name = name.into();
    let kinds: &[Kind] = if name.snapshot().is_some() {
        &[Kind::Snapshot]
    } else {
        &[Kind::Filesystem, Kind::Volume]
    };
    let rows = zfs.list(&listing(name, Some(0), kinds, columns)).await?;
    let verb = crate::Verb::List;
    rows.into_iter()
        .next()
        .ok_or_else(|| ZfsError::new(verb, ErrorKind::Malformed("no row".into())))
}

/// Names of the snapshots of one dataset.
async fn snapshots<Z: Zfs>(zfs: &Z, dataset: &DatasetName) -> Result<Vec<String>, ZfsError> {
    let rows = zfs
        .list(&listing(dataset.clone(), Some(1), &[Kind::Snapshot], &[]))
        .await?;
    Ok(names(Some(rows)))
}

/// The local value of one property.
async fn local<Z: Zfs>(zfs: &Z, name: impl Into<ObjectName>, property: PropName) -> Result<Option<String>, ZfsError> {
    let rows = zfs.get(&GetRequest::local(vec![name.into()], vec![property])).await?;
    Ok(rows.into_iter().next().map(|row| row.value))
}

/// Runs everything.
pub async fn run<Z: Zfs>(zfs: &Z, around: &impl Surroundings, setup: &Setup) -> Findings {
    let mut findings = Findings::default();
    pools::run(&mut findings, zfs, around, setup).await;
    let root = child(&setup.pool.root(), "work");
    let request = CreateRequest {
        properties: Properties::new().with(MOUNTPOINT, LEGACY).with(ID, ONE),
        ..filesystem(&root)
    };
    findings.works("create a place to work", zfs.create(&request).await);
    datasets::run(&mut findings, zfs, around, &root).await;
    snapshots::run(&mut findings, zfs, around, &root).await;
    volumes::run(&mut findings, zfs, around, &root).await;
    full::run(&mut findings, zfs, around, &root).await;
    let left = findings.works("list", zfs.list(&listing(root.clone(), None, &ALL_KINDS, &[])).await);
    findings.equal("everything was destroyed again", names(left), vec![root.to_string()]);
    findings.works("destroy the place to work", zfs.destroy_dataset(&root).await);
    findings
}

const ALL_KINDS: [Kind; 3] = [Kind::Filesystem, Kind::Volume, Kind::Snapshot];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FakeZfs;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The fake, and the length of the file that its pool lies in.
    struct Host {
        zfs: FakeZfs,
        length: Arc<AtomicU64>,
    }

    impl Surroundings for Host {
        fn write(&self, dataset: &DatasetName, bytes: u64) {
            self.zfs.write(dataset, bytes);
        }

        fn set_mounted(&self, dataset: &DatasetName, mounted: bool, used: bool) {
            self.zfs.set_mounted(dataset, mounted);
            self.zfs.set_busy(dataset, mounted && used);
        }

        fn fill(&self, dataset: &DatasetName) {
            self.zfs.set_full(&dataset.pool(), true);
        }

        fn grow(&self, _: &Path, bytes: u64) {
            self.length.fetch_add(bytes, Ordering::SeqCst);
        }

        fn is_mounted(&self, dataset: &DatasetName) -> bool {
            self.zfs.is_mounted(dataset)
        }

        fn device(&self, volume: &DatasetName) -> PathBuf {
            Path::new("/dev/zvol").join(volume.as_str())
        }

        fn set_open(&self, volume: &DatasetName, open: bool) {
            self.zfs.set_busy(volume, open);
        }

        fn settle(&self) {}
    }

    #[tokio::test]
    async fn the_fake_keeps_the_contract() {
        let fake = FakeZfs::new();
        let length = Arc::new(AtomicU64::new(100 << 30));
        let host = Host {
            zfs: fake.clone(),
            length: Arc::clone(&length),
        };
        fake.watch_devices(move |_| Some(length.load(Ordering::SeqCst)));
        let setup = Setup {
            pool: "contract".parse().unwrap(),
            vdev: "/pools/contract.img".into(),
        };
        let findings = run(&fake, &host, &setup).await;
        assert!(findings.violations.is_empty(), "{:#?}", findings.violations);
        assert!(findings.tried > 100, "only {} expectations were tried", findings.tried);
    }
}
