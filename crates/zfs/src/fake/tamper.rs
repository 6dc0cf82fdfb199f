//! What other tools and other people do to the pools of [`FakeZfs`], beyond what [`crate::Zfs`] offers.

use super::FakeZfs;
use super::state::State;
use crate::{CommandCounts, DatasetName, ErrorKind, HoldTag, PoolName, SnapshotName};

/// What somebody else does behind the back of who uses the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tampering {
    /// `zfs destroy -r` of a dataset: with all below it and all snapshots. Refused, here as a whole, where something is
    /// mounted, held, or cloned from outside.
    DestroyAll(DatasetName),
    /// `zfs destroy` of one snapshot, without `-d`: refused when it has holds or clones.
    DestroySnapshot(SnapshotName),
    /// `zfs hold` of one snapshot.
    Hold(HoldTag, SnapshotName),
    /// `zfs release` of one snapshot.
    Release(HoldTag, SnapshotName),
    /// `zpool checkpoint`: remembers what is in the pool now.
    Checkpoint(PoolName),
    /// `zpool export` and `zpool import --rewind-to-checkpoint`: snapshots made since are lost, what was destroyed
    /// since is back, transaction groups count from there again. The pool's GUID stays.
    Rewind(PoolName),
    /// `zpool reguid`: another GUID, the same contents.
    Reguid(PoolName),
}

impl FakeZfs {
    /// Does what another tool would, at once.
    ///
    /// # Errors
    /// What the tool would complain of.
    pub fn tamper(&self, tampering: &Tampering) -> Result<(), ErrorKind> {
        self.locked(|state| state.tamper(tampering))
    }

    /// The same host for another program: it sees and changes the same pools, but its commands are counted apart and
    /// none of them takes a failure that is meant for this one's.
    #[must_use]
    pub fn other_program(&self) -> Self {
        Self {
            counts: std::sync::Arc::new(CommandCounts::default()),
            takes_failures: false,
            ..self.clone()
        }
    }
}

impl State {
    fn tamper(&mut self, tampering: &Tampering) -> Result<(), ErrorKind> {
        match tampering {
            Tampering::DestroyAll(dataset) => self.destroy_everything(dataset),
            Tampering::DestroySnapshot(snapshot) => self.destroy_now(snapshot),
            Tampering::Hold(tag, snapshot) => {
                self.dataset(snapshot.dataset())?;
                self.snapshot(snapshot)?;
                self.hold_all(tag, std::slice::from_ref(snapshot))
            }
            Tampering::Release(tag, snapshot) => {
                self.dataset(snapshot.dataset())?;
                self.snapshot(snapshot)?;
                self.release_all(tag, std::slice::from_ref(snapshot))
            }
            Tampering::Checkpoint(pool) => self.set_checkpoint(pool),
            Tampering::Rewind(pool) => self.rewind(pool),
            Tampering::Reguid(pool) => {
                self.readable(pool)?;
                let guid = self.next_guid();
                self.next_txg(pool);
                if let Some(pool) = self.pool_mut(pool) {
                    pool.guid = guid;
                }
                Ok(())
            }
        }
    }

    fn destroy_now(&mut self, name: &SnapshotName) -> Result<(), ErrorKind> {
        self.dataset(name.dataset())?;
        let snapshot = self.snapshot(name)?;
        let clones = self.standing_on(name);
        if !clones.is_empty() {
            return Err(ErrorKind::HasClones(clones.into_iter().collect()));
        }
        if !snapshot.holds.is_empty() || self.is_snapshot_busy(name) {
            return Err(ErrorKind::Busy);
        }
        self.next_txg(name.dataset().in_pool());
        if let Some(dataset) = self.dataset_mut(name.dataset()) {
            dataset.snapshots.remove(name.snap());
        }
        Ok(())
    }

    fn destroy_everything(&mut self, top: &DatasetName) -> Result<(), ErrorKind> {
        self.dataset(top)?;
        let datasets: Vec<_> = std::iter::once(top.clone()).chain(self.below(top)).collect();
        let snapshots: Vec<_> = datasets.iter().flat_map(|dataset| self.snapshots(dataset)).collect();
        let inside = |name: &DatasetName| name == top || name.is_below(top);
        let clones = snapshots.iter().flat_map(|snapshot| self.clones(snapshot));
        let outside: Vec<_> = clones
            .filter(|clone| !inside(clone))
            .map(|name| name.to_string())
            .collect();
        if !outside.is_empty() {
            return Err(ErrorKind::HasClones(outside));
        }
        let held = |name: &SnapshotName| self.snapshot(name).is_ok_and(|snapshot| !snapshot.holds.is_empty());
        if datasets.iter().any(|dataset| self.is_mounted(dataset))
            || snapshots.iter().any(|name| held(name) || self.is_snapshot_busy(name))
        {
            return Err(ErrorKind::Busy);
        }
        for dataset in datasets.iter().rev() {
            if let Some(dataset) = self.dataset_mut(dataset) {
                dataset.snapshots.clear();
            }
            self.destroy_head(dataset)?;
        }
        Ok(())
    }

    fn set_checkpoint(&mut self, name: &PoolName) -> Result<(), ErrorKind> {
        self.readable(name)?;
        self.check_room(&name.root())?;
        self.next_txg(name);
        match self.pool_mut(name) {
            Some(pool) if pool.checkpoint.is_none() => pool.checkpoint = Some(pool.contents.clone()),
            // There can be one only.
            _ => return Err(ErrorKind::Other),
        }
        Ok(())
    }

    fn rewind(&mut self, name: &PoolName) -> Result<(), ErrorKind> {
        self.pool_export(name)?;
        let load_guid = self.next_guid();
        let Some(pool) = self.pool_mut(name) else {
            return Err(ErrorKind::PoolMissing);
        };
        let Some(checkpoint) = pool.checkpoint.take() else {
            return Err(ErrorKind::Other);
        };
        pool.contents = checkpoint;
        pool.load(true, load_guid);
        Ok(())
    }
}
