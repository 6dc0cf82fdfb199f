//! Volumes that begin as clones, of somebody else's snapshots or of volumes in Commits of other Dots: the Pool that these
//! are on is where the Dot lies.

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::{DotVolume, DotVolumeOrigin, DotVolumeStatus, ZfsSnapshot};
use dotmesh_crds::names::ANNOTATION_CLAIM;
use dotmesh_crds::{Commit, CommitStatus, Dot, Pool};
use dotmesh_model::format::VolumeFormat;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, TypedObjectReference};
use kube::{CustomResourceExt, ResourceExt};

use super::is_importing;
use crate::api::{Api, ApiError, Key};
use crate::claim::copy::{can_convert, restore};
use crate::claim::observe::ObserveError;
use crate::claim::own::is_made_for;
use crate::claim::plan::describe;
use crate::meta::{belongs_to, dot_id, is_deleting, uid};
use crate::status::{Verdict, is_ready, ready_condition};
use crate::volume_snapshot::VolumeSnapshot;

/// Where what a Dot's volumes are to begin with lies, and what that is.
#[derive(Debug, Clone)]
pub struct Place {
    /// The name of the Pool's object.
    pub name: String,
    /// It.
    pub pool: Option<Arc<Pool>>,
    /// What volumes are clones of that begin with a Commit, by their names.
    pub origins: BTreeMap<String, DotVolumeOrigin>,
}

fn volumes(dot: &Dot) -> impl Iterator<Item = &DotVolume> {
    dot.spec.volumes.iter().flatten()
}

fn snapshots(dot: &Dot) -> impl Iterator<Item = &ZfsSnapshot> {
    volumes(dot).filter_map(DotVolume::adopted_from)
}

/// The Commits that volumes of a Dot are to begin with, by name.
fn commits(dot: &Dot) -> impl Iterator<Item = &str> {
    volumes(dot).filter_map(|volume| volume.forked_from().map(|(commit, _)| commit))
}

/// The snapshot that a volume is cloned from, if it is made before everything else of the Dot.
#[must_use]
pub fn snapshot_of<'a>(dot: &'a Dot, volume: &str) -> Option<&'a str> {
    let volume = volumes(dot)
        .filter(|_| is_importing(dot))
        .find(|listed| listed.name == volume)?;
    volume.adopted_from().map(|snapshot| snapshot.name.as_str())
}

/// What a volume is cloned from in a Commit of another Dot, if it is made before everything else of the Dot.
#[must_use]
pub fn origin_of<'a>(dot: &Dot, volume: &'a DotVolumeStatus) -> Option<&'a DotVolumeOrigin> {
    volume.origin.as_ref().filter(|_| is_importing(dot))
}

/// Whether volumes of a Dot are to begin as clones, and may not have.
#[must_use]
pub fn is_awaited(dot: &Dot) -> bool {
    (snapshots(dot).next().is_some() || commits(dot).next().is_some()) && is_importing(dot)
}

/// Whether it may be that what they begin with is on this Pool.
#[must_use]
pub fn is_awaited_from(dot: &Dot, pool: &str) -> bool {
    let is_there = |snapshot: &ZfsSnapshot| snapshot.pool == pool;
    is_awaited(dot) && (snapshots(dot).any(is_there) || commits(dot).next().is_some())
}

/// Whether a Dot's volumes are to begin with this Commit.
#[must_use]
pub fn is_awaited_of(dot: &Dot, commit: &Key) -> bool {
    is_awaited(dot) && dot.namespace() == commit.namespace && commits(dot).any(|name| name == commit.name)
}

