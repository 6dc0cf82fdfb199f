//! What a program tells about itself: logs, metrics, health.
//!
//! [`init_logs`] sets up `tracing`; [`Readiness`] says whether the program can do its work; [`serve`] answers
//! `/metrics` (OpenMetrics text), `/healthz` and `/readyz`. Knows nothing of what the program is for.

mod chain;
pub mod documented;
mod http;
mod logs;
mod readiness;

pub use chain::Chain;
pub use http::{bind, serve};
pub use logs::{InitError, LogFilter, LogFormat, UnknownLogFormat, init_logs};
pub use readiness::Readiness;

/// The metrics registry of `prometheus-client`, filled by the program and shown by [`serve`].
pub use prometheus_client::registry::Registry;
