//! VolumeSnapshots beside Commits and bare snapshots, alternating, and what each writes to the API.

use std::time::Instant;

use anyhow::{Context, Result};
use dotmesh_crds::Commit;
use futures::future::try_join_all;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use kube::runtime::conditions::is_deleted;
use kube::runtime::wait::await_condition;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::requests::Writes;
use super::table::{Report, Times};
use super::{Options, PATIENCE, floor, latency};
use crate::scenario::Scenario;

/// Asked for at the same moment.
const AT_ONCE: usize = 80;
/// Rounds of that.
const ROUNDS: usize = 2;
/// The Dot that all is of, and the claim on it.
const DOT: &str = "snapped";

/// What is compared.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Commit,
    VolumeSnapshot,
}

/// Taking them, one at a time and many at once; then taking and deleting one beside many Commits.
pub(super) async fn run(scenario: &Scenario, options: Options, report: &mut Report) -> Result<()> {
    report.heading("VolumeSnapshot created → readyToUse, beside Commits and bare `zfs snapshot`");
    report.line(format_args!(
        "A Dot of one volume. Milliseconds: median (smallest–largest) of {} samples each, alternating. Writes: all that the \
         API server was asked for meanwhile, by whomever, for each of them.\n",
        options.samples
    ));
    latency::placed_dot(scenario, DOT, 1, "64Mi").await?;
    floor::prepare(scenario, 1).await?;
    one_at_a_time(scenario, options.samples, report).await?;
    at_once(scenario, report).await?;
    floor::remove(scenario).await?;
    beside_many(scenario, options, report).await
}

async fn one_at_a_time(scenario: &Scenario, samples: usize, report: &mut Report) -> Result<()> {
    let (mut snapshots, mut commits, mut bare) = (Times::default(), Times::default(), Times::default());
    for sample in 0..samples {
        bare.add(floor::snapshot(scenario, &format!("s{sample}"), 1).await?);
        commits.add(take(scenario, Kind::Commit, &format!("commit-{sample}")).await?);
        snapshots.add(take(scenario, Kind::VolumeSnapshot, &format!("snapshot-{sample}")).await?);
    }
    report.header(&[
        "VolumeSnapshot",
        "Commit",
        "`zfs snapshot`",
        "to the Commit",
        "to `zfs snapshot`",
    ]);
    report.row(&[
        snapshots.shown(),
        commits.shown(),
        bare.shown(),
        format!("{:.2}", snapshots.p50() / commits.p50()),
        format!("{:.2}", snapshots.p50() / bare.p50()),
    ]);
    report.line(format_args!(""));
    Ok(())
}

async fn at_once(scenario: &Scenario, report: &mut Report) -> Result<()> {
    report.header(&[
        "at once",
        "all there, s",
        "each second",
        "median, s",
        "p99, s",
        "writes for each",
        "of what",
    ]);
    for round in 0..ROUNDS {
        for kind in [Kind::Commit, Kind::VolumeSnapshot] {
            let before = Writes::read(&scenario.cluster.client).await?;
            let start = Instant::now();
            let all = (0..AT_ONCE).map(async |n| {
                take(scenario, kind, &format!("{kind:?}-at-once-{round}-{n}").to_lowercase()).await?;
                anyhow::Ok(start.elapsed().as_secs_f64())
            });
            let mut times = Times::default();
            try_join_all(all)
                .await?
                .into_iter()
                .for_each(|seconds| times.add(seconds));
            let whole = times.percentile(1.0);
            let writes = Writes::read(&scenario.cluster.client).await?;
            let (sum, which) = writes.each_since(&before, AT_ONCE);
            #[expect(clippy::cast_precision_loss, reason = "a count of tens")]
            let rate = AT_ONCE as f64 / whole;
            report.row(&[
                format!("{AT_ONCE} {kind:?}s"),
                format!("{whole:.1}"),
                format!("{rate:.1}"),
                format!("{:.1}", times.p50()),
                format!("{:.1}", times.percentile(0.99)),
                sum,
                which,
            ]);
        }
        let start = Instant::now();
        for n in 0..AT_ONCE {
            floor::snapshot(scenario, &format!("r{round}-{n}"), 1).await?;
        }
        report.row(&[
            format!("{AT_ONCE} `zfs snapshot`, one after the other by ssh"),
            format!("{:.1}", start.elapsed().as_secs_f64()),
        ]);
    }
    Ok(())
}

