//! Pools of [`super::FakeZfs`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::native;
use super::state::{Beginning, Contents, Pool, State};
use crate::{
    CreateKind, ErrorKind, Health, ImportRequest, ImportablePool, Kind, PoolName, PoolSelector, PoolSpec, PoolStatus,
    PropName,
};

/// Bytes of a file or device of a pool unless said otherwise.
pub(super) const SIZE: u64 = 100 << 30;

impl State {
    pub(super) fn set_imported(&mut self, name: &PoolName, imported: bool) {
        let load_guid = self.next_guid();
        if let Some(pool) = self.pool_mut(name) {
            pool.load(imported, load_guid);
        }
    }

    pub(super) fn pool_create(&mut self, spec: &PoolSpec, size: u64) -> Result<(), ErrorKind> {
        let used = |vdev: &PathBuf| self.pools.iter().any(|pool| pool.vdevs.contains(vdev));
        if spec.vdevs.iter().any(used) {
            return Err(ErrorKind::DeviceInUse);
        }
        if self.pool(&spec.name).is_ok() {
            return Err(ErrorKind::PoolExists);
        }
        let mut local = native::check(&spec.root_properties, Kind::Filesystem)?;
        local
            .entry(PropName::from_static("mountpoint"))
            .or_insert_with(|| "none".to_owned());
        let (guid, load_guid) = (self.next_guid(), self.next_guid());
        self.pools.push(Pool {
            name: spec.name.clone(),
            guid,
            load_guid,
            health: Health::Online,
            imported: true,
            foreign: false,
            full: false,
            size,
            vdevs: spec.vdevs.clone(),
            contents: Contents {
                txg: 4,
                datasets: BTreeMap::new(),
            },
            checkpoint: None,
            copy: None,
        });
        self.insert_dataset(&spec.name.root(), Beginning::empty(&CreateKind::Filesystem, local));
        Ok(())
    }

    pub(super) fn pool_import(&mut self, request: &ImportRequest) -> Result<(), ErrorKind> {
        let wanted = |pool: &Pool| match &request.pool {
            PoolSelector::Name(name) => pool.name == *name,
            PoolSelector::Guid(guid) => pool.guid == *guid,
        };
        let found: Vec<usize> = (0..self.pools.len())
            .filter(|index| {
                let pool = &self.pools[*index];
                !pool.imported && wanted(pool) && is_found(pool, &request.search)
            })
            .collect();
        let index = match found[..] {
            [index] => index,
            // `zpool import` looks among the imported ones, by name or GUID, before it says that there is none.
            [] if self.pools.iter().any(|pool| pool.imported && wanted(pool)) => return Err(ErrorKind::PoolExists),
            [] => return Err(ErrorKind::PoolMissing),
            // Of one name: import by identity.
            _ => return Err(ErrorKind::Other),
        };
        let load_guid = self.next_guid();
        let pool = &self.pools[index];
        if self.pool(&pool.name).is_ok() {
            return Err(ErrorKind::PoolExists);
        }
        if pool.foreign {
            return Err(ErrorKind::PoolOfOtherHost);
        }
        if !matches!(pool.health, Health::Online | Health::Degraded | Health::Suspended) {
            return Err(ErrorKind::PoolUnavailable);
        }
        self.pools[index].load(true, load_guid);
        Ok(())
    }

    pub(super) fn pools_importable(&self, search: &[PathBuf]) -> Vec<ImportablePool> {
        let found = self
            .pools
            .iter()
            .filter(|pool| !pool.imported && is_found(pool, search));
        found
            .map(|pool| ImportablePool {
                name: pool.name.clone(),
                guid: pool.guid,
                health: pool.health,
            })
            .collect()
    }

    pub(super) fn pool_get(&self, name: &PoolName) -> Result<PoolStatus, ErrorKind> {
        let pool = self.pool(name)?;
        let allocated = pool.allocated();
        Ok(PoolStatus {
            guid: pool.guid,
            load_guid: pool.load_guid,
            health: pool.health,
            size: pool.size,
            allocated,
            free: if pool.full {
                0
            } else {
                pool.size.saturating_sub(allocated)
            },
            freeing: 0,
            fragmentation: Some(0),
            readonly: false,
        })
    }

    /// All vdevs are made use of, as if each had been named. Never makes a pool smaller.
    pub(super) fn pool_expand(
        &mut self,
        name: &PoolName,
        vdev: &Path,
        length: impl FnOnce(&[PathBuf]) -> Result<u64, ErrorKind>,
    ) -> Result<(), ErrorKind> {
        let pool = self.readable(name)?;
        if !pool.vdevs.iter().any(|own| own == vdev) {
            return Err(ErrorKind::DeviceMissing);
        }
        let size = length(&pool.vdevs)?.max(pool.size);
        if let Some(pool) = self.pool_mut(name) {
            pool.size = size;
        }
        Ok(())
    }

    pub(super) fn pool_export(&mut self, name: &PoolName) -> Result<(), ErrorKind> {
        let datasets: Vec<_> = self.readable(name)?.contents.datasets.keys().cloned().collect();
        let mut snapshots = datasets.iter().flat_map(|dataset| self.snapshots(dataset));
        if datasets.iter().any(|dataset| self.is_mounted(dataset))
            || snapshots.any(|snapshot| self.is_snapshot_busy(&snapshot))
        {
            return Err(ErrorKind::Busy);
        }
        self.set_imported(name, false);
        Ok(())
    }
}

impl Pool {
    /// Imports it or takes it away. What was mounted of it is not any more.
    pub(super) fn load(&mut self, imported: bool, load_guid: crate::Guid) {
        if imported && !self.imported {
            self.load_guid = load_guid;
        }
        if imported != self.imported {
            for dataset in self.contents.datasets.values_mut().map(Arc::make_mut) {
                (dataset.mounted, dataset.busy) = (false, false);
                for snapshot in dataset.snapshots.values_mut() {
                    snapshot.busy = false;
                }
            }
        }
        self.imported = imported;
    }
}

fn is_found(pool: &Pool, search: &[PathBuf]) -> bool {
    let at = |vdev: &Path| {
        search
            .iter()
            .any(|path| path == vdev || Some(path.as_path()) == vdev.parent())
    };
    search.is_empty() || pool.vdevs.iter().all(|vdev| at(vdev))
}
