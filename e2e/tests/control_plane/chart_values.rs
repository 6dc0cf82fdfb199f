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

/// How helm names a value, or all of them.
fn pointer(path: &str) -> String {
    match path {
        "" => "at ''".to_owned(),
        path => format!("at '/{}'", path.replace('.', "/")),
    }
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
        "importer",
        "importer.image",
        "csiProvisioner",
        "csiProvisioner.image",
        "csiResizer",
        "csiResizer.image",
        "csiSnapshotter",
        "csiSnapshotter.image",
        "snapshotController",
        "snapshotController.image",
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

/// Values that make no sense, and why each does not is plain.
fn senseless() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        (
            "imageRegistry",
            vec![json!("https://registry.example.com"), json!("registry.example.com/")],
        ),
        (
            "operator.replicas",
            vec![json!(0), json!(1.5), json!("2"), json!(-1), json!(100)],
        ),
        (
            "operator.image.repository",
            vec![json!("Dotmesh"), json!("dotmesh:tag"), json!("")],
        ),
        ("operator.image.tag", vec![json!("a b"), json!("a:b")]),
        ("operator.image.digest", vec![json!("md5:1"), json!("sha256:1")]),
        ("operator.image.pullPolicy", vec![json!("Sometimes"), json!("")]),
        ("operator.log.format", vec![json!("xml"), json!("JSON")]),
        ("operator.log.filter", vec![json!("")]),
        ("operator.priorityClassName", vec![json!("Very High")]),
        (
            "operator.resources.limits.memory",
            vec![json!("lots"), json!("1 Gi"), json!("1GB")],
        ),
        ("operator.resources.limits.cpu", vec![json!(-1), json!("-1")]),
        ("operator.nodeSelector.disk", vec![json!("a b"), json!(true)]),
        ("csiProvisioner.image.tag", vec![json!("")]),
        ("csiProvisioner.verbosity", vec![json!(11), json!(-1)]),
        ("csiResizer.image.tag", vec![json!("")]),
        ("csiResizer.verbosity", vec![json!(11), json!(-1)]),
        ("csiSnapshotter.image.tag", vec![json!("")]),
        ("csiSnapshotter.verbosity", vec![json!(11), json!(-1)]),
        ("csiSnapshotter.groups", vec![json!("yes")]),
        ("snapshotController.image.tag", vec![json!("")]),
        ("snapshotController.replicas", vec![json!(0), json!(10)]),
        (
            "csiNode.kubeletDir",
            vec![
                json!("kubelet"),
                json!("/var/lib/../kubelet"),
                json!(format!("/{}", "k".repeat(64))),
            ],
        ),
        (
            "pool.file.size",
            vec![json!("512Mi"), json!("1G"), json!("0"), json!("-1Gi"), json!(20)],
        ),
        (
            "pool.file.path",
            vec![
                json!("/etc/pool.img"),
                json!("/var/lib/dotmesh/../x"),
                json!("/var/lib/dotmesh/"),
            ],
        ),
        ("pool.devices", vec![json!("/dev/vdb"), json!(["/dev/vdb", "/dev/vdb"])]),
        ("pool.existing", vec![json!("1tank"), json!("my tank"), json!(true)]),
        ("storageClass.name", vec![json!("Fast"), json!(""), json!("a..b")]),
        ("storageClass.reclaimPolicy", vec![json!("Recycle"), json!("delete")]),
        ("networkPolicy.enabled", vec![json!("yes")]),
        ("networkPolicy.apiServer.ports", vec![json!([]), json!([443, 443])]),
    ]
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_its_name() {
    let senseless = senseless();
    let most = senseless.iter().map(|(_, values)| values.len()).max().unwrap();
    // One of each at a time: helm names all that is wrong, so each has to be among them.
    for round in 0..most {
        let nth = |(path, values): &(&'static str, Vec<Value>)| Some((*path, values.get(round)?.clone()));
        let wrong: Vec<(&str, Value)> = senseless.iter().filter_map(nth).collect();
        let each = wrong.iter().map(|(path, value)| chart::only(path, value.clone()));
        let words = refusal(&each.fold(json!({}), chart::merged)).await;
        let accepted: Vec<_> = wrong
            .iter()
            .filter(|(path, _)| !words.contains(&format!("{}: ", pointer(path))))
            .collect();
        assert!(accepted.is_empty(), "accepted: {accepted:?}\n{words}");
    }
}

#[tokio::test]
async fn a_pool_is_a_file_devices_or_one_that_is_there() {
    let devices = json!(["/dev/vdb", "/dev/disk/by-id/wwn-0x5"]);
    for pool in [
        json!({"devices": devices}),
        json!({"existing": "tank"}),
        json!({"file": null}),
        json!({"file": null, "devices": devices, "existing": "tank"}),
    ] {
        let words = refusal(&json!({"pool": pool})).await;
        assert!(words.contains("at '/pool'"), "{pool}\n{words}");
    }
    for (pool, flags) in [
        (
            json!({"file": null, "devices": devices}),
            "--pool-device=/dev/vdb\n            - --pool-device=/dev/disk/by-id/wwn-0x5\n",
        ),
        (json!({"file": null, "existing": "tank"}), "--pool-existing=tank\n"),
    ] {
        let made = chart::template_with(&json!({"pool": pool})).unwrap().output().await;
        let made = made.unwrap();
        assert!(made.contains(flags) && !made.contains("--pool-file"), "{made}");
    }
}

#[tokio::test]
async fn what_is_needed_cannot_be_taken_away() {
    for path in [
        "operator",
        "operator.replicas",
        "csiNode.image.repository",
        "networkPolicy.apiServer",
    ] {
        let words = refusal(&chart::only(path, Value::Null)).await;
        let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
        let expected = format!("{}: missing property '{name}'", pointer(above));
        assert!(words.contains(&expected), "{expected}\n{words}");
    }
}

#[tokio::test]
async fn what_stands_in_lists_and_maps_is_looked_at_too() {
    for (values, expected) in [
        (json!({"imagePullSecrets": ["pull"]}), "at '/imagePullSecrets/0'"),
        (
            json!({"pool": {"file": null, "devices": ["/etc/passwd"]}}),
            "at '/pool/devices/0'",
        ),
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
