//! Filesystems and volumes of [`super::FakeZfs`]: made, changed, destroyed.

use std::collections::BTreeMap;

use super::state::State;
use crate::{
    CloneRequest, CreateKind, CreateRequest, DatasetName, ErrorKind, Kind, PropName, Properties, SnapshotName,
};

const REFQUOTA: PropName = PropName::from_static("refquota");
const VOLSIZE: PropName = PropName::from_static("volsize");

fn texts(properties: &Properties) -> BTreeMap<PropName, String> {
    properties
        .iter()
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect()
}

/// A size as `zfs set` takes it.
fn parse_size(text: &str) -> Option<u64> {
    if text == "none" {
        return Some(0);
    }
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Sizes are kept as exact numbers, as `-p` prints them.
fn with_exact_sizes(mut local: BTreeMap<PropName, String>) -> Result<BTreeMap<PropName, String>, ErrorKind> {
    for (name, value) in &mut local {
        if matches!(
            name.as_str(),
            "refquota" | "quota" | "refreservation" | "reservation" | "volsize"
        ) {
            *value = parse_size(value).ok_or(ErrorKind::InvalidProperty)?.to_string();
        }
    }
    Ok(local)
}

fn check_names(properties: &Properties) -> Result<(), ErrorKind> {
    let known = |name: &PropName| name.is_user() || super::properties::is_settable(name);
    if properties.iter().all(|(name, _)| known(name)) {
        Ok(())
    } else {
        Err(ErrorKind::InvalidProperty)
    }
}

impl State {
    /// What a new dataset's name must satisfy.
    fn check_new(&self, name: &DatasetName) -> Result<(), ErrorKind> {
        self.pool(&name.pool())?;
        let parent = name.parent().ok_or(ErrorKind::InvalidName)?;
        match self.dataset(&parent) {
            Ok(parent) if parent.kind == Kind::Filesystem => {}
            Ok(_) => return Err(ErrorKind::WrongType),
            Err(ErrorKind::DatasetNotFound) => return Err(ErrorKind::ParentNotFound),
            Err(other) => return Err(other),
        }
        if self.dataset(name).is_ok() {
            Err(ErrorKind::DatasetExists)
        } else {
            Ok(())
        }
    }

    pub(super) fn create(&mut self, request: &CreateRequest) -> Result<(), ErrorKind> {
        if request.parents {
            if self.dataset(&request.dataset).is_ok() {
                return Ok(());
            }
            let mut missing = Vec::new();
            let mut name = request.dataset.clone();
            while let Some(parent) = name.parent().filter(|parent| self.dataset(parent).is_err()) {
                missing.push(parent.clone());
                name = parent;
            }
            for parent in missing.into_iter().rev() {
                self.check_writable(&parent, true)?;
                self.check_new(&parent)?;
                self.insert_dataset(&parent, &CreateKind::Filesystem, None, BTreeMap::new());
            }
        }
        self.check_new(&request.dataset)?;
        check_names(&request.properties)?;
        let mut local = with_exact_sizes(texts(&request.properties))?;
        if let CreateKind::Volume { size, block_size, .. } = request.kind {
            if size == 0 {
                return Err(ErrorKind::InvalidProperty);
            }
            let size = size.next_multiple_of(block_size.unwrap_or(16 << 10));
            local.insert(VOLSIZE, size.to_string());
        }
        self.check_writable(&request.dataset, true)?;
        self.insert_dataset(&request.dataset, &request.kind, None, local);
        Ok(())
    }

    pub(super) fn clone_snapshot(&mut self, request: &CloneRequest) -> Result<(), ErrorKind> {
        let referenced = self.snapshot(&request.snapshot)?.referenced;
        self.check_new(&request.dataset)?;
        check_names(&request.properties)?;
        let mut local = with_exact_sizes(texts(&request.properties))?;
        self.check_writable(&request.dataset, true)?;
        let quota = local
            .get(&REFQUOTA)
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|quota| *quota > 0);
        if quota.is_some_and(|quota| quota < referenced) {
            return Err(ErrorKind::OutOfSpace);
        }
        let origin = self.dataset(request.snapshot.dataset())?;
        let kind = match (origin.kind, origin.local.get(&VOLSIZE)) {
            (Kind::Volume, Some(volsize)) => {
                local.entry(VOLSIZE).or_insert_with(|| volsize.clone());
                CreateKind::Volume {
                    size: 0,
                    sparse: true,
                    block_size: None,
                }
            }
            (Kind::Volume | Kind::Filesystem | Kind::Snapshot, _) => CreateKind::Filesystem,
        };
        self.insert_dataset(&request.dataset, &kind, Some(request.snapshot.clone()), local);
        Ok(())
    }

    pub(super) fn destroy_dataset(&mut self, name: &DatasetName) -> Result<(), ErrorKind> {
        let dataset = self.dataset(name)?;
        if name.parent().is_none() {
            return Err(ErrorKind::WrongType);
        }
        let snapshots = dataset.snapshots.keys().map(|snap| format!("{name}@{snap}"));
        let children = self.below(name).into_iter().map(|child| child.to_string());
        let dependents: Vec<String> = snapshots.chain(children).collect();
        if !dependents.is_empty() {
            return Err(ErrorKind::HasChildren(dependents));
        }
        if dataset.busy || dataset.mounted {
            if dataset.mounted {
                self.destroyed_while_mounted.push(name.clone());
            }
            return Err(ErrorKind::Busy);
        }
        self.check_writable(name, false)?;
        self.next_txg(&name.pool());
        let removed = self.pool_mut(&name.pool()).and_then(|pool| pool.datasets.remove(name));
        if let Some(origin) = removed.and_then(|dataset| dataset.origin) {
            self.collect_deferred(&origin);
        }
        Ok(())
    }

    pub(super) fn set(&mut self, name: &DatasetName, properties: &Properties) -> Result<(), ErrorKind> {
        let referenced = self.dataset(name)?.referenced;
        check_names(properties)?;
        let local = with_exact_sizes(texts(properties))?;
        self.check_writable(name, false)?;
        let quota = local
            .get(&REFQUOTA)
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|quota| *quota > 0);
        if quota.is_some_and(|quota| quota < referenced) {
            return Err(ErrorKind::QuotaBelowUsed);
        }
        self.next_txg(&name.pool());
        if let Some(dataset) = self.dataset_mut(name) {
            dataset.local.extend(local);
        }
        Ok(())
    }

    pub(super) fn inherit(&mut self, name: &DatasetName, property: &PropName) -> Result<(), ErrorKind> {
        self.dataset(name)?;
        if !property.is_user() && !super::properties::is_inheritable(property) {
            return Err(ErrorKind::InvalidProperty);
        }
        self.check_writable(name, false)?;
        if let Some(dataset) = self.dataset_mut(name) {
            dataset.local.remove(property);
        }
        Ok(())
    }

    /// Lets a snapshot go that waited for its last clone or hold.
    pub(super) fn collect_deferred(&mut self, name: &SnapshotName) {
        let waits = self
            .snapshot(name)
            .is_ok_and(|snapshot| snapshot.defer_destroy && snapshot.holds.is_empty());
        if waits
            && self.clones(name).is_empty()
            && let Some(dataset) = self.dataset_mut(name.dataset())
        {
            dataset.snapshots.remove(name.snap());
        }
    }
}
