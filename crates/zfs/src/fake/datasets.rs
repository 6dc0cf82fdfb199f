//! Filesystems and volumes of [`super::FakeZfs`]: made, changed, destroyed.
//!
//! The order of checks is that of `zfs_main.c`, `libzfs_dataset.c` and the kernel's check functions of OpenZFS 2.3:
//! when several things are wrong at once, the same one is complained of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::native;
use super::space::size_of;
use super::state::{Beginning, Dataset, State};
use crate::{
    CloneRequest, CreateKind, CreateRequest, DatasetName, ErrorKind, Kind, PropName, Properties, SnapshotName,
};

pub(super) const REFQUOTA: PropName = PropName::from_static("refquota");
const REFRESERVATION: PropName = PropName::from_static("refreservation");
const VOLSIZE: PropName = PropName::from_static("volsize");

/// ZFS's default block size of a volume.
pub(super) const BLOCK_SIZE: u64 = 16 << 10;

/// A size among properties that were checked; nothing when it is not said, or none.
fn said(local: &BTreeMap<PropName, String>, property: &str) -> Option<u64> {
    let text = local.get(property)?;
    text.parse::<u64>().ok().filter(|size| *size > 0)
}

impl State {
    /// What must be above a new dataset (`check_parents`).
    fn check_parent(&self, name: &DatasetName) -> Result<(), ErrorKind> {
        self.readable(name.in_pool())?;
        let parent = name.parent().ok_or(ErrorKind::InvalidName)?;
        match self.dataset(&parent) {
            Ok(parent) if parent.kind == Kind::Filesystem => Ok(()),
            Ok(_) => Err(ErrorKind::WrongType),
            Err(ErrorKind::DatasetNotFound) => Err(ErrorKind::ParentNotFound),
            Err(other) => Err(other),
        }
    }

    /// Makes what is missing above a dataset (`zfs_create_ancestors`): each a transaction of its own.
    fn create_ancestors(&mut self, name: &DatasetName) -> Result<(), ErrorKind> {
        let mut missing = Vec::new();
        let mut above = name.parent().ok_or(ErrorKind::InvalidName)?;
        loop {
            match self.dataset(&above) {
                Ok(there) if there.kind == Kind::Filesystem => break,
                Ok(_) => return Err(ErrorKind::WrongType),
                Err(ErrorKind::DatasetNotFound) => {
                    missing.push(above.clone());
                    above = above.parent().ok_or(ErrorKind::PoolMissing)?;
                }
                Err(other) => return Err(other),
            }
        }
        for ancestor in missing.into_iter().rev() {
            self.check_room(&ancestor)?;
            let beginning = Beginning::empty(&CreateKind::Filesystem, BTreeMap::new());
            self.insert_dataset(&ancestor, beginning);
        }
        Ok(())
    }

    pub(super) fn create(&mut self, request: &CreateRequest) -> Result<(), ErrorKind> {
        let CreateRequest {
            dataset: name,
            kind,
            properties,
            parents,
        } = request;
        self.readable(name.in_pool())?;
        let is = match kind {
            CreateKind::Filesystem => Kind::Filesystem,
            CreateKind::Volume { size, .. } => {
                // A volume's properties are looked at before anything else.
                native::check(properties, Kind::Volume)?;
                if *size == 0 {
                    return Err(ErrorKind::InvalidProperty);
                }
                Kind::Volume
            }
        };
        if *parents {
            if self.dataset(name).is_ok_and(|there| there.kind == is) {
                return Ok(());
            }
            self.create_ancestors(name)?;
        }
        self.check_parent(name)?;
        if self.dataset(name).is_ok() {
            return Err(ErrorKind::DatasetExists);
        }
        let mut local = native::check(properties, is)?;
        self.check_room(name)?;
        if let CreateKind::Volume {
            size, sparse: false, ..
        } = *kind
        {
            local.entry(REFRESERVATION).or_insert_with(|| size.to_string());
        }
        let beginning = Beginning::empty(kind, local);
        self.insert_or_take_back(name, beginning)
    }

