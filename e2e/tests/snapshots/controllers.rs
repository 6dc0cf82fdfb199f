//! The cluster's snapshot-controller, as others may run it, and what is left when it or csi-snapshotter ends in between.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use dotmesh_crds::Commit;
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{holder, plain_claim};
use dotmesh_e2e::program::{Program, variable};
use dotmesh_e2e::scenario::{Scenario, scenario, scenario_alone};
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use serde_json::json;
use tokio::process::{Child, Command};

use super::{ask_deletion, commit_of, content_of, copy, delete, exists, get, snapshot, wait_absent, wait_usable};

const CONTROLLER: &str = "deployment/dotmesh-snapshot-controller";
const OPERATOR: &str = "deployment/dotmesh-operator";
const CSI_NODE: &str = "daemonset/dotmesh-csi-node";

/// A snapshot-controller with flags of one's own, while it lives.
fn controller(flags: &[&str]) -> Result<Child> {
    let child = Command::new(variable("DOTMESH_SNAPSHOT_CONTROLLER")?)
        .arg(format!("--kubeconfig={}", variable("KUBECONFIG")?))
        .arg("--feature-gates=CSIVolumeGroupSnapshot=false")
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    child.context("start snapshot-controller")
}

/// kubectl in the namespace of the installation.
async fn system(args: &[&str]) -> Result<()> {
    let kubectl = Program::kubectl(["-n", chart::NAMESPACE])?.args(args.iter().copied());
    kubectl.within(2 * PATIENCE).output().await.map(drop)
}

async fn back(workload: &str) -> Result<()> {
    let timeout = format!("--timeout={}s", PATIENCE.as_secs());
    system(&["rollout", "status", workload, &timeout]).await
}

/// Runs so many of the chart's snapshot-controller; returns when they are ready, or gone.
async fn controllers(replicas: u8) -> Result<()> {
    system(&["scale", CONTROLLER, &format!("--replicas={replicas}")]).await?;
    if replicas > 0 {
        return back(CONTROLLER).await;
    }
    system(&[
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/component=snapshot-controller",
        "--timeout=300s",
    ])
    .await
}

/// Ends csi-snapshotter, and the operator with it, without a chance to finish anything.
async fn kill_snapshotter() -> Result<()> {
    let label = "app.kubernetes.io/component=operator";
    system(&["delete", "pods", "-l", label, "--grace-period=0", "--force"]).await?;
    back(OPERATOR).await
}

/// Takes csi-node away, or lets it come back.
async fn csi_node(is_there: bool) -> Result<()> {
    let selector = if is_there {
        json!(null)
    } else {
        json!({"dotmesh.io/nowhere": "yes"})
    };
    let patch = json!({"spec": {"template": {"spec": {"nodeSelector": selector}}}}).to_string();
    system(&["patch", CSI_NODE, "--type=merge", "-p", &patch]).await?;
    if is_there {
        return back(CSI_NODE).await;
    }
    let label = "app.kubernetes.io/component=csi-node";
    system(&["wait", "--for=delete", "pod", "-l", label, "--timeout=300s"]).await
}

async fn begin(s: &Scenario) -> Result<()> {
    s.cluster
        .apply([plain_claim("data", "64Mi"), holder("app", &["data"])])
        .await?;
    s.cluster.wait_pod("app").await?;
    s.cluster.bash("app", "echo one > /data/file; sync").await.map(drop)
}

/// A snapshot-controller that lets each node's sidecar take snapshots says which node that is, because our volumes have a
/// node. Our one sidecar takes them all the same.
#[tokio::test]
async fn distributed_or_not_snapshots_are_taken_and_no_mode_is_ever_converted() {
    scenario_alone("distributed", async |s| {
        let done = compare_controllers(s).await;
        controllers(1).await?;
        done
    })
    .await;
}

async fn compare_controllers(s: &Scenario) -> Result<()> {
    const MANAGED_BY: &str = "snapshot.storage.kubernetes.io/managed-by";
    begin(s).await?;
    let block = |name: &str, from: &str| {
        let mut claim = copy(name, "64Mi", "VolumeSnapshot", from);
        claim["spec"]["volumeMode"] = json!("Block");
        claim
    };
    // That of the chart: central, and it writes down what mode the volume has.
    s.cluster.apply([snapshot("central", "data", "dotmesh")]).await?;
    let central = wait_usable(s, "central").await?;
    let content = get(s, "volumesnapshotcontent", &content_of(&central)).await?;
    ensure!(content["metadata"]["labels"][MANAGED_BY].is_null(), "{content}");
    ensure!(content["spec"]["sourceVolumeMode"] == "Filesystem", "{content}");
    let args = [
        "annotate",
        "volumesnapshotcontent",
        &content_of(&central),
        "snapshot.storage.kubernetes.io/allow-volume-mode-change=true",
    ];
    s.cluster.kubectl(&args)?.output().await?;
    s.cluster.apply([block("converted", "central")]).await?;
    s.cluster.wait_event("converted", &["central", "volumeMode"]).await?;
    delete(s, "pvc", "converted").await?;

    controllers(0).await?;
    let other = controller(&[
        "--enable-distributed-snapshotting",
        "--prevent-volume-mode-conversion=false",
    ])?;
    s.cluster.apply([snapshot("distributed", "data", "dotmesh")]).await?;
    let distributed = wait_usable(s, "distributed").await?;
    let content = get(s, "volumesnapshotcontent", &content_of(&distributed)).await?;
    let node = &content["metadata"]["labels"][MANAGED_BY];
    let pod = get(s, "pod", "app").await?;
    ensure!(!node.is_null() && *node == pod["spec"]["nodeName"], "{content}");
    ensure!(content["spec"]["sourceVolumeMode"].is_null(), "{content}");
    s.cluster
        .apply([
            block("converted", "distributed"),
            copy("then", "64Mi", "VolumeSnapshot", "distributed"),
        ])
        .await?;
    s.cluster
        .wait_event("converted", &["distributed", "volumeMode"])
        .await?;
    s.cluster.wait_bound("then").await?;
    delete(s, "pvc", "converted").await?;
    for (name, taken) in [("central", &central), ("distributed", &distributed)] {
        delete(s, "volumesnapshot", name).await?;
        s.cluster.wait_gone::<Commit>(&commit_of(taken)).await?;
    }
    drop(other);
    Ok(())
}

