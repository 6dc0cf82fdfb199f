//! For tests only: the Kubernetes API as a value that holds state, and helpers around it.

pub mod fake_api;

pub use fake_api::{FakeApi, Fault};