    /// Makes a dataset; when its sizes do not fit then, it is destroyed again, so that none of it stays.
    fn insert_or_take_back(&mut self, name: &DatasetName, beginning: Beginning) -> Result<(), ErrorKind> {
        let quota = said(&beginning.local, "refquota");
        let reserved = said(&beginning.local, "refreservation").unwrap_or(0);
        let available = self.available(name);
        self.insert_dataset(name, beginning);
        let referenced = self.dataset(name)?.referenced;
        if quota.is_some_and(|quota| quota < referenced) || reserved > available {
            self.next_txg(name.in_pool());
            self.remove_dataset(name);
            return Err(ErrorKind::OutOfSpace);
        }
        Ok(())
    }

    fn remove_dataset(&mut self, name: &DatasetName) -> Option<Arc<Dataset>> {
        self.pool_mut(name.in_pool())?.contents.datasets.remove(name)
    }

    pub(super) fn clone_snapshot(&mut self, request: &CloneRequest) -> Result<(), ErrorKind> {
        let CloneRequest {
            snapshot,
            dataset: name,
            properties,
        } = request;
        let volsize = self.snapshot(snapshot)?.volsize;
        self.check_parent(name)?;
        let Dataset { kind, block_size, .. } = *self.dataset(snapshot.dataset())?;
        let mut local = native::check(properties, kind)?;
        if self.dataset(name).is_ok() {
            return Err(ErrorKind::DatasetExists);
        }
        self.check_room(name)?;
        let beginning = Beginning {
            kind,
            origin: Some(snapshot.clone()),
            volsize: local
                .remove(&VOLSIZE)
                .and_then(|size| size.parse().ok())
                .unwrap_or(volsize),
            block_size,
            local,
        };
        self.insert_or_take_back(name, beginning)
    }

    pub(super) fn destroy_dataset(&mut self, name: &DatasetName) -> Result<(), ErrorKind> {
        self.dataset(name)?;
        if name.parent().is_none() {
            return Err(ErrorKind::WrongType);
        }
        let dependents = self.dependents(name);
        if !dependents.is_empty() {
            return Err(ErrorKind::HasChildren(dependents));
        }
        self.destroy_head(name)
    }

    /// What `destroy` lists as being in the way: all below, with all snapshots.
    fn dependents(&self, name: &DatasetName) -> Vec<String> {
        let below = self.below(name);
        let snapshots = std::iter::once(name)
            .chain(&below)
            .flat_map(|dataset| self.snapshots(dataset));
        let mut names: Vec<String> = snapshots.map(|snapshot| snapshot.to_string()).collect();
        names.extend(below.iter().map(ToString::to_string));
        names.sort();
        names
    }

    /// Destroys a dataset with nothing below it, and its origin when that waited for it.
    pub(super) fn destroy_head(&mut self, name: &DatasetName) -> Result<(), ErrorKind> {
        if self.is_mounted(name) {
            self.destroyed_while_mounted.push(name.clone());
            return Err(ErrorKind::Busy);
        }
        let origin = self.dataset(name)?.origin.clone();
        if let Some(origin) = &origin
            && self.waits_for(origin, 1, 0)
            && self.is_snapshot_busy(origin)
        {
            return Err(ErrorKind::Busy);
        }
        self.next_txg(name.in_pool());
        self.remove_dataset(name);
        if let Some(origin) = origin {
            self.collect_deferred(&origin);
        }
        Ok(())
    }

    /// Sets properties. Sizes are set one by one and may be refused; the others are set together all the same
    /// (`zfs_set_prop_nvlist`).
    pub(super) fn set(&mut self, name: &DatasetName, properties: &Properties) -> Result<(), ErrorKind> {
        let dataset = self.dataset(name)?;
        let is_thick = dataset.kind == Kind::Volume
            && properties
                .value(&REFRESERVATION)
                .is_some_and(|value| value.as_str() == native::AUTO);
        let others = properties
            .iter()
            .filter(|(name, _)| !(is_thick && **name == REFRESERVATION));
        let others = others.map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut local = native::check(&others, dataset.kind)?;
        if is_thick {
            local.insert(REFRESERVATION, dataset.volsize.to_string());
        }
        if let Some(size) = local.get(&VOLSIZE) {
            let size = size.parse::<u64>().unwrap_or(0);
            if size == 0 || size % dataset.block_size.max(1) != 0 {
                return Err(ErrorKind::InvalidProperty);
            }
            let thick = size_of(dataset, "refreservation") == Some(dataset.volsize);
            if thick {
                local.entry(REFRESERVATION).or_insert_with(|| size.to_string());
            }
        }
        let refused = self.refused_sizes(name, &local);
        self.next_txg(name.in_pool());
        if let Some(dataset) = self.dataset_mut(name) {
            for (property, value) in local {
                if refused.contains_key(&property) {
                    continue;
                }
                if property == VOLSIZE {
                    dataset.volsize = value.parse().unwrap_or(dataset.volsize);
                } else {
                    Arc::make_mut(&mut dataset.local).insert(property, value);
                }
            }
        }
        refused.into_values().next().map_or(Ok(()), Err)
    }

