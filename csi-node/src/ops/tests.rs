//! The operations over the fakes: what is made, repeated, interrupted, refused and collected.

mod adopt;
mod branch;
mod collect;
mod commit;
mod compare;
mod crash;
mod devices;
pub(crate) mod killed;
mod missing;
mod places;
mod pool;
mod pools;
mod publish;
mod seed;
mod tuning;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::{Handle, VolumeRef};
use dotmesh_model::id::{BranchId, ClaimUid, CommitId, DotId, HeadId, VolumeId};
use dotmesh_model::tuning::Tuning;
use dotmesh_mount::{FakeMount, FakeZvol};
use dotmesh_zfs::{FakeVolume, FakeZfs, Guid, Zfs};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::layout::DotIdentity;

const SIZE: u64 = 1 << 30;
const POOL_SIZE: u64 = 1 << 30;
/// Bytes of a pool for each byte of its file, so that small files hold pools of some size.
const SCALE: u64 = 100;

/// A host: its ZFS, its mounts and its disk outlive the program.
struct Host {
    zfs: FakeZfs,
    mount: FakeMount,
    disk: TempDir,
}

impl Host {
    /// What is mounted is busy for ZFS, and what ZFS has not cannot be mounted. Pools are as large as their files.
    fn new() -> Self {
        let (zfs, mount) = (FakeZfs::new(), FakeMount::new());
        zfs.watch_devices(|file| Some(std::fs::metadata(file).ok()?.len() * SCALE));
        zfs.watch_mounts(mount.tell_sources());
        mount.watch_datasets(zfs.tell_mountable());
        mount.watch_volumes(told_volumes(&zfs));
        Self {
            zfs,
            mount,
            disk: tempfile::tempdir().unwrap(),
        }
    }

    fn config(&self) -> Config {
        Config {
            state_dir: self.disk.path().join("state"),
            host_root: None,
            files: Arc::new(HostFiles),
        }
    }

    /// The program as after a start: what it does to its one pool.
    fn start(&self) -> Arc<Ops<FakeZfs, FakeMount>> {
        only_pool(self.zfs.clone(), self.mount.clone(), self.config())
    }

    /// Where its pool's file lies.
    fn file(&self) -> PathBuf {
        self.disk.path().join("pool.img")
    }

    fn pool_request(&self) -> PoolRequest {
        PoolRequest {
            name: "dotmesh".parse().unwrap(),
            known: None,
            place: Place::File { path: self.file() },
            size: POOL_SIZE,
            newest: None,
        }
    }

    /// A host with a pool, and the program.
    async fn with_pool() -> (Self, Arc<Ops<FakeZfs, FakeMount>>) {
        let host = Self::new();
        let ops = host.start();
        ops.ensure_pool(&host.pool_request()).await.unwrap();
        (host, ops)
    }

    /// A host with a Dot that has no branches, and the program.
    async fn with_empty_dot() -> (Self, Arc<Ops<FakeZfs, FakeMount>>) {
        let (host, ops) = Self::with_pool().await;
        ops.ensure_dot(dot(), &identity()).await.unwrap();
        (host, ops)
    }

    /// A host with a Dot of two volumes on branch main, and the program.
    async fn with_dot() -> (Self, Arc<Ops<FakeZfs, FakeMount>>) {
        let (host, ops) = Self::with_empty_dot().await;
        ops.ensure_branch(&main()).await.unwrap();
        (host, ops)
    }

    fn private(&self, head: HeadId, volume: VolumeId) -> PathBuf {
        self.config()
            .state_dir
            .join("mounts")
            .join(head.to_string())
            .join(volume.to_string())
    }
}

/// What a fake's volumes are to the mounts of its host.
pub(crate) fn told_volumes(zfs: &FakeZfs) -> impl Fn(&str) -> Option<FakeZvol> + Send + Sync + 'static {
    let told = zfs.tell_volumes();
    move |name| {
        let FakeVolume {
            identity,
            bytes,
            filesystem,
            is_blank,
        } = told(name)?;
        Some(FakeZvol {
            identity,
            bytes,
            filesystem,
            is_blank,
        })
    }
}

