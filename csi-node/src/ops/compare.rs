//! Whether the pool has what it must have.
//!
//! A pool that was taken back to an earlier state (`zpool import --rewind-to-checkpoint`, an old copy of its devices)
//! keeps its GUID, so it is known, but commits that were made since are not in it. If they counted as absent there,
//! volumes would be made anew and empty, and the pool's true state could never come back. So nothing is made or deleted
//! for the operator until the pool was compared with the newest commit that the operator knows. Pods are served
//! meanwhile: what they mount is there or it is not.

use dotmesh_model::id::{CommitId, DotId, HeadId};
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{Kind, ListRequest, ObjectName, PropName, Zfs};
use uuid::Uuid;

use super::{Error, KnownPool, Ops};
use crate::layout::snapshot;

const CREATETXG: PropName = PropName::from_static("createtxg");

/// What is known of a pool's contents since it was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Nobody asked yet.
    NotYet,
    /// It has what must be in it.
    Same,
    /// It was taken back; the sentence for people.
    Rewound(String),
}

/// The newest of the commits that must be in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestCommit {
    /// Its Dot.
    pub dot: DotId,
    /// The head that it was taken of.
    pub head: HeadId,
    /// Itself.
    pub commit: CommitId,
    /// The transaction group of its snapshots.
    pub createtxg: u64,
    /// What people call it.
    pub object: String,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// The pool was compared since it was imported, and has what must be in it.
    ///
    /// # Errors
    /// [`Error::Busy`]: it was not compared yet. [`Error::Rewound`]. [`Error::PoolMissing`].
    pub fn check_compared(&self) -> Result<(), Error> {
        let pool = self.known_pool()?;
        match pool.compared {
            Compared::Same => Ok(()),
            Compared::Rewound(why) => Err(Error::Rewound(why)),
            Compared::NotYet => Err(Error::Busy(format!(
                "pool {} was imported and not yet compared with what must be in it",
                pool.layout.pool()
            ))),
        }
    }

    /// Compares the known pool, unless that was done since its import.
    ///
    /// A single commit that somebody destroyed makes no rewound pool: one is rewound when nothing of ours in it is as
    /// new as the commit that is missing.
    pub(super) async fn compare(&self, newest: Option<&NewestCommit>) -> Result<(), Error> {
        let pool = self.known_pool()?;
        if pool.compared == Compared::Same {
            return Ok(());
        }
        let compared = match newest {
            Some(newest) => self.check_newest(&pool, newest).await?,
            None => Compared::Same,
        };
        if self.known_pool()?.load_guid == pool.load_guid {
            self.set_known_pool(Some(KnownPool { compared, ..pool }));
        }
        self.check_compared()
    }

    async fn check_newest(&self, pool: &KnownPool, newest: &NewestCommit) -> Result<Compared, Error> {
        let expected = snapshot(pool.layout.head(newest.dot, newest.head), newest.commit);
        let look = ListRequest {
            roots: vec![ObjectName::from(expected.clone())],
            depth: Some(0),
            kinds: vec![Kind::Snapshot],
            columns: vec![CREATETXG],
        };
        match self.host.zfs.list(&look).await {
            Ok(_) => return Ok(Compared::Same),
            Err(error) if error.is_not_found() => self.verify_pool(pool).await?,
            Err(error) => return Err(Error::zfs(&format!("looking for {expected}"), &error)),
        }
        let found = self.newest_group(pool).await?;
        if found >= newest.createtxg || is_planted(Mutant::ARewoundPoolForTheKnownOne) {
            tracing::warn!(commit = newest.object, snapshot = %expected, "a commit is missing, newer ones are there");
            return Ok(Compared::Same);
        }
        Ok(Compared::Rewound(format!(
            "pool {} was taken back to an earlier state: commit {} of transaction group {} is not in it, and nothing of \
             ours is newer than group {found}; bring its newest state back, or give up what is missing (docs/pool.md)",
            pool.layout.pool(),
            newest.object,
            newest.createtxg
        )))
    }

    /// The newest transaction group in which something of ours was made.
    async fn newest_group(&self, pool: &KnownPool) -> Result<u64, Error> {
        let all = ListRequest {
            roots: vec![ObjectName::from(pool.layout.root().clone())],
            depth: None,
            kinds: vec![Kind::Filesystem, Kind::Volume, Kind::Snapshot],
            columns: vec![CREATETXG],
        };
        let rows = self.host.zfs.list(&all).await;
        let rows = rows.map_err(|error| Error::zfs("looking for the newest commit", &error))?;
        let ours = rows.iter().filter(|row| {
            let last = row
                .name
                .snapshot()
                .map_or_else(|| row.name.dataset().base(), |name| name.snap().as_str());
            last.parse::<Uuid>().is_ok()
        });
        Ok(ours.filter_map(|row| row.number(&CREATETXG).ok()).max().unwrap_or(0))
    }
}
