//! ListVolumes, ListSnapshots and GetCapacity: what is there, and how much more could be.

use dotmesh_csi_proto::csi as proto;
use dotmesh_csi_proto::csi::list_volumes_response as volumes_page;
use dotmesh_csi_proto::csi::volume_content_source;
use dotmesh_csi_proto::list::{Page, SnapshotFilter};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::SnapshotId;
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::Status;

use super::alone::{Alone, Volume, branches, snapshots, volumes};
use super::controller::{parse_format, parse_tuning};
use super::create::{snapshot_source, volume_source};
use super::here;
use super::snapshots::Taken;
use crate::ops::{DotDescription, Error};

/// What new volumes are to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capacity {
    format: Option<VolumeFormat>,
    is_here: bool,
}

pub(super) fn parse_capacity(request: &proto::GetCapacityRequest, node: &str) -> Result<Capacity, Status> {
    parse_tuning(&request.parameters)?;
    let format = match request.volume_capabilities.as_slice() {
        [] => None,
        capabilities => Some(parse_format(capabilities)?),
    };
    let is_here = request
        .accessible_topology
        .as_ref()
        .is_none_or(|topology| here(topology, node));
    Ok(Capacity { format, is_here })
}

impl<Z: Zfs, M: Mount> Alone<Z, M> {
    /// The volumes that were made here. Where they are is for the caller to say.
    pub(super) async fn list_volumes(&self, page: &Page) -> Result<(Vec<volumes_page::Entry>, String), Error> {
        let mut all = Vec::new();
        for (_, dots) in self.everything().await? {
            for (dot, described) in &dots {
                all.extend(volumes(*dot, described).map(|volume| {
                    let id = volume.handle().to_string();
                    let volume = proto::Volume {
                        capacity_bytes: i64::try_from(volume.state.size).unwrap_or(i64::MAX),
                        volume_id: id.clone(),
                        content_source: source_of(&volume, described),
                        ..proto::Volume::default()
                    };
                    let (volume, status) = (Some(volume), None);
                    (id, volumes_page::Entry { volume, status })
                }));
            }
        }
        Ok(page.cut(all))
    }

    /// The snapshots that were taken here.
    pub(super) async fn list_snapshots(&self, filter: &SnapshotFilter) -> Result<(Vec<Taken>, String), Error> {
        let mut all = Vec::new();
        match filter.id.as_ref().map(|id| id.parse::<SnapshotId>()) {
            // No snapshot has an id that is none of ours.
            Some(Err(_)) => {}
            Some(Ok(id)) => match self.snapshot(id).await {
                Ok(taken) => all.push(taken),
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            },
            None => {
                for (_, dots) in self.everything().await? {
                    let taken = dots.iter().flat_map(|(dot, described)| snapshots(*dot, described));
                    all.extend(taken.map(|snapshot| Taken::of(&snapshot)));
                }
            }
        }
        let taken = all
            .into_iter()
            .filter(|taken| filter.takes(&taken.id, &taken.mark.source));
        Ok(filter
            .page
            .cut(taken.map(|taken| (taken.id.to_string(), taken)).collect()))
    }

    /// Bytes that new volumes can use, and how large the largest and smallest can be.
    pub(super) async fn capacity(&self, wanted: Capacity) -> Result<proto::GetCapacityResponse, Error> {
        let ops = self.first_pool().await?;
        let state = ops.refresh_state().await;
        let usable = state.filter(|state| wanted.is_here && state.health.is_usable());
        let (available, size) = usable.map_or((0, 0), |state| (state.available, state.size));
        // All bytes of a device are kept for it; a filesystem may be as large as the pool.
        let largest = wanted.format.map(|format| match format {
            VolumeFormat::Zfs => size,
            VolumeFormat::Ext4 | VolumeFormat::Xfs | VolumeFormat::Block => available,
        });
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok(proto::GetCapacityResponse {
            available_capacity: signed(available),
            maximum_volume_size: largest.map(signed),
            minimum_volume_size: wanted.format.map(|format| signed(format.min_bytes())),
        })
    }
}

/// What a volume was made from; a volume that is gone meanwhile is not told.
fn source_of(volume: &Volume<'_>, described: &DotDescription) -> Option<proto::VolumeContentSource> {
    let origin = volume.head.origin.as_ref()?;
    let source: volume_content_source::Type = if origin.commit == volume.key.clone_commit() {
        let source = branches(volume.dot, described).find(|other| other.head.head == origin.head)?;
        volume_source(source.handle())
    } else {
        snapshot_source(SnapshotId {
            dot: volume.dot,
            volume: volume.state.id,
            commit: origin.commit,
        })
    };
    Some(proto::VolumeContentSource { r#type: Some(source) })
}
