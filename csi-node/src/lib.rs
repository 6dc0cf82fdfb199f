//! The hands of a node: pool, Dots, branches, commits and mounts, done on request.
//!
//! [`ops`] does things, through the traits of `dotmesh-zfs` and `dotmesh-mount`; [`layout`] says how Dots lie in ZFS.

pub mod layout;
pub mod ops;
