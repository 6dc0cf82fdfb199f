//! What is shown, and that the document describes all of it.

use dotmesh_telemetry::documented;
use kube::runtime::watcher::Event;

use super::*;
use crate::run::watches;

fn shown(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a text");
    text
}

#[test]
fn objects_are_counted_by_what_they_are_ready_for() {
    let (caches, mut writers) = watches::caches();
    let dot = |name: &str, status: &str| {
        let text = format!("{{metadata: {{name: {name}, namespace: dev}}, spec: {{volumes: []}}{status}}}");
        serde_yaml::from_str(&text).expect("a Dot")
    };
    let ready = ", status: {conditions: [{type: Ready, status: 'True', reason: Ready, message: '', \
                 lastTransitionTime: '2026-01-01T00:00:00Z'}]}";
    for dot in [dot("one", ready), dot("two", ready), dot("new", "")] {
        writers.dots.apply_watcher_event(&Event::Apply(dot));
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Objects(caches)));
    let text = shown(&registry);
    for line in [
        "dotmesh_objects{kind=\"Dot\",reason=\"Ready\"} 2",
        "dotmesh_objects{kind=\"Dot\",reason=\"Progressing\"} 1",
    ] {
        assert!(text.contains(line), "{line} not in:\n{text}");
    }
}

#[test]
fn the_document_describes_each_metric_and_no_other() {
    let mut registry = Registry::default();
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    // What never happened is not shown.
    metrics.reconciled("Dot", "ok");
    metrics.api_write("Dot", "patch");
    metrics.node_call("Watch", None, 0.1);
    registry.register_collector(Box::new(Objects(watches::caches().0)));
    let document = include_str!("../../../docs/metrics.md");
    assert_eq!(
        documented::families(document, "The operator"),
        documented::shown(&shown(&registry))
    );
}
