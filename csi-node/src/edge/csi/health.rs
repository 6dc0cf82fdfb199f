//! What CSI 1.13 adds in alpha: what is wrong with a volume, and with what it lies on. Served when it is switched on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dotmesh_csi_proto::csi as proto;
use dotmesh_csi_proto::csi::VolumeHealthErrorType as VolumeStatus;
use dotmesh_csi_proto::csi::node_get_storage_health_response::StorageBackendHealth;
use dotmesh_csi_proto::csi::volume_health::VolumeHealthEntry;
use dotmesh_model::handle::{Handle, VolumeRef};
use dotmesh_model::id::HeadId;
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::Status;

use super::alone::{Alone, volumes};
use crate::ops::{Error, Ops, PoolTrouble, Usage};
use dotmesh_csi_proto::list::Page;

/// The answer where the alpha parts are off.
pub(super) fn switched_off() -> Status {
    Status::unimplemented("this is of CSI 1.13, alpha: csi-node serves it with --csi-alpha")
}

/// Something that is wrong with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Pool(PoolTrouble),
    /// Its size is used up.
    Full,
}

const fn reason(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Pool(PoolTrouble::Degraded) => "PoolDegraded",
        Trouble::Pool(PoolTrouble::Full) => "PoolFull",
        Trouble::Pool(PoolTrouble::Suspended) => "PoolSuspended",
        Trouble::Pool(PoolTrouble::Faulted) => "PoolFaulted",
        Trouble::Pool(PoolTrouble::Away) => "PoolUnavailable",
        Trouble::Full => "VolumeFull",
    }
}

/// What it means, and what helps.
fn message(trouble: Trouble, pool: &str) -> String {
    match trouble {
        Trouble::Pool(PoolTrouble::Degraded) => {
            format!("pool {pool} works with less redundancy: replace the device that `zpool status` names")
        }
        Trouble::Pool(PoolTrouble::Full) => {
            format!("pool {pool} has no room for new data: delete something, or make it larger")
        }
        Trouble::Pool(PoolTrouble::Suspended) => {
            format!("pool {pool} does not answer: bring its device back, then `zpool clear`")
        }
        Trouble::Pool(PoolTrouble::Faulted) => format!("pool {pool} is faulted: see `zpool status`"),
        Trouble::Pool(PoolTrouble::Away) => format!("pool {pool} is not imported, or its devices are away"),
        Trouble::Full => "all bytes of the volume's size are used: delete something in it, or expand it".to_owned(),
    }
}

fn health(volume_id: String, pool: &str, troubles: impl IntoIterator<Item = Trouble>) -> proto::VolumeHealth {
    let entry = |trouble| {
        let status = match trouble {
            Trouble::Pool(pool) if pool.is_fatal() => VolumeStatus::Inaccessible,
            Trouble::Pool(_) | Trouble::Full => VolumeStatus::Degraded,
        };
        VolumeHealthEntry {
            status: status.into(),
            reason: reason(trouble).to_owned(),
            message: message(trouble, pool),
        }
    };
    proto::VolumeHealth {
        volume_id,
        health_statuses: troubles.into_iter().map(entry).collect(),
    }
}

impl<Z: Zfs, M: Mount> Alone<Z, M> {
    /// What is wrong with a volume, whoever made it; by its mount as well, when a path is given.
    ///
    /// # Errors
    /// [`Error::NotFound`], when its pool is there and it is not.
    pub(super) async fn volume_health(
        &self,
        handle: Handle,
        path: Option<&Path>,
    ) -> Result<proto::VolumeHealth, Error> {
        let ops = self.pools.of_dot(handle.dot).await?;
        let mut troubles: Vec<Trouble> = ops.pool_troubles().await.into_iter().map(Trouble::Pool).collect();
        if !troubles.iter().any(|trouble| is_fatal(*trouble)) {
            let is_full = self.is_full(&ops, handle, path).await?;
            if is_full && !troubles.contains(&Trouble::Pool(PoolTrouble::Full)) {
                troubles.push(Trouble::Full);
            }
        }
        Ok(health(handle.to_string(), ops.name().as_str(), troubles))
    }

    async fn is_full(&self, ops: &Arc<Ops<Z, M>>, handle: Handle, path: Option<&Path>) -> Result<bool, Error> {
        let head: HeadId = ops.head_shown(handle).await?;
        let full = ops.full_volumes(Some(handle.dot)).await?;
        if full.contains(&(handle.dot, head, handle.volume)) {
            return Ok(true);
        }
        let Some(path) = path else { return Ok(false) };
        match self.pools.host().volume_usage(VolumeRef::Claim(handle), path).await {
            Ok(Usage::Files(usage)) => Ok(usage.available_bytes == 0),
            Ok(Usage::Device(_)) => Ok(false),
            // It may be asked for before it was ever published.
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The volumes that were made here with which something is wrong.
    pub(super) async fn list_volume_health(&self, page: &Page) -> Result<(Vec<proto::VolumeHealth>, String), Error> {
        let mut all = Vec::new();
        for (ops, dots) in self.everything().await? {
            let of_pool = ops.pool_troubles().await;
            let full = ops.full_volumes(None).await?;
            for volume in dots.iter().flat_map(|(dot, described)| volumes(*dot, described)) {
                let place = (volume.dot, volume.head.head, volume.state.id);
                let is_full = full.contains(&place) && !of_pool.contains(&PoolTrouble::Full);
                let troubles: Vec<Trouble> = of_pool
                    .iter()
                    .map(|trouble| Trouble::Pool(*trouble))
                    .chain(is_full.then_some(Trouble::Full))
                    .collect();
                if !troubles.is_empty() {
                    let id = volume.handle().to_string();
                    all.push((id.clone(), health(id, ops.name().as_str(), troubles)));
                }
            }
        }
        Ok(page.cut(all))
    }

    /// What is wrong with the node's pools.
    pub(super) async fn storage_health(&self) -> Result<Vec<StorageBackendHealth>, Error> {
        let mut all: BTreeMap<PoolTrouble, Vec<String>> = BTreeMap::new();
        for ops in self.pools.all().await? {
            for trouble in ops.pool_troubles().await {
                let said = message(Trouble::Pool(trouble), ops.name().as_str());
                all.entry(trouble).or_default().push(said);
            }
        }
        // Of each reason one is told, whatever it is of.
        let told = all.into_iter().map(|(trouble, messages)| {
            let status = match trouble.is_fatal() {
                true => proto::StorageHealthErrorType::StorageUnreachable,
                false => proto::StorageHealthErrorType::StorageDegraded,
            };
            StorageBackendHealth {
                status: status.into(),
                reason: reason(Trouble::Pool(trouble)).to_owned(),
                message: messages.join("; "),
                volume_capability: None,
            }
        });
        Ok(told.collect())
    }
}

const fn is_fatal(trouble: Trouble) -> bool {
    match trouble {
        Trouble::Pool(pool) => pool.is_fatal(),
        Trouble::Full => false,
    }
}
