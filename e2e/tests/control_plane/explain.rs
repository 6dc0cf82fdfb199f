//! What kubectl tells people about our kinds.

use dotmesh_e2e::objects::{branch, commit, dot};
use dotmesh_e2e::program::Program;

use super::cluster;

#[tokio::test]
async fn kubectl_explain_teaches() {
    cluster().await;
    for (field, words) in [
        ("dot", "A Dot is a repository of live data"),
        ("dot.spec.volumes.size", "It can grow, not shrink"),
        ("branch.spec.from", "HEAD~2"),
        ("commit", "taken without stopping anything"),
        ("commit.spec.message", "What this state is"),
        ("commit.spec.committer", "Who asked the API server for it"),
        ("commit.status.volumes.guid", "It never changes"),
        ("pool.spec.file.size", "How large the file is"),
    ] {
        let text = Program::kubectl(["explain", field]).unwrap().output().await.unwrap();
        let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flowing.contains(words), "{field}: {text}");
    }
}

#[tokio::test]
async fn columns_answer_the_first_question() {
    let cluster = cluster().await;
    let objects = [
        dot("columns", &[]),
        branch("columns", "columns", "HEAD"),
        commit("columns", "columns"),
    ];
    cluster.apply(objects).await.unwrap();
    for (kind, columns) in [
        ("dots", ["READY", "REASON", "NODE", "CHECKOUT", "AGE"].as_slice()),
        ("branches", &["DOT", "BRANCH", "READY", "REASON", "FROM", "AGE"]),
        ("commits", &["DOT", "BRANCH", "READY", "MESSAGE", "AGE"]),
    ] {
        let table = cluster
            .kubectl(&["get", kind, "columns"])
            .unwrap()
            .output()
            .await
            .unwrap();
        let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().skip(1).collect();
        assert_eq!(head, columns, "{table}");
    }
    let all = cluster
        .kubectl(&["get", "dotmesh", "-o", "name"])
        .unwrap()
        .output()
        .await
        .unwrap();
    assert!(
        all.contains("dot.dotmesh.io/columns"),
        "the category has all kinds: {all}"
    );
    assert!(
        all.contains("commit.dotmesh.io/columns"),
        "the category has all kinds: {all}"
    );
    let selected = ["get", "commits", "--field-selector", "spec.dot=columns", "-o", "name"];
    let selected = cluster.kubectl(&selected).unwrap().output().await.unwrap();
    assert_eq!(selected.trim(), "commit.dotmesh.io/columns");
    cluster
        .kubectl(&["delete", "dots,branches,commits", "columns", "--ignore-not-found"])
        .unwrap()
        .output()
        .await
        .unwrap();
}
