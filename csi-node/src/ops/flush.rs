//! What pods wrote to volumes of ZFS before a commit goes to the volumes: a snapshot of one leaves out what is still in
//! the page cache, where one of a filesystem of ZFS has every completed write.

use std::collections::BTreeMap;

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::VolumeId;
use dotmesh_mount::{Mount, MountError, Zvol};
use dotmesh_zfs::Zfs;
use futures::future::try_join_all;

use super::cache::HeadState;
use super::shown::{Form, shown};
use super::{CommitRequest, Error, KnownPool, Ops};
use crate::layout::device_node;

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Writes out the page caches of the head's volumes, all at once, each within the deadline of a mount call. A head
    /// without volumes of ZFS costs nothing. The caller has the Dot's lock: nothing is mounted meanwhile.
    pub(super) async fn flush(&self, pool: &KnownPool, request: &CommitRequest, head: &HeadState) -> Result<(), Error> {
        let devices: BTreeMap<VolumeId, VolumeFormat> = head
            .volumes
            .iter()
            .filter(|(_, format)| **format != VolumeFormat::Zfs)
            .map(|(id, format)| (*id, *format))
            .collect();
        if devices.is_empty() {
            return Ok(());
        }
        let table = self.host.mount_table().await?;
        let flushes = devices.into_iter().map(|(id, format)| {
            let wanted = (request.dot, request.head, id);
            let mounted = table
                .iter()
                .find(|entry| shown(entry) == Some((wanted, Form::Filesystem)))
                .map(|entry| entry.target.clone());
            let zvol = Zvol {
                volume: pool.layout.volume(request.dot, request.head, id).to_string(),
                node: device_node(request.dot, request.head, id),
            };
            async move {
                match (format, mounted) {
                    (VolumeFormat::Block, _) => self.host.mount.flush_zvol(&zvol).await,
                    (_, Some(target)) => self.host.mount.syncfs(&target).await,
                    // Unmounting has written out everything.
                    (_, None) => Ok(()),
                }
            }
        });
        let failed = |error: MountError| {
            let doing = format!("writing out what commit {} shall have", request.commit);
            Error::mount(&doing, &error)
        };
        try_join_all(flushes).await.map(drop).map_err(failed)
    }
}
