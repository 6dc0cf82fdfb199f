//! Messages of `dotmesh.node.v1` as requests of [`crate::ops`], and its answers as messages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use dotmesh_csi_proto::node as proto;
use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{CommitId, DotId, VolumeId};
use dotmesh_model::tuning::{BlockSize, Tuning};
use dotmesh_zfs::Guid;
use tonic::Status;

use crate::edge::{invalid, parse};
use crate::layout::DotIdentity;
use crate::ops::{
    AttachRequest, BranchRequest, CommitRecord, CommitRequest, CommitState, NewestCommit, NodeState, OriginRequest,
    Place, PoolRequest, PoolState, Recorded, Seed, SeedCommit, User, VolumeRequest, VolumeState, VolumeUser,
};

pub(super) fn ensure_pool(request: proto::EnsurePoolRequest) -> Result<PoolRequest, Status> {
    let proto::EnsurePoolRequest {
        name,
        known_guid,
        source,
        newest,
    } = request;
    let (place, size) = match source {
        Some(Source::File(proto::PoolFile { path, size_bytes })) => (Place::File { path: path.into() }, size_bytes),
        Some(Source::Devices(proto::PoolDevices { paths })) => {
            let devices = paths.into_iter().map(PathBuf::from).collect();
            (Place::Devices { devices }, 0)
        }
        Some(Source::Existing(proto::PoolExisting {})) => (Place::Existing { existing: name.clone() }, 0),
        None => return Err(invalid("source: where the pool lies is missing")),
    };
    Ok(PoolRequest {
        name: parse("name", &name)?,
        known: Some(Guid(known_guid)).filter(|guid| guid.0 != 0),
        place,
        size,
        newest: newest.map(newest_commit).transpose()?,
    })
}

fn newest_commit(newest: proto::NewestCommit) -> Result<NewestCommit, Status> {
    let proto::NewestCommit {
        dot_id,
        head_id,
        commit_id,
        createtxg,
        object,
    } = newest;
    Ok(NewestCommit {
        dot: parse("newest.dot_id", &dot_id)?,
        head: parse("newest.head_id", &head_id)?,
        commit: parse("newest.commit_id", &commit_id)?,
        createtxg,
        object,
    })
}

pub(super) fn ensure_dot(request: proto::EnsureDotRequest) -> Result<(DotId, DotIdentity), Status> {
    let proto::EnsureDotRequest {
        dot_id,
        namespace,
        name,
        pool_guid: _,
        take_over: _,
    } = request;
    // Both are DNS names in Kubernetes, and CSI allows 128 bytes; the property has room for more.
    if namespace.len() > 253 || name.len() > 253 {
        return Err(invalid("name, namespace: longer than 253 bytes"));
    }
    Ok((parse("dot_id", &dot_id)?, DotIdentity { namespace, name }))
}

pub(super) fn ensure_branch(request: proto::EnsureBranchRequest) -> Result<BranchRequest, Status> {
    let proto::EnsureBranchRequest {
        dot_id,
        branch_id,
        branch_name,
        head_id,
        volumes,
        origin,
        checkout,
        pool_guid: _,
        object_name,
    } = request;
    if object_name.len() > 253 {
        return Err(invalid("object_name: longer than 253 bytes"));
    }
    Ok(BranchRequest {
        dot: parse("dot_id", &dot_id)?,
        branch: parse("branch_id", &branch_id)?,
        name: parse("branch_name", &branch_name)?,
        head: parse("head_id", &head_id)?,
        volumes: volumes.iter().map(volume).collect::<Result<_, _>>()?,
        origin: origin.as_ref().map(origin_request).transpose()?,
        checkout,
        object: object_name,
    })
}