#[tokio::test]
async fn what_ended_controllers_left_neither_blocks_nor_leaks() {
    scenario_alone("left over", async |s| {
        let done = end_controllers(s).await;
        controllers(1).await?;
        csi_node(true).await?;
        done
    })
    .await;
}

async fn end_controllers(s: &Scenario) -> Result<()> {
    begin(s).await?;
    s.cluster.apply([snapshot("taken", "data", "dotmesh")]).await?;
    let taken = wait_usable(s, "taken").await?;

    // Without snapshot-controller: what has finalizers waits for it, what has none goes, and a claim waits for nobody.
    controllers(0).await?;
    s.cluster.apply([snapshot("unseen", "data", "dotmesh")]).await?;
    ask_deletion(s, "volumesnapshot", "taken").await?;
    delete(s, "volumesnapshot", "unseen").await?;
    kill_snapshotter().await?;
    s.cluster.wait_ready::<Commit>(&commit_of(&taken)).await?;
    ensure!(
        exists(s, "volumesnapshot", "taken").await?,
        "nobody took its finalizers"
    );
    controllers(1).await?;
    wait_absent(s, "volumesnapshot", "taken").await?;
    wait_absent(s, "volumesnapshotcontent", &content_of(&taken)).await?;
    s.cluster.wait_gone::<Commit>(&commit_of(&taken)).await?;

    // csi-snapshotter ends while a snapshot is taken that is not wanted any more: it is taken, and goes.
    csi_node(false).await?;
    s.cluster.apply([snapshot("torn", "data", "dotmesh")]).await?;
    let uid = get(s, "volumesnapshot", "torn").await?["metadata"]["uid"].clone();
    let content = format!("snapcontent-{}", uid.as_str().context("a uid")?);
    let torn = commit_of(&json!({"metadata": {"uid": uid}}));
    until("the Commit waits for its node", PATIENCE, async || {
        Ok(Look::when(exists(s, "commit", &torn).await?, "there is none yet"))
    })
    .await?;
    ask_deletion(s, "volumesnapshot", "torn").await?;
    kill_snapshotter().await?;
    ensure!(exists(s, "volumesnapshotcontent", &content).await?, "it did not wait");
    csi_node(true).await?;
    wait_absent(s, "volumesnapshot", "torn").await?;
    wait_absent(s, "volumesnapshotcontent", &content).await?;
    s.cluster.wait_gone::<Commit>(&torn).await?;

    // Nor is the claim held by what was taken of it.
    until("the claim has no finalizer of a snapshot", PATIENCE, async || {
        let claim: PersistentVolumeClaim = s.cluster.get("data").await?;
        let left: Vec<_> = claim
            .finalizers()
            .iter()
            .filter(|name| name.contains("snapshot"))
            .collect();
        Ok(Look::when(left.is_empty(), format!("{left:?}")))
    })
    .await
}

/// What `helm upgrade` would say to the installation as it is; nothing: it would be done.
async fn upgrade_refused() -> Result<Option<String>> {
    let folder = chart::folder().display().to_string();
    let upgrade = Program::find("helm")?.args(["upgrade", "dotmesh", &folder, "-n", chart::NAMESPACE]);
    let ended = upgrade.args(["--reuse-values", "--dry-run=server"]).ended().await?;
    Ok((!ended.success).then_some(ended.stderr))
}

#[tokio::test]
async fn an_upgrade_knows_its_own_snapshot_controller_from_another() {
    scenario("upgraded", async |s| {
        let refused = upgrade_refused().await?;
        ensure!(refused.is_none(), "{refused:?}");
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "snapshot-controller-leader"},
            "spec": {"holderIdentity": "another"},
        });
        s.cluster.apply([lease]).await?;
        let refused = upgrade_refused().await?.unwrap_or_default();
        let other = format!("Lease {}/snapshot-controller-leader of another", s.cluster.namespace);
        ensure!(refused.contains(&other), "{refused}");
        Ok(())
    })
    .await;
}