    /// Sizes that cannot be set now, and why.
    fn refused_sizes(&self, name: &DatasetName, local: &BTreeMap<PropName, String>) -> BTreeMap<PropName, ErrorKind> {
        let Ok(pool) = self.pool(name.in_pool()) else {
            return BTreeMap::new();
        };
        let Some(dataset) = pool.contents.datasets.get(name) else {
            return BTreeMap::new();
        };
        let refused = |property: &PropName| match property.as_str() {
            "refquota" => (said(local, "refquota")? < dataset.referenced).then_some(ErrorKind::QuotaBelowUsed),
            "quota" => (said(local, "quota")? < pool.used(name)).then_some(ErrorKind::QuotaBelowUsed),
            "refreservation" | "reservation" => {
                let more = said(local, property.as_str())?
                    .saturating_sub(size_of(dataset, property.as_str()).unwrap_or(dataset.referenced));
                (more > pool.available(name)).then_some(ErrorKind::OutOfSpace)
            }
            _ => None,
        };
        let mut all: BTreeMap<_, _> = local
            .keys()
            .filter_map(|property| Some((property.clone(), refused(property)?)))
            .collect();
        // A thick volume that cannot grow keeps its size.
        if all.contains_key(&REFRESERVATION) && local.contains_key(&VOLSIZE) {
            all.insert(VOLSIZE, ErrorKind::OutOfSpace);
        }
        all
    }

    pub(super) fn inherit(&mut self, name: &DatasetName, property: &PropName) -> Result<(), ErrorKind> {
        // Before the dataset is looked at.
        if !native::is_inheritable(property) {
            return Err(ErrorKind::InvalidProperty);
        }
        let kind = self.dataset(name)?.kind;
        if !native::is_of(property, kind) {
            return Err(ErrorKind::InvalidProperty);
        }
        self.next_txg(name.in_pool());
        if let Some(dataset) = self.dataset_mut(name) {
            Arc::make_mut(&mut dataset.local).remove(property);
        }
        Ok(())
    }

    /// Whether a snapshot waits for its last clones and holds, and no more than these are left.
    pub(super) fn waits_for(&self, name: &SnapshotName, clones: usize, holds: usize) -> bool {
        self.snapshot(name)
            .is_ok_and(|snapshot| snapshot.defer_destroy && snapshot.holds.len() == holds)
            && self.clones(name).len() == clones
    }

    /// Lets a snapshot go that waited for its last clone or hold.
    pub(super) fn collect_deferred(&mut self, name: &SnapshotName) {
        if self.waits_for(name, 0, 0)
            && let Some(dataset) = self.dataset_mut(name.dataset())
        {
            dataset.snapshots.remove(name.snap());
        }
    }

    /// Everything that stands on a snapshot, at whatever remove: clones, what is below them, their snapshots.
    pub(super) fn standing_on(&self, snapshot: &SnapshotName) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut todo = vec![snapshot.clone()];
        while let Some(snapshot) = todo.pop() {
            for clone in self.clones(&snapshot) {
                for dataset in std::iter::once(clone.clone()).chain(self.below(&clone)) {
                    if found.insert(dataset.to_string()) {
                        let snapshots = self.snapshots(&dataset);
                        found.extend(snapshots.iter().map(ToString::to_string));
                        todo.extend(snapshots);
                    }
                }
            }
        }
        found
    }
}
