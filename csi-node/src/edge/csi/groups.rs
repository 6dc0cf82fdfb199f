//! GroupController: snapshots of several volumes of one pool, taken in one transaction group, all of them or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dotmesh_csi_proto::csi as proto;
use dotmesh_csi_proto::csi::group_controller_server::GroupController;
use dotmesh_csi_proto::csi::group_controller_service_capability::rpc::Type as Rpc;
use dotmesh_csi_proto::csi::group_controller_service_capability::{self, Type};
use dotmesh_model::handle::{Handle, SnapshotId};
use dotmesh_model::id::{CommitId, DotId, HeadId};
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::alone::{Alone, snapshots, volume_of};
use super::controller::check_parameters;
use super::ids::{GroupId, Kind, Name, VolumeKey};
use super::mark::Purpose;
use super::node::parse_handle;
use super::snapshots::{Taken, taken, time};
use super::{Csi, invalid};
use crate::ops::{CommitRequest, Error, Ops};

/// A group to take.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TakeGroup {
    name: Name,
    sources: BTreeSet<Handle>,
}

/// A group that is there, perhaps not all of it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    id: GroupId,
    members: Vec<Taken>,
}

/// What a request for a group comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Taken(Group),
    /// Its volumes lie in several pools, so nothing takes them at one moment.
    Apart,
}

fn parse_take_group(request: proto::CreateVolumeGroupSnapshotRequest) -> Result<TakeGroup, Status> {
    let name = Name::parse(Kind::Group, request.name).map_err(invalid)?;
    check_parameters(&request.parameters)?;
    if request.source_volume_ids.is_empty() {
        return Err(invalid("source_volume_ids are missing"));
    }
    let count = request.source_volume_ids.len();
    let sources = request.source_volume_ids.iter().map(|id| parse_handle(id));
    let sources: BTreeSet<Handle> = sources.collect::<Result<_, _>>()?;
    if sources.len() < count {
        return Err(invalid("source_volume_ids name a volume twice"));
    }
    Ok(TakeGroup { name, sources })
}

/// A group's id, when the text is one.
fn parse_group(text: &str) -> Result<Option<GroupId>, Status> {
    match text {
        "" => Err(invalid("group_snapshot_id is missing")),
        text => Ok(text.parse().ok()),
    }
}

impl Group {
    /// With its members in the order of their ids.
    fn new(key: Uuid, mut members: Vec<Taken>) -> Self {
        members.sort_by_key(|member| member.id);
        Self {
            id: GroupId(key),
            members,
        }
    }

    /// Whether the caller means this group. One who names no members does; of one that is not whole any more, members
    /// may be named that are gone.
    fn check_members(&self, named: &[String]) -> Result<(), Error> {
        if named.is_empty() {
            return Ok(());
        }
        let members: BTreeSet<String> = self.members.iter().map(|member| member.id.to_string()).collect();
        let mismatch = |text: &str, says: &str| {
            let id = self.id;
            Err(Error::Invalid(format!("snapshot_ids: {text:?} is {says} group {id}")))
        };
        if let Some(missing) = members.iter().find(|member| !named.contains(member)) {
            return mismatch(missing, "not named, and one of");
        }
        let is_foreign = |text: &&String| match text.parse::<SnapshotId>() {
            Ok(_) => self.is_whole() && !members.contains(*text),
            Err(_) => true,
        };
        named
            .iter()
            .find(is_foreign)
            .map_or(Ok(()), |other| mismatch(other, "none of"))
    }

    /// Whether nothing of it was destroyed, by others or by a deletion that was interrupted.
    fn is_whole(&self) -> bool {
        self.members.iter().all(|member| match member.mark.purpose {
            Purpose::Member { members, .. } => members == self.members.len(),
            Purpose::Snapshot | Purpose::Clone => false,
        })
    }

