//! What everybody wrote to the API, as the API server counts it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kube::Client;

/// What is counted: no Leases, no Nodes, and nothing else that is written whatever happens.
const RESOURCES: [&str; 7] = [
    "branches",
    "commits",
    "dots",
    "events",
    "persistentvolumeclaims",
    "volumesnapshotcontents",
    "volumesnapshots",
];

/// Verbs that write.
const VERBS: [&str; 5] = ["APPLY", "DELETE", "PATCH", "POST", "PUT"];

/// Writes by verb and resource, such as `PATCH commits/status`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Writes(BTreeMap<String, f64>);

impl Writes {
    /// All until now.
    pub(super) async fn read(client: &Client) -> Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = client
            .request_text(request)
            .await
            .context("metrics of the API server")?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut found = BTreeMap::new();
        for line in text.lines() {
            let Some((labels, value)) = line
                .strip_prefix("apiserver_request_total{")
                .and_then(|rest| rest.rsplit_once("} "))
            else {
                continue;
            };
            let label = |name: &str| {
                let start = format!("{name}=\"");
                let mut parts = labels.split("\",");
                parts
                    .find_map(|part| part.strip_prefix(&start))
                    .map(|value| value.trim_end_matches('"'))
            };
            let verb = label("verb").filter(|verb| VERBS.contains(verb));
            let resource = label("resource").filter(|resource| RESOURCES.contains(resource));
            if let (Some(verb), Some(resource)) = (verb, resource) {
                let of = match label("subresource").unwrap_or_default() {
                    "" => resource.to_owned(),
                    part => format!("{resource}/{part}"),
                };
                *found.entry(format!("{verb} {of}")).or_default() += value.parse().unwrap_or(0.0);
            }
        }
        Self(found)
    }

    /// Those since then, for each of so many objects: all of them, and which.
    pub(super) fn each_since(&self, before: &Self, objects: usize) -> (String, String) {
        #[expect(clippy::cast_precision_loss, reason = "a count of hundreds")]
        let objects = objects as f64;
        let added = self.0.iter().map(|(name, value)| {
            let before = before.0.get(name).unwrap_or(&0.0);
            (name, (value - before) / objects)
        });
        // What is written now and then, whatever happens, is no part of one.
        let added: Vec<_> = added.filter(|(_, each)| *each >= 0.05).collect();
        let shown = |each: f64| format!("{each:.1}").trim_end_matches(".0").to_owned();
        let sum = added.iter().map(|(_, each)| each).sum::<f64>() + 0.0;
        let which: Vec<_> = added
            .iter()
            .map(|(name, each)| format!("{} {name}", shown(*each)))
            .collect();
        (shown(sum), which.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted_by_verb_and_resource() {
        let text = |commits: u32| {
            format!(
                "# TYPE apiserver_request_total counter\n\
                 apiserver_request_total{{code=\"201\",group=\"dotmesh.io\",resource=\"commits\",subresource=\"\",verb=\"POST\"}} {commits}\n\
                 apiserver_request_total{{code=\"200\",group=\"dotmesh.io\",resource=\"commits\",subresource=\"status\",verb=\"PATCH\"}} 1\n\
                 apiserver_request_total{{code=\"409\",group=\"dotmesh.io\",resource=\"commits\",subresource=\"status\",verb=\"PATCH\"}} {commits}\n\
                 apiserver_request_total{{code=\"200\",group=\"dotmesh.io\",resource=\"commits\",subresource=\"\",verb=\"LIST\"}} 9\n\
                 apiserver_request_total{{code=\"200\",group=\"coordination.k8s.io\",resource=\"leases\",subresource=\"\",verb=\"PUT\"}} {commits}\n"
            )
        };
        let (before, after) = (Writes::parse(&text(2)), Writes::parse(&text(7)));
        let (sum, which) = after.each_since(&before, 2);
        assert_eq!(sum, "5");
        assert_eq!(which, "2.5 PATCH commits/status, 2.5 POST commits");
    }
}
