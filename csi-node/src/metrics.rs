//! What a node counts: calls by name and outcome, commands by verb.

use std::sync::Arc;
use std::time::Duration;

use dotmesh_telemetry::Registry;
use dotmesh_zfs::CommandCounts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

/// A call and how it ended: both of closed sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RpcLabels {
    /// The RPC's name.
    pub rpc: &'static str,
    /// `Ok`, or the category of the error.
    pub outcome: &'static str,
}

fn seconds() -> Histogram {
    // 1 ms to 65 s.
    Histogram::new(exponential_buckets(0.001, 4.0, 9))
}

/// How long calls took, by name and outcome.
#[derive(Debug, Clone)]
pub struct Rpcs(Family<RpcLabels, Histogram, fn() -> Histogram>);

impl Default for Rpcs {
    fn default() -> Self {
        Self(Family::new_with_constructor(seconds))
    }
}

impl Rpcs {
    pub(crate) fn record(&self, labels: RpcLabels, took: Duration) {
        self.0.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// The counters of `dotmesh-zfs` as metrics.
#[derive(Debug)]
struct Commands(Arc<CommandCounts>);

impl Collector for Commands {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.snapshot();
        let started = ConstCounter::new(0u64);
        let mut family = encoder.encode_descriptor("zfs_commands", "Commands run", None, started.metric_type())?;
        for (verb, count) in &counts {
            let labels = [("verb", verb.as_str())];
            ConstCounter::new(count.count).encode(family.encode_family(&labels)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "zfs_command_failures",
            "Commands that failed",
            None,
            started.metric_type(),
        )?;
        for (verb, count) in &counts {
            let labels = [("verb", verb.as_str())];
            ConstCounter::new(count.failures).encode(family.encode_family(&labels)?)?;
        }
        let time = ConstCounter::new(0f64);
        let mut family = encoder.encode_descriptor(
            "zfs_command_time",
            "Time that commands took together",
            Some(&Unit::Seconds),
            time.metric_type(),
        )?;
        for (verb, count) in &counts {
            let labels = [("verb", verb.as_str())];
            ConstCounter::new(count.total.as_secs_f64()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// All metrics of a node: calls of CSI, calls of `dotmesh.node.v1`, and commands.
#[must_use]
pub fn registry(csi: &Rpcs, node: &Rpcs, commands: Arc<CommandCounts>) -> Registry {
    let mut registry = Registry::with_prefix("dotmesh");
    let (csi, node) = (csi.0.clone(), node.0.clone());
    registry.register_with_unit("csi_rpc", "How long CSI calls took", Unit::Seconds, csi);
    registry.register_with_unit("node_rpc", "How long the operator's calls took", Unit::Seconds, node);
    registry.register_collector(Box::new(Commands(commands)));
    registry
}

#[cfg(test)]
mod tests {
    use super::*;
    use dotmesh_zfs::{FakeZfs, Zfs};

    #[tokio::test]
    async fn calls_and_commands_are_shown() {
        let zfs = FakeZfs::new();
        zfs.version().await.unwrap();
        let rpcs = Rpcs::default();
        let labels = RpcLabels {
            rpc: "Commit",
            outcome: "Ok",
        };
        rpcs.record(labels, Duration::from_millis(20));
        let registry = registry(&Rpcs::default(), &rpcs, zfs.counts());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "dotmesh_node_rpc_seconds_count{rpc=\"Commit\",outcome=\"Ok\"} 1",
            "dotmesh_zfs_commands_total{verb=\"zfs version\"} 1",
            "dotmesh_zfs_command_failures_total{verb=\"zfs version\"} 0",
        ] {
            assert!(text.contains(line), "{line} not in:\n{text}");
        }
    }
}
