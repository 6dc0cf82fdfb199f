//! Group commit: while one `zfs snapshot` runs, commits of other heads gather and go together in the next.
//!
//! Every command waits for a transaction group to be synced, whatever it carries. Snapshots of one dataset never share
//! a group, so callers let in one commit per head at a time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dotmesh_model::id::CommitId;
use dotmesh_zfs::{ErrorKind, Kind, ListRequest, ObjectName, PropName, Row, SnapshotName, Verb, Zfs, ZfsError};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::layout::{StoredCommit, encode_commits};

/// Most snapshots in one command: their names are its arguments.
const MAX_SNAPSHOTS: usize = 512;
/// Most bytes of records in one command, unless one alone is longer: all of them go on each snapshot.
const MAX_RECORDS: usize = 16 * 1024;

pub(super) const GUID: PropName = PropName::from_static("guid");
pub(super) const CREATETXG: PropName = PropName::from_static("createtxg");
pub(super) const CREATION: PropName = PropName::from_static("creation");
pub(super) const REFERENCED: PropName = PropName::from_static("referenced");
pub(super) const WRITTEN: PropName = PropName::from_static("written");

/// What a commit's snapshots are, by name.
pub(super) type Rows = BTreeMap<SnapshotName, Row>;

/// One commit to take.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub commit: CommitId,
    pub snapshots: Vec<SnapshotName>,
    pub record: StoredCommit,
}

#[derive(Debug)]
struct Waiting {
    item: Item,
    answer: oneshot::Sender<Result<Rows, ZfsError>>,
}

/// Commits that wait for their command.
#[derive(Debug, Default)]
pub(super) struct Batches {
    waiting: Mutex<Vec<Waiting>>,
    running: tokio::sync::Mutex<()>,
}

impl Batches {
    /// Takes all snapshots of the commit, in one transaction, together with those of whoever waits too. Durable when
    /// this returns.
    pub(super) async fn take_snapshots<Z: Zfs>(&self, zfs: &Z, item: Item) -> Result<Rows, ZfsError> {
        let (answer, mut answered) = oneshot::channel();
        self.lock().push(Waiting { item, answer });
        let _running = self.running.lock().await;
        loop {
            match answered.try_recv() {
                Ok(result) => return result,
                // Who ran the command was given up at its deadline: the effect is unknown.
                Err(TryRecvError::Closed) => return Err(ZfsError::new(Verb::Snapshot, ErrorKind::Timeout)),
                Err(TryRecvError::Empty) => run(zfs, self.next()).await,
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As many as go into one command, the longest waiting first; those whose caller is gone are left out.
    fn next(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        waiting.retain(|one| !one.answer.is_closed());
        let (mut snapshots, mut records, mut count) = (0, 0, 0);
        for one in waiting.iter() {
            snapshots += one.item.snapshots.len();
            records += one.item.record.encoded_len();
            if count > 0 && (snapshots > MAX_SNAPSHOTS || records > MAX_RECORDS) {
                break;
            }
            count += 1;
        }
        waiting.drain(..count).collect()
    }
}

/// One command for all; when it fails, one for each, so that nobody fails for another's sake.
async fn run<Z: Zfs>(zfs: &Z, batch: Vec<Waiting>) {
    let items: Vec<&Item> = batch.iter().map(|one| &one.item).collect();
    let results: Vec<Result<(), ZfsError>> = match take(zfs, &items).await {
        Ok(()) => vec![Ok(()); batch.len()],
        Err(error) if batch.len() == 1 || concerns_all(&error) => vec![Err(error); batch.len()],
        Err(_) => {
            let mut results = Vec::with_capacity(batch.len());
            for item in items {
                results.push(take(zfs, &[item]).await);
            }
            results
        }
    };
    let taken = batch.iter().zip(&results).filter(|(_, result)| result.is_ok());
    let names: Vec<SnapshotName> = taken.flat_map(|(one, _)| one.item.snapshots.iter().cloned()).collect();
    let rows = list(zfs, names).await;
    for (one, result) in batch.into_iter().zip(results) {
        let rows = result.and_then(|()| {
            let rows = rows.clone()?;
            Ok(rows
                .into_iter()
                .filter(|(name, _)| one.item.snapshots.contains(name))
                .collect())
        });
        // A caller that gave up meanwhile finds the snapshots when it repeats.
        let _ = one.answer.send(rows);
    }
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

async fn take<Z: Zfs>(zfs: &Z, items: &[&Item]) -> Result<(), ZfsError> {
    let records: BTreeMap<CommitId, StoredCommit> =
        items.iter().map(|item| (item.commit, item.record.clone())).collect();
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
