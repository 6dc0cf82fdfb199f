//! Snapshots of [`super::FakeZfs`]: taken, held, destroyed, gone back to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::datasets::REFQUOTA;
use super::space::size_of;
use super::state::{Snapshot, State};
use crate::{DatasetName, ErrorKind, Hold, HoldTag, Properties, SnapName, SnapshotName};

impl State {
    pub(super) fn take_snapshots(&mut self, names: &[SnapshotName], properties: &Properties) -> Result<(), ErrorKind> {
        for name in names {
            self.dataset(name.dataset())?;
        }
        if properties.iter().any(|(name, _)| !name.is_user()) {
            return Err(ErrorKind::InvalidProperty);
        }
        // The same name twice is one name; two of one dataset could not share a transaction group.
        let names: BTreeSet<&SnapshotName> = names.iter().collect();
        let datasets: BTreeSet<&DatasetName> = names.iter().map(|name| name.dataset()).collect();
        if datasets.len() < names.len() {
            return Err(ErrorKind::Other);
        }
        for name in &names {
            self.check_room(name.dataset())?;
        }
        if names.iter().any(|name| self.snapshot(name).is_ok()) {
            return Err(ErrorKind::SnapshotExists);
        }
        let Some(pool) = datasets.first().map(|dataset| dataset.pool()) else {
            return Ok(());
        };
        let createtxg = self.next_txg(&pool);
        let local = properties.iter().map(|(name, value)| (name.clone(), value.to_string()));
        let local = Arc::new(local.collect());
        for name in names {
            let guid = self.next_guid();
            if let Some(dataset) = self.dataset_mut(name.dataset()) {
                let snapshot = Snapshot {
                    guid,
                    createtxg,
                    local: Arc::clone(&local),
                    holds: BTreeSet::new(),
                    volsize: dataset.volsize,
                    filesystem: dataset.filesystem,
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
    fn named(&self, dataset: &DatasetName, snap: &SnapName) -> Result<Vec<SnapshotName>, ErrorKind> {
        self.dataset(dataset)?;
        let datasets = std::iter::once(dataset.clone()).chain(self.below(dataset));
        let names = datasets.filter_map(|dataset| dataset.at(snap).ok());
        Ok(names.filter(|name| self.snapshot(name).is_ok()).collect())
    }

    fn is_held(&self, name: &SnapshotName, tag: &HoldTag) -> bool {
        self.snapshot(name).is_ok_and(|s| s.holds.contains(tag.as_str()))
    }

    pub(super) fn hold(&mut self, tag: &HoldTag, name: &SnapshotName) -> Result<(), ErrorKind> {
        let names = self.named(name.dataset(), name.snap())?;
        self.hold_all(tag, &names)
    }

    /// All or none: where the tag is on one of them already, the others do not get it.
    pub(super) fn hold_all(&mut self, tag: &HoldTag, names: &[SnapshotName]) -> Result<(), ErrorKind> {
        let Some(first) = names.first() else {
            return Err(ErrorKind::SnapshotNotFound);
        };
        if names.iter().any(|name| self.is_held(name, tag)) {
            return Err(ErrorKind::HoldExists);
        }
        self.next_txg(first.dataset().in_pool());
        for name in names {
            if let Some(snapshot) = self.snapshot_mut(name) {
                snapshot.holds.insert(tag.to_string());
            }
        }
        Ok(())
    }

    /// Each name by itself; the first of what fails is told.
    pub(super) fn release(
        &mut self,
        tag: &HoldTag,
        dataset: &DatasetName,
        snaps: &[SnapName],
    ) -> Result<(), ErrorKind> {
        let mut result = Ok(());
        for snap in snaps {
            let names = self.named(dataset, snap)?;
            result = result.and(self.release_all(tag, &names));
        }
        result
    }

    pub(super) fn release_all(&mut self, tag: &HoldTag, names: &[SnapshotName]) -> Result<(), ErrorKind> {
        let held: Vec<_> = names.iter().filter(|name| self.is_held(name, tag)).collect();
        let Some(first) = held.first() else {
            return Err(ErrorKind::HoldNotFound);
        };
        if held
            .iter()
            .any(|name| self.waits_for(name, 0, 1) && self.is_snapshot_busy(name))
        {
            return Err(ErrorKind::Busy);
        }
        self.next_txg(first.dataset().in_pool());
        for name in held {
            if let Some(snapshot) = self.snapshot_mut(name) {
                snapshot.holds.remove(tag.as_str());
            }
            self.collect_deferred(name);
        }
        Ok(())
    }

    pub(super) fn holds(&self, names: &[SnapshotName]) -> Result<Vec<Hold>, ErrorKind> {
        let mut holds = Vec::new();
        for name in names.iter().collect::<BTreeSet<_>>() {
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
        self.destroy_all(&names)
    }

    pub(super) fn destroy_recursive(&mut self, dataset: &DatasetName, snaps: &[SnapName]) -> Result<(), ErrorKind> {
        let mut names = BTreeSet::new();
        for snap in snaps {
            names.extend(self.named(dataset, snap)?);
        }
        self.destroy_all(&names.into_iter().collect::<Vec<_>>())
    }

    /// Destroys or marks snapshots, all in one transaction, or none when one is busy.
    fn destroy_all(&mut self, names: &[SnapshotName]) -> Result<(), ErrorKind> {
        let Some(first) = names.first() else {
            return Err(ErrorKind::SnapshotNotFound);
        };
        if names.iter().any(|name| self.is_snapshot_busy(name)) {
            return Err(ErrorKind::Busy);
        }
        self.next_txg(first.dataset().in_pool());
        for name in names {
            if let Some(snapshot) = self.snapshot_mut(name) {
                snapshot.defer_destroy = true;
            }
            self.collect_deferred(name);
        }
        Ok(())
    }

    /// Mounted and used or not: the kernel suspends the filesystem and shows the old data (`zfs_ioc_rollback`).
    pub(super) fn rollback(&mut self, name: &SnapshotName) -> Result<(), ErrorKind> {
        let snapshot = self.snapshot(name)?.clone();
        let dataset = self.dataset(name.dataset())?;
        if dataset.newest().map(|(snap, _)| snap) != Some(name.snap()) {
            return Err(ErrorKind::NewerSnapshots);
        }
        if size_of(dataset, REFQUOTA.as_str()).is_some_and(|quota| quota < snapshot.referenced) {
            return Err(ErrorKind::OutOfSpace);
        }
        self.next_txg(name.dataset().in_pool());
        if let Some(dataset) = self.dataset_mut(name.dataset()) {
            dataset.referenced = snapshot.referenced;
            dataset.written = snapshot.written;
            dataset.volsize = snapshot.volsize;
            dataset.filesystem = snapshot.filesystem;
        }
        Ok(())
    }
}
