//! Tests from outside: through the Kubernetes API and `zfs` on the node only, against a real cluster.
//!
//! The library has what scenarios are made of: a namespace of one's own, objects, bounded waits, a look at the pool,
//! and the demo. It knows nothing of the inside of operator and csi-node. What it needs comes by environment:
//!
//! | variable | what |
//! | --- | --- |
//! | `KUBECONFIG` | an administrator of the cluster |
//! | `DOTMESH_BIN` | folders with kubectl and helm, separated by `:` |
//! | `DOTMESH_TEST_SSH` | words before a command for the node, as a JSON array; with several nodes an object from name to array |
//! | `DOTMESH_DATABASE_IMAGE` | an image with PostgreSQL 17, Redis and bash that the nodes have |
//! | `DOTMESH_CSI_SANITY` | the conformance program; for the target `e2e` |
//! | `DOTMESH_SNAPSHOT_CONTROLLER` | the snapshot-controller; for the target `snapshots` |
//!
//! A missing variable is a failure, never a skipped test.

pub mod bench;
pub mod chart;
pub mod cluster;
pub mod demo;
pub mod dump;
pub mod node;
pub mod objects;
pub mod pool;
pub mod program;
pub mod scenario;
pub mod wait;
