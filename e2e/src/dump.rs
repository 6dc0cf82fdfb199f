//! What a failed test shows: everything one would ask for next.

use crate::chart;
use crate::cluster::Cluster;
use crate::node::Nodes;
use crate::pool::ROOT;
use crate::program::Program;

/// Objects, events, logs of operator and csi-node, and the pool.
pub async fn dump(cluster: &Cluster) -> String {
    let ours = ["get", "dots,branches,commits,persistentvolumeclaims,pods", "-o", "wide"];
    let status = ["get", "dots,branches,commits", "-o", "yaml"];
    let events = ["get", "events", "--sort-by=.lastTimestamp"];
    let mut text = String::new();
    for args in [ours.as_slice(), &events, &status] {
        text += &section(&args.join(" "), cluster.kubectl(args)).await;
    }
    for args in [
        ["get", "pods", "-o", "wide"].as_slice(),
        &["get", "pools,remnants,persistentvolumes"],
        &["logs", "deployment/dotmesh-operator", "--all-containers", "--tail=80"],
        &["logs", "daemonset/dotmesh-csi-node", "--all-containers", "--tail=80"],
    ] {
        let program = Program::kubectl(["--namespace", chart::NAMESPACE]).map(|p| p.args(args.iter().copied()));
        text += &section(&args.join(" "), program).await;
    }
    if let Ok(nodes) = Nodes::from_env() {
        for node in nodes.names() {
            let list = ["zfs", "list", "-r", "-t", "all", "-o", "name,used,refer,origin", ROOT];
            let printed = nodes
                .run(node, &list)
                .await
                .unwrap_or_else(|error| format!("{error:#}\n"));
            text += &format!("---- zfs list {node}\n{printed}");
        }
    }
    text
}

async fn section(title: &str, program: anyhow::Result<Program>) -> String {
    let printed = match program {
        Ok(program) => program.ended().await.map(|ended| ended.stdout + &ended.stderr),
        Err(error) => Err(error),
    };
    format!(
        "---- {title}\n{}",
        printed.unwrap_or_else(|error| format!("{error:#}\n"))
    )
}
