//! Everything the plan looks at.

use std::sync::Arc;

use dotmesh_crds::commit::CommitVolume;
use dotmesh_crds::{Commit, Dot};

use super::build::{content_key, snapshot_key};
use crate::api::{Api, ApiError, Key};
use crate::context::Context;
use crate::meta::belongs_to;
use crate::nodes::Nodes;
use crate::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};

/// What there is, and what was done in this pass.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The Commit.
    pub commit: Commit,
    /// All of this is from consistent reads or from our own writes.
    pub is_fresh: bool,
    /// Its Dot.
    pub dot: Option<Arc<Dot>>,
    /// VolumeSnapshots are served here.
    pub is_served: bool,
    /// The cluster does not know the kinds.
    pub is_unknown: bool,
    /// What stands for its volumes, one for each.
    pub pairs: Vec<Pair>,
}

/// What stands for a volume, or is in the place of that.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The volume in the Commit.
    pub volume: CommitVolume,
    /// The object with the name of its VolumeSnapshotContent.
    pub content: Option<VolumeSnapshotContent>,
    /// The object with the name of its VolumeSnapshot.
    pub snapshot: Option<VolumeSnapshot>,
}

/// As the caches show it.
pub fn observe<A: Api, N: Nodes>(context: &Context<A, N>, commit: Commit) -> Observed {
    let api = &context.api;
    let dot = api.cached::<Dot>(&Key {
        namespace: commit.metadata.namespace.clone(),
        name: commit.spec.dot.clone(),
    });
    let is_served = context.config.snapshots;
    let pairs = volumes(&commit).iter().filter(|_| is_served).map(|volume| Pair {
        volume: volume.clone(),
        content: api.cached(&content_key(&commit, volume)).map(Arc::unwrap_or_clone),
        snapshot: api.cached(&snapshot_key(&commit, volume)).map(Arc::unwrap_or_clone),
    });
    Observed {
        pairs: pairs.collect(),
        is_fresh: false,
        is_served,
        is_unknown: false,
        dot: dot.filter(|dot| belongs_to(&commit, dot)),
        commit,
    }
}

/// As it is now.
///
/// # Errors
/// Those of the API.
pub async fn reread_pairs<A: Api>(api: &A, seen: &mut Observed) -> Result<(), ApiError> {
    let mut pairs = Vec::new();
    for volume in volumes(&seen.commit).iter().filter(|_| seen.is_served) {
        pairs.push(Pair {
            volume: volume.clone(),
            content: api.get(&content_key(&seen.commit, volume)).await?,
            snapshot: api.get(&snapshot_key(&seen.commit, volume)).await?,
        });
    }
    seen.pairs = pairs;
    Ok(())
}

fn volumes(commit: &Commit) -> &[CommitVolume] {
    commit.status.as_ref().map_or(&[], |status| &status.volumes)
}
