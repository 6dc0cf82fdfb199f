//! Group commit: while one `zfs snapshot` runs, commits of other heads gather and go together in the next.
//!
//! Every command waits for a transaction group to be synced, whatever it carries. Snapshots of one dataset never share
//! a group, so callers let in one commit per head at a time.

use std::collections::BTreeMap;

use dotmesh_model::id::CommitId;
use dotmesh_zfs::{ErrorKind, Kind, ListRequest, ObjectName, PropName, Row, SnapshotName, Verb, Zfs, ZfsError};

use super::gather::{self, Gather};
use crate::layout::{StoredCommit, encode_commits};

/// Most snapshots in one command: their names are its arguments.
pub(super) const MAX_SNAPSHOTS: usize = 512;
/// Most bytes of records in one command, unless one alone is longer: all of them go on each snapshot.
const MAX_RECORDS: usize = 16 * 1024;

pub(super) const GUID: PropName = PropName::from_static("guid");
pub(super) const CREATETXG: PropName = PropName::from_static("createtxg");
pub(super) const CREATION: PropName = PropName::from_static("creation");
pub(super) const REFERENCED: PropName = PropName::from_static("referenced");
pub(super) const WRITTEN: PropName = PropName::from_static("written");

/// What a commit's snapshots are, by name.
pub(super) type Rows = BTreeMap<SnapshotName, Row>;

/// Commits to take, all of them or none: mostly one.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub commits: BTreeMap<CommitId, StoredCommit>,
    pub snapshots: Vec<SnapshotName>,
}

impl Item {
    /// Bytes of its records.
    pub(super) fn records_len(&self) -> usize {
        self.commits.values().map(StoredCommit::encoded_len).sum()
    }
}

/// What is in one command already.
#[derive(Debug, Default)]
pub(super) struct Load {
    items: usize,
    snapshots: usize,
    records: usize,
}

impl gather::Item for Item {
    type Load = Load;

    fn add(&self, load: &mut Load) -> bool {
        load.items += 1;
        load.snapshots += self.snapshots.len();
        load.records += self.records_len();
        load.items == 1 || (load.snapshots <= MAX_SNAPSHOTS && load.records <= MAX_RECORDS)
    }
}

/// Commits that wait for their command.
#[derive(Debug, Default)]
pub(super) struct Batches(Gather<(), Item, Result<Rows, ZfsError>>);

impl Batches {
    /// Takes all snapshots of the commits, in one transaction, together with those of whoever waits too. Durable when
    /// this returns.
    pub(super) async fn take_snapshots<Z: Zfs>(&self, zfs: &Z, item: Item) -> Result<Rows, ZfsError> {
        let taken = self.0.join((), item, |items| run(zfs, items)).await;
        taken.unwrap_or_else(|| Err(ZfsError::new(Verb::Snapshot, ErrorKind::Timeout)))
    }
}

/// One command for all; when it fails, one for each, so that nobody fails for another's sake.
async fn run<Z: Zfs>(zfs: &Z, items: Vec<Item>) -> Vec<Result<Rows, ZfsError>> {
    let results: Vec<Result<(), ZfsError>> = match take(zfs, &items).await {
        Ok(()) => vec![Ok(()); items.len()],
        Err(error) if items.len() == 1 || concerns_all(&error) => vec![Err(error); items.len()],
        Err(_) => {
            let mut results = Vec::with_capacity(items.len());
            for item in &items {
                results.push(take(zfs, std::slice::from_ref(item)).await);
            }
            results
        }
    };
    let taken = items.iter().zip(&results).filter(|(_, result)| result.is_ok());
    let names: Vec<SnapshotName> = taken.flat_map(|(item, _)| item.snapshots.iter().cloned()).collect();
    let rows = list(zfs, names).await;
    let one = |(item, result): (&Item, Result<(), ZfsError>)| {
        result?;
        let rows = rows.clone()?.into_iter();
        Ok(rows.filter(|(name, _)| item.snapshots.contains(name)).collect())
    };
    items.iter().zip(results).map(one).collect()
}

/// Whether each alone would fail just the same.
fn concerns_all(error: &ZfsError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Timeout
            | ErrorKind::PoolSuspended
            | ErrorKind::PoolUnavailable
            | ErrorKind::PoolMissing
            | ErrorKind::ProgramMissing
            | ErrorKind::ModuleMissing
    )
}

async fn take<Z: Zfs>(zfs: &Z, items: &[Item]) -> Result<(), ZfsError> {
    let records: BTreeMap<CommitId, StoredCommit> = items.iter().flat_map(|item| item.commits.clone()).collect();
    let names: Vec<SnapshotName> = items.iter().flat_map(|item| item.snapshots.iter().cloned()).collect();
    zfs.snapshot(&names, &encode_commits(&records)).await
}

/// What these snapshots are; fails when one is not there.
pub(super) async fn list<Z: Zfs>(zfs: &Z, names: Vec<SnapshotName>) -> Result<Rows, ZfsError> {
    if names.is_empty() {
        return Ok(Rows::new());
    }
    let request = ListRequest {
        roots: names.into_iter().map(ObjectName::from).collect(),
        depth: Some(0),
        kinds: vec![Kind::Snapshot],
        columns: vec![GUID, CREATETXG, CREATION, REFERENCED, WRITTEN],
    };
    let rows = zfs.list(&request).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row.name.snapshot()?.clone(), row)))
        .collect())
}
