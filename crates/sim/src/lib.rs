//! The deterministic simulator: the operator's reconcilers and csi-node's operations, as they run in production, on one
//! thread, over one API state and one machine that are held in memory; with every effect a point at which something can
//! go wrong, and oracles that judge.
//!
//! It holds no second implementation of any decision. What is simulated are the things around: the API server, ZFS, the
//! kernel's mounts, files, and what Kubernetes' own programs do.

pub mod api;
pub mod campaign;
pub mod complete;
pub mod disk;
pub mod explore;
pub mod fault;
pub mod kubernetes;
pub mod leader;
pub mod machine;
pub mod mount;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod names;
pub mod nodes;
pub mod oracle;
pub mod regression;
pub mod replica;
pub mod show;
pub mod shrink;
pub mod stage;
pub mod tamper;
pub mod view;
pub mod workload;
pub mod world;
pub mod zfs;
