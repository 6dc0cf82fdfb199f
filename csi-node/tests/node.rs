//! The program over real OpenZFS and real mounts, inside a test machine: what is asked for over its sockets is looked
//! for with `zpool`, `zfs` and ordinary files.
//!
//! `cargo xtask test --only node` runs this as root with `DOTMESH_TEST_NODE=1` and `DOTMESH_CSI_NODE`, the program. Each
//! test has a pool of its own; without that machine it fails, because it would show nothing.

#![expect(clippy::unwrap_used, reason = "what a test stands on must work, or it fails")]

#[path = "node/csi.rs"]
mod csi;
#[path = "node/describe.rs"]
mod describe;
#[path = "node/devices.rs"]
mod devices;
#[path = "node/figures.rs"]
mod figures;
#[path = "node/kill.rs"]
mod kill;
#[path = "node/load.rs"]
mod load;
#[path = "node/losses.rs"]
mod losses;
#[path = "node/machine.rs"]
mod machine;
#[path = "node/places.rs"]
mod places;
#[path = "node/pool.rs"]
mod pool;
#[path = "node/pools.rs"]
mod pools;
#[path = "node/selinux.rs"]
mod selinux;
#[path = "node/story.rs"]
mod story;
#[path = "node/suspended.rs"]
mod suspended;
#[path = "node/targets.rs"]
mod targets;
