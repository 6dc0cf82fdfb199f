//! Volumes grow under running pods.

use anyhow::{Context, Result, ensure};
use dotmesh_crds::{Commit, Dot};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder, plain_claim};
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

/// A person asks for more.
async fn ask(s: &Scenario, claim: &str, size: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#);
    s.cluster
        .kubectl(&["patch", "pvc", claim, "--type=merge", "-p", &patch])?
        .output()
        .await
        .map(drop)
}

/// Until claim and PersistentVolume tell this size.
async fn wait_capacity(s: &Scenario, claim: &str, size: &str) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(s.cluster.client.clone());
    until(&format!("claim {claim} of {size}"), PATIENCE, async || {
        let found: PersistentVolumeClaim = s.cluster.get(claim).await?;
        let name = found.spec.and_then(|spec| spec.volume_name).context("bound")?;
        let volume = volumes.get(&name).await?.spec.and_then(|spec| spec.capacity);
        let capacity = found.status.as_ref().and_then(|status| status.capacity.clone());
        let told: Vec<String> = [capacity, volume]
            .into_iter()
            .map(|all| {
                all.unwrap_or_default()
                    .get("storage")
                    .map_or_else(String::new, |size| size.0.clone())
            })
            .collect();
        Ok(Look::when(
            told == [size, size],
            format!("{told:?}; {:?}", found.status.map(|status| status.conditions)),
        ))
    })
    .await
}

/// What a pod sees of its claims, in MiB.
async fn df(s: &Scenario, pod: &str, claims: &[&str]) -> Result<Vec<String>> {
    let folders: Vec<String> = claims.iter().map(|claim| format!("/{claim}")).collect();
    let script = format!("df --output=size -B1M {} | tail -n +2", folders.join(" "));
    let seen = s.cluster.bash(pod, &script).await?;
    Ok(seen.split_whitespace().map(str::to_owned).collect())
}

/// Whether so many MiB can be written to a new file of a claim. Far from the limit or beyond it: near it ZFS waits for what
/// is on its way, write by write.
async fn can_write(s: &Scenario, pod: &str, claim: &str, mib: u32) -> Result<bool> {
    let script = format!(
        "rm -f /{claim}/big; sync; if dd if=/dev/urandom of=/{claim}/big bs=1M count={mib} conv=fsync 2>/dev/null; then echo yes; else echo no; fi"
    );
    Ok(s.cluster.bash(pod, &script).await?.trim() == "yes")
}

#[tokio::test]
async fn claims_grow_under_running_pods_on_all_branches() {
    scenario("claims grow", async |s| {
        s.cluster
            .apply([
                dot("shop", &[("db", "16Mi")]),
                claim("db", "16Mi", "Dot", "shop", "db"),
                plain_claim("plain", "16Mi"),
                holder("app", &["db", "plain"]),
            ])
            .await?;
        s.cluster.wait_pod("app").await?;
        s.cluster.wait_ready::<Dot>("shop").await?;
        s.cluster.apply([commit("first", "shop")]).await?;
        s.cluster.wait_ready::<Commit>("first").await?;
        s.cluster
            .apply([
                branch("side", "shop", "first"),
                claim("aside", "16Mi", "Branch", "side", "db"),
                claim("seen", "16Mi", "Commit", "first", "db"),
                holder("viewer", &["aside", "seen"]),
            ])
            .await?;
        s.cluster.wait_pod("viewer").await?;
        ensure!(!can_write(s, "app", "db", 20).await?, "more than 16 MiB at first");

        ask(s, "db", "128Mi").await?;
        ask(s, "plain", "48Mi").await?;
        wait_capacity(s, "db", "128Mi").await?;
        wait_capacity(s, "plain", "48Mi").await?;
        ensure!(df(s, "app", &["db", "plain"]).await? == ["128", "48"]);
        ensure!(can_write(s, "app", "db", 20).await?, "more than 16 MiB afterwards");

        // A volume has one size on all branches; claims on the others tell it when they ask.
        until("the other branches have it", PATIENCE, async || {
            let seen = df(s, "viewer", &["aside", "seen"]).await?;
            Ok(Look::when(seen == ["128", "128"], format!("{seen:?}")))
        })
        .await?;
        ensure!(can_write(s, "viewer", "seen", 20).await?);
        ask(s, "aside", "64Mi").await?;
        wait_capacity(s, "aside", "128Mi").await?;
        ask(s, "seen", "192Mi").await?;
        wait_capacity(s, "seen", "192Mi").await?;
        ensure!(df(s, "viewer", &["aside", "seen"]).await? == ["192", "192"]);

        // A person makes the Dot's volume larger.
        let more = json!({"spec": {"volumes": [{"name": "db", "size": "256Mi"}]}});
        let dots: Api<Dot> = s.cluster.api();
        dots.patch("shop", &PatchParams::default(), &Patch::Merge(more)).await?;
        until("the spec's size is there", PATIENCE, async || {
            let seen = df(s, "app", &["db"]).await?;
            Ok(Look::when(seen == ["256"], format!("{seen:?}")))
        })
        .await?;
        s.cluster.wait_ready::<Dot>("shop").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_asks_for_more_than_there_is_can_ask_for_less() {
    scenario("too large", async |s| {
        s.cluster
            .apply([plain_claim("plain", "16Mi"), holder("app", &["plain"])])
            .await?;
        s.cluster.wait_pod("app").await?;
        ask(s, "plain", "100Ti").await?;
        until("it is told that there is not enough", PATIENCE, async || {
            let events = s.cluster.list::<Event>().await?;
            let told: Vec<String> = events
                .into_iter()
                .filter(|event| event.reason.as_deref() == Some("VolumeResizeFailed"))
                .filter_map(|event| event.message)
                .collect();
            Ok(Look::when(
                told.iter().any(|why| why.contains("is more than all of Pool")),
                format!("{told:?}"),
            ))
        })
        .await?;
        ensure!(df(s, "app", &["plain"]).await? == ["16"]);
        ask(s, "plain", "32Mi").await?;
        wait_capacity(s, "plain", "32Mi").await?;
        ensure!(df(s, "app", &["plain"]).await? == ["32"]);
        Ok(())
    })
    .await;
}
