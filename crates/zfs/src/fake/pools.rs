//! Pools of [`super::FakeZfs`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::state::{Pool, State};
use crate::{
    CreateKind, ErrorKind, Health, ImportRequest, ImportablePool, PoolName, PoolSelector, PoolSpec, PoolStatus,
    PropName,
};

/// Bytes of every pool here.
const SIZE: u64 = 100 << 30;

impl State {
    pub(super) fn set_imported(&mut self, name: &PoolName, imported: bool) {
        let load_guid = self.next_guid();
        if let Some(pool) = self.pool_mut(name) {
            if imported && !pool.imported {
                pool.load_guid = load_guid;
            }
            pool.imported = imported;
        }
    }

    pub(super) fn pool_create(&mut self, spec: &PoolSpec) -> Result<(), ErrorKind> {
        if self
            .pools
            .iter()
            .any(|pool| pool.vdevs.iter().any(|vdev| spec.vdevs.contains(vdev)))
        {
            return Err(ErrorKind::DeviceInUse);
        }
        if self.pool(&spec.name).is_ok() {
            return Err(ErrorKind::PoolExists);
        }
        let (guid, load_guid) = (self.next_guid(), self.next_guid());
        self.pools.push(Pool {
            name: spec.name.clone(),
            guid,
            load_guid,
            health: Health::Online,
            imported: true,
            full: false,
            vdevs: spec.vdevs.clone(),
            txg: 4,
            datasets: BTreeMap::new(),
        });
        let mut local: BTreeMap<PropName, String> = spec
            .root_properties
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect();
        local
            .entry(PropName::from_static("mountpoint"))
            .or_insert_with(|| "none".to_owned());
        self.insert_dataset(&spec.name.root(), &CreateKind::Filesystem, None, local);
        Ok(())
    }

    pub(super) fn pool_import(&mut self, request: &ImportRequest) -> Result<(), ErrorKind> {
        let wanted = |pool: &&Pool| match &request.pool {
            PoolSelector::Name(name) => pool.name == *name,
            PoolSelector::Guid(guid) => pool.guid == *guid,
        };
        if let PoolSelector::Name(name) = &request.pool
            && self.pool(name).is_ok()
        {
            return Err(ErrorKind::PoolExists);
        }
        let found = self
            .pools
            .iter()
            .filter(wanted)
            .find(|pool| !pool.imported && is_found(pool, &request.search));
        let name = found.map(|pool| pool.name.clone()).ok_or(ErrorKind::PoolMissing)?;
        if self.pool(&name).is_ok() {
            return Err(ErrorKind::PoolExists);
        }
        self.set_imported(&name, true);
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
        let allocated = pool.datasets.values().map(|dataset| dataset.referenced).sum();
        Ok(PoolStatus {
            guid: pool.guid,
            load_guid: pool.load_guid,
            health: pool.health,
            size: SIZE,
            allocated,
            free: if pool.full { 0 } else { SIZE.saturating_sub(allocated) },
            freeing: 0,
            fragmentation: Some(0),
            readonly: false,
        })
    }

    pub(super) fn pool_export(&mut self, name: &PoolName) -> Result<(), ErrorKind> {
        if self
            .pool(name)?
            .datasets
            .values()
            .any(|dataset| dataset.busy || dataset.mounted)
        {
            return Err(ErrorKind::Busy);
        }
        self.set_imported(name, false);
        Ok(())
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
