//! Volumes that begin as clones of somebody else's snapshots: the Pool that these are on is where the Dot lies. Pure but
//! for the look at that.

use std::sync::Arc;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::{DotVolume, ZfsSnapshot};
use dotmesh_crds::{Dot, Pool};

use super::is_importing;
use crate::api::{Api, Key};
use crate::status::Verdict;

/// Where the snapshots are that a Dot's volumes are to begin with.
#[derive(Debug, Clone)]
pub struct Place {
    /// The name of the Pool's object.
    pub name: String,
    /// It.
    pub pool: Option<Arc<Pool>>,
}

fn snapshots(dot: &Dot) -> impl Iterator<Item = &ZfsSnapshot> {
    let volumes = dot.spec.volumes.iter().flatten();
    volumes.filter_map(DotVolume::adopted_from)
}

/// The snapshot that a volume is cloned from, if it is made before everything else of the Dot.
#[must_use]
pub fn snapshot_of<'a>(dot: &'a Dot, volume: &str) -> Option<&'a str> {
    let listed = dot.spec.volumes.iter().flatten();
    let volume = listed
        .filter(|_| is_importing(dot))
        .find(|listed| listed.name == volume)?;
    volume.adopted_from().map(|snapshot| snapshot.name.as_str())
}

/// Whether volumes of a Dot are to begin with snapshots, and may not have.
#[must_use]
pub fn is_awaited(dot: &Dot) -> bool {
    snapshots(dot).next().is_some() && is_importing(dot)
}

/// Whether they are on this Pool.
#[must_use]
pub fn is_awaited_from(dot: &Dot, pool: &str) -> bool {
    is_awaited(dot) && snapshots(dot).any(|snapshot| snapshot.pool == pool)
}

/// Looks where they are; absent: no volume begins so, or all that do have begun.
pub fn observe<A: Api>(api: &A, dot: &Dot) -> Option<Place> {
    let first = snapshots(dot).next().filter(|_| is_awaited(dot))?;
    Some(Place {
        name: first.pool.clone(),
        pool: api.cached(&Key::cluster(first.pool.as_str())),
    })
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
        if let Some(other) = snapshots(dot).find(|snapshot| snapshot.pool != self.name) {
            return invalid(format!(
                "spec.volumes: snapshots of Pools {:?} and {:?}, and a Dot lies on one",
                self.name, other.pool
            ));
        }
        let Some(pool) = self.pool.as_deref() else {
            let why = format!(
                "Pool {:?} of importFrom.zfsSnapshot does not exist: kubectl get pools",
                self.name
            );
            return Err(Verdict::new(Reason::PoolUnavailable, why));
        };
        if pool.spec.class != dot.spec.pool_class() {
            return invalid(format!(
                "Pool {:?} of importFrom.zfsSnapshot has class {:?}; make the Dot with spec.placement.poolClass {:?}",
                self.name, pool.spec.class, pool.spec.class
            ));
        }
        let there = dot.status.as_ref().and_then(|status| status.node.as_deref());
        match there.filter(|node| *node != pool.spec.node_name) {
            Some(node) => invalid(format!(
                "Pool {:?} of importFrom.zfsSnapshot is on node {:?}, and the Dot lies on {node:?}",
                self.name, pool.spec.node_name
            )),
            None => Ok(()),
        }
    }
}
