//! Who may do what with the roles of the chart.

use anyhow::Result;
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::Cluster;
use dotmesh_e2e::program::Program;

use super::cluster;

async fn with_roles() -> Result<Cluster> {
    let cluster = cluster().await;
    let only = [
        "--show-only",
        "templates/rbac.yaml",
        "--show-only",
        "templates/serviceaccounts.yaml",
    ];
    let made = chart::template(&only)?.output().await?;
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
        &["create", "persistentvolumes"],
        &["delete", "persistentvolumes"],
        &["create", "tokenreviews.authentication.k8s.io"],
        &["watch", "pods", "-n", here],
        &["get", "secrets/dotmesh-authority", "-n", here],
        &["create", "configmaps", "-n", here],
        &["create", "events.events.k8s.io", "-n", "default"],
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
        &["create", "pods", "-n", here],
        &["create", "pods", "--subresource=exec", "-n", here],
        &["delete", "pods", "-n", "default"],
        &["delete", "persistentvolumeclaims", "-n", "default"],
        &["create", "clusterrolebindings.rbac.authorization.k8s.io"],
        &["create", "serviceaccounts", "--subresource=token", "-n", here],
        &["delete", "nodes"],
        &["update", "nodes"],
    ] {
        assert!(
            !may("dotmesh-operator", question).await.unwrap(),
            "it must not: {question:?}"
        );
    }
}

#[tokio::test]
async fn roles_for_people_are_part_of_edit_and_view() {
    with_roles().await.unwrap();
    for (role, verb) in [("dotmesh-edit", "create"), ("dotmesh-view", "get")] {
        let read = [
            "get",
            "clusterrole",
            role,
            "-o",
            "jsonpath={.rules[*].resources}{.rules[*].verbs}",
        ];
        let text = Program::kubectl(read).unwrap().output().await.unwrap();
        assert!(text.contains("commits") && text.contains(verb), "{text}");
        assert!(!text.contains("pools"), "pools are the administrator's: {text}");
    }
}
