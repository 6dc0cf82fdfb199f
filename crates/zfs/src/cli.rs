//! [`ZfsCli`]: the trait over the host's `zfs` and `zpool`.

mod lines;
mod parse;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cmd::HostCommand;
use crate::request::{one_pool, written_since};
use crate::{
    BlockFilesystem, CloneRequest, CommandCounts, CreateRequest, DatasetName, ErrorKind, GetRequest, Guid, Health,
    Hold, HoldTag, ImportRequest, ImportablePool, ListRequest, ObjectName, PoolName, PoolSpec, PoolStatus, PropName,
    Properties, PropertyRow, Row, SnapName, SnapshotName, Verb, Versions, VolumeDevice, Zfs, ZfsError,
};
use lines::Line;

/// Pools and datasets through the programs of this host.
#[derive(Debug, Clone)]
pub struct ZfsCli {
    host: HostCommand,
    /// The `load_guid` each pool was last seen with; see [`ZfsCli::confirm`].
    loads: Arc<Mutex<HashMap<PoolName, Guid>>>,
}

impl ZfsCli {
    /// Runs the programs as `host` says.
    #[must_use]
    pub fn new(host: HostCommand) -> Self {
        Self {
            host,
            loads: Arc::default(),
        }
    }

    async fn run(&self, line: Line) -> Result<String, ZfsError> {
        self.host.run(line.verb, line.program, &line.arguments).await
    }

    /// Runs a command on datasets of a pool, and makes "does not exist" certain.
    ///
    /// The programs say "dataset does not exist" also when the pool is not imported. So the answer counts only when the
    /// pool was imported before the command and is, without a new import between, after it: its `load_guid` is the one
    /// seen last. When it is not, the command is asked again, which is harmless: it found nothing to work on.
    async fn run_in(&self, pool: &PoolName, line: impl Fn() -> Line) -> Result<String, ZfsError> {
        const TRIES: usize = 3;
        let mut last = None;
        for _ in 0..TRIES {
            let error = match self.run(line()).await {
                Err(error) if error.is_not_found() => error,
                done => return done,
            };
            if self.confirm(pool, error.verb).await? {
                return Err(error);
            }
            last = Some(error);
        }
        // Imported anew between each two looks: nothing certain can be said.
        Err(last.map_or_else(
            || ZfsError::new(Verb::PoolGet, ErrorKind::PoolUnavailable),
            |error| ZfsError {
                kind: ErrorKind::PoolUnavailable,
                ..error
            },
        ))
    }

    /// Whether the pool works now and is the same load that it was when it was last looked at.
    async fn confirm(&self, pool: &PoolName, verb: Verb) -> Result<bool, ZfsError> {
        let known = self
            .loads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(pool)
            .copied();
        let status = self.pool_get(pool).await?;
        match status.health {
            Health::Suspended => Err(ZfsError::new(verb, ErrorKind::PoolSuspended)),
            Health::Online | Health::Degraded => Ok(known == Some(status.load_guid)),
            Health::Faulted | Health::Offline | Health::Removed | Health::Unavailable | Health::Unknown => {
                Err(ZfsError::new(verb, ErrorKind::PoolUnavailable))
            }
        }
    }
}

impl Zfs for ZfsCli {
    async fn version(&self) -> Result<Versions, ZfsError> {
        parse::parse_version(&self.run(lines::build_version()).await?)
    }

    async fn pool_create(&self, spec: &PoolSpec) -> Result<(), ZfsError> {
        self.run(lines::build_pool_create(spec)).await.map(drop)
    }

    async fn pool_import(&self, request: &ImportRequest) -> Result<(), ZfsError> {
        self.run(lines::build_pool_import(request)).await.map(drop)
    }

    async fn pools_importable(&self, search: &[PathBuf]) -> Result<Vec<ImportablePool>, ZfsError> {
        match self.run(lines::build_pool_search(search)).await {
            Ok(output) => parse::parse_importable(&output),
            Err(error) if parse::is_none_importable(&error.stderr) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn pool_get(&self, pool: &PoolName) -> Result<PoolStatus, ZfsError> {
        let status = parse::parse_pool_status(&self.run(lines::build_pool_get(pool)).await?)?;
        self.loads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pool.clone(), status.load_guid);
        Ok(status)
    }

    async fn pool_expand(&self, pool: &PoolName, vdev: &Path) -> Result<(), ZfsError> {
        self.run(lines::build_pool_expand(pool, vdev)).await.map(drop)
    }

    async fn pool_export(&self, pool: &PoolName) -> Result<(), ZfsError> {
        self.run(lines::build_pool_export(pool)).await.map(drop)
    }

    async fn create(&self, request: &CreateRequest) -> Result<(), ZfsError> {
        self.run_in(&request.dataset.pool(), || lines::build_create(request))
            .await
            .map(drop)
    }

    async fn clone_snapshot(&self, request: &CloneRequest) -> Result<(), ZfsError> {
        let pool = one_pool(Verb::Clone, [request.snapshot.dataset(), &request.dataset])?;
        self.run_in(&pool, || lines::build_clone(request)).await.map(drop)
    }

    async fn snapshot(&self, snapshots: &[SnapshotName], properties: &Properties) -> Result<(), ZfsError> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let pool = one_pool(Verb::Snapshot, snapshots.iter().map(SnapshotName::dataset))?;
        self.run_in(&pool, || lines::build_snapshot(snapshots, properties))
            .await
            .map(drop)
    }

