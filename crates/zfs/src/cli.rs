//! [`ZfsCli`]: the trait over the host's `zfs` and `zpool`.

mod parse;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cmd::HostCommand;
use crate::request::written_since;
use crate::{
    CloneRequest, CommandCounts, CreateKind, CreateRequest, DatasetName, ErrorKind, GetRequest, Guid, Health, Hold,
    HoldTag, ImportRequest, ImportablePool, Kind, ListRequest, NameError, PoolName, PoolSelector, PoolSpec, PoolStatus,
    PropName, Properties, PropertyRow, Row, SnapName, SnapshotName, SourceKind, Verb, Versions, Zfs, ZfsError,
};

/// Pools and datasets through the programs of this host.
#[derive(Debug, Clone)]
pub struct ZfsCli {
    host: HostCommand,
    /// The `load_guid` each pool was last seen with; see [`ZfsCli::confirm`].
    loads: Arc<Mutex<HashMap<PoolName, Guid>>>,
}

/// A command line under construction.
struct Line {
    verb: Verb,
    program: &'static str,
    arguments: Vec<OsString>,
}

impl Line {
    fn new(verb: Verb, program: &'static str, arguments: &[&str]) -> Self {
        Self {
            verb,
            program,
            arguments: arguments.iter().map(OsString::from).collect(),
        }
    }

    fn zfs(verb: Verb, arguments: &[&str]) -> Self {
        Self::new(verb, "zfs", arguments)
    }

    fn zpool(verb: Verb, arguments: &[&str]) -> Self {
        Self::new(verb, "zpool", arguments)
    }

    fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    fn names<T: ToString>(mut self, names: &[T]) -> Self {
        self.arguments
            .extend(names.iter().map(|name| OsString::from(name.to_string())));
        self
    }

    fn properties(mut self, flag: &str, properties: &Properties) -> Self {
        for (name, value) in properties.iter() {
            self.arguments.push(flag.into());
            self.arguments.push(format!("{name}={value}").into());
        }
        self
    }

    fn depth(self, depth: Option<u32>) -> Self {
        match depth {
            Some(depth) => self.arg("-d").arg(depth.to_string()),
            None => self.arg("-r"),
        }
    }
}

fn join<T: ToString>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    items
        .into_iter()
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(separator)
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
        for _ in 0..3 {
            let error = match self.run(line()).await {
                Err(error) if error.is_not_found() => error,
                done => return done,
            };
            if self.confirm(pool, error.verb).await? {
                return Err(error);
            }
        }
        Err(ZfsError {
            kind: ErrorKind::PoolUnavailable,
            verb: line().verb,
            stderr: "pool is imported again and again".into(),
        })
    }

    /// Whether the pool was loaded, the same load, when it was last looked at.
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

fn search_arguments(mut line: Line, search: &[PathBuf]) -> Line {
    for path in search {
        line = line.arg("-d").arg(path);
    }
    line
}

fn nothing(verb: Verb, name: NameError) -> ZfsError {
    ZfsError {
        kind: ErrorKind::InvalidName,
        verb,
        stderr: name.to_string(),
    }
}

fn list_line(request: &ListRequest) -> Line {
    let columns = join(
        std::iter::once("name").chain(request.columns.iter().map(PropName::as_str)),
        ",",
    );
    let kinds = join(request.kinds.iter().map(|kind| kind.as_str()), ",");
    Line::zfs(Verb::List, &["list", "-H", "-p"])
        .depth(request.depth)
        .arg("-t")
        .arg(kinds)
        .arg("-o")
        .arg(columns)
        .names(&request.roots)
}

fn get_line(request: &GetRequest) -> Line {
    let mut line = Line::zfs(Verb::Get, &["get", "-H", "-p"]).depth(request.depth);
    if request.depth != Some(0) {
        line = line
            .arg("-t")
            .arg(join(request.kinds.iter().map(|kind: &Kind| kind.as_str()), ","));
    }
    if !request.sources.is_empty() {
        line = line.arg("-s").arg(join(
            request.sources.iter().map(|source: &SourceKind| source.as_str()),
            ",",
        ));
    }
    let properties = if request.properties.is_empty() {
        "all".to_owned()
    } else {
        join(&request.properties, ",")
    };
    line.arg("-o")
        .arg("name,property,value,source")
        .arg(properties)
        .names(&request.targets)
}

