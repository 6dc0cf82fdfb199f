//! The chart, as helm makes it and the server takes it: what is promised of it as a whole.

use dotmesh_e2e::chart;
use dotmesh_e2e::program::Program;
use serde_json::{Value, json};

use super::cluster;

#[tokio::test]
async fn populators_are_announced_where_the_cluster_knows_them() {
    let storage = |more: &[&str]| {
        let args = [["--show-only", "templates/storage.yaml"].as_slice(), more].concat();
        chart::template(&args).unwrap()
    };
    assert!(!storage(&[]).output().await.unwrap().contains("VolumePopulator"));
    for version in ["v1", "v1beta1"] {
        let known = format!("populator.storage.k8s.io/{version}/VolumePopulator");
        let text = storage(&["--api-versions", &known]).output().await.unwrap();
        let sources = ["Dot", "Branch", "Commit"];
        assert_eq!(text.matches("kind: VolumePopulator").count(), sources.len(), "{text}");
        for kind in sources {
            assert!(
                text.contains(&format!("  group: dotmesh.io\n  kind: {kind}\n")),
                "{text}"
            );
        }
        assert!(
            text.contains(&format!("apiVersion: populator.storage.k8s.io/{version}\n")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn the_committer_is_written_where_the_server_can_and_else_taken_from_nobody() {
    cluster().await;
    for (args, policy, other) in [
        (chart::MUTATING_POLICIES.as_slice(), "Mutating", "Validating"),
        (&[], "Validating", "Mutating"),
        // As `helm install` finds it on this server.
        (&["--dry-run=server", "--take-ownership"], "Mutating", "Validating"),
    ] {
        let args = [&["--show-only", "templates/committer.yaml"], args].concat();
        let text = chart::template(&args).unwrap().output().await.unwrap();
        for kind in ["AdmissionPolicy", "AdmissionPolicyBinding"] {
            assert_eq!(text.matches(&format!("kind: {policy}{kind}\n")).count(), 1, "{text}");
        }
        assert!(!text.contains(&format!("{other}AdmissionPolicy")), "{text}");
    }
}

#[tokio::test]
async fn helm_lint_is_content() {
    let lint = Program::find("helm")
        .unwrap()
        .args(["lint", "--strict"])
        .args([chart::folder().display().to_string()]);
    lint.output().await.unwrap();
}

#[tokio::test]
async fn uninstalling_keeps_the_crds_and_so_everybodys_dots() {
    let made = chart::template(&["--show-only", "templates/crds.yaml"]).unwrap();
    let crds = chart::objects(&made.output().await.unwrap()).unwrap();
    assert_eq!(crds.len(), dotmesh_crds::yaml::crds().len());
    for crd in crds {
        assert_eq!(crd["kind"], "CustomResourceDefinition");
        assert_eq!(
            crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep",
            "{crd}"
        );
    }
}

/// Pods that the chart makes, but for csi-node's: the operator's, snapshot-controller's, and that of `helm test`.
async fn pods_without_privilege(values: &Value) -> Vec<Value> {
    let made = chart::template_with(values).unwrap().output().await.unwrap();
    let pod_of = |object: &Value| match object["kind"].as_str() {
        Some("Deployment") => Some(object["spec"]["template"].clone()),
        Some("Pod") => Some(object.clone()),
        _ => None,
    };
    chart::objects(&made).unwrap().iter().filter_map(pod_of).collect()
}

#[tokio::test]
async fn all_but_csi_node_passes_restricted_pod_security() {
    let cluster = cluster().await;
    let label = [
        "label",
        "namespace",
        super::NAMESPACE,
        "pod-security.kubernetes.io/enforce=restricted",
        "--overwrite",
    ];
    Program::kubectl(label).unwrap().output().await.unwrap();
    let all = json!({"csiSnapshotter": {"enabled": true}, "snapshotController": {"enabled": true}});
    let pods = pods_without_privilege(&all).await;
    assert_eq!(pods.len(), 3, "{pods:?}");
    for mut pod in pods {
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = "restricted".into();
        pod["metadata"]["namespace"] = super::NAMESPACE.into();
        pod["spec"]["serviceAccountName"] = "default".into();
        pod["spec"]["automountServiceAccountToken"] = false.into();
        for container in pod["spec"]["containers"].as_array().unwrap() {
            assert_eq!(
                container["securityContext"]["readOnlyRootFilesystem"], true,
                "{container}"
            );
        }
        let create = cluster.kubectl(&["create", "--dry-run=server", "-f", "-"]).unwrap();
        create.input(pod.to_string()).output().await.unwrap();
    }
}

/// What a field of the CSIDriver that is there may become, without making it so.
async fn refusal_of_change(spec: &Value) -> Option<String> {
    let patch = json!({"spec": spec}).to_string();
    let args = [
        "patch",
        "csidriver",
        "csi.dotmesh.io",
        "--type=merge",
        "--dry-run=server",
        "-p",
    ];
    let ended = Program::kubectl(args).unwrap().args([patch]).ended().await.unwrap();
    (!ended.success).then_some(ended.stderr)
}

/// Were one of them another in a later version, `helm upgrade` would fail on every installation.
#[tokio::test]
async fn what_can_never_change_of_the_csi_driver_is_as_it_will_be() {
    cluster().await;
    let made = chart::template(&["--show-only", "templates/storage.yaml"]).unwrap();
    let objects = chart::objects(&made.output().await.unwrap()).unwrap();
    let driver = objects.iter().find(|object| object["kind"] == "CSIDriver").unwrap();
    assert_eq!(driver["spec"]["attachRequired"], false);
    assert_eq!(
        driver["spec"]["volumeLifecycleModes"],
        json!(["Persistent", "Ephemeral"])
    );
    let apply = Program::kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"]).unwrap();
    apply.input(driver.to_string()).output().await.unwrap();

    for frozen in [
        json!({"attachRequired": true}),
        json!({"volumeLifecycleModes": ["Persistent"]}),
    ] {
        let words = refusal_of_change(&frozen).await;
        assert!(
            words.is_some_and(|words| words.contains("field is immutable")),
            "{frozen}"
        );
    }
    let fields = driver["spec"].as_object().unwrap().keys();
    for field in fields.filter(|field| !["attachRequired", "volumeLifecycleModes"].contains(&field.as_str())) {
        let other = driver["spec"][field].as_bool().map_or(json!("None"), |is| json!(!is));
        assert_eq!(
            refusal_of_change(&json!({field: other})).await,
            None,
            "{field} can be changed later"
        );
    }
}