    async fn hold_recursive(&self, tag: &HoldTag, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        self.run_in(&snapshot.dataset().pool(), || lines::build_hold(tag, snapshot))
            .await
            .map(drop)
    }

    async fn release_recursive(
        &self,
        tag: &HoldTag,
        dataset: &DatasetName,
        snaps: &[SnapName],
    ) -> Result<(), ZfsError> {
        if snaps.is_empty() {
            return Ok(());
        }
        let result = self
            .run_in(&dataset.pool(), || lines::build_release(tag, dataset, snaps))
            .await;
        // The program complains of the last dataset it looked at only: "does not exist" may be said of a child while
        // the snapshot of the dataset itself is there, without that hold.
        result.map(drop).map_err(|mut error| {
            if error.kind == ErrorKind::SnapshotNotFound {
                error.kind = ErrorKind::HoldNotFound;
            }
            error
        })
    }

    async fn destroy_dataset(&self, dataset: &DatasetName) -> Result<(), ZfsError> {
        self.run_in(&dataset.pool(), || lines::build_destroy_dataset(dataset))
            .await
            .map(drop)
    }

    async fn destroy_snapshots_deferred(&self, dataset: &DatasetName, snaps: &[SnapName]) -> Result<(), ZfsError> {
        if snaps.is_empty() {
            return Ok(());
        }
        self.run_in(&dataset.pool(), || lines::build_destroy_snapshots(dataset, snaps))
            .await
            .map(drop)
    }

    async fn destroy_snapshots_deferred_recursive(
        &self,
        dataset: &DatasetName,
        snaps: &[SnapName],
    ) -> Result<(), ZfsError> {
        if snaps.is_empty() {
            return Ok(());
        }
        self.run_in(&dataset.pool(), || lines::build_destroy_recursive(dataset, snaps))
            .await
            .map(drop)
    }

    async fn rollback_to_newest(&self, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        self.run_in(&snapshot.dataset().pool(), || lines::build_rollback(snapshot))
            .await
            .map(drop)
    }

    async fn set(&self, dataset: &DatasetName, properties: &Properties) -> Result<(), ZfsError> {
        if properties.is_empty() {
            return Ok(());
        }
        self.run_in(&dataset.pool(), || lines::build_set(dataset, properties))
            .await
            .map(drop)
    }

    async fn inherit(&self, dataset: &DatasetName, property: &PropName) -> Result<(), ZfsError> {
        self.run_in(&dataset.pool(), || lines::build_inherit(dataset, property))
            .await
            .map(drop)
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<Row>, ZfsError> {
        if request.roots.is_empty() {
            return Ok(Vec::new());
        }
        let pool = one_pool(Verb::List, request.roots.iter().map(ObjectName::dataset))?;
        let output = self.run_in(&pool, || lines::build_list(request)).await?;
        parse::parse_rows(&output, &request.columns)
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<PropertyRow>, ZfsError> {
        if request.targets.is_empty() {
            return Ok(Vec::new());
        }
        let pool = one_pool(Verb::Get, request.targets.iter().map(ObjectName::dataset))?;
        parse::parse_properties(&self.run_in(&pool, || lines::build_get(request)).await?)
    }

    async fn holds(&self, snapshots: &[SnapshotName]) -> Result<Vec<Hold>, ZfsError> {
        if snapshots.is_empty() {
            return Ok(Vec::new());
        }
        let pool = one_pool(Verb::Holds, snapshots.iter().map(SnapshotName::dataset))?;
        parse::parse_holds(&self.run_in(&pool, || lines::build_holds(snapshots)).await?)
    }

    async fn written(&self, dataset: &DatasetName, since: Option<&SnapName>) -> Result<u64, ZfsError> {
        let property = match since {
            None => PropName::from_static("written"),
            Some(snap) => written_since(snap).map_err(|error| ZfsError {
                kind: ErrorKind::InvalidName,
                verb: Verb::Get,
                stderr: error.to_string(),
            })?,
        };
        let output = self
            .run_in(&dataset.pool(), || lines::build_written(dataset, &property))
            .await?;
        parse::parse_written(&output)
    }

    async fn make_filesystem(&self, volume: &VolumeDevice, filesystem: BlockFilesystem) -> Result<(), ZfsError> {
        self.run(lines::build_make_filesystem(volume, filesystem))
            .await
            .map(drop)
    }

    async fn check_filesystem(&self, volume: &VolumeDevice, filesystem: BlockFilesystem) -> Result<(), ZfsError> {
        match lines::build_check_filesystem(volume, filesystem) {
            Some(line) => self.run(line).await.map(drop),
            None => Ok(()),
        }
    }

    fn counts(&self) -> Arc<CommandCounts> {
        Arc::clone(&self.host.counts)
    }
}