/// Taking one and deleting it, while the Dot has few and many Commits.
async fn beside_many(scenario: &Scenario, options: Options, report: &mut Report) -> Result<()> {
    report.heading("Taking and deleting one, beside many Commits");
    report.line(format_args!(
        "All of one Dot. Milliseconds until the object is gone, its space freed behind that; median (smallest–largest) of {} \
         samples, alternating.\n",
        options.samples
    ));
    report.header(&[
        "Commits of the Dot",
        "VolumeSnapshot taken",
        "deleted",
        "Commit taken",
        "deleted",
    ]);
    let mut there = scenario.cluster.list::<Commit>().await?.len();
    for wanted in [there, options.commits] {
        while there < wanted {
            let more = (wanted - there).min(AT_ONCE);
            let all = (there..there + more).map(async |n| take(scenario, Kind::Commit, &format!("many-{n}")).await);
            try_join_all(all).await?;
            there += more;
        }
        let mut times = [(); 4].map(|()| Times::default());
        for sample in 0..options.samples {
            for (kind, at) in [(Kind::VolumeSnapshot, 0), (Kind::Commit, 2)] {
                let name = format!("{kind:?}-beside-{wanted}-{sample}").to_lowercase();
                times[at].add(take(scenario, kind, &name).await?);
                times[at + 1].add(remove(scenario, kind, &name).await?);
            }
        }
        let [taken, deleted, commit_taken, commit_deleted] = times.map(|times| times.shown());
        report.row(&[there.to_string(), taken, deleted, commit_taken, commit_deleted]);
    }
    Ok(())
}

fn snapshots(scenario: &Scenario) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshot");
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(scenario.cluster.client.clone(), &scenario.cluster.namespace, &resource)
}

/// Seconds until it can be used.
async fn take(scenario: &Scenario, kind: Kind, name: &str) -> Result<f64> {
    if let Kind::Commit = kind {
        return latency::commit(scenario, DOT, name).await;
    }
    let api = snapshots(scenario);
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": name},
        "spec": {"volumeSnapshotClassName": "dotmesh", "source": {"persistentVolumeClaimName": DOT}},
    }))?;
    let start = Instant::now();
    api.create(&PostParams::default(), &object)
        .await
        .context("create a VolumeSnapshot: is csi-snapshotter installed (cargo xtask bench --snapshots)?")?;
    let usable =
        |object: Option<&DynamicObject>| object.is_some_and(|object| object.data["status"]["readyToUse"] == true);
    let wait = await_condition(api, name, usable);
    tokio::time::timeout(PATIENCE, wait)
        .await
        .with_context(|| format!("VolumeSnapshot {name} cannot be used in time"))??;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds until it is gone.
async fn remove(scenario: &Scenario, kind: Kind, name: &str) -> Result<f64> {
    match kind {
        Kind::Commit => gone(scenario.cluster.api::<Commit>(), name).await,
        Kind::VolumeSnapshot => gone(snapshots(scenario), name).await,
    }
}

async fn gone<K>(api: Api<K>, name: &str) -> Result<f64>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let uid = api.get(name).await?.uid().context("an object has a uid")?;
    let start = Instant::now();
    api.delete(name, &DeleteParams::default()).await?;
    let wait = await_condition(api, name, is_deleted(&uid));
    tokio::time::timeout(PATIENCE, wait)
        .await
        .with_context(|| format!("{name} is not gone in time"))??;
    Ok(start.elapsed().as_secs_f64())
}
