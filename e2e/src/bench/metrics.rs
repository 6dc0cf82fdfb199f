//! What operator and csi-node count, read through the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use crate::cluster::Cluster;
use crate::wait::{Look, until};

/// Namespace of the installation.
const INSTALLED: &str = "dotmesh-system";

/// The pods whose metrics are read.
pub(super) struct Metrics {
    client: Client,
    operator: String,
    csi_node: String,
}

/// Counters at one instant, by name with labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sample(BTreeMap<String, f64>);

impl Metrics {
    /// Finds the pods.
    pub(super) async fn connect(cluster: &Cluster) -> Result<Self> {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), INSTALLED);
        let find = async |component: &str| -> Result<String> {
            let labels = format!("app.kubernetes.io/component={component}");
            let found = pods.list(&ListParams::default().labels(&labels)).await?;
            let pod = found
                .items
                .first()
                .with_context(|| format!("no pod of {component} in {INSTALLED}"))?;
            Ok(pod.name_any())
        };
        Ok(Self {
            client: cluster.client.clone(),
            operator: find("operator").await?,
            csi_node: find("csi-node").await?,
        })
    }

    /// Counters of both programs.
    pub(super) async fn read(&self) -> Result<Sample> {
        let mut all = BTreeMap::new();
        for (program, pod) in [("operator", &self.operator), ("csi-node", &self.csi_node)] {
            let path = format!("/api/v1/namespaces/{INSTALLED}/pods/{pod}:8080/proxy/metrics");
            let request = http::Request::get(path).body(Vec::new())?;
            let text = self
                .client
                .request_text(request)
                .await
                .with_context(|| format!("metrics of {pod}"))?;
            // Who leads is written down every few seconds, whatever else happens.
            let is_counted = |line: &&str| !line.starts_with('#') && !line.contains("kind=\"Lease\"");
            for line in text.lines().filter(is_counted) {
                if let Some((name, value)) = line.rsplit_once(' ') {
                    all.insert(format!("{program}/{name}"), value.parse().unwrap_or(0.0));
                }
            }
        }
        Ok(Sample(all))
    }

    /// Counters once nothing that is counted here moves any more.
    pub(super) async fn settled(&self) -> Result<Sample> {
        let mut before = self.read().await?;
        until("counters at rest", Duration::from_secs(120), async || {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = self.read().await?;
            let moved = now.since(&before).of_interest();
            before = now.clone();
            Ok(Look::some(moved.is_empty().then_some(now), moved.join(", ")))
        })
        .await
    }
}

impl Sample {
    /// What was added since.
    pub(super) fn since(&self, before: &Self) -> Self {
        let added = self
            .0
            .iter()
            .map(|(name, value)| (name.clone(), value - before.0.get(name).unwrap_or(&0.0)));
        Self(added.filter(|(_, value)| *value != 0.0).collect())
    }

    /// Sum of all series of a program's metric.
    pub(super) fn sum(&self, metric: &str) -> f64 {
        let of = |name: &str| {
            name.strip_prefix(metric)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.0.iter().filter(|(name, _)| of(name)).map(|(_, value)| value).sum()
    }

    /// The series of a metric with the value of one label, those that are not zero.
    pub(super) fn by_label(&self, metric: &str, label: &str) -> Vec<(String, f64)> {
        let mut found: BTreeMap<String, f64> = BTreeMap::new();
        let key = format!("{label}=\"");
        for (name, value) in &self.0 {
            let Some(labels) = name.strip_prefix(metric).filter(|rest| rest.starts_with('{')) else {
                continue;
            };
            let Some((_, rest)) = labels.split_once(&key) else {
                continue;
            };
            let Some((label, _)) = rest.split_once('"') else {
                continue;
            };
            *found.entry(label.to_owned()).or_default() += value;
        }
        found.into_iter().collect()
    }

    fn of_interest(&self) -> Vec<String> {
        let counted = [
            super::counts::PROCESSES,
            super::counts::API_WRITES,
            super::counts::ROUND_TRIPS,
        ];
        let interesting = |name: &&String| counted.iter().any(|metric| name.starts_with(metric));
        // The pool is looked at now and then, whatever happens.
        let periodic = |name: &&String| name.contains("verb=\"zpool") || name.contains("Watch");
        self.0
            .keys()
            .filter(interesting)
            .filter(|name| !periodic(name))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_and_told_apart_by_label() {
        let sample = |n: f64| {
            Sample(BTreeMap::from([
                ("p/m_total{verb=\"list\",x=\"1\"}".to_owned(), n),
                ("p/m_total{verb=\"set\",x=\"1\"}".to_owned(), 1.0),
                ("p/m_total_more".to_owned(), 7.0),
            ]))
        };
        let since = sample(3.0).since(&sample(1.0));
        assert_eq!(since.sum("p/m_total"), 2.0);
        assert_eq!(since.by_label("p/m_total", "verb"), [("list".to_owned(), 2.0)]);
    }
}
