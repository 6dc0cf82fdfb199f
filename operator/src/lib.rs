//! The operator: controllers for Dot, Branch, Commit with its VolumeSnapshots, Pool and what the scheduler knows of it, the
//! CSI façade, and the nodes' certificates.
//!
//! Effects go through two traits: [`api::Api`] (Kubernetes) and [`nodes::Nodes`] (`dotmesh.node.v1`). What is to be
//! done is decided in each kind's `plan`, which is pure. Nothing here touches ZFS, mounts or processes.

pub mod api;
pub mod args;
pub mod branch;
pub mod capacity;
pub mod check;
pub mod claim;
pub mod commit;
pub mod context;
pub mod dot;
pub mod driver;
pub mod enroll;
pub mod facade;
pub mod inline;
pub mod lead;
pub mod loss;
pub mod meta;
pub mod metrics;
pub mod nodes;
pub mod pki;
pub mod pool;
pub mod publish;
pub mod remnant;
pub mod run;
pub mod status;
pub mod turn;
pub mod volume_snapshot;
pub mod wake;
