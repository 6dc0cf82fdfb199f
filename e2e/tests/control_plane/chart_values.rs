//! Values that the chart refuses, with words that name them.

use dotmesh_e2e::chart;
use serde_json::{Value, json};

/// What helm says to values that it must refuse.
async fn refusal(values: &Value) -> String {
    let ended = chart::template_with(values).unwrap().ended().await.unwrap();
    assert!(!ended.success, "{values} was accepted");
    assert!(
        ended.stderr.contains("don't meet the specifications of the schema"),
        "{values}: {}",
        ended.stderr
    );
    ended.stderr
}

/// How helm names a value.
fn pointer(path: &str) -> String {
    format!("at '/{}'", path.replace('.', "/"))
}

#[tokio::test]
async fn every_value_of_the_wrong_type_is_refused_by_its_name() {
    let paths = chart::paths(&chart::defaults().unwrap());
    let wrong = |path: &String| chart::only(path, wrong_type(path));
    let values = paths.iter().map(wrong).fold(json!({}), chart::merged);
    let words = refusal(&values).await;
    let missing: Vec<_> = paths.iter().filter(|path| !words.contains(&pointer(path))).collect();
    assert!(missing.is_empty(), "accepted: {missing:?}\n{words}");
}

/// A map where there is none, and a number where there is one.
fn wrong_type(path: &str) -> Value {
    let defaults = chart::defaults().unwrap();
    let default = defaults.pointer(&format!("/{}", path.replace('.', "/")));
    if default.is_some_and(Value::is_object) {
        json!(7)
    } else {
        json!({"a": "map"})
    }
}

#[tokio::test]
async fn a_misspelled_name_is_refused_wherever_it_stands() {
    let groups = [
        "",
        "operator",
        "operator.image",
        "operator.log",
        "operator.resources",
        "operator.affinity",
        "csiNode",
        "csiNode.image",
        "csiNode.log",
        "csiProvisioner",
        "csiProvisioner.image",
        "pool",
        "pool.file",
        "storageClass",
        "crds",
        "networkPolicy",
        "networkPolicy.apiServer",
    ];
    let misspelled = groups.iter().map(|group| {
        let path = format!("{group}.sise");
        chart::only(path.trim_start_matches('.'), json!("1Gi"))
    });
    let words = refusal(&misspelled.fold(json!({}), chart::merged)).await;
    for group in groups {
        let at = if group.is_empty() {
            "at ''".to_owned()
        } else {
            pointer(group)
        };
        let expected = format!("{at}: additional properties 'sise' not allowed");
        assert!(words.contains(&expected), "{expected}\n{words}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_its_name() {
    for (path, value) in [
        ("imageRegistry", json!("https://registry.example.com")),
        ("imageRegistry", json!("registry.example.com/")),
        ("operator.replicas", json!(0)),
        ("operator.replicas", json!(1.5)),
        ("operator.replicas", json!("2")),
        ("operator.replicas", Value::Null),
        ("operator.image.repository", json!("Dotmesh")),
        ("operator.image.repository", json!("dotmesh:tag")),
        ("operator.image.tag", json!("a b")),
        ("operator.image.digest", json!("md5:1")),
        ("operator.image.pullPolicy", json!("Sometimes")),
        ("operator.log.format", json!("xml")),
        ("operator.log.filter", json!("")),
        ("operator.priorityClassName", json!("Very High")),
        ("operator.resources.limits.memory", json!("lots")),
        ("operator.resources.limits.cpu", json!(-1)),
        ("operator.nodeSelector.disk", json!("a b")),
        ("csiProvisioner.image.tag", json!("")),
        ("csiProvisioner.verbosity", json!(11)),
        ("csiNode.kubeletDir", json!("kubelet")),
        ("csiNode.kubeletDir", json!("/var/lib/../kubelet")),
        ("csiNode.kubeletDir", json!(format!("/{}", "k".repeat(64)))),
        ("pool.file.size", json!("512Mi")),
        ("pool.file.size", json!("1G")),
        ("pool.file.size", json!("0")),
        ("pool.file.size", json!(20)),
        ("pool.file.path", json!("/etc/pool.img")),
        ("pool.file.path", json!("/var/lib/dotmesh/../x")),
        ("storageClass.name", json!("Fast")),
        ("storageClass.name", json!("")),
        ("storageClass.reclaimPolicy", json!("Recycle")),
        ("networkPolicy.enabled", json!("yes")),
        ("networkPolicy.apiServer.ports", json!([])),
    ] {
        let words = refusal(&chart::only(path, value.clone())).await;
        // What is missing is told of what it is missing from.
        let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
        let expected = if value.is_null() {
            format!("{}: missing property '{name}'", pointer(above))
        } else {
            pointer(path)
        };
        assert!(words.contains(&expected), "{expected}\n{words}");
    }
}

#[tokio::test]
async fn what_stands_in_lists_and_maps_is_looked_at_too() {
    for (values, expected) in [
        (json!({"imagePullSecrets": ["pull"]}), "at '/imagePullSecrets/0'"),
        (
            json!({"imagePullSecrets": [{}]}),
            "at '/imagePullSecrets/0': missing property 'name'",
        ),
        (
            json!({"operator": {"tolerations": [{"effect": "NoScheduling"}]}}),
            "at '/operator/tolerations/0/effect'",
        ),
        (
            json!({"csiNode": {"tolerations": [{"keys": "a"}]}}),
            "at '/csiNode/tolerations/0': additional properties 'keys'",
        ),
        (
            json!({"csiNode": {"resources": {"limits": {"memroy": "1Gi"}}}}),
            "at '/csiNode/resources/limits': additional properties 'memroy'",
        ),
        (
            json!({"operator": {"nodeSelector": {"a/b/c": "d"}}}),
            "at '/operator/nodeSelector': additional properties 'a/b/c'",
        ),
        (
            json!({"networkPolicy": {"metricsFrom": [{}]}}),
            "at '/networkPolicy/metricsFrom/0'",
        ),
        (
            json!({"networkPolicy": {"metricsFrom": [{"ipBlock": {"cidr": "10.0.0.1"}}]}}),
            "at '/networkPolicy/metricsFrom/0/ipBlock/cidr'",
        ),
        (
            json!({"networkPolicy": {"apiServer": {"ports": [70000]}}}),
            "at '/networkPolicy/apiServer/ports/0'",
        ),
        (
            json!({"networkPolicy": {"apiServer": {"cidrs": ["kubernetes.default.svc"]}}}),
            "at '/networkPolicy/apiServer/cidrs/0'",
        ),
        (
            json!({"storageClass": {"create": false, "default": true}}),
            "at '/storageClass/default'",
        ),
    ] {
        let words = refusal(&values).await;
        assert!(words.contains(expected), "{expected}\n{words}");
    }
}
