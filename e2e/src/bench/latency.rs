//! Times beside the floor, alternating.

use std::time::Instant;

use anyhow::{Context, Result};
use dotmesh_crds::{Branch, BranchSpec, Commit, CommitSpec, Dot};
use kube::api::{Api, PostParams};
use kube::runtime::wait::await_condition;

use super::metrics::Metrics;
use super::table::{Report, Times};
use super::{Options, PATIENCE, VOLUMES, floor};
use crate::cluster::{Conditions, is_ready};
use crate::objects;
use crate::scenario::Scenario;

/// Publishing as csi-node sees it, and how often.
const PUBLISH_SUM: &str = "csi-node/dotmesh_csi_rpc_seconds_sum";
const PUBLISH_COUNT: &str = "csi-node/dotmesh_csi_rpc_seconds_count";

/// Commits of Dots with 1, 10 and 100 volumes.
pub(super) async fn commits(scenario: &Scenario, options: Options, report: &mut Report) -> Result<()> {
    report.heading("Commit object → Ready, beside bare `zfs snapshot`");
    report.line(format_args!(
        "Milliseconds: median (smallest–largest) of {} samples each, alternating. The floor is one `zfs snapshot` of a \
         container and as many volumes, timed on the node.\n",
        options.samples
    ));
    report.header(&[
        "volumes",
        "Commit",
        "floor",
        "Commit − floor (median)",
        "ratio",
        "Commit, to one of 1 volume",
    ]);
    floor::prepare(scenario, VOLUMES[VOLUMES.len() - 1]).await?;
    let mut of_one = None;
    for volumes in VOLUMES {
        let dot = format!("volumes-{volumes}");
        placed_dot(scenario, &dot, volumes, "64Mi").await?;
        let (mut ours, mut bare) = (Times::default(), Times::default());
        for sample in 0..options.samples {
            bare.add(floor::snapshot(scenario, &format!("c{volumes}-{sample}"), volumes).await?);
            ours.add(commit(scenario, &dot, &format!("{dot}-{sample}")).await?);
        }
        let of_one = *of_one.get_or_insert(ours.p50());
        report.row(&[
            volumes.to_string(),
            ours.shown(),
            bare.shown(),
            format!("{:.0}", (ours.p50() - bare.p50()) * 1e3),
            format!("{:.2}", ours.p50() / bare.p50()),
            format!("{:.2}", ours.p50() / of_one),
        ]);
    }
    floor::remove(scenario).await
}

/// Branches of a small and a large volume.
pub(super) async fn branches(scenario: &Scenario, options: Options, report: &mut Report) -> Result<()> {
    report.heading("Branch object → Ready, beside bare `zfs clone` and mount");
    report.line(format_args!(
        "Milliseconds: median (smallest–largest) of {} samples each, alternating. Both volumes hold a few hundred KiB; the \
         size is what they may hold, in a pool on a sparse file.\n",
        options.samples
    ));
    report.header(&[
        "size of the volume",
        "Branch",
        "floor",
        "Branch − floor (median)",
        "to the small one",
    ]);
    floor::prepare(scenario, 1).await?;
    floor::snapshot(scenario, "base", 1).await?;
    let mut small = None;
    for (dot, size) in [("small", "1Mi"), ("large", options.large)] {
        placed_dot(scenario, dot, 1, size).await?;
        commit(scenario, dot, &format!("{dot}-base")).await?;
        let (mut ours, mut bare) = (Times::default(), Times::default());
        for sample in 0..options.samples {
            bare.add(floor::clone_and_mount(scenario, "base").await?);
            let name = format!("{dot}-{sample}");
            let spec = BranchSpec {
                dot: dot.to_owned(),
                name: name.clone(),
                from: "HEAD".to_owned(),
                restore_from: None,
            };
            ours.add(created_to_ready(scenario, &name, Branch::new(&name, spec)).await?);
            scenario.cluster.delete::<Branch>(&name).await?;
            scenario.cluster.wait_gone::<Branch>(&name).await?;
        }
        let small = *small.get_or_insert(ours.p50());
        report.row(&[
            size.to_owned(),
            ours.shown(),
            bare.shown(),
            format!("{:.0}", (ours.p50() - bare.p50()) * 1e3),
            format!("{:.2}", ours.p50() / small),
        ]);
    }
    floor::remove(scenario).await
}

