//! What the operator may do for imports, which its role cannot say: the server looks at each pod and claim.

use std::time::Duration;

use anyhow::Result;
use dotmesh_crds::names::LABEL_IMPORT;
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::Cluster;
use dotmesh_e2e::objects::plain_claim;
use dotmesh_e2e::program::{Ended, Program};
use dotmesh_e2e::wait::{Look, until};
use serde_json::{Value, json};

/// Within this a server carries out a policy that it was given.
const SOON: Duration = Duration::from_secs(60);
const OPERATOR: &str = "--as=system:serviceaccount:dotmesh-system:dotmesh-operator";
const FOREIGN: &str = "only what belongs to an import";

async fn by_operator(cluster: &Cluster, words: &[&str], object: &Value) -> Ended {
    let kubectl = cluster.kubectl(words).unwrap().args([OPERATOR]);
    kubectl.input(object.to_string()).ended().await.unwrap()
}

async fn created(cluster: &Cluster, object: &Value) -> Ended {
    by_operator(cluster, &["create", "--dry-run=server", "-f", "-"], object).await
}

/// Roles and policies of the chart hold from now on.
async fn begin(cluster: &Cluster) -> Result<()> {
    cluster.wait_account().await?;
    for file in ["templates/rbac.yaml", "templates/importer.yaml"] {
        let made = chart::template(&["--show-only", file])?.output().await?;
        let apply = Program::kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"])?;
        apply.input(made).output().await?;
    }
    for object in [pod(json!({})), plain_claim("any", "1Gi")] {
        let mut foreign = object;
        foreign["metadata"]["labels"] = json!({});
        until("the policy holds", SOON, async || {
            let ended = created(cluster, &foreign).await;
            Ok(Look::when(ended.stderr.contains(FOREIGN), format!("{ended:?}")))
        })
        .await?;
    }
    Ok(())
}

/// A pod as imports have it, with these fields in its spec.
fn pod(extra: Value) -> Value {
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "containers": [{"name": "importer", "image": "none"}],
        "volumes": [{"name": "source", "persistentVolumeClaim": {"claimName": "old"}}],
    });
    for (name, value) in extra.as_object().unwrap() {
        spec[name] = value.clone();
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "of-an-import", "labels": {LABEL_IMPORT: "a-uid"}}, "spec": spec,
    })
}

fn labelled(mut object: Value) -> Value {
    object["metadata"]["labels"] = json!({LABEL_IMPORT: "a-uid"});
    object
}

#[tokio::test]
async fn the_operator_makes_and_deletes_only_what_belongs_to_imports() {
    super::cluster().await;
    // One in which pods may be root.
    let name = format!("imports-{:08x}", fastrand::u32(..));
    let cluster = Cluster::connect(&name).await.unwrap();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    cluster.apply([namespace]).await.unwrap();
    begin(&cluster).await.unwrap();
    for good in [pod(json!({})), labelled(plain_claim("of-an-import", "1Gi"))] {
        let ended = created(&cluster, &good).await;
        assert!(ended.success, "{ended:?}");
    }
    let host = json!([{"name": "host", "hostPath": {"path": "/"}}]);
    let privileged = json!([{"name": "importer", "image": "none", "securityContext": {"privileged": true}}]);
    for (wrong, because) in [
        (json!({"automountServiceAccountToken": true}), "has no token"),
        (json!({"automountServiceAccountToken": null}), "has no token"),
        (json!({"volumes": host}), "nothing of its node"),
        (json!({"hostNetwork": true}), "nothing of its node"),
        (json!({"hostPID": true}), "nothing of its node"),
        (json!({"containers": privileged}), "nothing of its node"),
    ] {
        let ended = created(&cluster, &pod(wrong.clone())).await;
        assert!(!ended.success && ended.stderr.contains(because), "{wrong}: {ended:?}");
    }
    // People's claims are not its to delete; those of imports are.
    let claims = [
        plain_claim("peoples", "1Gi"),
        labelled(plain_claim("of-an-import", "1Gi")),
    ];
    cluster.apply(claims).await.unwrap();
    let delete = |name: &'static str| ["delete", "pvc", name, "--wait=false"];
    let refused = by_operator(&cluster, &delete("peoples"), &Value::Null).await;
    assert!(!refused.success && refused.stderr.contains(FOREIGN), "{refused:?}");
    let deleted = by_operator(&cluster, &delete("of-an-import"), &Value::Null).await;
    assert!(deleted.success, "{deleted:?}");
    // Nobody else is asked for anything.
    cluster.kubectl(&delete("peoples")).unwrap().output().await.unwrap();
}
