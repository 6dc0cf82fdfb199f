//! The hands of a node: pool, Dots, branches, commits and mounts, done on request.
//!
//! [`ops`] does things, through the traits of `dotmesh-zfs` and `dotmesh-mount`; [`layout`] says how Dots lie in ZFS;
//! [`edge`] are the interfaces by which others ask for things: CSI and `dotmesh.node.v1`. [`enroll`] gets the node its
//! certificate. Nothing here knows the Kubernetes API, and nothing decides about placement, history or retention.

pub mod args;
pub mod edge;
pub mod enroll;
pub mod layout;
pub mod metrics;
pub mod operator;
pub mod ops;
pub mod run;
pub mod sole;
