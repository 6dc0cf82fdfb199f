//! Room in [`super::FakeZfs`]: what datasets use, what is available to them, and when a pool is full.
//!
//! Bytes are only ever added, or given back whole by a rollback to the newest snapshot, so each snapshot's blocks are
//! blocks of its head too, and a snapshot has none of its own. Metadata is not counted.

use std::collections::BTreeMap;

use super::state::{Dataset, Pool, State};
use crate::{DatasetName, ErrorKind};

/// What ZFS keeps back of a pool (`spa_get_slop_space`): a 32nd, at least 128 MiB, at most half of a small pool.
fn slop(size: u64) -> u64 {
    (size >> 5).max((128 << 20).min(size >> 1))
}

/// A size property as a number; nothing when unset or none.
pub(super) fn size_of(dataset: &Dataset, property: &str) -> Option<u64> {
    let text = dataset.local.get(property)?;
    text.parse::<u64>().ok().filter(|size| *size > 0)
}

impl Pool {
    /// What destroying this dataset alone would give back.
    fn own(&self, dataset: &Dataset) -> u64 {
        let origin = dataset.origin.as_ref();
        let shared = origin
            .and_then(|origin| {
                self.contents
                    .datasets
                    .get(origin.dataset())?
                    .snapshots
                    .get(origin.snap())
            })
            .map_or(0, |snapshot| snapshot.referenced);
        dataset.referenced.saturating_sub(shared)
    }

    /// Bytes of a dataset with all below it, and what is reserved for it.
    pub(super) fn used(&self, name: &DatasetName) -> u64 {
        // Backwards, each dataset comes before the one above it.
        let mut below: BTreeMap<DatasetName, u64> = BTreeMap::new();
        for (at, dataset) in self.contents.datasets.iter().rev() {
            if at != name && !at.is_below(name) {
                continue;
            }
            let own = self.own(dataset).max(size_of(dataset, "refreservation").unwrap_or(0));
            let used = own + below.remove(at).unwrap_or(0);
            if at == name {
                return used;
            }
            if let Some(parent) = at.parent() {
                *below.entry(parent).or_default() += used.max(size_of(dataset, "reservation").unwrap_or(0));
            }
        }
        0
    }

    /// Bytes in use on the devices: reservations are not.
    pub(super) fn allocated(&self) -> u64 {
        self.contents.datasets.values().map(|dataset| self.own(dataset)).sum()
    }

    fn unused(&self) -> u64 {
        if self.full {
            0
        } else {
            (self.size - slop(self.size)).saturating_sub(self.used(&self.name.root()))
        }
    }

    /// Bytes that may still be written to a dataset.
    pub(super) fn available(&self, name: &DatasetName) -> u64 {
        let mut room = self.unused();
        if let Some(dataset) = self.contents.datasets.get(name)
            && let Some(quota) = size_of(dataset, "refquota")
        {
            room = room.min(quota.saturating_sub(dataset.referenced));
        }
        let mut above = Some(name.clone());
        while let Some(name) = above {
            let dataset = self.contents.datasets.get(&name);
            if let Some(quota) = dataset.and_then(|dataset| size_of(dataset, "quota")) {
                room = room.min(quota.saturating_sub(self.used(&name)));
            }
            above = name.parent();
        }
        room
    }
}

impl State {
    /// What making something new needs: a pool that answers, with room. Quotas do not count, so that a commit of a full
    /// dataset works.
    pub(super) fn check_room(&self, dataset: &DatasetName) -> Result<(), ErrorKind> {
        if self.readable(dataset.in_pool())?.unused() == 0 {
            return Err(ErrorKind::OutOfSpace);
        }
        Ok(())
    }

    pub(super) fn available(&self, name: &DatasetName) -> u64 {
        self.pool(name.in_pool()).map_or(0, |pool| pool.available(name))
    }
}