fn create_line(request: &CreateRequest) -> Line {
    let mut line = Line::zfs(Verb::Create, &["create"]);
    if request.parents {
        line = line.arg("-p");
    }
    match request.kind {
        CreateKind::Filesystem => line = line.arg("-u"),
        CreateKind::Volume {
            size,
            sparse,
            block_size,
        } => {
            if sparse {
                line = line.arg("-s");
            }
            if let Some(block_size) = block_size {
                line = line.arg("-b").arg(block_size.to_string());
            }
            line = line.arg("-V").arg(size.to_string());
        }
    }
    line.properties("-o", &request.properties)
        .arg(request.dataset.to_string())
}

impl Zfs for ZfsCli {
    async fn version(&self) -> Result<Versions, ZfsError> {
        let output = self.run(Line::zfs(Verb::Version, &["version"])).await?;
        parse::parse_version(&output)
    }

    async fn pool_create(&self, spec: &PoolSpec) -> Result<(), ZfsError> {
        let line = Line::zpool(Verb::PoolCreate, &["create", "-m", "none", "-o", "cachefile=none"])
            .properties("-o", &spec.properties)
            .properties("-O", &spec.root_properties)
            .arg(spec.name.to_string());
        let line = spec.vdevs.iter().fold(line, |line, vdev| line.arg(vdev));
        self.run(line).await.map(drop)
    }

    async fn pool_import(&self, request: &ImportRequest) -> Result<(), ZfsError> {
        let line = Line::zpool(Verb::PoolImport, &["import", "-N", "-o", "cachefile=none"]);
        let pool = match &request.pool {
            PoolSelector::Name(name) => name.to_string(),
            PoolSelector::Guid(guid) => guid.to_string(),
        };
        self.run(search_arguments(line, &request.search).arg(pool))
            .await
            .map(drop)
    }

