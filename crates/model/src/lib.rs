//! Dots, branches and commits as values: ids, names, references, history.
//!
//! Pure: no async, no I/O, no clock, no randomness; knows neither Kubernetes nor ZFS.

pub mod bijection;
pub mod format;
pub mod handle;
pub mod history;
pub mod id;
pub mod import;
pub mod name;
pub mod reference;
pub mod size;
pub mod tuning;
