//! Snapshots of [`super::FakeZfs`]: taken, held, destroyed, gone back to.

use std::collections::BTreeSet;

use super::state::{Snapshot, State};
use crate::{DatasetName, ErrorKind, Hold, HoldTag, Properties, SnapName, SnapshotName};

impl State {
    pub(super) fn take_snapshots(&mut self, names: &[SnapshotName], properties: &Properties) -> Result<(), ErrorKind> {
        for name in names {
            let dataset = self.dataset(name.dataset())?;
            if dataset.snapshots.contains_key(name.snap()) {
                return Err(ErrorKind::SnapshotExists);
            }
            self.check_writable(name.dataset(), true)?;
        }
        let datasets: BTreeSet<_> = names.iter().map(SnapshotName::dataset).collect();
        let pools: BTreeSet<_> = datasets.iter().map(|dataset| dataset.pool()).collect();
        if datasets.len() < names.len() || pools.len() > 1 {
            return Err(ErrorKind::Other);
        }
        if properties.iter().any(|(name, _)| !name.is_user()) {
            return Err(ErrorKind::InvalidProperty);
        }
        let createtxg = self.next_txg(&names[0].dataset().pool());
        for name in names {
            let guid = self.next_guid();
            if let Some(dataset) = self.dataset_mut(name.dataset()) {
                let snapshot = Snapshot {
                    guid,
                    createtxg,
                    local: properties
                        .iter()
                        .map(|(name, value)| (name.clone(), value.to_string()))
                        .collect(),
                    holds: BTreeSet::new(),
                    referenced: dataset.referenced,
                    written: dataset.written,
                    defer_destroy: false,
                    busy: false,
                };
                dataset.snapshots.insert(name.snap().clone(), snapshot);
            }
        }
        Ok(())
    }

    /// The snapshots of one name on a dataset and everything below it.
    fn named(&self, name: &SnapshotName) -> Result<Vec<SnapshotName>, ErrorKind> {
        self.dataset(name.dataset())?;
        let datasets = std::iter::once(name.dataset().clone()).chain(self.below(name.dataset()));
        let names = datasets.filter_map(|dataset| dataset.at(name.snap()).ok());
        Ok(names.filter(|name| self.snapshot(name).is_ok()).collect())
    }

    pub(super) fn hold(&mut self, tag: &HoldTag, name: &SnapshotName) -> Result<(), ErrorKind> {
        let names = self.named(name)?;
        if names.is_empty() {
            return Err(ErrorKind::SnapshotNotFound);
        }
        self.check_writable(name.dataset(), false)?;
        let held = |name: &SnapshotName| self.snapshot(name).is_ok_and(|s| s.holds.contains(tag.as_str()));
        if names.iter().any(held) {
            return Err(ErrorKind::HoldExists);
        }
        for name in &names {
            if let Some(snapshot) = self.snapshot_mut(name) {
                snapshot.holds.insert(tag.to_string());
            }
        }
        Ok(())
    }

    pub(super) fn release(&mut self, tag: &HoldTag, name: &SnapshotName) -> Result<(), ErrorKind> {
        let names = self.named(name)?;
        if names.is_empty() {
            return Err(ErrorKind::SnapshotNotFound);
        }
        self.check_writable(name.dataset(), false)?;
        let mut released = false;
        for name in &names {
            if let Some(snapshot) = self.snapshot_mut(name) {
                released |= snapshot.holds.remove(tag.as_str());
            }
            self.collect_deferred(name);
        }
        if released { Ok(()) } else { Err(ErrorKind::HoldNotFound) }
    }

    pub(super) fn holds(&self, names: &[SnapshotName]) -> Result<Vec<Hold>, ErrorKind> {
        let mut holds = Vec::new();
        for name in names {
            let snapshot = self.snapshot(name)?;
            holds.extend(snapshot.holds.iter().map(|tag| Hold {
                snapshot: name.clone(),
                tag: tag.clone(),
            }));
        }
        Ok(holds)
    }

    pub(super) fn destroy_snapshots(&mut self, dataset: &DatasetName, snaps: &[SnapName]) -> Result<(), ErrorKind> {
        self.dataset(dataset)?;
        let names = snaps.iter().filter_map(|snap| dataset.at(snap).ok());
        let names: Vec<_> = names.filter(|name| self.snapshot(name).is_ok()).collect();
        self.destroy_all(dataset, &names)
    }

    pub(super) fn destroy_recursive(&mut self, name: &SnapshotName) -> Result<(), ErrorKind> {
        let names = self.named(name)?;
        self.destroy_all(name.dataset(), &names)
    }

    fn destroy_all(&mut self, dataset: &DatasetName, names: &[SnapshotName]) -> Result<(), ErrorKind> {
        if names.is_empty() {
            return Err(ErrorKind::SnapshotNotFound);
        }
        self.check_writable(dataset, false)?;
        if names
            .iter()
            .any(|name| self.snapshot(name).is_ok_and(|snapshot| snapshot.busy))
        {
            return Err(ErrorKind::Busy);
        }
        self.next_txg(&dataset.pool());
        for name in names {
            if let Some(snapshot) = self.snapshot_mut(name) {
                snapshot.defer_destroy = true;
            }
            self.collect_deferred(name);
        }
        Ok(())
    }

    pub(super) fn rollback(&mut self, name: &SnapshotName) -> Result<(), ErrorKind> {
        let referenced = self.snapshot(name)?.referenced;
        let dataset = self.dataset(name.dataset())?;
        if dataset.newest().map(|(snap, _)| snap) != Some(name.snap()) {
            return Err(ErrorKind::NewerSnapshots);
        }
        if dataset.busy {
            return Err(ErrorKind::Busy);
        }
        self.check_writable(name.dataset(), false)?;
        let written = self.snapshot(name)?.written;
        if let Some(dataset) = self.dataset_mut(name.dataset()) {
            dataset.referenced = referenced;
            dataset.written = written;
        }
        Ok(())
    }
}
