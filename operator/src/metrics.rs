//! The operator's metrics. Labels come from closed sets, never from objects' names.

use dotmesh_telemetry::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::nodes::NodeErrorKind;

/// All of them; shared by cloning.
#[derive(Debug, Clone)]
pub struct Metrics {
    reconciles: Family<ReconcileLabels, Counter>,
    api_writes: Family<WriteLabels, Counter>,
    rpcs: Family<RpcLabels, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: String,
    verb: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc: &'static str,
    outcome: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            reconciles: Family::default(),
            api_writes: Family::default(),
            rpcs: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 16))),
        }
    }
}

impl Metrics {
    /// Makes them part of what the program shows.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "dotmesh_reconciles",
            "Reconciles by kind and outcome",
            self.reconciles.clone(),
        );
        registry.register(
            "dotmesh_api_writes",
            "Writes to the Kubernetes API by kind and verb",
            self.api_writes.clone(),
        );
        registry.register(
            "dotmesh_node_rpc_seconds",
            "Duration of calls to nodes by name and outcome",
            self.rpcs.clone(),
        );
    }

    /// One reconcile ended; `outcome` is `ok` or an error's category.
    pub fn reconciled(&self, kind: &str, outcome: &'static str) {
        let kind = kind.to_owned();
        self.reconciles.get_or_create(&ReconcileLabels { kind, outcome }).inc();
    }

    /// One write was sent to the Kubernetes API.
    pub fn api_write(&self, kind: &str, verb: &'static str) {
        let kind = kind.to_owned();
        self.api_writes.get_or_create(&WriteLabels { kind, verb }).inc();
    }

    /// One call to a node ended. `rpc` is the method's name as in the `.proto` file.
    pub fn node_rpc(&self, rpc: &'static str, failure: Option<NodeErrorKind>, seconds: f64) {
        let outcome = failure.map_or("ok", NodeErrorKind::as_str);
        self.rpcs.get_or_create(&RpcLabels { rpc, outcome }).observe(seconds);
    }
}
