//! Properties of [`super::FakeZfs`]: what a listing shows, and where each value comes from.

use super::native;
use super::state::State;
use crate::{
    DatasetName, ErrorKind, GetRequest, Kind, ListRequest, ObjectName, PropName, PropertyRow, Row, SnapName,
    SnapshotName, Source, SourceKind,
};

fn flag(value: bool, yes: &'static str, no: &'static str) -> String {
    if value { yes } else { no }.to_owned()
}

impl State {
    /// A number or fact that ZFS itself keeps.
    fn statistic(&self, name: &ObjectName, property: &str) -> Option<String> {
        match name {
            ObjectName::Dataset(name) => self.statistic_of_dataset(name, property),
            ObjectName::Snapshot(name) => self.statistic_of_snapshot(name, property),
        }
    }

    fn statistic_of_dataset(&self, name: &DatasetName, property: &str) -> Option<String> {
        let dataset = self.dataset(name).ok()?;
        let is_volume = dataset.kind == Kind::Volume;
        Some(match property {
            "name" => name.to_string(),
            "guid" => dataset.guid.to_string(),
            "createtxg" => dataset.createtxg.to_string(),
            "creation" => (1_700_000_000 + dataset.createtxg.0).to_string(),
            "type" => dataset.kind.as_str().to_owned(),
            "used" | "logicalused" => self.pool(name.in_pool()).ok()?.used(name).to_string(),
            "referenced" | "usedbydataset" | "logicalreferenced" => dataset.referenced.to_string(),
            "usedbysnapshots" => "0".to_owned(),
            "available" => self.available(name).to_string(),
            "written" => self.written(name, None).ok()?.to_string(),
            "origin" => dataset.origin.as_ref()?.to_string(),
            "mounted" if !is_volume => flag(self.is_mounted(name), "yes", "no"),
            "volsize" if is_volume => dataset.volsize.to_string(),
            "volblocksize" if is_volume => dataset.block_size.to_string(),
            _ => {
                let since = property.strip_prefix("written@")?.parse().ok()?;
                self.written(name, Some(&since)).ok()?.to_string()
            }
        })
    }

    fn statistic_of_snapshot(&self, name: &SnapshotName, property: &str) -> Option<String> {
        let snapshot = self.snapshot(name).ok()?;
        let clones = || self.clones(name);
        Some(match property {
            "name" => name.to_string(),
            "guid" => snapshot.guid.to_string(),
            "createtxg" => snapshot.createtxg.to_string(),
            "creation" => (1_700_000_000 + snapshot.createtxg.0).to_string(),
            "type" => Kind::Snapshot.as_str().to_owned(),
            "used" => "0".to_owned(),
            "referenced" | "logicalreferenced" => snapshot.referenced.to_string(),
            "written" => self.written_before(name)?.to_string(),
            "userrefs" => snapshot.holds.len().to_string(),
            "numclones" => clones().len().to_string(),
            "defer_destroy" => flag(snapshot.defer_destroy, "on", "off"),
            "clones" => clones().iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            "volsize" if snapshot.volsize > 0 => snapshot.volsize.to_string(),
            _ => return None,
        })
    }

    /// The value of any property, and where it comes from; `-` when unset or not applicable.
    fn property(&self, name: &ObjectName, property: &PropName) -> (String, Source) {
        let unset = || ("-".to_owned(), Source::None);
        if let Some(value) = self.statistic(name, property.as_str()) {
            return (value, Source::None);
        }
        let Ok(kind) = self.kind(name) else { return unset() };
        if !native::is_of(property, kind) {
            return unset();
        }
        if let ObjectName::Snapshot(snapshot) = name
            && let Some(value) = self.snapshot(snapshot).ok().and_then(|own| own.local.get(property))
        {
            return (value.clone(), Source::Local);
        }
        let mut holder = Some(name.dataset().clone());
        while let Some(dataset) = holder {
            let there = self.dataset(&dataset).ok();
            if let Some(value) = there.and_then(|there| there.local.get(property)) {
                let here = matches!(name, ObjectName::Dataset(name) if *name == dataset);
                let source = if here {
                    Source::Local
                } else {
                    Source::Inherited(dataset)
                };
                return (value.clone(), source);
            }
            holder = dataset.parent().filter(|_| native::is_inheritable(property));
        }
        match native::default_of(property, kind) {
            Some(default) => (default.to_owned(), Source::Default),
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

    /// Opens what a listing begins with, as `zfs_for_each` does: filesystems always, volumes when these or snapshots
    /// are listed, snapshots when they are.
    fn open_root(&self, root: &ObjectName, kinds: &[Kind]) -> Result<(), ErrorKind> {
        let snapshots = kinds.contains(&Kind::Snapshot);
        if root.snapshot().is_some() && !snapshots {
            return Err(ErrorKind::InvalidName);
        }
        let kind = self.kind(root)?;
        if kind == Kind::Volume && !snapshots && !kinds.contains(&kind) {
            return Err(ErrorKind::WrongType);
        }
        Ok(())
    }

    /// What lies at and below some roots: each once, datasets by name, the snapshots of one by age.
    fn selected(&self, roots: &[ObjectName], depth: Option<u32>, kinds: &[Kind]) -> Result<Vec<ObjectName>, ErrorKind> {
        let errors = roots.iter().filter_map(|root| self.open_root(root, kinds).err());
        if let Some(error) = errors.min_by_key(severity) {
            return Err(error);
        }
        let mut selected = Vec::new();
        for root in roots {
            let ObjectName::Dataset(top) = root else {
                selected.push(root.clone());
                continue;
            };
            let within = |levels: usize| depth.is_none_or(|depth| levels <= depth as usize);
            for name in std::iter::once(top.clone()).chain(self.below(top)) {
                let levels = name.depth() - top.depth();
                if within(levels) && kinds.contains(&self.dataset(&name)?.kind) {
                    selected.push(name.clone().into());
                }
                if within(levels + 1) && kinds.contains(&Kind::Snapshot) {
                    selected.extend(self.snapshots(&name).into_iter().map(ObjectName::from));
                }
            }
        }
        let age = |name: &ObjectName| {
            let snapshot = name.snapshot().and_then(|name| self.snapshot(name).ok());
            snapshot.map(|snapshot| snapshot.createtxg)
        };
        selected.sort_by_cached_key(|name| (name.dataset().clone(), age(name)));
        selected.dedup();
        Ok(selected)
    }

    pub(super) fn list(&self, request: &ListRequest) -> Result<Vec<Row>, ErrorKind> {
        native::check_known(&request.columns)?;
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
        native::check_known(&request.properties)?;
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

    /// Bytes written to a dataset since that snapshot of it, or since its newest, or since it began.
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

/// Of several complaints in one output, which one [`crate::classify`] reads: the least first.
fn severity(kind: &ErrorKind) -> usize {
    let order = [
        ErrorKind::InvalidName,
        ErrorKind::WrongType,
        ErrorKind::SnapshotNotFound,
        ErrorKind::DatasetNotFound,
    ];
    order
        .iter()
        .position(|other| other == kind)
        .map_or(0, |place| place + 1)
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
