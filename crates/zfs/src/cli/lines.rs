//! The command line that each request becomes. Pure; every flag that is ever passed stands here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::parse;
use crate::{
    BlockFilesystem, CloneRequest, CreateKind, CreateRequest, DatasetName, GetRequest, HoldTag, ImportRequest, Kind,
    ListRequest, PoolName, PoolSelector, PoolSpec, PropName, Properties, SnapName, SnapshotName, SourceKind, Verb,
    VolumeDevice,
};

/// A program and its arguments.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) verb: Verb,
    pub(super) program: &'static str,
    pub(super) arguments: Vec<OsString>,
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

    fn name(self, name: &impl ToString) -> Self {
        self.arg(name.to_string())
    }

    fn names<T: ToString>(self, names: &[T]) -> Self {
        names.iter().fold(self, Self::name)
    }

    fn properties(self, flag: &str, properties: &Properties) -> Self {
        properties.iter().fold(self, |line, (name, value)| {
            line.arg(flag).arg(format!("{name}={value}"))
        })
    }

    fn depth(self, depth: Option<u32>) -> Self {
        match depth {
            Some(depth) => self.arg("-d").name(&depth),
            None => self.arg("-r"),
        }
    }

    fn search(self, search: &[PathBuf]) -> Self {
        search.iter().fold(self, |line, path| line.arg("-d").arg(path))
    }
}

fn join<T: ToString>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    items
        .into_iter()
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(separator)
}

fn build_kinds(kinds: &[Kind]) -> String {
    join(kinds.iter().map(|kind| kind.as_str()), ",")
}

pub(super) fn build_version() -> Line {
    Line::zfs(Verb::Version, &["version"])
}

pub(super) fn build_pool_create(spec: &PoolSpec) -> Line {
    let line = Line::zpool(Verb::PoolCreate, &["create", "-m", "none", "-o", "cachefile=none"])
        .properties("-o", &spec.properties)
        .properties("-O", &spec.root_properties)
        .name(&spec.name);
    spec.vdevs.iter().fold(line, |line, vdev| line.arg(vdev))
}

pub(super) fn build_pool_import(request: &ImportRequest) -> Line {
    let line = Line::zpool(Verb::PoolImport, &["import", "-N", "-o", "cachefile=none"]).search(&request.search);
    match &request.pool {
        PoolSelector::Name(name) => line.name(name),
        PoolSelector::Guid(guid) => line.name(guid),
    }
}

pub(super) fn build_pool_search(search: &[PathBuf]) -> Line {
    Line::zpool(Verb::PoolSearch, &["import"]).search(search)
}

pub(super) fn build_pool_get(pool: &PoolName) -> Line {
    Line::zpool(
        Verb::PoolGet,
        &["get", "-H", "-p", "-o", "property,value", parse::POOL_PROPERTIES],
    )
    .name(pool)
}

/// With `-e`, what is online already takes all the space there is.
pub(super) fn build_pool_expand(pool: &PoolName, vdev: &Path) -> Line {
    Line::zpool(Verb::PoolOnline, &["online", "-e"]).name(pool).arg(vdev)
}

pub(super) fn build_pool_export(pool: &PoolName) -> Line {
    Line::zpool(Verb::PoolExport, &["export"]).name(pool)
}

pub(super) fn build_create(request: &CreateRequest) -> Line {
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
                line = line.arg("-b").name(&block_size);
            }
            line = line.arg("-V").name(&size);
        }
    }
    line.properties("-o", &request.properties).name(&request.dataset)
}

pub(super) fn build_clone(request: &CloneRequest) -> Line {
    Line::zfs(Verb::Clone, &["clone"])
        .properties("-o", &request.properties)
        .name(&request.snapshot)
        .name(&request.dataset)
}

pub(super) fn build_snapshot(snapshots: &[SnapshotName], properties: &Properties) -> Line {
    Line::zfs(Verb::Snapshot, &["snapshot"])
        .properties("-o", properties)
        .names(snapshots)
}

pub(super) fn build_hold(tag: &HoldTag, snapshot: &SnapshotName) -> Line {
    Line::zfs(Verb::Hold, &["hold", "-r"]).name(tag).name(snapshot)
}