fn volume(volume: &proto::Volume) -> Result<VolumeRequest, Status> {
    let proto::Volume {
        id,
        name,
        size_bytes,
        known_guid,
        format,
        tuning,
        adopted_snapshot,
        origin,
    } = volume;
    let adopted = word("volumes.adopted_snapshot", adopted_snapshot)?.map(Seed::Adopted);
    let commit = origin.as_ref().map(seed_commit).transpose()?.map(Seed::Commit);
    if adopted.is_some() && commit.is_some() {
        return Err(invalid(
            "volumes: adopted_snapshot and origin; a volume begins with one of them",
        ));
    }
    Ok(VolumeRequest {
        id: parse("volumes.id", id)?,
        name: parse("volumes.name", name)?,
        size: *size_bytes,
        format: parse_format(*format).ok_or_else(|| invalid("volumes.format: none of ours"))?,
        tuning: tuning.as_ref().map(tuning_request).transpose()?.unwrap_or_default(),
        known: Some(Guid(*known_guid)).filter(|guid| guid.0 != 0),
        seed: adopted.or(commit),
    })
}

fn seed_commit(origin: &proto::VolumeOrigin) -> Result<SeedCommit, Status> {
    let proto::VolumeOrigin {
        dot_id,
        head_id,
        volume_id,
        commit_id,
        snapshot_guid,
        convert,
    } = origin;
    Ok(SeedCommit {
        dot: parse("volumes.origin.dot_id", dot_id)?,
        head: parse("volumes.origin.head_id", head_id)?,
        volume: parse("volumes.origin.volume_id", volume_id)?,
        commit: parse("volumes.origin.commit_id", commit_id)?,
        guid: Guid(*snapshot_guid),
        convert: *convert,
    })
}

/// What a volume is; absent: nothing that is known here.
pub(in crate::edge) fn parse_format(format: i32) -> Option<VolumeFormat> {
    Some(match proto::VolumeFormat::try_from(format).ok()? {
        proto::VolumeFormat::Zfs => VolumeFormat::Zfs,
        proto::VolumeFormat::Ext4 => VolumeFormat::Ext4,
        proto::VolumeFormat::Xfs => VolumeFormat::Xfs,
        proto::VolumeFormat::Block => VolumeFormat::Block,
        proto::VolumeFormat::Unspecified => return None,
    })
}

/// A property's value; empty: nothing is said.
fn word<T>(field: &str, text: &str) -> Result<Option<T>, Status>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    match text {
        "" => Ok(None),
        text => parse(field, text).map(Some),
    }
}

fn tuning_request(tuning: &proto::Tuning) -> Result<Tuning, Status> {
    let proto::Tuning {
        compression,
        recordsize,
        volblocksize,
        thin,
        sync,
    } = tuning;
    let size = |field: &str, bytes: u64, bounds| match (bytes, BlockSize::new(bytes, bounds)) {
        (0, _) => Ok(None),
        (_, Some(size)) => Ok(Some(size)),
        (_, None) => Err(invalid(format!("{field}: {bytes} is no size of blocks"))),
    };
    Ok(Tuning {
        compression: word("volumes.tuning.compression", compression)?,
        sync: word("volumes.tuning.sync", sync)?,
        recordsize: size("volumes.tuning.recordsize", *recordsize, BlockSize::RECORD)?,
        volblocksize: size("volumes.tuning.volblocksize", *volblocksize, BlockSize::VOLUME)?,
        thin: thin.then_some(true),
    })
}

fn tuning_state(tuning: &Tuning) -> proto::Tuning {
    let Tuning {
        compression,
        recordsize,
        volblocksize,
        thin,
        sync,
    } = tuning;
    proto::Tuning {
        compression: compression.as_ref().map(ToString::to_string).unwrap_or_default(),
        recordsize: recordsize.map(BlockSize::bytes).unwrap_or_default(),
        volblocksize: volblocksize.map(BlockSize::bytes).unwrap_or_default(),
        thin: thin.unwrap_or_default(),
        sync: sync.map(|sync| sync.to_string()).unwrap_or_default(),
    }
}

fn origin_request(origin: &proto::Origin) -> Result<OriginRequest, Status> {
    let proto::Origin {
        commit_id,
        head_id,
        snapshot_guids,
    } = origin;
    let pairs = snapshot_guids
        .iter()
        .map(|(volume, guid)| Ok((parse("origin.snapshot_guids", volume)?, Guid(*guid))));
    Ok(OriginRequest {
        commit: parse("origin.commit_id", commit_id)?,
        head: parse("origin.head_id", head_id)?,
        guids: pairs.collect::<Result<BTreeMap<VolumeId, Guid>, Status>>()?,
    })
}

