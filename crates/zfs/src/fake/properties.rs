//! Properties of [`super::FakeZfs`]: what a listing shows, and where each value comes from.

use super::state::State;
use crate::{
    DatasetName, ErrorKind, GetRequest, Kind, ListRequest, ObjectName, PropName, PropertyRow, Row, SnapName,
    SnapshotName, Source, SourceKind,
};

/// Native properties that may be set: name, default, whether children inherit it.
const SETTABLE: &[(&str, &str, bool)] = &[
    ("atime", "on", true),
    ("checksum", "on", true),
    ("compression", "on", true),
    ("devices", "on", true),
    ("logbias", "latency", true),
    ("mountpoint", "/", true),
    ("primarycache", "all", true),
    ("quota", "0", false),
    ("readonly", "off", true),
    ("recordsize", "131072", true),
    ("refquota", "0", false),
    ("refreservation", "0", false),
    ("relatime", "on", true),
    ("reservation", "0", false),
    ("setuid", "on", true),
    ("snapdir", "hidden", true),
    ("sync", "standard", true),
    ("volsize", "0", false),
    ("xattr", "sa", true),
    ("acltype", "off", true),
    ("dnodesize", "legacy", true),
    ("canmount", "on", false),
];

pub(super) fn is_settable(name: &PropName) -> bool {
    SETTABLE.iter().any(|(known, _, _)| *known == name.as_str())
}

pub(super) fn is_inheritable(name: &PropName) -> bool {
    name.is_user()
        || SETTABLE
            .iter()
            .any(|(known, _, inherits)| *known == name.as_str() && *inherits)
}

fn flag(value: bool, yes: &'static str, no: &'static str) -> String {
    if value { yes } else { no }.to_owned()
}

impl State {
    /// A number or fact that ZFS itself keeps.
    fn statistic(&self, name: &ObjectName, property: &str) -> Option<String> {
        match name {
            ObjectName::Dataset(name) => {
                let dataset = self.dataset(name).ok()?;
                Some(match property {
                    "guid" => dataset.guid.to_string(),
                    "createtxg" => dataset.createtxg.to_string(),
                    "creation" => (1_700_000_000 + dataset.createtxg.0).to_string(),
                    "type" => dataset.kind.as_str().to_owned(),
                    "used" | "referenced" | "usedbydataset" | "logicalreferenced" => dataset.referenced.to_string(),
                    "available" => self.available(name).to_string(),
                    "written" => self.written(name, None).ok()?.to_string(),
                    "origin" => dataset.origin.as_ref()?.to_string(),
                    "mounted" if dataset.kind == Kind::Filesystem => flag(dataset.mounted, "yes", "no"),
                    _ => return None,
                })
            }
            ObjectName::Snapshot(name) => {
                let snapshot = self.snapshot(name).ok()?;
                Some(match property {
                    "guid" => snapshot.guid.to_string(),
                    "createtxg" => snapshot.createtxg.to_string(),
                    "creation" => (1_700_000_000 + snapshot.createtxg.0).to_string(),
                    "type" => "snapshot".to_owned(),
                    "used" => "0".to_owned(),
                    "referenced" => snapshot.referenced.to_string(),
                    "written" => self.written_before(name)?.to_string(),
                    "userrefs" => snapshot.holds.len().to_string(),
                    "defer_destroy" => flag(snapshot.defer_destroy, "on", "off"),
                    "clones" => {
                        let clones = self.clones(name);
                        clones.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
                    }
                    _ => return None,
                })
            }
        }
    }

    fn available(&self, name: &DatasetName) -> u64 {
        let quota = |quota: &str| {
            let dataset = self.dataset(name).ok()?;
            let text = dataset.local.iter().find(|(name, _)| name.as_str() == quota)?.1;
            text.parse::<u64>()
                .ok()
                .filter(|size| *size > 0)
                .map(|size| size.saturating_sub(dataset.referenced))
        };
        let free = self.pool_get(&name.pool()).map_or(0, |pool| pool.free);
        [quota("refquota"), quota("quota")]
            .into_iter()
            .flatten()
            .fold(free, u64::min)
    }

    /// The value of any property, and where it comes from; `-` when unset or not applicable.
    fn property(&self, name: &ObjectName, property: &PropName) -> (String, Source) {
        if let Some(value) = self.statistic(name, property.as_str()) {
            return (value, Source::None);
        }
        let unset = || ("-".to_owned(), Source::None);
        if let ObjectName::Snapshot(snapshot) = name {
            let own = self
                .snapshot(snapshot)
                .ok()
                .and_then(|snapshot| snapshot.local.get(property));
            if let Some(value) = own {
                return (value.clone(), Source::Local);
            }
            if !property.is_user() {
                return unset();
            }
        }
        let settable = SETTABLE.iter().find(|(known, _, _)| *known == property.as_str());
        let mut holder = Some(name.dataset().clone());
        while let Some(dataset) = holder {
            let own = self
                .dataset(&dataset)
                .ok()
                .and_then(|dataset| dataset.local.get(property));
            if let Some(value) = own {
                let here = matches!(name, ObjectName::Dataset(name) if *name == dataset);
                let source = if here {
                    Source::Local
                } else {
                    Source::Inherited(dataset)
                };
                return (value.clone(), source);
            }
            holder = if is_inheritable(property) {
                dataset.parent()
            } else {
                None
            };
        }
        match settable {
            Some((_, default, _)) => ((*default).to_owned(), Source::Default),
            None => unset(),
        }
    }