/// Looks where they are, by consistent reads; absent: no volume begins so, or all that do have begun. A verdict tells what
/// is missing.
///
/// # Errors
/// Those of the API.
pub async fn observe<A: Api>(api: &A, dot: &Dot) -> Result<Option<Result<Place, Verdict>>, ApiError> {
    if !is_awaited(dot) {
        return Ok(None);
    }
    let mut places: Vec<String> = snapshots(dot).map(|snapshot| snapshot.pool.clone()).collect();
    let mut origins = BTreeMap::new();
    for volume in volumes(dot) {
        let Some((commit, of)) = volume.forked_from() else {
            continue;
        };
        // From here on the node knows; the Commit may go.
        if let (Some(origin), Some(pool)) = (recorded(dot, &[], &volume.name), pool_of(dot)) {
            places.push(pool);
            origins.insert(volume.name.clone(), origin);
            continue;
        }
        match observe_commit(api, dot, volume, commit, of).await? {
            Ok((pool, origin)) => {
                places.push(pool);
                origins.insert(volume.name.clone(), origin);
            }
            Err(verdict) => return Ok(Some(Err(verdict))),
        }
    }
    let Some(name) = places.first().cloned() else {
        return Ok(None);
    };
    if let Some(other) = places.iter().find(|other| **other != name) {
        let why =
            format!("spec.volumes: they begin with what is on Pools {name:?} and {other:?}, and a Dot lies on one");
        return Ok(Some(Err(Verdict::new(Reason::Invalid, why))));
    }
    Ok(Some(Ok(Place {
        pool: api.cached(&Key::cluster(name.as_str())),
        name,
        origins,
    })))
}

/// The Pool that a Commit lies on, and what a volume begins with that is a clone of one in it.
async fn observe_commit<A: Api>(
    api: &A,
    dot: &Dot,
    volume: &DotVolume,
    commit: &str,
    of: &str,
) -> Result<Result<(String, DotVolumeOrigin), Verdict>, ApiError> {
    let beside = |name: &str| Key {
        namespace: dot.namespace(),
        name: name.to_owned(),
    };
    let found: Option<Commit> = api.get(&beside(commit)).await?;
    let source: Option<Dot> = match &found {
        Some(found) => api.get(&beside(&found.spec.dot)).await?,
        None => None,
    };
    Ok(match (found, source) {
        (Some(found), Some(source)) if belongs_to(&found, &source) => {
            let has = format_of(&found, &source, of).unwrap_or_else(|| volume.format());
            let is_other = has != volume.format() && can_convert(has, volume.format());
            let converted = is_other && may_convert(api, dot, &found, of).await?;
            origin((dot, volume), (&found, &source, of), converted)
        }
        _ => Err(Verdict::new(
            Reason::CommitNotFound,
            format!(
                "volume {:?}: there is no Commit {commit:?} in this namespace: kubectl get commits",
                volume.name
            ),
        )),
    })
}

/// What a volume in a Commit is to pods.
fn format_of(commit: &Commit, source: &Dot, of: &str) -> Option<VolumeFormat> {
    let status = commit.status.as_ref()?;
    let found = status.volumes.iter().find(|found| found.name == of)?;
    let mut theirs = source.status.iter().flat_map(|status| &status.volumes);
    theirs.find(|volume| volume.id == found.id).map(DotVolumeStatus::format)
}

/// Whether the volume of a claim's own Dot may be a device of another format than its original: when the claim is to be
/// made from a VolumeSnapshot that stands for it, and its VolumeSnapshotContent allows that. What a Dot says of itself,
/// anybody of the namespace can write.
async fn may_convert<A: Api>(api: &A, dot: &Dot, commit: &Commit, of: &str) -> Result<bool, ApiError> {
    let Some(name) = dot.annotations().get(ANNOTATION_CLAIM) else {
        return Ok(false);
    };
    let namespace = dot.namespace().unwrap_or_default();
    let claim: Option<PersistentVolumeClaim> = api.get(&Key::namespaced(&namespace, name.as_str())).await?;
    let claim = claim.filter(|claim| is_made_for(dot, uid(claim)));
    let source = claim.and_then(|claim| claim.spec?.data_source_ref);
    let is_snapshot = |source: &TypedObjectReference| {
        let kind = VolumeSnapshot::api_resource();
        source.kind == kind.kind && source.api_group.as_ref() == Some(&kind.group) && source.namespace.is_none()
    };
    let Some(source) = source.filter(is_snapshot) else {
        return Ok(false);
    };
    match restore::find(api, &namespace, &source.name).await {
        Ok((original, found)) => {
            let status = commit.status.iter().flat_map(|status| &status.volumes);
            let mut ids = status.filter(|volume| volume.name == of).map(|volume| &volume.id);
            let is_it = uid(&found) == uid(commit) && ids.any(|id| *id == original.volume.to_string());
            Ok(is_it && original.may_convert)
        }
        Err(ObserveError::Api(error)) => Err(error),
        // It says nothing then.
        Err(ObserveError::Claim(_)) => Ok(false),
    }
}

