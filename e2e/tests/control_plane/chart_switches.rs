//! Every value of the chart away from its default, and what the server says to the objects that come of it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use dotmesh_e2e::chart;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, Request, ValidationDirective};
use kube::client::Body;
use kube::core::gvk::ParseGroupVersionError;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::cluster;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Runs of helm at a time.
const RENDERS: usize = 2;
/// Requests to the server at a time.
const REQUESTS: usize = 8;

/// Each value that can be set, and another than its default; some with several.
fn switches() -> Vec<(&'static str, Value)> {
    let mut all = of_all_pods();
    all.extend(of_the_operator());
    all.extend(of_csi_node());
    all.extend(of_snapshot_controller());
    all.extend(of_the_cluster());
    all
}

fn resources() -> Value {
    json!({
        "requests": {"cpu": 0.5, "memory": "1Gi", "ephemeral-storage": "10M", "example.com/disk": 1},
        "limits": {"cpu": 2, "memory": "1.5Gi", "ephemeral-storage": "20M", "example.com/disk": 1},
    })
}

fn tolerations() -> Value {
    json!([
        {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "disk", "operator": "Equal", "value": "zfs", "effect": "NoExecute", "tolerationSeconds": 60},
    ])
}

fn affinity() -> Value {
    let selector = json!({"matchLabels": {"app.kubernetes.io/name": "dotmesh"}});
    let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector});
    let arch = json!({"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]});
    json!({
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [arch]}],
        }},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
    })
}

fn of_all_pods() -> Vec<(&'static str, Value)> {
    vec![
        ("imageRegistry", json!("registry.example.com:5000/mirror")),
        ("imageRegistry", json!("[fd00::1]:5000")),
        ("imagePullSecrets", json!([{"name": "one"}, {"name": "two"}])),
        ("importer.enabled", json!(false)),
        ("importer.image.registry", json!("")),
        ("importer.image.repository", json!("dotmesh.io/importer")),
        ("importer.image.tag", json!("1.2.3")),
        ("importer.image.digest", json!(DIGEST)),
        ("importer.image.pullPolicy", json!("Always")),
        ("csiProvisioner.image.registry", json!("registry.example.com")),
        ("csiProvisioner.image.repository", json!("csi/provisioner")),
        ("csiProvisioner.image.tag", json!("v6.3.1")),
        ("csiProvisioner.image.digest", json!(DIGEST)),
        ("csiProvisioner.image.pullPolicy", json!("Always")),
        ("csiProvisioner.verbosity", json!(5)),
        ("csiProvisioner.resources", resources()),
        ("csiResizer.image.registry", json!("registry.example.com")),
        ("csiResizer.image.repository", json!("csi/resizer")),
        ("csiResizer.image.tag", json!("v2.2.1")),
        ("csiResizer.image.digest", json!(DIGEST)),
        ("csiResizer.image.pullPolicy", json!("Always")),
        ("csiResizer.verbosity", json!(5)),
        ("csiResizer.resources", resources()),
        ("csiSnapshotter.enabled", json!(true)),
        ("csiSnapshotter.groups", json!(true)),
        ("csiSnapshotter.image.registry", json!("registry.example.com")),
        ("csiSnapshotter.image.repository", json!("csi/snapshotter")),
        ("csiSnapshotter.image.tag", json!("v8.7.1")),
        ("csiSnapshotter.image.digest", json!(DIGEST)),
        ("csiSnapshotter.image.pullPolicy", json!("Always")),
        ("csiSnapshotter.verbosity", json!(5)),
        ("csiSnapshotter.resources", resources()),
    ]
}

fn of_the_operator() -> Vec<(&'static str, Value)> {
    vec![
        ("operator.replicas", json!(3)),
        ("operator.image.registry", json!("")),
        ("operator.image.repository", json!("dotmesh.io/operator")),
        ("operator.image.tag", json!("1.2.3-rc.1")),
        ("operator.image.digest", json!(DIGEST)),
        ("operator.image.pullPolicy", json!("Never")),
        ("operator.log.format", json!("human")),
        ("operator.log.filter", json!("info,[reconcile{name=\"a: b\"}]=debug")),
        ("operator.resources", resources()),
        ("operator.priorityClassName", json!("system-node-critical")),
        ("operator.priorityClassName", json!("")),
        ("operator.nodeSelector", json!({"kubernetes.io/os": "linux"})),
        ("operator.tolerations", tolerations()),
        ("operator.affinity", affinity()),
    ]
}