/// The commit that is asked for, and those that it is to be together with.
pub(super) fn commits(mut request: proto::CommitRequest) -> Result<Vec<CommitRequest>, Status> {
    let together = std::mem::take(&mut request.together);
    if together.iter().any(|other| other.pool_guid != request.pool_guid) {
        return Err(invalid("together: of another pool"));
    }
    std::iter::once(request).chain(together).map(commit).collect()
}

fn commit(request: proto::CommitRequest) -> Result<CommitRequest, Status> {
    let proto::CommitRequest {
        dot_id,
        branch_id,
        head_id,
        commit_id,
        volume_ids,
        record,
        pool_guid: _,
        together,
    } = request;
    if !together.is_empty() {
        return Err(invalid("together: of a commit that is itself together with another"));
    }
    let proto::CommitRecord {
        namespace,
        name,
        branch_name,
        message,
        author,
        committer,
        metadata,
    } = record.unwrap_or_default();
    let volumes = volume_ids.iter().map(|id| parse("volume_ids", id));
    Ok(CommitRequest {
        dot: parse("dot_id", &dot_id)?,
        branch: parse("branch_id", &branch_id)?,
        head: parse("head_id", &head_id)?,
        commit: parse("commit_id", &commit_id)?,
        volumes: volumes.collect::<Result<BTreeSet<VolumeId>, Status>>()?,
        record: CommitRecord {
            namespace,
            name,
            branch_name,
            message,
            author,
            committer,
            metadata: metadata.into_iter().collect(),
        },
    })
}

pub(super) fn attach(request: &proto::AttachRequest) -> Result<AttachRequest, Status> {
    let proto::AttachRequest {
        dot_id,
        claim_uid,
        volume_id,
        branch_id,
        pool_guid: _,
    } = request;
    let branch = Some(branch_id).filter(|id| !id.is_empty());
    Ok(AttachRequest {
        dot: parse("dot_id", dot_id)?,
        claim: parse("claim_uid", claim_uid)?,
        volume: parse("volume_id", volume_id)?,
        branch: branch.map(|id| parse("branch_id", id)).transpose()?,
    })
}

pub(super) fn node_state(state: NodeState) -> proto::WatchEvent {
    let NodeState { pools, users } = state;
    proto::WatchEvent {
        pools: pools.into_iter().map(pool_state).collect(),
        users: users.map(|users| proto::VolumeUsers {
            all: users.into_iter().map(volume_user).collect(),
        }),
    }
}

fn volume_user(user: VolumeUser) -> proto::VolumeUser {
    let VolumeUser {
        dot,
        head,
        volume,
        user,
    } = user;
    let (pod_uid, path) = match user {
        User::Pod(uid) => (uid, String::new()),
        User::Path(path) => (String::new(), path.to_string_lossy().into_owned()),
    };
    proto::VolumeUser {
        dot_id: dot.to_string(),
        head_id: head.to_string(),
        volume_id: volume.to_string(),
        pod_uid,
        path,
    }
}

pub(super) fn pool_state(state: PoolState) -> proto::PoolState {
    let PoolState {
        name,
        guid,
        health,
        file_bytes,
        size,
        allocated,
        available,
        fragmentation,
        zfs_userland,
        zfs_kernel,
        compared,
    } = state;
    proto::PoolState {
        name,
        guid: guid.0,
        health: health.to_string(),
        size_bytes: size,
        allocated_bytes: allocated,
        available_bytes: available,
        fragmentation_percent: fragmentation,
        zfs_userland,
        zfs_kernel,
        compared,
        file_bytes,
    }
}

pub(super) fn recorded(request: &proto::FindMissingRequest) -> Result<Vec<Recorded>, Status> {
    request.recorded.iter().map(one_recorded).collect()
}

