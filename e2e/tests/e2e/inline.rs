//! Volumes that stand in a pod's spec: of a commit, and claims that the pod has for itself.

use anyhow::{Context as _, Result, ensure};
use dotmesh_crds::{Branch, Commit, Dot, names};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{CLASS, claim, commit, dot, holder, pod};
use dotmesh_e2e::scenario::{Scenario, scenario, scenario_alone};
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::crashes::{CSI_NODE, back, kill};
use super::{count, entries, used};

/// A pod with this one volume at `/NAME`.
fn pod_with(name: &str, volume: &str, source: Value) -> Value {
    let mut pod = holder(name, &[volume]);
    let Value::Object(mut source) = source else {
        return pod;
    };
    source.insert("name".to_owned(), volume.into());
    pod["spec"]["volumes"] = json!([source]);
    pod
}

/// A pod that looks at a Commit; its volume is called like that of the Dot.
fn looks(name: &str, volume: &str, commit: &str) -> Value {
    let attributes = json!({names::ATTRIBUTE_COMMIT: commit});
    pod_with(
        name,
        volume,
        json!({"csi": {"driver": names::DRIVER, "volumeAttributes": attributes}}),
    )
}

async fn branches_of_pods(s: &Scenario) -> Result<Vec<Branch>> {
    let all = s.cluster.list::<Branch>().await?.into_iter();
    Ok(all
        .filter(|branch| branch.labels().contains_key(names::LABEL_POD_UID))
        .collect())
}

async fn no_branch_of_a_pod(s: &Scenario) -> Result<()> {
    until("the branches of pods gone", PATIENCE, async || {
        let left = branches_of_pods(s).await?;
        Ok(Look::when(left.is_empty(), format!("{} are left", left.len())))
    })
    .await
}

/// A Dot with volumes db and cache, of which Commit `before` has the word "one" and the pod has "two".
async fn committed(s: &Scenario) -> Result<()> {
    let script = "echo one > /db/word; sync; exec sleep infinity";
    s.cluster
        .apply([
            dot("shop", &[("db", "64Mi"), ("cache", "32Mi")]),
            claim("db", "64Mi", "Dot", "shop", "db"),
            pod("main", &["db"], script),
        ])
        .await?;
    s.cluster.wait_pod("main").await?;
    s.cluster.bash("main", "test \"$(cat /db/word)\" = one").await?;
    s.cluster.wait_ready::<Dot>("shop").await?;
    s.cluster.apply([commit("before", "shop")]).await?;
    s.cluster.wait_ready::<Commit>("before").await?;
    s.cluster.bash("main", "echo two > /db/word; sync").await.map(drop)
}

#[tokio::test]
async fn a_pod_looks_at_a_commit_by_its_spec_alone() {
    scenario_alone("inline", async |s| {
        committed(s).await?;
        s.cluster.apply([looks("look", "db", "before")]).await?;
        s.cluster.wait_pod("look").await?;
        let script = "cat /db/word; echo three > /db/word; cat /db/word; df --output=size -B1M /db | tail -1";
        let said = s.cluster.bash("look", script).await?;
        ensure!(said.split_whitespace().eq(["one", "three", "64"]), "{said}");
        ensure!(s.cluster.bash("main", "cat /db/word").await?.trim() == "two");
        let branches = branches_of_pods(s).await?;
        let [branch] = branches.as_slice() else {
            anyhow::bail!("one branch: {branches:?}");
        };
        ensure!(branch.annotations().get(names::ANNOTATION_POD).map(String::as_str) == Some("look"));
        let name = branch.name_any();
        used(s, &name, "db by pod look").await?;

        // The Commit may go; and what csi-node knew is on disk.
        s.cluster.delete::<Commit>("before").await?;
        s.cluster.wait_gone::<Commit>("before").await?;
        kill(&[CSI_NODE]).await?;
        s.cluster.delete::<Pod>("look").await?;
        s.cluster.wait_gone::<Pod>("look").await?;
        back(&[CSI_NODE]).await?;
        no_branch_of_a_pod(s).await?;
        ensure!(s.cluster.remnants().await?.is_empty(), "a look leaves nothing");
        s.settled().await?;
        // Two volumes, and the initial commit of them and their head.
        ensure!(count(&entries(s).await?) == (2, 3), "{:?}", entries(s).await?);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_pod_names_wrongly_its_events_tell() {
    scenario("inline, wrong", async |s| {
        committed(s).await?;
        s.cluster
            .apply([
                looks("early", "db", "later"),
                looks("which", "data", "before"),
                pod_with(
                    "misspelt",
                    "db",
                    json!({"csi": {"driver": names::DRIVER, "volumeAttributes": {"dotmesh.io/comit": "before"}}}),
                ),
            ])
            .await?;
        s.cluster.wait_event("early", &["there is no Commit \"later\""]).await?;
        s.cluster.wait_event("which", &["several volumes", "cache, db"]).await?;
        s.cluster
            .wait_event("misspelt", &["dotmesh.io/comit", names::ATTRIBUTE_COMMIT])
            .await?;
        ensure!(branches_of_pods(s).await?.is_empty(), "nothing is made of it");
        // It comes, and so does the pod.
        s.cluster.apply([commit("later", "shop")]).await?;
        s.cluster.wait_pod("early").await?;
        ensure!(s.cluster.bash("early", "cat /db/word").await?.trim() == "two");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pods_own_claims_go_with_it() {
    scenario("generic ephemeral", async |s| {
        committed(s).await?;
        let template = |source: Option<Value>| {
            let mut spec = json!({
                "storageClassName": CLASS, "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "64Mi"}},
            });
            if let Some(source) = source {
                spec["dataSourceRef"] = source;
            }
            json!({"ephemeral": {"volumeClaimTemplate": {
                "metadata": {"annotations": {names::ANNOTATION_VOLUME: "db"}}, "spec": spec,
            }}})
        };
        let of_commit = json!({"apiGroup": "dotmesh.io", "kind": "Commit", "name": "before"});
        s.cluster
            .apply([
                pod_with("plain", "db", template(None)),
                pod_with("copy", "db", template(Some(of_commit))),
            ])
            .await?;
        s.cluster.wait_pod("plain").await?;
        s.cluster.wait_pod("copy").await?;
        ensure!(s.cluster.bash("copy", "cat /db/word").await?.trim() == "one");
        s.cluster.bash("plain", "echo mine > /db/word").await?;
        let own = |pod: &str| format!("{pod}-db");
        let plain: PersistentVolumeClaim = s.cluster.get(&own("plain")).await?;
        let dot = names::volume_object(&plain.uid().context("a claim has a uid")?);
        s.cluster.wait_ready::<Dot>(&dot).await?;
        let copy = names::volume_object(&s.cluster.uid::<PersistentVolumeClaim>(&own("copy")).await?);
        s.cluster.wait_ready::<Branch>(&copy).await?;
        for pod in ["plain", "copy"] {
            s.cluster.delete::<Pod>(pod).await?;
            s.cluster.wait_gone::<PersistentVolumeClaim>(&own(pod)).await?;
        }
        s.cluster.wait_gone::<Dot>(&dot).await?;
        s.cluster.wait_gone::<Branch>(&copy).await?;
        s.settled().await?;
        // Of shop: two volumes; the initial commit and `before`, of them and their head.
        ensure!(count(&entries(s).await?) == (2, 6), "{:?}", entries(s).await?);
        Ok(())
    })
    .await;
}
