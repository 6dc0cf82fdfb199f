//! Which csi-node pod stands for a node. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// The node a pod runs on.
pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Address of the running csi-node pod on the node. One whose deletion was asked for counts for nothing: its node may
/// be why, and need not obey.
pub fn address<'a>(pods: impl IntoIterator<Item = &'a Pod>, node: &str) -> Option<IpAddr> {
    pods.into_iter()
        .filter(|pod| node_of(pod) == Some(node) && pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| Some((&pod.metadata.creation_timestamp, running_address(pod)?)))
        .max_by_key(|(made, _)| *made)
        .map(|(_, address)| address)
}

fn running_address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let running = status.phase.as_deref() == Some("Running");
    running.then_some(status.pod_ip.as_deref()?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Pod {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn the_pod_that_stays_is_asked_and_one_that_is_being_deleted_never() {
        let pods = [
            pod(
                "{metadata: {name: a, creationTimestamp: '2026-01-02T00:00:00Z', deletionTimestamp: '2026-01-03T00:00:00Z'}, \
                 spec: {nodeName: n1, containers: []}, status: {phase: Running, podIP: 10.0.0.1}}",
            ),
            pod("{metadata: {name: b, creationTimestamp: '2026-01-01T00:00:00Z'}, \
                 spec: {nodeName: n1, containers: []}, status: {phase: Running, podIP: 10.0.0.2}}"),
            pod("{metadata: {name: c}, spec: {nodeName: n1, containers: []}, status: {phase: Pending}}"),
            pod(
                "{metadata: {name: d}, spec: {nodeName: n2, containers: []}, status: {phase: Running, podIP: 'fd00::2'}}",
            ),
            pod(
                "{metadata: {name: e}, spec: {nodeName: n3, containers: []}, status: {phase: Failed, podIP: 10.0.0.9}}",
            ),
        ];
        assert_eq!(address(&pods, "n1"), Some("10.0.0.2".parse().unwrap()));
        assert_eq!(address(&pods[..1], "n1"), None);
        assert_eq!(address(&pods, "n2"), Some("fd00::2".parse().unwrap()));
        assert_eq!(address(&pods, "n3"), None);
        assert_eq!(address(&pods, "n4"), None);
    }
}
