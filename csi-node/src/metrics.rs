//! What a node counts: calls by name and outcome, commands by verb; and its pool. Each is described in
//! `docs/metrics.md`.

use std::sync::Arc;
use std::time::Duration;

use dotmesh_telemetry::Registry;
use dotmesh_zfs::CommandCounts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;
use tokio::sync::watch::Receiver;

use crate::ops::{NodeState, PoolState};

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

type Size = fn(&PoolState) -> u64;

/// The node's pool as it was when it was looked at last; nothing is asked of it for this.
#[derive(Debug)]
struct Pools(Receiver<Option<NodeState>>);

impl Collector for Pools {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let state = self.0.borrow();
        let pools = state.as_ref().map_or(&[][..], |state| &state.pools);
        let kind = ConstGauge::new(0i64).metric_type();
        let sizes: [(&str, &str, Size); 3] = [
            ("pool_size", "Bytes of the pool", |pool| pool.size),
            ("pool_allocated", "Bytes of the pool in use", |pool| pool.allocated),
            ("pool_available", "Bytes that new data can use", |pool| pool.available),
        ];
        for (name, help, size) in sizes {
            let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), kind)?;
            for pool in pools {
                let labels = [("pool", pool.name.as_str())];
                ConstGauge::new(i64::try_from(size(pool)).unwrap_or(i64::MAX))
                    .encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor("pool_health", "1 for the health that the pool has", None, kind)?;
        for pool in pools {
            let health = pool.health.to_string();
            let labels = [("pool", pool.name.as_str()), ("health", health.as_str())];
            ConstGauge::new(1i64).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// All metrics of a node: calls of CSI, calls of `dotmesh.node.v1`, commands, and its pool.
#[must_use]
pub fn registry(
    csi: &Rpcs,
    node: &Rpcs,
    commands: Arc<CommandCounts>,
    states: Receiver<Option<NodeState>>,
) -> Registry {
    let mut registry = Registry::with_prefix("dotmesh");
    let (csi, node) = (csi.0.clone(), node.0.clone());
    registry.register_with_unit("csi_rpc", "How long CSI calls took", Unit::Seconds, csi);
    registry.register_with_unit("node_rpc", "How long the operator's calls took", Unit::Seconds, node);
    registry.register_collector(Box::new(Commands(commands)));
    registry.register_collector(Box::new(Pools(states)));
    registry
}

#[cfg(test)]
mod tests {
    use super::*;
    use dotmesh_telemetry::documented;
    use dotmesh_zfs::{FakeZfs, Guid, Health, Zfs};
    use tokio::sync::watch;

    fn shown(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    fn of_state(state: Option<NodeState>) -> String {
        let commands = FakeZfs::new().counts();
        let (_states, watched) = watch::channel(state);
        // What was never called is not shown.
        let called = Rpcs::default();
        let (rpc, outcome) = ("Watch", "Ok");
        called.record(RpcLabels { rpc, outcome }, Duration::from_millis(1));
        shown(&registry(&called, &called, commands, watched))
    }

    #[test]
    fn the_pool_is_shown_as_it_was_seen_last() {
        let pool = PoolState {
            name: "dotmesh".to_owned(),
            guid: Guid(1),
            health: Health::Degraded,
            file_bytes: 0,
            size: 300,
            allocated: 100,
            available: 150,
            fragmentation: 0,
            zfs_userland: String::new(),
            zfs_kernel: String::new(),
            compared: true,
        };
        let text = of_state(Some(NodeState {
            pools: vec![pool],
            users: None,
        }));
        for line in [
            "dotmesh_pool_size_bytes{pool=\"dotmesh\"} 300",
            "dotmesh_pool_allocated_bytes{pool=\"dotmesh\"} 100",
            "dotmesh_pool_available_bytes{pool=\"dotmesh\"} 150",
            "dotmesh_pool_health{pool=\"dotmesh\",health=\"DEGRADED\"} 1",
        ] {
            assert!(text.contains(line), "{line} not in:\n{text}");
        }
    }

    #[test]
    fn the_document_describes_each_metric_and_no_other() {
        let document = include_str!("../../docs/metrics.md");
        assert_eq!(
            documented::families(document, "csi-node"),
            documented::shown(&of_state(None))
        );
    }

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
        let (_states, watched) = watch::channel(None);
        let registry = registry(&Rpcs::default(), &rpcs, zfs.counts(), watched);
        let text = shown(&registry);
        for line in [
            "dotmesh_node_rpc_seconds_count{rpc=\"Commit\",outcome=\"Ok\"} 1",
            "dotmesh_zfs_commands_total{verb=\"zfs version\"} 1",
            "dotmesh_zfs_command_failures_total{verb=\"zfs version\"} 0",
        ] {
            assert!(text.contains(line), "{line} not in:\n{text}");
        }
    }
}
