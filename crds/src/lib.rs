//! The Kubernetes API `dotmesh.io/v1alpha1`: one kind per file. Makes no client calls.

#![expect(unreachable_pub, reason = "the schema derive repeats the types in a private module")]

pub mod branch;
pub mod commit;
pub mod condition;
pub mod dot;
pub mod format;
pub mod names;
pub mod pool;
pub mod remnant;
pub mod yaml;
pub mod zfs;

pub use branch::{Branch, BranchSpec, BranchStatus};
pub use commit::{Commit, CommitSpec, CommitStatus};
pub use condition::{Condition, Reason};
pub use dot::{Dot, DotSpec, DotStatus};
pub use pool::{Pool, PoolSpec, PoolStatus};
pub use remnant::{Remnant, RemnantSpec, RemnantStatus};