    fn answer(&self, topology: &[proto::Topology]) -> proto::VolumeGroupSnapshot {
        proto::VolumeGroupSnapshot {
            group_snapshot_id: self.id.to_string(),
            snapshots: self
                .members
                .iter()
                .map(|member| member.answer(topology.to_vec()))
                .collect(),
            creation_time: self.members.first().map(|member| time(member.created)),
            ready_to_use: self.is_whole(),
        }
    }
}

fn member_commit(group: Uuid, source: Handle) -> CommitId {
    CommitId::new(Uuid::new_v5(&group, source.to_string().as_bytes()))
}

impl<Z: Zfs, M: Mount> Alone<Z, M> {
    /// What is there of the groups with one of these keys.
    async fn find_group(&self, keys: &[Uuid]) -> Result<Option<Group>, Error> {
        let mut found: BTreeMap<Uuid, Vec<Taken>> = BTreeMap::new();
        for (_, dots) in self.everything().await? {
            for snapshot in dots.iter().flat_map(|(dot, described)| snapshots(*dot, described)) {
                if let Purpose::Member { group, .. } = snapshot.mark.purpose
                    && keys.contains(&group)
                {
                    found.entry(group).or_default().push(Taken::of(&snapshot));
                }
            }
        }
        // Only one key of a name is in use at a time.
        Ok(found.pop_first().map(|(key, members)| Group::new(key, members)))
    }

    /// All members are there.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the group of that name is of other volumes; [`Error::NotFound`] of a volume;
    /// [`Error::OutOfSpace`]; [`Error::Invalid`] of more than one command can take.
    async fn take_group(&self, take: &TakeGroup) -> Result<Outcome, Error> {
        let TakeGroup { name, sources } = take;
        let _name = self.lock_name(name.first()).await;
        let keys: Vec<Uuid> = name.keys().collect();
        if let Some(group) = self.find_group(&keys).await? {
            let of: BTreeSet<Handle> = group.members.iter().map(|member| member.mark.source).collect();
            return match of == *sources {
                true => Ok(Outcome::Taken(group)),
                false => Err(Error::Conflict(format!(
                    "group {:?} is of other volumes already, not of those that are asked for",
                    name.as_str()
                ))),
            };
        }
        let dots: BTreeSet<DotId> = sources.iter().map(|source| source.dot).collect();
        let mut locks = Vec::new();
        for dot in dots {
            locks.push(self.lock_dot(dot).await);
        }
        let mut pools: BTreeMap<String, Arc<Ops<Z, M>>> = BTreeMap::new();
        let mut found = Vec::new();
        for source in sources {
            let (ops, described) = self.dot_of(*source).await?;
            volume_of(*source, &described)?;
            found.push((*source, described));
            pools.insert(ops.name().to_string(), ops);
        }
        let Some((_, ops)) = pools.pop_first().filter(|_| pools.is_empty()) else {
            return Ok(Outcome::Apart);
        };
        for key in keys {
            let members = found.len();
            let purpose = Purpose::Member { group: key, members };
            let requests = found.iter().map(|(source, described)| {
                let volume = volume_of(*source, described)?;
                Ok(volume.commit_request(member_commit(key, *source), name.as_str(), purpose))
            });
            let requests: Vec<CommitRequest> = requests.collect::<Result<_, Error>>()?;
            match ops.commit_together(&requests).await {
                // Something of an earlier group of that name is left.
                Err(Error::Deleted(_)) => {}
                Err(error) => return Err(error),
                Ok(states) => {
                    let all = requests.iter().zip(sources).zip(&states);
                    let members = all.map(|((request, source), state)| {
                        taken(*source, request.commit, &request.record.metadata, state)
                    });
                    let members = members.collect::<Result<_, _>>()?;
                    return Ok(Outcome::Taken(Group::new(key, members)));
                }
            }
        }
        Err(Error::Deleted(format!(
            "earlier groups of the name {:?} are still being deleted; repeat, or choose another name",
            name.as_str()
        )))
    }

