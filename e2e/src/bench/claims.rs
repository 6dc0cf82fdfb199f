//! Many claims at once: how fast they are bound, and what each costs.

use std::time::Instant;

use anyhow::{Context, Result};
use dotmesh_crds::names::ANNOTATION_SELECTED_NODE;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::wait::await_condition;

use super::metrics::Metrics;
use super::table::{Report, Times};
use super::{PATIENCE, counts, floor};
use crate::objects;
use crate::scenario::Scenario;

/// Plain claims: csi-provisioner makes a volume for each, and the operator a Dot.
pub(super) async fn run(scenario: &Scenario, metrics: &Metrics, claims: usize, report: &mut Report) -> Result<()> {
    report.heading("Claims at once → all Bound");
    report.line(format_args!(
        "Plain claims of the chart's StorageClass, all made at the same moment, with the node that the scheduler would \
         choose written on them: no pod is waited for. Beside them as many `zfs create`, one after the other, on the node \
         before.\n"
    ));
    floor::prepare(scenario, 0).await?;
    let bare = floor::create(scenario, claims).await?;
    floor::remove(scenario).await?;
    let node = scenario.nodes.names().next().context("there is no node")?.to_owned();
    let before = metrics.settled().await?;
    let api: Api<PersistentVolumeClaim> = scenario.cluster.api();
    let start = Instant::now();
    let bound = (0..claims).map(async |number| {
        let name = format!("at-once-{number}");
        let mut claim = objects::plain_claim(&name, "64Mi");
        claim["metadata"]["annotations"] = serde_json::json!({ ANNOTATION_SELECTED_NODE: node });
        api.create(&PostParams::default(), &serde_json::from_value(claim)?)
            .await?;
        let phase = |claim: Option<&PersistentVolumeClaim>| {
            let status = claim.and_then(|claim| claim.status.as_ref());
            status.and_then(|status| status.phase.as_deref()) == Some("Bound")
        };
        let wait = await_condition(api.clone(), &name, phase);
        tokio::time::timeout(PATIENCE, wait)
            .await
            .with_context(|| format!("claim {name} is not Bound"))??;
        anyhow::Ok(start.elapsed().as_secs_f64())
    });
    let all = try_join_all(bound).await?;
    let mut times = Times::default();
    all.into_iter().for_each(|seconds| times.add(seconds));
    let whole = times.percentile(1.0);
    let counted = metrics.settled().await?.since(&before);
    #[expect(clippy::cast_precision_loss, reason = "a count of hundreds")]
    let count = claims as f64;
    report.header(&[
        "claims",
        "all Bound, s",
        "claims/s",
        "median, s",
        "p99, s",
        "`zfs create` of as many, s",
        "ratio",
    ]);
    report.row(&[
        claims.to_string(),
        format!("{whole:.1}"),
        format!("{:.1}", count / whole),
        format!("{:.1}", times.p50()),
        format!("{:.1}", times.percentile(0.99)),
        format!("{bare:.1}"),
        format!("{:.1}", whole / bare),
    ]);
    report.line(format_args!(
        "\nFor each claim: {:.1} API writes of the operator, {:.1} calls of the node, {:.1} `zfs` commands.",
        counted.sum(counts::API_WRITES) / count,
        counted.sum(counts::ROUND_TRIPS) / count,
        counted.sum(counts::PROCESSES) / count,
    ));
    api.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await?;
    Ok(())
}
