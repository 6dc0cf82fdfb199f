//! The operator's metrics, each described in `docs/metrics.md`. Labels come from closed sets, never from objects' names.

use std::collections::BTreeMap;
use std::fmt;

use dotmesh_crds::{Condition, Reason};
use dotmesh_telemetry::Registry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::api::Caches;
use crate::nodes::NodeErrorKind;
use crate::status::ready_condition;

/// All that are counted; shared by cloning.
#[derive(Debug, Clone)]
pub struct Metrics {
    leads: Gauge,
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
            leads: Gauge::default(),
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
            "dotmesh_leads",
            "1 on the replica whose controllers act",
            self.leads.clone(),
        );
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
            "dotmesh_node_call_seconds",
            "Duration of calls to nodes by name and outcome",
            self.rpcs.clone(),
        );
    }

    /// This replica's controllers act from now on.
    pub fn lead(&self) {
        self.leads.set(1);
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
    pub fn node_call(&self, rpc: &'static str, failure: Option<NodeErrorKind>, seconds: f64) {
        let outcome = failure.map_or("ok", NodeErrorKind::as_str);
        self.rpcs.get_or_create(&RpcLabels { rpc, outcome }).observe(seconds);
    }
}

/// How many objects there are of each kind, by how ready they are: read from the caches when somebody asks.
pub struct Objects(pub Caches);

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").finish_non_exhaustive()
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut counts: BTreeMap<(&'static str, &'static str), i64> = BTreeMap::new();
        macro_rules! count {
            ($($kind:literal: $field:ident,)*) => {$(
                for object in self.0.$field.state() {
                    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice());
                    *counts.entry(($kind, reason(conditions.unwrap_or_default()))).or_default() += 1;
                }
            )*};
        }
        count! { "Dot": dots, "Branch": branches, "Commit": commits, "Pool": pools, "Remnant": remnants, }
        let help = "Objects by kind and the reason of their Ready condition";
        let kind = ConstGauge::new(0i64).metric_type();
        let mut family = encoder.encode_descriptor("dotmesh_objects", help, None, kind)?;
        for ((kind, reason), count) in counts {
            ConstGauge::new(count).encode(family.encode_family(&[("kind", kind), ("reason", reason)])?)?;
        }
        Ok(())
    }
}

/// The Ready condition's reason; of an object that nobody has looked at yet `Progressing`.
fn reason(conditions: &[Condition]) -> &'static str {
    let reason = ready_condition(conditions).map_or(Reason::Progressing.as_str(), |ready| ready.reason.as_str());
    let mut known = Reason::ALL.iter().map(|known| known.as_str());
    known.find(|known| *known == reason).unwrap_or("Other")
}

#[cfg(test)]
mod tests;