pub(super) fn build_release(tag: &HoldTag, dataset: &DatasetName, snaps: &[SnapName]) -> Line {
    let names = snaps.iter().map(|snap| format!("{dataset}@{snap}"));
    names.fold(Line::zfs(Verb::Release, &["release", "-r"]).name(tag), Line::arg)
}

/// Never with `-r`, `-R` or `-f`.
pub(super) fn build_destroy_dataset(dataset: &DatasetName) -> Line {
    Line::zfs(Verb::Destroy, &["destroy"]).name(dataset)
}

/// Always with `-d`, and with an `@`, so that it cannot name a dataset. A snapshot's name has no comma and no percent
/// sign, which would be a list or a range.
pub(super) fn build_destroy_snapshots(dataset: &DatasetName, snaps: &[SnapName]) -> Line {
    Line::zfs(Verb::Destroy, &["destroy", "-d"]).arg(format!("{dataset}@{}", join(snaps, ",")))
}

/// The only `-r` there is: with `-d`, and of snapshots.
pub(super) fn build_destroy_recursive(dataset: &DatasetName, snaps: &[SnapName]) -> Line {
    Line::zfs(Verb::Destroy, &["destroy", "-d", "-r"]).arg(format!("{dataset}@{}", join(snaps, ",")))
}

/// Never with `-r`, `-R` or `-f`.
pub(super) fn build_rollback(snapshot: &SnapshotName) -> Line {
    Line::zfs(Verb::Rollback, &["rollback"]).name(snapshot)
}

pub(super) fn build_set(dataset: &DatasetName, properties: &Properties) -> Line {
    let pairs = properties.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.fold(Line::zfs(Verb::Set, &["set"]), Line::arg).name(dataset)
}

/// Never with `-r`.
pub(super) fn build_inherit(dataset: &DatasetName, property: &PropName) -> Line {
    Line::zfs(Verb::Inherit, &["inherit"]).name(property).name(dataset)
}

pub(super) fn build_list(request: &ListRequest) -> Line {
    let columns = join(
        std::iter::once("name").chain(request.columns.iter().map(PropName::as_str)),
        ",",
    );
    Line::zfs(Verb::List, &["list", "-H", "-p"])
        .depth(request.depth)
        .arg("-t")
        .arg(build_kinds(&request.kinds))
        .arg("-o")
        .arg(columns)
        .names(&request.roots)
}

pub(super) fn build_get(request: &GetRequest) -> Line {
    let mut line = Line::zfs(Verb::Get, &["get", "-H", "-p"]).depth(request.depth);
    if request.depth != Some(0) {
        line = line.arg("-t").arg(build_kinds(&request.kinds));
    }
    if !request.sources.is_empty() {
        let sources = request.sources.iter().map(|source: &SourceKind| source.as_str());
        line = line.arg("-s").arg(join(sources, ","));
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

pub(super) fn build_holds(snapshots: &[SnapshotName]) -> Line {
    Line::zfs(Verb::Holds, &["holds", "-H"]).names(snapshots)
}

pub(super) fn build_written(dataset: &DatasetName, property: &PropName) -> Line {
    Line::zfs(Verb::Get, &["get", "-H", "-p", "-o", "value"])
        .name(property)
        .name(dataset)
}

/// Without a look at what is on the device, without discarding what was never written, and for ext4 without the blocks
/// that it keeps for root, as the kubelet makes it.
pub(super) fn build_make_filesystem(volume: &VolumeDevice, filesystem: BlockFilesystem) -> Line {
    let verb = Verb::MakeFilesystem;
    let line = match filesystem {
        BlockFilesystem::Ext4 => Line::new(verb, "mkfs.ext4", &["-q", "-F", "-m", "0", "-E", "nodiscard"]),
        BlockFilesystem::Xfs => Line::new(verb, "mkfs.xfs", &["-q", "-f", "-K"]),
    };
    line.arg(&volume.node)
}

/// Nothing for xfs: it replays its log when it is mounted.
pub(super) fn build_check_filesystem(volume: &VolumeDevice, filesystem: BlockFilesystem) -> Option<Line> {
    match filesystem {
        BlockFilesystem::Ext4 => Some(Line::new(Verb::CheckFilesystem, "e2fsck", &["-p"]).arg(&volume.node)),
        BlockFilesystem::Xfs => None,
    }
}

#[cfg(test)]
mod tests;