fn one_recorded(recorded: &proto::Recorded) -> Result<Recorded, Status> {
    let proto::Recorded {
        dot_id,
        head_id,
        commit_id,
        volumes,
    } = recorded;
    let dot = parse("recorded.dot_id", dot_id)?;
    if head_id.is_empty() && commit_id.is_empty() && volumes.is_empty() {
        return Ok(Recorded::Dot(dot));
    }
    let head = parse("recorded.head_id", head_id)?;
    let volumes = volumes
        .iter()
        .map(|volume| Ok((parse("recorded.volumes.id", &volume.id)?, Guid(volume.guid))));
    let volumes = volumes.collect::<Result<BTreeMap<VolumeId, Guid>, Status>>()?;
    if commit_id.is_empty() {
        return Ok(Recorded::Head { dot, head, volumes });
    }
    let commit = parse("recorded.commit_id", commit_id)?;
    Ok(Recorded::Commit {
        dot,
        head,
        commit,
        volumes,
    })
}

pub(super) fn describe_dot(request: &proto::DescribeDotRequest) -> Result<(DotId, Option<CommitId>), Status> {
    let proto::DescribeDotRequest {
        dot_id,
        after_commit_id,
        pool_guid: _,
    } = request;
    let after = match after_commit_id.as_str() {
        "" => None,
        id => Some(parse("after_commit_id", id)?),
    };
    Ok((parse("dot_id", dot_id)?, after))
}

pub(super) fn missing((index, volumes): (usize, BTreeSet<VolumeId>)) -> proto::Missing {
    proto::Missing {
        // A message of that many would be too long.
        index: u32::try_from(index).unwrap_or(u32::MAX),
        volume_ids: volumes.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn volume_state(state: VolumeState) -> proto::VolumeState {
    let VolumeState {
        id,
        guid,
        size,
        format,
        tuning,
        cloned,
    } = state;
    let format = match format {
        VolumeFormat::Zfs => proto::VolumeFormat::Zfs,
        VolumeFormat::Ext4 => proto::VolumeFormat::Ext4,
        VolumeFormat::Xfs => proto::VolumeFormat::Xfs,
        VolumeFormat::Block => proto::VolumeFormat::Block,
    };
    proto::VolumeState {
        format: format.into(),
        tuning: Some(tuning_state(&tuning)),
        id: id.to_string(),
        guid: guid.0,
        size_bytes: size,
        cloned,
    }
}

pub(super) fn commit_state(state: CommitState) -> proto::CommitResponse {
    let CommitState {
        snapshots,
        createtxg,
        created,
        parent,
    } = state;
    let snapshots = snapshots.into_iter().map(|snapshot| proto::SnapshotState {
        volume_id: snapshot.volume.to_string(),
        guid: snapshot.guid.0,
        referenced_bytes: snapshot.referenced,
        written_bytes: snapshot.written,
    });
    proto::CommitResponse {
        snapshots: snapshots.collect(),
        createtxg: createtxg.0,
        created_unix: created,
        parent_commit_id: parent.map_or_else(String::new, |parent| parent.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_commits_record_is_lost() {
        let id = || "0c5a6f6e-1111-4222-8333-444455556666".to_owned();
        let text = str::to_owned;
        let request = proto::CommitRequest {
            dot_id: id(),
            branch_id: id(),
            head_id: id(),
            commit_id: id(),
            volume_ids: vec![id()],
            record: Some(proto::CommitRecord {
                namespace: text("dev"),
                name: text("c1"),
                branch_name: text("main"),
                message: text("why"),
                author: text("Ada <ada@example.com>"),
                committer: text("grace"),
                metadata: [(text("build"), text("512"))].into(),
            }),
            pool_guid: 1,
            together: Vec::new(),
        };
        let record = CommitRecord {
            namespace: text("dev"),
            name: text("c1"),
            branch_name: text("main"),
            message: text("why"),
            author: text("Ada <ada@example.com>"),
            committer: text("grace"),
            metadata: [(text("build"), text("512"))].into(),
        };
        assert_eq!(commit(request).unwrap().record, record);
    }
}
