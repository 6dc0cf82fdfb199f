//! What is looked at after a failure: the nodes' journals, the pods, their events and logs.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::cluster;
use super::instance::Instance;
use crate::process::Cmd;

/// How many events, and lines per log, an error message shows.
const SHOWN: usize = 15;

/// How long each question may take; a broken cluster answers slowly.
const PATIENCE: Duration = Duration::from_secs(30);

/// The state of all pods, the latest events and the end of our programs' logs, for an error message.
pub(crate) fn summary(instance: &Instance) -> String {
    let pods = ask(instance, &["get", "pods", "--all-namespaces", "--output", "wide"]);
    let events = ask(
        instance,
        &["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"],
    );
    let events: Vec<_> = events.lines().collect();
    let logs = ask(instance, &[&LOGS[..], &["--tail=15"]].concat());
    format!(
        "{pods}{}\n{logs}",
        events[events.len().saturating_sub(SHOWN)..].join("\n")
    )
}

/// Writes all of it beside the instance's logs, as far as it can be had.
pub(crate) fn collect(instance: &Instance) {
    let Some(record) = instance.record() else { return };
    let mut found = Vec::new();
    for index in 1..=record.nodes {
        let journal = instance
            .node(index)
            .ssh()
            .map(|ssh| ssh.arg("journalctl --no-pager --boot"));
        found.push((
            format!("n{index}-journal.log"),
            journal.map_or_else(|e| format!("{e:#}"), answer),
        ));
        let zfs = instance
            .node(index)
            .ssh()
            .map(|ssh| ssh.arg("zpool status; zpool list; zfs list -t all; cat /proc/mounts"));
        found.push((
            format!("n{index}-zfs.txt"),
            zfs.map_or_else(|e| format!("{e:#}"), answer),
        ));
    }
    if record.kubernetes {
        let kinds = "dots,branches,commits,pools,persistentvolumeclaims,persistentvolumes,pods,events";
        found.push((
            "objects.yaml".to_owned(),
            ask(instance, &["get", kinds, "--all-namespaces", "--output", "yaml"]),
        ));
        found.push((
            "pods.txt".to_owned(),
            ask(instance, &["describe", "pods", "--all-namespaces"]),
        ));
        found.push((
            "dotmesh.log".to_owned(),
            ask(instance, &[&LOGS[..], &["--tail=-1"]].concat()),
        ));
    }
    for (file, text) in found {
        if let Err(error) = fs::write(instance.logs().join(&file), text) {
            eprintln!("{file} cannot be written: {error}");
        }
    }
}

/// Arguments of kubectl for the logs of all that the chart installs.
const LOGS: [&str; 5] = [
    "logs",
    "--namespace=dotmesh-system",
    "--selector=app.kubernetes.io/name=dotmesh",
    "--all-containers",
    "--prefix",
];

fn ask(instance: &Instance, args: &[&str]) -> String {
    cluster::kubectl(instance).map_or_else(|error| format!("{error:#}\n"), |kubectl| answer(kubectl.args(args)))
}

fn answer(cmd: Cmd) -> String {
    cmd.within(PATIENCE)
        .output()
        .unwrap_or_else(|error| format!("{error:#}\n"))
}

/// The end of the kubelet's journal on each node, for an error message.
pub(crate) fn kubelets(instance: &Instance) -> Result<String> {
    let nodes = instance.record().map_or(0, |record| record.nodes);
    let each = (1..=nodes).map(|index| {
        let journal = instance
            .node(index)
            .ssh()?
            .arg("journalctl --no-pager --unit=kubelet --unit=containerd --lines=15");
        Ok(format!("n{index}:\n{}", answer(journal)))
    });
    Ok(each.collect::<Result<Vec<_>>>()?.join("\n"))
}
