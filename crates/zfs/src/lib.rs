//! OpenZFS as types: names, properties, requests, errors, and the trait [`Zfs`] that does things to a pool.
//!
//! [`ZfsCli`] runs the `zfs` and `zpool` programs (the interface that lasts, where the library is locked to one kernel
//! module); [`FakeZfs`] holds the same state in memory for tests, with switches for what can go wrong. [`contract`] is
//! one suite of sequences that runs on both, so that they cannot drift.
//!
//! This crate must not know what its callers keep in the pool: it speaks of datasets, snapshots and properties only.

pub mod cmd;
pub mod contract;

mod api;
mod cli;
mod counts;
mod error;
mod fake;
mod names;
mod pool;
mod props;
mod request;
mod version;

pub use api::Zfs;
pub use cli::ZfsCli;
pub use counts::{CommandCount, CommandCounts, Verb};
pub use error::{ErrorKind, ZfsError, classify};
pub use fake::{FailWhen, FakeObject, FakeVolume, FakeZfs, Inventory, Tampering};
pub use names::{
    DatasetName, Guid, HoldTag, MAX_DEPTH, MAX_NAME_LEN, MAX_POOL_NAME_LEN, NameError, ObjectName, PoolName, SnapName,
    SnapshotName, Txg,
};
pub use pool::{Health, ImportRequest, ImportablePool, PoolSelector, PoolSpec, PoolStatus};
pub use props::{MAX_VALUE_LEN, PropName, PropValue, Properties};
pub use request::{
    BlockFilesystem, CloneRequest, CreateKind, CreateRequest, GetRequest, Hold, Kind, ListRequest, PropertyRow, Row,
    Source, SourceKind, VolumeDevice,
};
pub use version::{Release, Versions};