    /// All that is left of the group goes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the caller means others; those of the pool.
    async fn delete_group(&self, id: GroupId, named: &[String]) -> Result<(), Error> {
        let Some(group) = self.find_group(&[id.0]).await? else {
            return self.collect_group(id).await;
        };
        group.check_members(named)?;
        let dots: BTreeSet<DotId> = group.members.iter().map(|member| member.id.dot).collect();
        for dot in dots {
            let _alone = self.lock_dot(dot).await;
            let Some((ops, described)) = self.dot(dot).await? else {
                continue;
            };
            let of_group = snapshots(dot, &described).filter(|snapshot| {
                let purpose = snapshot.mark.purpose;
                matches!(purpose, Purpose::Member { group, .. } if group == id.0)
            });
            let commits: BTreeMap<CommitId, HeadId> =
                of_group.map(|member| (member.id.commit, member.commit.head)).collect();
            self.delete_parts(&ops, dot, None, &commits).await?;
        }
        self.collect_group(id).await
    }

    /// Collects members that are deleted and not gone, after an attempt that was interrupted.
    async fn collect_group(&self, id: GroupId) -> Result<(), Error> {
        for ops in self.pools.all().await? {
            for (dot, state) in ops.dot_states().await? {
                let mut handles = state.branches.iter().filter_map(|(branch, record)| {
                    let key = VolumeKey::of_branch(dot, *branch, record.name())?;
                    Some(key.handle(dot))
                });
                if state.deleted || handles.any(|handle| state.is_dead(member_commit(id.0, handle))) {
                    ops.collect_now(dot).await?;
                }
            }
        }
        Ok(())
    }

    async fn group(&self, id: GroupId, named: &[String]) -> Result<Group, Error> {
        let group = self.find_group(&[id.0]).await?;
        let group = group.ok_or_else(|| no_group(&id.to_string()))?;
        group.check_members(named)?;
        Ok(group)
    }
}

fn no_group(id: &str) -> Error {
    Error::NotFound(format!("there is no group of snapshots {id:?} that was taken here"))
}

#[tonic::async_trait]
impl<Z: Zfs, M: Mount> GroupController for Csi<Z, M> {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<proto::GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<proto::GroupControllerGetCapabilitiesResponse>, Status> {
        let rpc = group_controller_service_capability::Rpc {
            r#type: Rpc::CreateDeleteGetVolumeGroupSnapshot.into(),
        };
        Ok(Response::new(proto::GroupControllerGetCapabilitiesResponse {
            capabilities: vec![proto::GroupControllerServiceCapability {
                r#type: Some(Type::Rpc(rpc)),
            }],
        }))
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<proto::CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<proto::CreateVolumeGroupSnapshotResponse>, Status> {
        let wanted = parse_take_group(request.into_inner())?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.take_group(&wanted).await };
        match self.calls.run("CreateVolumeGroupSnapshot", operation).await? {
            Outcome::Taken(group) => Ok(Response::new(proto::CreateVolumeGroupSnapshotResponse {
                group_snapshot: Some(group.answer(&self.snapshot_topology())),
            })),
            Outcome::Apart => Err(Status::failed_precondition(
                "the volumes lie in several pools, and only those of one can be taken at one moment: ask for a group of each pool",
            )),
        }
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<proto::DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<proto::DeleteVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        if let Some(id) = parse_group(&request.group_snapshot_id)? {
            let alone = Arc::clone(&self.alone);
            let operation = async move { alone.delete_group(id, &request.snapshot_ids).await };
            self.calls.run("DeleteVolumeGroupSnapshot", operation).await?;
        }
        Ok(Response::new(proto::DeleteVolumeGroupSnapshotResponse {}))
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<proto::GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<proto::GetVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let id = parse_group(&request.group_snapshot_id)?;
        let id = id.ok_or_else(|| Status::not_found(no_group(&request.group_snapshot_id).to_string()))?;
        let alone = Arc::clone(&self.alone);
        let operation = async move { alone.group(id, &request.snapshot_ids).await };
        let group = self.calls.run("GetVolumeGroupSnapshot", operation).await?;
        Ok(Response::new(proto::GetVolumeGroupSnapshotResponse {
            group_snapshot: Some(group.answer(&self.snapshot_topology())),
        }))
    }
}
