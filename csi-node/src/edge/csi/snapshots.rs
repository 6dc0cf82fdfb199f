//! Snapshots: commits of one volume's branch. CreateSnapshot answers when the commit is on disk; then it is ready.

use std::collections::BTreeMap;

use dotmesh_csi_proto::csi as proto;
use dotmesh_model::handle::{Handle, SnapshotId};
use dotmesh_model::id::CommitId;
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::Status;

use super::alone::{Alone, Snapshot, snapshots, volume_of};
use super::controller::check_parameters;
use super::ids::{GroupId, Kind, Name};
use super::mark::{Mark, Purpose};
use super::node::parse_handle;
use super::{here, invalid};
use crate::ops::{CommitState, Error};

/// A snapshot to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Take {
    name: Name,
    source: Handle,
}

/// A snapshot that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub id: SnapshotId,
    pub mark: Mark,
    /// Seconds since the epoch.
    pub created: i64,
}

impl Taken {
    pub(super) fn of(snapshot: &Snapshot<'_>) -> Self {
        Self {
            id: snapshot.id,
            mark: snapshot.mark,
            created: snapshot.commit.state.created,
        }
    }

    /// The answer, with where it is usable, where that is told.
    pub(super) fn answer(&self, accessible_topology: Vec<proto::Topology>) -> proto::Snapshot {
        let &Self { id, mark, created } = self;
        let group_snapshot_id = match mark.purpose {
            Purpose::Member { group, .. } => GroupId(group).to_string(),
            Purpose::Snapshot | Purpose::Clone => String::new(),
        };
        proto::Snapshot {
            size_bytes: i64::try_from(mark.size).unwrap_or(i64::MAX),
            snapshot_id: id.to_string(),
            source_volume_id: mark.source.to_string(),
            creation_time: Some(time(created)),
            ready_to_use: true,
            group_snapshot_id,
            accessible_topology,
        }
    }
}

pub(super) fn time(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

pub(super) fn parse_take(request: proto::CreateSnapshotRequest, node: &str) -> Result<Take, Status> {
    let name = Name::parse(Kind::Snapshot, request.name).map_err(invalid)?;
    check_parameters(&request.parameters)?;
    if request.source_volume_id.is_empty() {
        return Err(invalid("source_volume_id is missing"));
    }
    if let Some(wanted) = &request.accessibility_requirements
        && !wanted.requisite.is_empty()
        && !wanted.requisite.iter().any(|topology| here(topology, node))
    {
        return Err(Status::resource_exhausted(format!(
            "a snapshot is usable where its volume is, on node {node} only"
        )));
    }
    let source = parse_handle(&request.source_volume_id)?;
    Ok(Take { name, source })
}

impl<Z: Zfs, M: Mount> Alone<Z, M> {
    /// The snapshot is there.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the snapshot of that name is of another volume; [`Error::NotFound`] of the volume;
    /// [`Error::OutOfSpace`].
    pub(super) async fn take(&self, take: &Take) -> Result<Taken, Error> {
        let Take { name, source } = take;
        let _name = self.lock_name(name.first()).await;
        let keys: Vec<CommitId> = name.keys().map(CommitId::new).collect();
        for (_, dots) in self.everything().await? {
            let mut all = dots.iter().flat_map(|(dot, described)| snapshots(*dot, described));
            if let Some(there) = all.find(|snapshot| keys.contains(&snapshot.id.commit)) {
                if there.mark.source == *source {
                    return Ok(Taken::of(&there));
                }
                let (name, other) = (name.as_str(), there.mark.source);
                return Err(Error::Conflict(format!(
                    "snapshot {name:?} is of volume {other} already"
                )));
            }
        }
        let _alone = self.lock_dot(source.dot).await;
        let (ops, described) = self.dot_of(*source).await?;
        let volume = volume_of(*source, &described)?;
        for key in keys {
            let request = volume.commit_request(key, name.as_str(), Purpose::Snapshot);
            match ops.commit(&request).await {
                // Something of an earlier snapshot of that name is left.
                Err(Error::Deleted(_)) => {}
                Err(error) => return Err(error),
                Ok(state) => return taken(*source, key, &request.record.metadata, &state),
            }
        }
        Err(Error::Deleted(format!(
            "earlier snapshots of the name {:?} are still being deleted; repeat, or choose another name",
            name.as_str()
        )))
    }

    /// The snapshot goes; what was made of it stays. One that is not there is gone.
    ///
    /// # Errors
    /// [`Error::Invalid`] of a member of a group (CSI, DeleteSnapshot); those of the pool.
    pub(super) async fn delete_snapshot(&self, id: SnapshotId) -> Result<(), Error> {
        let Some(ops) = self.pool_of(id.dot).await? else {
            return Ok(());
        };
        let _alone = self.lock_dot(id.dot).await;
        let described = match ops.describe_dot(id.dot).await {
            Err(Error::NotFound(_)) => return Ok(()),
            Err(Error::Deleted(_)) => return ops.collect_now(id.dot).await,
            described => described?,
        };
        let snapshot = snapshots(id.dot, &described).find(|snapshot| snapshot.id == id);
        let mut commits = BTreeMap::new();
        if let Some(snapshot) = snapshot {
            if let Purpose::Member { group, .. } = snapshot.mark.purpose {
                return Err(Error::Invalid(format!(
                    "snapshot {id} is one of group {}: delete that",
                    GroupId(group)
                )));
            }
            commits.insert(id.commit, snapshot.commit.head);
        }
        // Also when it is gone: the Dot may not be, after an attempt that was interrupted.
        self.delete_parts(&ops, id.dot, None, &commits).await.map(drop)
    }

    /// The snapshot of this id.
    ///
    /// # Errors
    /// [`Error::NotFound`]; what cannot be read.
    pub(super) async fn snapshot(&self, id: SnapshotId) -> Result<Taken, Error> {
        let found = self.dot(id.dot).await?;
        let (_, described) = found.ok_or_else(|| no_snapshot(id))?;
        let snapshot = snapshots(id.dot, &described).find(|snapshot| snapshot.id == id);
        snapshot.as_ref().map(Taken::of).ok_or_else(|| no_snapshot(id))
    }
}

fn no_snapshot(id: SnapshotId) -> Error {
    Error::NotFound(format!("there is no snapshot {id} that was taken here"))
}

/// What was just taken, as it is recorded.
pub(super) fn taken(
    source: Handle,
    commit: CommitId,
    metadata: &BTreeMap<String, String>,
    state: &CommitState,
) -> Result<Taken, Error> {
    let mark = Mark::decode(metadata).ok_or_else(|| Error::Internal(format!("the record of commit {commit}")))?;
    let id = SnapshotId {
        dot: source.dot,
        volume: source.volume,
        commit,
    };
    Ok(Taken {
        id,
        mark,
        created: state.created,
    })
}
