//! The test bed: a real Kubernetes and real OpenZFS on one machine, without a container engine.
//!
//! An instance is a network namespace with a control plane in it (native processes) and nodes (virtual machines). What
//! is built for it, once per machine, lies in the cache; what an instance writes lies in its run folder. This module
//! knows nothing of Dots: it hands out a cluster.

pub(crate) mod cache;
pub(crate) mod cluster;
pub(crate) mod controlplane;
pub(crate) mod dbimage;
pub(crate) mod debian;
pub(crate) mod evidence;
pub(crate) mod gotools;
pub(crate) mod host;
pub(crate) mod instance;
pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod nodeimage;
pub(crate) mod oci;
pub(crate) mod pki;
pub(crate) mod qemu;
pub(crate) mod sandbox;