fn pool_of(dot: &Dot) -> Option<String> {
    dot.status.as_ref()?.pool.clone()
}

/// What it is recorded that a volume began with, in the Dot or in the data that it takes over.
pub fn recorded(dot: &Dot, taken: &[DotVolumeStatus], volume: &str) -> Option<DotVolumeOrigin> {
    let volumes = dot.status.iter().flat_map(|status| &status.volumes).chain(taken);
    let mut origins = volumes
        .filter(|recorded| recorded.name == volume)
        .filter_map(|recorded| recorded.origin.clone());
    origins.next()
}

/// What a volume begins with. Once that is recorded it never changes.
fn origin(
    (dot, volume): (&Dot, &DotVolume),
    (commit, source, of): (&Commit, &Dot, &str),
    converted: bool,
) -> Result<(String, DotVolumeOrigin), Verdict> {
    let (name, commit_name) = (&volume.name, commit.name_any());
    let told = |reason, why: String| Err(Verdict::new(reason, format!("volume {name:?}: {why}")));
    let lies = pool_of(source);
    if let (Some(origin), Some(pool)) = (recorded(dot, &[], name), &lies) {
        return Ok((pool.clone(), origin));
    }
    if uid(source) == uid(dot) {
        return told(Reason::Invalid, format!("Commit {commit_name:?} is of this Dot itself"));
    }
    if is_deleting(commit) || is_deleting(source) {
        return told(
            Reason::CommitNotFound,
            format!("Commit {commit_name:?} is being deleted"),
        );
    }
    let CommitStatus {
        id,
        head,
        volumes,
        conditions,
        ..
    } = commit.status.clone().unwrap_or_default();
    let (Some(id), Some(head), Some(pool), true) = (id, head, lies, is_ready(&conditions)) else {
        let why = ready_condition(&conditions).map_or("being made", |ready| ready.message.as_str());
        return told(Reason::NotReady, format!("Commit {commit_name:?} is not ready: {why}"));
    };
    let Some(found) = volumes.iter().find(|found| found.name == of) else {
        let all: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        let why = format!(
            "Commit {commit_name:?} has no volume {of:?}; it has: {}",
            all.join(", ")
        );
        return told(Reason::Invalid, why);
    };
    let has = format_of(commit, source, of);
    if let Some(has) = has.filter(|has| *has != volume.format() && !converted) {
        let why = format!(
            "it is to be {}, and volume {of:?} of Dot {:?} is {}; that never changes",
            describe(volume.format()),
            source.name_any(),
            describe(has)
        );
        return told(Reason::Invalid, why);
    }
    Ok((
        pool,
        DotVolumeOrigin {
            dot: source.name_any(),
            dot_id: dot_id(source).to_owned(),
            commit: commit_name,
            commit_id: id,
            head,
            volume: of.to_owned(),
            volume_id: found.id.clone(),
            guid: found.guid.clone(),
            converted,
        },
    ))
}

impl Place {
    /// The node that the Dot comes to lie on.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.pool.as_deref().map(|pool| pool.spec.node_name.as_str())
    }

    /// Whether the Dot can lie there.
    ///
    /// # Errors
    /// What a person has to change.
    pub fn check(&self, dot: &Dot) -> Result<(), Verdict> {
        let invalid = |why: String| Err(Verdict::new(Reason::Invalid, why));
        let Some(pool) = self.pool.as_deref() else {
            let why = format!("Pool {:?} of importFrom does not exist: kubectl get pools", self.name);
            return Err(Verdict::new(Reason::PoolUnavailable, why));
        };
        if pool.spec.class != dot.spec.pool_class() {
            return invalid(format!(
                "Pool {:?} of importFrom has class {:?}; make the Dot with spec.placement.poolClass {:?}",
                self.name, pool.spec.class, pool.spec.class
            ));
        }
        let there = dot.status.as_ref().and_then(|status| status.node.as_deref());
        match there.filter(|node| *node != pool.spec.node_name) {
            Some(node) => invalid(format!(
                "Pool {:?} of importFrom is on node {:?}, and the Dot lies on {node:?}",
                self.name, pool.spec.node_name
            )),
            None => Ok(()),
        }
    }
}
