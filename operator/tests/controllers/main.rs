//! The controllers over an API and nodes in memory.

#![expect(clippy::unwrap_used, reason = "what goes wrong here is a failed test")]

mod branches;
mod capacities;
mod commits;
mod copies;
mod deletion;
mod dots;
mod faults;
mod group_snapshots;
mod groups;
mod imports;
mod inline;
mod lead;
mod losses;
mod own_dots;
mod pools;
mod publish;
mod remnants;
mod restores;
mod sizes;
mod snapshots;
mod strays;
mod tuning;
mod wakes;
mod world;
