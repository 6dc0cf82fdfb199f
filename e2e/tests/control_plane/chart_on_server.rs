//! The chart, as helm makes it and the server takes it.

use dotmesh_e2e::chart;
use dotmesh_e2e::program::Program;

use super::cluster;

#[tokio::test]
async fn what_the_chart_makes_is_accepted_with_every_switch() {
    cluster().await;
    for switches in [
        [].as_slice(),
        &["--set", "crds.install=false,storageClass.create=false"],
        &[
            "--set",
            "storageClass.default=true,storageClass.name=fast,storageClass.reclaimPolicy=Retain",
        ],
        &[
            "--set",
            "operator.image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ],
        &[
            "--set",
            "csiNode.kubeletDir=/var/snap/kubelet,csiNode.nodeSelector.disk=zfs,csiNode.tolerations=null",
        ],
        &[
            "--set",
            "imagePullSecrets[0].name=pull,operator.priorityClassName=,operator.log.format=human",
        ],
        &[
            "--set",
            "pool.file.path=/var/lib/dotmesh/big/pool.img,pool.file.size=1Ti",
        ],
        &[
            "--api-versions",
            "populator.storage.k8s.io/v1beta1/VolumePopulator",
            "--show-only",
            "templates/rbac.yaml",
        ],
    ] {
        let made = chart::template(switches).unwrap().output().await.unwrap();
        let apply = Program::kubectl([
            "apply",
            "--dry-run=server",
            "--server-side",
            "--force-conflicts",
            "-f",
            "-",
        ]);
        let taken = apply.unwrap().input(made).ended().await.unwrap();
        assert!(taken.success, "{switches:?}: {}", taken.stderr);
        assert!(
            !taken.stderr.to_lowercase().contains("warning"),
            "{switches:?}: {}",
            taken.stderr
        );
    }
}

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
        assert_eq!(text.matches("kind: VolumePopulator").count(), 2, "{text}");
        assert!(
            text.contains(&format!("apiVersion: populator.storage.k8s.io/{version}\n")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn misspelled_and_senseless_values_are_refused() {
    for (value, because) in [
        ("poool.file.size=1Gi", "poool"),
        ("pool.file.sise=1Gi", "sise"),
        ("operator.replicas=2", "replicas"),
        ("operator.image.tga=x", "tga"),
        ("operator.image.pullPolicy=Sometimes", "pullPolicy"),
        ("operator.image.digest=md5:1", "digest"),
        ("operator.log.format=xml", "format"),
        ("pool.file.size=512Mi", "size"),
        ("pool.file.size=0", "size"),
        ("pool.file.path=/etc/pool.img", "path"),
        ("pool.file.path=/var/lib/dotmesh/../x", "path"),
        ("csiNode.kubeletDir=kubelet", "kubeletDir"),
        ("storageClass.reclaimPolicy=Recycle", "reclaimPolicy"),
        ("storageClass.name=Fast", "name"),
        ("csiProvisioner.verbosity=11", "verbosity"),
    ] {
        let ended = chart::template(&["--set", value]).unwrap().ended().await.unwrap();
        assert!(!ended.success, "{value} was accepted");
        assert!(ended.stderr.contains(because), "{value}: {}", ended.stderr);
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
    let crds = chart::template(&["--show-only", "templates/crds.yaml"])
        .unwrap()
        .output()
        .await
        .unwrap();
    let count = crds.matches("kind: CustomResourceDefinition").count();
    assert_eq!(count, 4);
    assert_eq!(crds.matches("helm.sh/resource-policy: keep").count(), count);
}

#[tokio::test]
async fn the_operator_passes_restricted_pod_security() {
    let cluster = cluster().await;
    let label = [
        "label",
        "namespace",
        super::NAMESPACE,
        "pod-security.kubernetes.io/enforce=restricted",
        "--overwrite",
    ];
    Program::kubectl(label).unwrap().output().await.unwrap();
    let made = chart::template(&["--show-only", "templates/operator.yaml"])
        .unwrap()
        .output()
        .await
        .unwrap();
    let text = made.replace(chart::NAMESPACE, super::NAMESPACE);
    let documents: Vec<serde_json::Value> = text
        .split("\n---\n")
        .map(|document| serde_yaml::from_str(document).unwrap())
        .filter(|document: &serde_json::Value| document["kind"] == "Deployment")
        .collect();
    let [deployment] = documents.as_slice() else {
        panic!("one Deployment: {text}")
    };
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "operator".into();
    pod["spec"]["serviceAccountName"] = "default".into();
    pod["spec"]["automountServiceAccountToken"] = false.into();
    let create = cluster.kubectl(&["create", "--dry-run=server", "-f", "-"]).unwrap();
    create.input(pod.to_string()).output().await.unwrap();
}