fn of_csi_node() -> Vec<(&'static str, Value)> {
    vec![
        ("csiNode.image.registry", json!("localhost:5000")),
        ("csiNode.image.repository", json!("dotmesh/csi-node")),
        ("csiNode.image.tag", json!("1.2.3")),
        ("csiNode.image.digest", json!(DIGEST)),
        ("csiNode.image.pullPolicy", json!("Always")),
        ("csiNode.log.format", json!("human")),
        ("csiNode.log.filter", json!("debug")),
        ("csiNode.csiAlpha", json!(true)),
        ("csiNode.kubeletDir", json!("/var/snap/microk8s/common/var/lib/kubelet")),
        ("csiNode.resources", resources()),
        ("csiNode.priorityClassName", json!("")),
        ("csiNode.nodeSelector", json!({"disk": "zfs"})),
        ("csiNode.tolerations", json!([])),
        ("csiNode.tolerations", tolerations()),
        ("csiNode.affinity", affinity()),
    ]
}

fn of_snapshot_controller() -> Vec<(&'static str, Value)> {
    vec![
        ("snapshotController.enabled", json!(true)),
        ("snapshotController.replicas", json!(2)),
        ("snapshotController.image.registry", json!("registry.example.com")),
        ("snapshotController.image.repository", json!("csi/snapshot-controller")),
        ("snapshotController.image.tag", json!("v8.7.1")),
        ("snapshotController.image.digest", json!(DIGEST)),
        ("snapshotController.image.pullPolicy", json!("Always")),
        ("snapshotController.verbosity", json!(5)),
        ("snapshotController.resources", resources()),
        ("snapshotController.priorityClassName", json!("")),
        ("snapshotController.nodeSelector", json!({"kubernetes.io/os": "linux"})),
        ("snapshotController.tolerations", tolerations()),
        ("snapshotController.affinity", affinity()),
    ]
}

fn of_the_cluster() -> Vec<(&'static str, Value)> {
    let peers = json!([
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
    ]);
    vec![
        ("gracePeriod", json!(0)),
        ("gracePeriod", json!("0")),
        ("gracePeriod", json!("90m")),
        ("seLinuxMount", json!(false)),
        ("pool.file.path", json!("/var/lib/dotmesh/big/pool.img")),
        ("pool.file.size", json!("1.5Ti")),
        ("pool.devices", json!(["/dev/vdb", "/dev/disk/by-id/wwn-0x5"])),
        ("pool.existing", json!("tank")),
        ("storageClass.create", json!(false)),
        ("storageClass.name", json!("fast.dots")),
        ("storageClass.name", json!("123")),
        ("storageClass.default", json!(true)),
        ("storageClass.reclaimPolicy", json!("Retain")),
        ("crds.install", json!(false)),
        ("networkPolicy.enabled", json!(true)),
        ("networkPolicy.metricsFrom", json!([])),
        ("networkPolicy.metricsFrom", peers),
        (
            "networkPolicy.apiServer.cidrs",
            json!(["192.0.2.1/32", "2001:db8::/64"]),
        ),
        ("networkPolicy.apiServer.ports", json!([8443])),
    ]
}

/// What must be on for the value to matter, or off to let it be.
fn beside(path: &str) -> Value {
    if matches!(path, "pool.devices" | "pool.existing") {
        return json!({"pool": {"file": null}});
    }
    for group in ["csiSnapshotter", "snapshotController", "networkPolicy"] {
        let below = path.strip_prefix(group).and_then(|rest| rest.strip_prefix('.'));
        if below.is_some_and(|below| below != "enabled") {
            return json!({group: {"enabled": true}});
        }
    }
    json!({})
}

async fn render(values: &Value) -> Result<Vec<Value>> {
    let text = chart::template_with(values)?.output().await;
    chart::objects(&text.with_context(|| values.to_string())?)
}