/// Publishing: the CSI call as csi-node times it, beside mount and bind.
pub(super) async fn publish(
    scenario: &Scenario,
    metrics: &Metrics,
    options: Options,
    report: &mut Report,
) -> Result<()> {
    report.heading("NodePublishVolume, beside bare mount and bind");
    floor::prepare(scenario, 1).await?;
    let cluster = &scenario.cluster;
    let publishes = |sample: &super::metrics::Sample, metric: &str| {
        let by_rpc = sample.by_label(metric, "rpc");
        by_rpc
            .iter()
            .find(|(rpc, _)| rpc == "NodePublishVolume")
            .map_or(0.0, |(_, value)| *value)
    };
    let (mut ours, mut bare) = (Times::default(), Times::default());
    for sample in 0..options.samples.min(8) {
        bare.add(floor::mount_and_bind(scenario).await?);
        let name = format!("publish-{sample}");
        cluster.apply([objects::plain_claim(&name, "64Mi")]).await?;
        let before = metrics.read().await?;
        cluster.apply([objects::holder(&name, &[&name])]).await?;
        cluster.wait_pod(&name).await?;
        let counted = metrics.read().await?.since(&before);
        let count = publishes(&counted, PUBLISH_COUNT);
        anyhow::ensure!(count >= 1.0, "publishing was not counted");
        ours.add(publishes(&counted, PUBLISH_SUM) / count);
    }
    report.line(format_args!(
        "Milliseconds: median (smallest–largest) of {} samples, alternating. First publish of a volume: its private mount \
         and the bind.\n",
        options.samples.min(8)
    ));
    report.header(&["NodePublishVolume", "floor (two programs)", "difference (median)"]);
    report.row(&[
        ours.shown(),
        bare.shown(),
        format!("{:.0}", (ours.p50() - bare.p50()) * 1e3),
    ]);
    floor::remove(scenario).await
}

/// A Dot with volumes on the node: a pod that holds the first one placed it.
pub(super) async fn placed_dot(scenario: &Scenario, dot: &str, volumes: usize, size: &str) -> Result<()> {
    let names: Vec<String> = (0..volumes).map(|i| format!("v{i}")).collect();
    let sized: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), size)).collect();
    let cluster = &scenario.cluster;
    cluster
        .apply([objects::dot(dot, &sized), objects::claim(dot, size, "Dot", dot, "v0")])
        .await?;
    cluster
        .apply([objects::pod(
            dot,
            &[dot],
            "echo data > /$HOSTNAME/file; sync; exec sleep infinity",
        )])
        .await?;
    ready::<Dot>(scenario, dot).await
}

/// Seconds from creating a Commit to seeing it Ready.
pub(super) async fn commit(scenario: &Scenario, dot: &str, name: &str) -> Result<f64> {
    let spec = CommitSpec {
        dot: dot.to_owned(),
        message: Some("measured".to_owned()),
        ..CommitSpec::default()
    };
    created_to_ready(scenario, name, Commit::new(name, spec)).await
}

async fn created_to_ready<K>(scenario: &Scenario, name: &str, object: K) -> Result<f64>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned
        + Conditions
        + Send
        + Sync
        + 'static,
    K::DynamicType: Default,
{
    let api: Api<K> = scenario.cluster.api();
    let start = Instant::now();
    api.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("create {name}"))?;
    ready::<K>(scenario, name).await?;
    Ok(start.elapsed().as_secs_f64())
}

async fn ready<K>(scenario: &Scenario, name: &str) -> Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Conditions
        + Send
        + Sync
        + 'static,
    K::DynamicType: Default,
{
    let ready = |object: Option<&K>| object.is_some_and(is_ready);
    let wait = await_condition(scenario.cluster.api::<K>(), name, ready);
    tokio::time::timeout(PATIENCE, wait)
        .await
        .with_context(|| format!("{name} is not Ready in time"))??;
    Ok(())
}
