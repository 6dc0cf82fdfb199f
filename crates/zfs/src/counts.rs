//! How many commands were run, by verb: what speed is judged by first, because it is the same on every machine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A command this crate runs. Names metrics and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// `zfs version`
    Version,
    /// `zpool create`
    PoolCreate,
    /// `zpool import <pool>`
    PoolImport,
    /// `zpool import`
    PoolSearch,
    /// `zpool get`
    PoolGet,
    /// `zpool online -e`
    PoolOnline,
    /// `zpool export`
    PoolExport,
    /// `zfs create`
    Create,
    /// `zfs clone`
    Clone,
    /// `zfs snapshot`
    Snapshot,
    /// `zfs hold`
    Hold,
    /// `zfs release`
    Release,
    /// `zfs destroy`
    Destroy,
    /// `zfs rollback`
    Rollback,
    /// `zfs set`
    Set,
    /// `zfs inherit`
    Inherit,
    /// `zfs list`
    List,
    /// `zfs get`
    Get,
    /// `zfs holds`
    Holds,
    /// `mkfs`
    MakeFilesystem,
    /// `fsck`
    CheckFilesystem,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Version,
        Self::PoolCreate,
        Self::PoolImport,
        Self::PoolSearch,
        Self::PoolGet,
        Self::PoolOnline,
        Self::PoolExport,
        Self::Create,
        Self::Clone,
        Self::Snapshot,
        Self::Hold,
        Self::Release,
        Self::Destroy,
        Self::Rollback,
        Self::Set,
        Self::Inherit,
        Self::List,
        Self::Get,
        Self::Holds,
        Self::MakeFilesystem,
        Self::CheckFilesystem,
    ];

    /// The command in words, for messages and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "zfs version",
            Self::PoolCreate => "zpool create",
            Self::PoolImport => "zpool import",
            Self::PoolSearch => "zpool import (search)",
            Self::PoolGet => "zpool get",
            Self::PoolOnline => "zpool online",
            Self::PoolExport => "zpool export",
            Self::Create => "zfs create",
            Self::Clone => "zfs clone",
            Self::Snapshot => "zfs snapshot",
            Self::Hold => "zfs hold",
            Self::Release => "zfs release",
            Self::Destroy => "zfs destroy",
            Self::Rollback => "zfs rollback",
            Self::Set => "zfs set",
            Self::Inherit => "zfs inherit",
            Self::List => "zfs list",
            Self::Get => "zfs get",
            Self::Holds => "zfs holds",
            Self::MakeFilesystem => "mkfs",
            Self::CheckFilesystem => "fsck",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    failures: AtomicU64,
    nanoseconds: AtomicU64,
}

/// Shared counters, one set per [`crate::Zfs`].
#[derive(Debug, Default)]
pub struct CommandCounts([Cell; Verb::ALL.len()]);

/// What was counted for one verb.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommandCount {
    /// Processes started.
    pub count: u64,
    /// Those of them that failed, were killed at their deadline or could not be started.
    pub failures: u64,
    /// Time they took together, from start to end.
    pub total: Duration,
}

impl CommandCounts {
    /// Counts one command.
    pub(crate) fn record(&self, verb: Verb, failed: bool, took: Duration) {
        let cell = &self.0[verb as usize];
        cell.count.fetch_add(1, Ordering::Relaxed);
        cell.failures.fetch_add(u64::from(failed), Ordering::Relaxed);
        cell.nanoseconds
            .fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The counters now, of the verbs that were run at all.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Verb, CommandCount> {
        let counted = |verb: Verb| {
            let cell = &self.0[verb as usize];
            CommandCount {
                count: cell.count.load(Ordering::Relaxed),
                failures: cell.failures.load(Ordering::Relaxed),
                total: Duration::from_nanos(cell.nanoseconds.load(Ordering::Relaxed)),
            }
        };
        Verb::ALL
            .into_iter()
            .map(|verb| (verb, counted(verb)))
            .filter(|(_, count)| count.count > 0)
            .collect()
    }

    /// How many processes were started in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|cell| cell.count.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_cell_of_its_own() {
        for (index, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, index);
        }
        let counts = CommandCounts::default();
        counts.record(Verb::Holds, true, Duration::from_millis(2));
        counts.record(Verb::Holds, false, Duration::from_millis(3));
        let expected = CommandCount {
            count: 2,
            failures: 1,
            total: Duration::from_millis(5),
        };
        assert_eq!(counts.snapshot(), BTreeMap::from([(Verb::Holds, expected)]));
        assert_eq!(counts.total(), 2);
    }
}