/// That the server would take the object as it stands: unknown fields refused, and without so much as a warning.
async fn assert_taken(client: &Client, object: &Value) -> Result<()> {
    let dynamic: DynamicObject = serde_json::from_value(object.clone())?;
    let types = dynamic.types.clone().context("an object without kind")?;
    let kind: Result<GroupVersionKind, ParseGroupVersionError> = types.try_into();
    let resource = ApiResource::from_gvk(&kind?);
    let params = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some("dotmesh-tests".to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let name = dynamic.name_any();
    let path = DynamicObject::url_path(&resource, dynamic.namespace().as_deref());
    let request = Request::new(path).patch(&name, &params, &Patch::Apply(object))?;
    let answer = client.send(request.map(Body::from)).await?;
    let (parts, body) = answer.into_parts();
    let words = body.collect_bytes().await?;
    let words = String::from_utf8_lossy(&words);
    ensure!(parts.status.is_success(), "{} {name}: {words}\n{object}", resource.kind);
    let warnings: Vec<_> = parts.headers.get_all("warning").iter().collect();
    ensure!(warnings.is_empty(), "{} {name}: {warnings:?}", resource.kind);
    Ok(())
}

#[test]
fn every_value_has_a_switch() {
    let defaults = chart::defaults().unwrap();
    let there: BTreeSet<String> = chart::paths(&defaults).into_iter().collect();
    let switched: BTreeSet<String> = switches().iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(there, switched, "left: values.yaml; right: those that are tried");
    for (path, value) in switches() {
        let default = defaults.pointer(&format!("/{}", path.replace('.', "/")));
        assert_ne!(default, Some(&value), "{path} is at its default");
    }
}

#[tokio::test]
async fn with_every_switch_the_chart_makes_something_else_and_the_server_takes_it() {
    let client = cluster().await.client;
    let mut before = BTreeMap::new();
    for (path, _) in switches() {
        let beside = beside(path);
        // A pool must be something, so these stand against the default.
        let beside = if beside.get("pool").is_some() {
            json!({})
        } else {
            beside
        };
        if let Entry::Vacant(entry) = before.entry(beside.to_string()) {
            entry.insert(render(&beside).await.unwrap());
        }
    }

    let before = &before;
    let one_each = switches().into_iter().map(|(path, value)| {
        let before = before.get(&beside(path).to_string()).unwrap_or(&before["{}"]);
        let values = chart::merged(beside(path), chart::only(path, value));
        async move {
            let made = render(&values).await?;
            ensure!(made != *before, "{values} changes nothing");
            anyhow::Ok(made)
        }
    });
    let mut renders: Vec<Vec<Value>> = stream::iter(one_each)
        .buffer_unordered(RENDERS)
        .try_collect()
        .await
        .unwrap();

    // All together: once as far as they go with each other, once with everything left out that can be.
    let all = switches().into_iter();
    let all = all.fold(json!({}), |all, (path, value)| {
        chart::merged(all, chart::only(path, value))
    });
    let file = json!({"devices": [], "existing": ""});
    let devices = json!({"file": null, "existing": ""});
    let installed = json!({"storageClass": {"create": true}, "crds": {"install": true}, "pool": file});
    let bare = json!({"storageClass": {"default": false}, "networkPolicy": {"enabled": false}, "pool": devices});
    for values in [chart::merged(all.clone(), installed), chart::merged(all, bare)] {
        renders.push(render(&values).await.unwrap());
    }
    let newest = chart::template(&chart::MUTATING_POLICIES).unwrap();
    renders.push(chart::objects(&newest.output().await.unwrap()).unwrap());
    renders.extend(before.values().cloned());

    let count = renders.iter().map(Vec::len).sum::<usize>();
    let different: BTreeSet<String> = renders.iter().flatten().map(Value::to_string).collect();
    assert!(different.len() > switches().len(), "{} objects", different.len());
    let taken = different.iter().map(|text| async {
        let object = serde_json::from_str(text)?;
        assert_taken(&client, &object).await
    });
    let () = stream::iter(taken)
        .buffer_unordered(REQUESTS)
        .try_collect()
        .await
        .unwrap();
    println!(
        "{} renders, {count} objects, {} different ones taken by the server",
        renders.len(),
        different.len()
    );
}

#[tokio::test]
async fn a_size_that_the_chart_takes_is_one_that_a_pool_takes() {
    for size in ["1Gi", "1.5Gi", "2G", "2.5G", "10G", "1T", "1Ti", "1P", "1Pi"] {
        render(&json!({"pool": {"file": {"size": size}}})).await.unwrap();
        super::assert_accepted(&json!({
            "apiVersion": "dotmesh.io/v1alpha1", "kind": "Pool", "metadata": {"name": "p"},
            "spec": {"nodeName": "n1", "file": {"path": "/var/lib/dotmesh/pool.img", "size": size}},
        }))
        .await;
    }
}
