//! For tests only: the Kubernetes API and the nodes as values that hold state, and helpers around it.

pub mod accounts;
pub mod contract;
pub mod fake_api;
pub mod fake_nodes;

pub use fake_api::{Answer, Change, FakeApi, Fault, Object};
pub use fake_nodes::FakeNodes;
