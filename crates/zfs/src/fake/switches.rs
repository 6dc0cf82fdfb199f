//! The switches of [`FakeZfs`]: what befalls a host, set by a test or a simulator.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::{FailWhen, FakeZfs};
use crate::{DatasetName, ErrorKind, Guid, Health, PoolName, Release, SnapshotName, Verb};

impl FakeZfs {
    /// Makes the next such command fail. Several are taken in order.
    pub fn fail_next(&self, verb: Verb, when: FailWhen, kind: ErrorKind) {
        self.locked(|state| state.failures.entry(verb).or_default().push_back((when, kind)));
    }

    /// Replaces the release that both programs and module say they are.
    pub fn set_version(&self, release: Release) {
        self.locked(|state| state.version = release);
    }

    /// Imports or takes away a pool without a command, as somebody else would. An import makes a new `load_guid`.
    pub fn set_imported(&self, pool: &PoolName, imported: bool) {
        self.locked(|state| state.set_imported(pool, imported));
    }

    /// The host was started again: nothing is imported or mounted; what is in the pools stays.
    pub fn reboot(&self) {
        self.locked(|state| {
            for pool in &mut state.pools {
                let load_guid = pool.load_guid;
                pool.load(false, load_guid);
            }
        });
    }

    /// Somebody copies a pool's devices as they are now, as a backup of a virtual machine's disk does.
    pub fn copy_devices(&self, pool: &PoolName) {
        self.locked(|state| {
            if let Some(pool) = state.pool_mut(pool) {
                pool.copy = Some(pool.contents.clone());
            }
        });
    }

    /// The copy takes the place of the devices, and they that of the copy: once more brings them back. The pool is not
    /// imported while that is done.
    pub fn exchange_devices(&self, pool: &PoolName) {
        self.locked(|state| {
            let load_guid = state.next_guid();
            let Some(pool) = state.pool_mut(pool) else { return };
            pool.load(false, load_guid);
            if let Some(copy) = &mut pool.copy {
                std::mem::swap(copy, &mut pool.contents);
            }
        });
    }

    /// Sets a pool's state, as [`Health::Suspended`].
    pub fn set_health(&self, pool: &PoolName, health: Health) {
        self.locked(|state| {
            if let Some(pool) = state.pool_mut(pool) {
                pool.health = health;
            }
        });
    }

    /// Gives a pool another identity, as a pool of the same name has. See [`super::Tampering::Reguid`] too.
    pub fn set_pool_guid(&self, pool: &PoolName, guid: Guid) {
        self.locked(|state| {
            if let Some(pool) = state.pool_mut(pool) {
                pool.guid = guid;
            }
        });
    }

    /// Says that a pool was last used by another host and not exported there: importing it is refused.
    pub fn set_foreign(&self, pool: &PoolName, foreign: bool) {
        self.locked(|state| {
            if let Some(pool) = state.pool_mut(pool) {
                pool.foreign = foreign;
            }
        });
    }

    /// Gives a pool another size in bytes; 100 GiB unless said.
    pub fn set_size(&self, pool: &PoolName, bytes: u64) {
        self.locked(|state| {
            if let Some(pool) = state.pool_mut(pool) {
                pool.size = bytes;
            }
        });
    }

    /// Makes everything that needs room fail with [`ErrorKind::OutOfSpace`].
    pub fn set_full(&self, pool: &PoolName, full: bool) {
        self.locked(|state| {
            if let Some(pool) = state.pool_mut(pool) {
                pool.full = full;
            }
        });
    }

    /// Makes a dataset busy: it is mounted and somebody uses it.
    pub fn set_busy(&self, dataset: &DatasetName, busy: bool) {
        self.locked(|state| {
            if let Some(dataset) = state.dataset_mut(dataset) {
                dataset.busy = busy;
            }
        });
    }

    /// Makes a snapshot busy: it is mounted, sent, or walked through.
    pub fn set_snapshot_busy(&self, snapshot: &SnapshotName, busy: bool) {
        self.locked(|state| {
            if let Some(snapshot) = state.snapshot_mut(snapshot) {
                snapshot.busy = busy;
            }
        });
    }

    /// Says that a dataset is mounted, which makes it busy for being destroyed and its pool for being exported.
    pub fn set_mounted(&self, dataset: &DatasetName, mounted: bool) {
        self.locked(|state| {
            if let Some(dataset) = state.dataset_mut(dataset) {
                dataset.mounted = mounted;
            }
        });
    }

    /// Looks up what is mounted in a host's mount table: the sources that `mounted` names are busy too. Called before
    /// each command, with nothing locked.
    pub fn watch_mounts(&self, mounted: impl Fn() -> BTreeSet<String> + Send + Sync + 'static) {
        *self.mounts.lock() = Some(Arc::new(mounted));
    }

    /// Looks up how many bytes the files and devices of pools have, when a pool is made or expanded; nothing: there is
    /// no such file or device. Called with the state locked. Without it each has 100 GiB.
    pub fn watch_devices(&self, length: impl Fn(&Path) -> Option<u64> + Send + Sync + 'static) {
        *self.devices.lock() = Some(Arc::new(length));
    }

    /// The identity of what the kernel could mount by this name: a filesystem or a snapshot of one, in an imported pool
    /// that answers.
    #[must_use]
    pub fn mountable(&self, source: &str) -> Option<Guid> {
        self.locked(|state| state.mountable(source))
    }

    /// Tells [`FakeZfs::mountable`] without keeping this alive: what fake mounts of the same host look up.
    pub fn tell_mountable(&self) -> impl Fn(&str) -> Option<u64> + Send + Sync + 'static {
        let state = Arc::downgrade(&self.state);
        move |source| {
            let state = state.upgrade()?;
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.mountable(source).map(|guid| guid.0)
        }
    }

    /// Whether a dataset is there and mounted.
    #[must_use]
    pub fn is_mounted(&self, dataset: &DatasetName) -> bool {
        self.locked(|state| state.dataset(dataset).is_ok() && state.is_mounted(dataset))
    }

    /// Writes new bytes to a dataset, all or, when there is no room for them, none. Returns whether it did.
    pub fn write(&self, dataset: &DatasetName, bytes: u64) -> bool {
        self.locked(|state| {
            let room = state.available(dataset);
            match state.dataset_mut(dataset) {
                Some(dataset) if bytes <= room => {
                    dataset.referenced += bytes;
                    dataset.written += bytes;
                    true
                }
                _ => false,
            }
        })
    }

    /// What somebody asked to destroy although it was mounted: a caller that looks first leaves this empty.
    #[must_use]
    pub fn destroyed_while_mounted(&self) -> Vec<DatasetName> {
        self.locked(|state| state.destroyed_while_mounted.clone())
    }

    /// Every dataset and snapshot of all pools, imported or not, in order: what a test compares before and after.
    #[must_use]
    pub fn all_names(&self) -> Vec<String> {
        self.locked(|state| state.all_names())
    }
}
