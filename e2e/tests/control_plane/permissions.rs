//! Who may do what with the roles of the chart.

use anyhow::Result;
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::{Cluster, PATIENCE};
use dotmesh_e2e::program::Program;
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::cluster;

async fn with_roles() -> Result<Cluster> {
    let cluster = cluster().await;
    let made = chart::template(&["--show-only", "templates/rbac.yaml"])?
        .output()
        .await?;
    let apply = Program::kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"])?;
    apply.input(made).output().await?;
    Ok(cluster)
}

fn account(name: &str) -> String {
    format!("--as=system:serviceaccount:{}:{name}", chart::NAMESPACE)
}

async fn all_that_may(name: &str) -> Result<Vec<String>> {
    let list = Program::kubectl(["auth", "can-i", "--list", "-n", chart::NAMESPACE, &account(name)])?;
    let mut lines: Vec<String> = list.output().await?.lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

async fn may(name: &str, question: &[&str]) -> Result<bool> {
    let ask = Program::kubectl(["auth", "can-i"])?.args(question.iter().copied());
    Ok(ask.args([account(name)]).ended().await?.stdout.trim() == "yes")
}

#[tokio::test]
async fn csi_nodes_account_may_do_what_any_account_may_and_nothing_else() {
    with_roles().await.unwrap();
    let ours = all_that_may("dotmesh-csi-node").await.unwrap();
    assert!(!ours.is_empty());
    assert_eq!(ours, all_that_may("an-account-nobody-gave-a-role").await.unwrap());
    for line in &ours {
        assert!(
            !line.contains("dotmesh") && !line.contains("secrets") && !line.contains("[*]"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_operator_may_do_its_work_and_not_much_more() {
    with_roles().await.unwrap();
    let here = chart::NAMESPACE;
    for question in [
        ["create", "commits.dotmesh.io", "-n", "default"].as_slice(),
        &["patch", "dots.dotmesh.io", "--subresource=status", "-n", "default"],
        &["patch", "branches.dotmesh.io", "--subresource=status", "-n", "default"],
        &["update", "dots.dotmesh.io", "--subresource=finalizers", "-n", "default"],
        &["create", "pools.dotmesh.io"],
        &["create", "remnants.dotmesh.io"],
        &["patch", "remnants.dotmesh.io", "--subresource=status"],
        &["get", "namespaces"],
        &["create", "persistentvolumes"],
        &["delete", "persistentvolumes"],
        &[
            "patch",
            "persistentvolumeclaims",
            "--subresource=status",
            "-n",
            "default",
        ],
        &["update", "leases/external-resizer-csi-dotmesh-io", "-n", here],
        &["create", "tokenreviews.authentication.k8s.io"],
        &["watch", "pods", "-n", here],
        &["watch", "pods", "-n", "default"],
        &["create", "pods", "-n", "default"],
        &["delete", "pods", "-n", "default"],
        &["create", "persistentvolumeclaims", "-n", "default"],
        &["delete", "persistentvolumeclaims", "-n", "default"],
        &["get", "pods", "-n", "default"],
        &["get", "secrets/dotmesh-authority", "-n", here],
        &["create", "configmaps", "-n", here],
        &["create", "events.events.k8s.io", "-n", "default"],
        &["watch", "storageclasses.storage.k8s.io"],
        &["get", "csidrivers.storage.k8s.io/csi.dotmesh.io"],
        &["create", "csistoragecapacities.storage.k8s.io", "-n", here],
        &["watch", "csistoragecapacities.storage.k8s.io", "-n", here],
        &["patch", "csistoragecapacities.storage.k8s.io", "-n", here],
        &["delete", "csistoragecapacities.storage.k8s.io", "-n", here],
    ] {
        assert!(
            may("dotmesh-operator", question).await.unwrap(),
            "it must: {question:?}"
        );
    }
    for question in [
        ["get", "secrets", "-n", here].as_slice(),
        &["get", "secrets/other", "-n", here],
        &["get", "secrets", "-n", "default"],
        &["create", "pods", "--subresource=exec", "-n", here],
        &["patch", "pods", "-n", "default"],
        &[
            "update",
            "persistentvolumeclaims",
            "--subresource=status",
            "-n",
            "default",
        ],
        &["update", "leases/another", "-n", here],
        &["create", "clusterrolebindings.rbac.authorization.k8s.io"],
        &["create", "serviceaccounts", "--subresource=token", "-n", here],
        &["delete", "nodes"],
        &["update", "nodes"],
        &["create", "csistoragecapacities.storage.k8s.io", "-n", "default"],
        &["list", "csistoragecapacities.storage.k8s.io", "-n", "default"],
        &["get", "csidrivers.storage.k8s.io/another"],
        &["patch", "csidrivers.storage.k8s.io/csi.dotmesh.io"],
        &["patch", "storageclasses.storage.k8s.io/dotmesh"],
        // Only with csiSnapshotter.enabled.
        &["create", "volumesnapshots.snapshot.storage.k8s.io", "-n", "default"],
        &["delete", "volumesnapshotcontents.snapshot.storage.k8s.io"],
    ] {
        assert!(
            !may("dotmesh-operator", question).await.unwrap(),
            "it must not: {question:?}"
        );
    }
}

/// Whether the server lets this person do that in the tests' namespace.
async fn person_may(cluster: &Cluster, person: &str, verb: &str, resource: &str) -> Result<bool> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
        "user": person,
        "resourceAttributes": {
            "namespace": cluster.namespace, "verb": verb,
            "group": "dotmesh.io", "resource": resource, "subresource": subresource,
        },
    }}))?;
    let reviews = Api::<SubjectAccessReview>::all(cluster.client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[tokio::test]
async fn whoever_views_edits_or_administers_a_namespace_does_so_with_our_kinds() {
    let cluster = with_roles().await.unwrap();
    let roles = ["view", "edit", "admin"];
    let bindings = roles.map(|role| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": format!("a-person-who-may-{role}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}],
        })
    });
    cluster.apply(bindings).await.unwrap();
    // The controller manager gathers the roles.
    until("roles gathered", PATIENCE, async || {
        let mut gathered = true;
        for role in roles {
            gathered &= person_may(&cluster, role, "get", "commits").await?;
        }
        Ok(Look::when(gathered, "not all of them yet"))
    })
    .await
    .unwrap();

    let mut wrong = Vec::new();
    for (person, writes) in [("view", false), ("edit", true), ("admin", true)] {
        for kind in ["dots", "branches", "commits"] {
            for (verb, expected) in [("get", true), ("list", true), ("watch", true)]
                .into_iter()
                .chain(["create", "update", "patch", "delete", "deletecollection"].map(|verb| (verb, writes)))
            {
                if person_may(&cluster, person, verb, kind).await.unwrap() != expected {
                    wrong.push(format!("{person} {verb} {kind}: expected {expected}"));
                }
            }
            // Statuses are the operator's alone, pools and remnants the administrator's of the cluster.
            for (verb, resource) in [
                ("patch", format!("{kind}/status")),
                ("create", "pools".to_owned()),
                ("patch", "remnants".to_owned()),
                ("delete", "remnants".to_owned()),
            ] {
                if person_may(&cluster, person, verb, &resource).await.unwrap() {
                    wrong.push(format!("{person} {verb} {resource}: expected false"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(!person_may(&cluster, "somebody else", "get", "dots").await.unwrap());
}