    async fn pools_importable(&self, search: &[PathBuf]) -> Result<Vec<ImportablePool>, ZfsError> {
        let line = search_arguments(Line::zpool(Verb::PoolSearch, &["import"]), search);
        match self.run(line).await {
            Ok(output) => parse::parse_importable(&output),
            Err(error) if error.stderr.contains("no pools available to import") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn pool_get(&self, pool: &PoolName) -> Result<PoolStatus, ZfsError> {
        let line = Line::zpool(
            Verb::PoolGet,
            &["get", "-H", "-p", "-o", "property,value", parse::POOL_PROPERTIES],
        );
        let output = self.run(line.arg(pool.to_string())).await?;
        let status = parse::parse_pool_status(&output)?;
        self.loads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pool.clone(), status.load_guid);
        Ok(status)
    }

    async fn pool_export(&self, pool: &PoolName) -> Result<(), ZfsError> {
        self.run(Line::zpool(Verb::PoolExport, &["export"]).arg(pool.to_string()))
            .await
            .map(drop)
    }

    async fn create(&self, request: &CreateRequest) -> Result<(), ZfsError> {
        self.run_in(&request.dataset.pool(), || create_line(request))
            .await
            .map(drop)
    }

    async fn clone_snapshot(&self, request: &CloneRequest) -> Result<(), ZfsError> {
        let line = || {
            Line::zfs(Verb::Clone, &["clone"])
                .properties("-o", &request.properties)
                .arg(request.snapshot.to_string())
                .arg(request.dataset.to_string())
        };
        self.run_in(&request.dataset.pool(), line).await.map(drop)
    }

    async fn snapshot(&self, snapshots: &[SnapshotName], properties: &Properties) -> Result<(), ZfsError> {
        let Some(first) = snapshots.first() else { return Ok(()) };
        let line = || {
            Line::zfs(Verb::Snapshot, &["snapshot"])
                .properties("-o", properties)
                .names(snapshots)
        };
        self.run_in(&first.dataset().pool(), line).await.map(drop)
    }

    async fn hold_recursive(&self, tag: &HoldTag, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        let line = || {
            Line::zfs(Verb::Hold, &["hold", "-r"])
                .arg(tag.as_str())
                .arg(snapshot.to_string())
        };
        self.run_in(&snapshot.dataset().pool(), line).await.map(drop)
    }

    async fn release_recursive(&self, tag: &HoldTag, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        let line = || {
            Line::zfs(Verb::Release, &["release", "-r"])
                .arg(tag.as_str())
                .arg(snapshot.to_string())
        };
        self.run_in(&snapshot.dataset().pool(), line).await.map(drop)
    }

    async fn destroy_dataset(&self, dataset: &DatasetName) -> Result<(), ZfsError> {
        let line = || Line::zfs(Verb::Destroy, &["destroy"]).arg(dataset.to_string());
        self.run_in(&dataset.pool(), line).await.map(drop)
    }

    async fn destroy_snapshots_deferred(&self, dataset: &DatasetName, snaps: &[SnapName]) -> Result<(), ZfsError> {
        if snaps.is_empty() {
            return Ok(());
        }
        let line = || Line::zfs(Verb::Destroy, &["destroy", "-d"]).arg(format!("{dataset}@{}", join(snaps, ",")));
        self.run_in(&dataset.pool(), line).await.map(drop)
    }

    async fn destroy_snapshot_deferred_recursive(&self, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        let line = || Line::zfs(Verb::Destroy, &["destroy", "-d", "-r"]).arg(snapshot.to_string());
        self.run_in(&snapshot.dataset().pool(), line).await.map(drop)
    }

    async fn rollback_to_newest(&self, snapshot: &SnapshotName) -> Result<(), ZfsError> {
        let line = || Line::zfs(Verb::Rollback, &["rollback"]).arg(snapshot.to_string());
        self.run_in(&snapshot.dataset().pool(), line).await.map(drop)
    }

    async fn set(&self, dataset: &DatasetName, properties: &Properties) -> Result<(), ZfsError> {
        if properties.is_empty() {
            return Ok(());
        }
        let pairs: Vec<String> = properties
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let line = || Line::zfs(Verb::Set, &["set"]).names(&pairs).arg(dataset.to_string());
        self.run_in(&dataset.pool(), line).await.map(drop)
    }

    async fn inherit(&self, dataset: &DatasetName, property: &PropName) -> Result<(), ZfsError> {
        let line = || Line::zfs(Verb::Inherit, &["inherit", property.as_str()]).arg(dataset.to_string());
        self.run_in(&dataset.pool(), line).await.map(drop)
    }

    async fn list(&self, request: &ListRequest) -> Result<Vec<Row>, ZfsError> {
        let Some(first) = request.roots.first() else {
            return Ok(Vec::new());
        };
        let output = self.run_in(&first.dataset().pool(), || list_line(request)).await?;
        parse::parse_rows(&output, &request.columns)
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<PropertyRow>, ZfsError> {
        let Some(first) = request.targets.first() else {
            return Ok(Vec::new());
        };
        let output = self.run_in(&first.dataset().pool(), || get_line(request)).await?;
        parse::parse_properties(&output)
    }

    async fn holds(&self, snapshots: &[SnapshotName]) -> Result<Vec<Hold>, ZfsError> {
        let Some(first) = snapshots.first() else {
            return Ok(Vec::new());
        };
        let line = || Line::zfs(Verb::Holds, &["holds", "-H"]).names(snapshots);
        let output = self.run_in(&first.dataset().pool(), line).await?;
        parse::parse_holds(&output)
    }

    async fn written(&self, dataset: &DatasetName, since: Option<&SnapName>) -> Result<u64, ZfsError> {
        let property = match since {
            Some(snap) => written_since(snap).map_err(|error| nothing(Verb::Get, error))?,
            None => PropName::from_static("written"),
        };
        let line =
            || Line::zfs(Verb::Get, &["get", "-H", "-p", "-o", "value", property.as_str()]).arg(dataset.to_string());
        let output = self.run_in(&dataset.pool(), line).await?;
        parse::parse_written(&output)
    }

    fn counts(&self) -> Arc<CommandCounts> {
        Arc::clone(&self.host.counts)
    }
}

#[cfg(test)]
mod tests;
