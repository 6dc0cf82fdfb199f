//! The dataset that everything of ours lies below, and the quota on it that keeps a reserve.

use dotmesh_mount::Mount;
use dotmesh_zfs::{
    CreateKind, CreateRequest, GetRequest, ObjectName, PoolName, PropName, PropValue, Properties, Source, Zfs,
};

use super::{Error, KnownPool, Ops};
use crate::layout::{Layout, SIZED, encode_sized};

/// What is kept back at least, so that commits, deletes and resets still work when pods have filled everything.
const MIN_RESERVE: u64 = 256 << 20;

const MOUNTPOINT: PropName = PropName::from_static("mountpoint");
const SNAPDIR: PropName = PropName::from_static("snapdir");
const ATIME: PropName = PropName::from_static("atime");
const ACLTYPE: PropName = PropName::from_static("acltype");
const QUOTA: PropName = PropName::from_static("quota");
const USED: PropName = PropName::from_static("used");
const AVAILABLE: PropName = PropName::from_static("available");

/// Bytes that Dots may use of `usable` bytes.
fn quota_of(usable: u64) -> u64 {
    usable.saturating_sub(MIN_RESERVE.max(usable / 50))
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// The quota follows the pool's size, whoever made the pool larger.
    pub(super) async fn fit_quota(&self, pool: &KnownPool, size: u64) -> Result<(), Error> {
        let quota = self.ensure_root(&pool.layout, size).await?;
        tracing::info!(pool = %pool.layout.pool(), size, quota, "the pool has another size");
        self.note(pool, |known| (known.size, known.quota) = (size, quota));
        Ok(())
    }

    /// The dataset that everything lies below, with what all of it inherits. Its quota is made when the pool has a size
    /// that it was not made for; another one that somebody set stays until then. Returns it in bytes.
    pub(super) async fn ensure_root(&self, layout: &Layout, size: u64) -> Result<u64, Error> {
        let root = layout.root();
        let doing = format!("preparing {root}");
        let failed = |error| Error::zfs(&doing, &error);
        let fixed = Properties::new()
            .with(MOUNTPOINT, PropValue::from_static("legacy"))
            .with(SNAPDIR, PropValue::from_static("disabled"))
            .with(ATIME, PropValue::from_static("off"))
            // Files have access control lists elsewhere, and are brought here with them.
            .with(ACLTYPE, PropValue::from_static("posix"));
        let usable = self.usable(layout.pool()).await?;
        let sized = encode_sized(size);
        let local = GetRequest::local(
            vec![ObjectName::from(root.clone())],
            vec![MOUNTPOINT, SNAPDIR, ATIME, ACLTYPE, QUOTA, SIZED],
        );
        let rows = match self.host.zfs.get(&local).await {
            Ok(rows) => rows,
            Err(error) if error.is_not_found() => {
                let create = CreateRequest {
                    dataset: root.clone(),
                    kind: CreateKind::Filesystem,
                    properties: fixed.clone().with(QUOTA, quota_of(usable)).with(SIZED, sized),
                    parents: false,
                };
                self.host.zfs.create(&create).await.map_err(failed)?;
                return Ok(quota_of(usable));
            }
            Err(error) => return Err(failed(error)),
        };
        let current = |name: &PropName| {
            let row = rows
                .iter()
                .find(|row| row.property == *name && row.source == Source::Local);
            row.map(|row| row.value.as_str())
        };
        let quota = current(&QUOTA)
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|quota| *quota > 0 && current(&SIZED) == Some(sized.as_str()));
        let mut missing: Properties = fixed
            .iter()
            .filter(|(name, value)| current(name) != Some(value.to_string().as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if quota.is_none() {
            missing.insert(QUOTA, quota_of(usable));
            missing.insert(SIZED, sized);
        }
        if !missing.is_empty() {
            self.host.zfs.set(root, &missing).await.map_err(failed)?;
        }
        Ok(quota.unwrap_or_else(|| quota_of(usable)))
    }

    /// Bytes that datasets of the pool have and could get, without what ZFS keeps for itself.
    async fn usable(&self, pool: &PoolName) -> Result<u64, Error> {
        let request = GetRequest {
            targets: vec![ObjectName::from(pool.root())],
            properties: vec![USED, AVAILABLE],
            sources: Vec::new(),
            depth: Some(0),
            kinds: Vec::new(),
        };
        let rows = self
            .host
            .zfs
            .get(&request)
            .await
            .map_err(|error| Error::zfs(&format!("asking how large pool {pool} is"), &error))?;
        Ok(rows.iter().filter_map(|row| row.value.parse::<u64>().ok()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_always_kept_back() {
        assert_eq!(quota_of(1 << 30), (1 << 30) - (256 << 20));
        assert_eq!(quota_of(100 << 30), (100 << 30) - (100 << 30) / 50);
        assert_eq!(quota_of(1), 0);
    }
}