    /// The properties that `all` means: what is set here or above, and the numbers most looked at.
    fn visible(&self, name: &ObjectName) -> Vec<PropName> {
        let statistics = [
            "type",
            "guid",
            "createtxg",
            "used",
            "referenced",
            "written",
            "available",
            "origin",
        ];
        let mut names: Vec<PropName> = statistics.into_iter().map(PropName::from_static).collect();
        if let ObjectName::Snapshot(snapshot) = name {
            names.extend(
                self.snapshot(snapshot)
                    .into_iter()
                    .flat_map(|snapshot| snapshot.local.keys().cloned()),
            );
        }
        let mut holder = Some(name.dataset().clone());
        while let Some(dataset) = holder {
            let local = self
                .dataset(&dataset)
                .into_iter()
                .flat_map(|dataset| dataset.local.keys());
            names.extend(local.cloned());
            holder = dataset.parent();
        }
        names.sort();
        names.dedup();
        names
    }

    /// What lies at and below some roots.
    fn selected(&self, roots: &[ObjectName], depth: Option<u32>, kinds: &[Kind]) -> Result<Vec<ObjectName>, ErrorKind> {
        let mut selected = Vec::new();
        for root in roots {
            let kind = self.kind(root)?;
            let ObjectName::Dataset(top) = root else {
                if kinds.contains(&kind) {
                    selected.push(root.clone());
                    continue;
                }
                return Err(ErrorKind::WrongType);
            };
            let within = |levels: usize| depth.is_none_or(|depth| levels <= depth as usize);
            for name in std::iter::once(top.clone()).chain(self.below(top)) {
                let levels = name.depth() - top.depth();
                let dataset = self.dataset(&name)?;
                if within(levels) && kinds.contains(&dataset.kind) {
                    selected.push(name.clone().into());
                }
                if within(levels + 1) && kinds.contains(&Kind::Snapshot) {
                    let mut snapshots: Vec<_> = dataset.snapshots.iter().collect();
                    snapshots.sort_by_key(|(_, snapshot)| snapshot.createtxg);
                    let named = |snap: &SnapName| name.at(snap).ok().map(ObjectName::from);
                    selected.extend(snapshots.into_iter().filter_map(|(snap, _)| named(snap)));
                }
            }
        }
        Ok(selected)
    }

    pub(super) fn list(&self, request: &ListRequest) -> Result<Vec<Row>, ErrorKind> {
        let row = |name: ObjectName| {
            let values = request
                .columns
                .iter()
                .map(|column| (column.clone(), self.property(&name, column).0));
            let values = values.filter(|(_, value)| value != "-").collect();
            Row { name, values }
        };
        Ok(self
            .selected(&request.roots, request.depth, &request.kinds)?
            .into_iter()
            .map(row)
            .collect())
    }

    pub(super) fn get(&self, request: &GetRequest) -> Result<Vec<PropertyRow>, ErrorKind> {
        let all = [Kind::Filesystem, Kind::Volume, Kind::Snapshot];
        let kinds = if request.depth == Some(0) {
            &all[..]
        } else {
            &request.kinds
        };
        let mut rows = Vec::new();
        for name in self.selected(&request.targets, request.depth, kinds)? {
            let properties = if request.properties.is_empty() {
                self.visible(&name)
            } else {
                request.properties.clone()
            };
            for property in properties {
                let (value, source) = self.property(&name, &property);
                if request.sources.is_empty() || request.sources.contains(&source_kind(&source)) {
                    rows.push(PropertyRow {
                        name: name.clone(),
                        property,
                        value,
                        source,
                    });
                }
            }
        }
        Ok(rows)
    }

    /// Bytes written to a dataset between the snapshot before this one (or its origin) and this one.
    fn written_before(&self, name: &SnapshotName) -> Option<u64> {
        let dataset = self.dataset(name.dataset()).ok()?;
        let this = dataset.snapshots.get(name.snap())?;
        let older = dataset
            .snapshots
            .values()
            .filter(|other| other.createtxg < this.createtxg);
        Some(match older.max_by_key(|other| other.createtxg) {
            Some(previous) => this.written.saturating_sub(previous.written),
            None if dataset.origin.is_some() => this.written,
            None => this.referenced,
        })
    }

    pub(super) fn written(&self, name: &DatasetName, since: Option<&SnapName>) -> Result<u64, ErrorKind> {
        let dataset = self.dataset(name)?;
        let before = match since {
            Some(snap) => dataset.snapshots.get(snap).ok_or(ErrorKind::SnapshotNotFound)?.written,
            None => match dataset.newest() {
                Some((_, snapshot)) => snapshot.written,
                None if dataset.origin.is_some() => 0,
                None => return Ok(dataset.referenced),
            },
        };
        Ok(dataset.written.saturating_sub(before))
    }
}

fn source_kind(source: &Source) -> SourceKind {
    match source {
        Source::Local => SourceKind::Local,
        Source::Inherited(_) => SourceKind::Inherited,
        Source::Default => SourceKind::Default,
        Source::Received => SourceKind::Received,
        Source::Temporary => SourceKind::Temporary,
        Source::None => SourceKind::None,
    }
}