/// The operations on pool `dotmesh` of a node that has no other.
fn only_pool<Z: Zfs, M: Mount>(zfs: Z, mount: M, config: Config) -> Arc<Ops<Z, M>> {
    let name = "dotmesh".parse().unwrap();
    Ops::new(crate::ops::Host::new(zfs, mount, config), name)
}

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + n)
}

fn dot() -> DotId {
    DotId::new(uuid(1))
}

fn identity() -> DotIdentity {
    DotIdentity {
        namespace: "dev".into(),
        name: "shop".into(),
    }
}

fn branch_id(n: u128) -> BranchId {
    BranchId::new(uuid(100 + n))
}

fn head_id(n: u128) -> HeadId {
    HeadId::first_of(branch_id(n))
}

fn commit_id(n: u128) -> CommitId {
    CommitId::new(uuid(200 + n))
}

fn claim() -> ClaimUid {
    ClaimUid::new(uuid(300))
}

fn volume_id(name: &str) -> VolumeId {
    VolumeId::derive(dot(), name)
}

fn volume(name: &str) -> VolumeRequest {
    VolumeRequest {
        tuning: Tuning::default(),
        id: volume_id(name),
        name: name.parse().unwrap(),
        size: SIZE,
        format: VolumeFormat::Zfs,
        known: None,
        seed: None,
    }
}

fn both() -> BTreeSet<VolumeId> {
    [volume_id("cache"), volume_id("db")].into()
}

/// Branch `main` with volumes `cache` and `db`, empty.
fn main() -> BranchRequest {
    BranchRequest {
        dot: dot(),
        branch: branch_id(0),
        name: "main".parse().unwrap(),
        head: head_id(0),
        volumes: vec![volume("cache"), volume("db")],
        origin: None,
        checkout: true,
        object: "shop-main".to_owned(),
    }
}

/// Branch number `n` from commit `commit` of head `head`.
fn fork(n: u128, commit: u128, head: u128, state: &CommitState) -> BranchRequest {
    let guids = state.snapshots.iter().map(|snapshot| (snapshot.volume, snapshot.guid));
    BranchRequest {
        branch: branch_id(n),
        name: format!("fork-{n}").parse().unwrap(),
        head: head_id(n),
        origin: Some(OriginRequest {
            commit: commit_id(commit),
            head: head_id(head),
            guids: guids.collect(),
        }),
        checkout: false,
        ..main()
    }
}

/// Commit number `commit` of branch number `branch`.
fn commit(commit: u128, branch: u128) -> CommitRequest {
    CommitRequest {
        dot: dot(),
        branch: branch_id(branch),
        head: head_id(branch),
        commit: commit_id(commit),
        volumes: both(),
        record: CommitRecord {
            name: format!("commit-{commit}"),
            message: "why: \"ü\"\n\tindeed".into(),
            author: "Ada <ada@example.com>".into(),
            committer: "grace".into(),
            ..CommitRecord::default()
        },
    }
}

fn handle() -> Handle {
    Handle {
        dot: dot(),
        volume: volume_id("db"),
        claim: claim(),
    }
}

/// Everything in the pool, without the pool's and root's prefix.
fn names(zfs: &FakeZfs) -> Vec<String> {
    let all = zfs.all_names().into_iter();
    let below = all.filter_map(|name| Some(name.strip_prefix("dotmesh/dotmesh/")?.to_owned()));
    below.collect()
}

/// What that object has of its own under a property.
fn local_value(zfs: &FakeZfs, name: &str, property: &str) -> Option<String> {
    zfs.inventory().get(name)?.local.get(property).cloned()
}

async fn guid_of(zfs: &FakeZfs, name: &str) -> Guid {
    let request = dotmesh_zfs::ListRequest {
        roots: vec![name.parse().unwrap()],
        depth: Some(0),
        kinds: vec![dotmesh_zfs::Kind::Filesystem, dotmesh_zfs::Kind::Snapshot],
        columns: vec!["guid".parse().unwrap()],
    };
    let rows = zfs.list(&request).await.unwrap();
    Guid(rows[0].number(&"guid".parse().unwrap()).unwrap())
}
