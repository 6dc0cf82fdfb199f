//! Generated sequences of operations, run on any [`dotmesh_zfs::Zfs`], with results in a form that can be compared.
//!
//! The target `fake` runs thousands on [`dotmesh_zfs::FakeZfs`] and checks what must hold of any of them; the target
//! `node` runs some on the fake and on OpenZFS side by side and demands the same answer at each step.

pub(crate) mod around;
pub(crate) mod known;
pub(crate) mod normal;
pub(crate) mod operation;
pub(crate) mod strategy;
pub(crate) mod world;
