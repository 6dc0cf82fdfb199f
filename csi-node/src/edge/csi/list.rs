//! ListVolumes, ListSnapshots and GetCapacity: what is there, and how much more could be.
//!
//! Lists are in the order of ids, and a token is the last id of the page before: whatever comes or goes between two
//! pages, nothing is told twice and nothing left out that was there all the time.

use dotmesh_csi_proto::csi as proto;
use dotmesh_csi_proto::csi::list_volumes_response as volumes_page;
use dotmesh_csi_proto::csi::volume_content_source;
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::{Handle, SnapshotId};
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::Status;

use super::alone::{Alone, Volume, branches, snapshots, volumes};
use super::controller::{parse_format, parse_tuning};
use super::create::{snapshot_source, volume_source};
use super::snapshots::Taken;
use super::{here, invalid};
use crate::ops::{DotDescription, Error};

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// What comes behind this id; empty: from the beginning.
    after: String,
    /// At most so many.
    most: usize,
}

impl Page {
    /// # Errors
    /// A token that no page ended with is `ABORTED`: the caller is to begin anew (CSI, ListVolumes).
    pub(super) fn parse<T: std::str::FromStr>(max_entries: i32, token: String) -> Result<Self, Status> {
        let most = usize::try_from(max_entries).map_err(|_| invalid("max_entries is negative"))?;
        if !token.is_empty() && token.parse::<T>().is_err() {
            return Err(Status::aborted(format!(
                "starting_token {token:?} is none that was given; begin without one"
            )));
        }
        Ok(Self {
            after: token,
            most: if most == 0 { usize::MAX } else { most },
        })
    }

    /// The part, and the token of the next one; empty: it is the last.
    pub(super) fn cut<T>(&self, mut all: Vec<(String, T)>) -> (Vec<T>, String) {
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.retain(|(id, _)| *id > self.after);
        let is_last = all.len() <= self.most;
        all.truncate(self.most);
        let next = all.last().filter(|_| !is_last).map(|(id, _)| id.clone());
        (all.into_iter().map(|(_, one)| one).collect(), next.unwrap_or_default())
    }
}

/// Which snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// The one of this id; inside nothing: an id that is none of ours, which no snapshot has.
    id: Option<Option<SnapshotId>>,
    /// Those of this volume.
    source: Option<Option<Handle>>,
    pub page: Page,
}

pub(super) fn parse_filter(request: proto::ListSnapshotsRequest) -> Result<Filter, Status> {
    let is_said = |text: &String| !text.is_empty();
    let id = Some(request.snapshot_id).filter(is_said);
    let source = Some(request.source_volume_id).filter(is_said);
    Ok(Filter {
        id: id.map(|id| id.parse().ok()),
        source: source.map(|source| source.parse().ok()),
        page: Page::parse::<SnapshotId>(request.max_entries, request.starting_token)?,
    })
}

impl Filter {
    fn takes(&self, taken: &Taken) -> bool {
        self.id.is_none_or(|id| id == Some(taken.id))
            && self.source.is_none_or(|source| source == Some(taken.mark.source))
    }
}

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
    pub(super) async fn list_snapshots(&self, filter: &Filter) -> Result<(Vec<Taken>, String), Error> {
        let mut all = Vec::new();
        match filter.id {
            Some(None) => {}
            Some(Some(id)) => match self.snapshot(id).await {
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
        let taken = all.into_iter().filter(|taken| filter.takes(taken));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_behind_the_last_id_whatever_came_or_went() {
        let all = |ids: &[&str]| {
            ids.iter()
                .map(|id| ((*id).to_owned(), (*id).to_owned()))
                .collect::<Vec<_>>()
        };
        let page = |after: &str, most| Page {
            after: after.to_owned(),
            most,
        };
        let (first, next) = page("", 2).cut(all(&["d", "a", "c"]));
        assert_eq!((first, next.as_str()), (vec!["a".to_owned(), "c".to_owned()], "c"));
        let (rest, next) = page("c", 2).cut(all(&["b", "d", "e"]));
        assert_eq!((rest, next.as_str()), (vec!["d".to_owned(), "e".to_owned()], ""));
        let (none, next) = page("x", 2).cut(all(&["b"]));
        assert_eq!((none.len(), next.as_str()), (0, ""));
    }

    #[test]
    fn a_token_is_an_id_and_nothing_else() {
        let page = |max, token: &str| Page::parse::<SnapshotId>(max, token.to_owned());
        assert_eq!(page(0, "").unwrap().most, usize::MAX);
        assert_eq!(page(-1, "").unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(page(0, "invalid-token").unwrap_err().code(), tonic::Code::Aborted);
    }
}
