//! What claims ask for, read from YAML as people write it.

use dotmesh_crds::names::DRIVER;
use dotmesh_model::format::VolumeFormat;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;

use super::validate::{Source, is_copy, is_served, validate};

fn class() -> StorageClass {
    serde_yaml::from_str("{metadata: {name: dotmesh}, provisioner: csi.dotmesh.io}").unwrap()
}

/// A claim with these metadata and spec fields beside the usual ones.
fn claim(metadata: &str, spec: &str) -> PersistentVolumeClaim {
    serde_yaml::from_str(&format!(
        "{{metadata: {{name: db, namespace: dev, uid: 0c5a6f6e-1111-4222-8333-444455556666{metadata}}}, \
         spec: {{storageClassName: dotmesh{spec}}}}}"
    ))
    .unwrap()
}

/// What the server accepts may still be refused here.
#[test]
fn the_claims_of_the_documentation_are_served() {
    let page = include_str!("../../../docs/claims.md");
    let blocks = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let documents = blocks.flat_map(|block| block.split("---\n"));
    let mut served = 0;
    for document in documents {
        let mut object: serde_json::Value = serde_yaml::from_str(document).unwrap();
        let mut claims = object["spec"]["volumeClaimTemplates"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if object["kind"] == "PersistentVolumeClaim" {
            claims.push(object.take());
        }
        for mut claim in claims {
            claim["metadata"]["namespace"] = "dev".into();
            claim["metadata"]["uid"] = "0c5a6f6e-1111-4222-8333-444455556666".into();
            let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
            assert!(is_served(&claim, &class()), "{document}");
            validate(&claim, &class()).unwrap_or_else(|error| panic!("{error}:\n{document}"));
            served += 1;
        }
    }
    assert_eq!(served, 4);
}

const DOT: &str = ", dataSourceRef: {apiGroup: dotmesh.io, kind: Dot, name: shop}";
const SIZE: &str = ", resources: {requests: {storage: 1Gi}}";

#[test]
fn a_claim_with_our_source_and_class_is_ours_until_it_is_bound_or_deleted() {
    assert!(is_served(&claim("", DOT), &class()));
    assert!(is_served(&claim(", annotations: {dotmesh.io/dot: shop}", ""), &class()));
    assert!(is_served(
        &claim(", annotations: {dotmesh.io/branch: try}", ""),
        &class()
    ));
    for copy in [
        ", dataSourceRef: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: x}",
        ", dataSourceRef: {kind: PersistentVolumeClaim, name: x}",
    ] {
        assert!(
            is_served(&claim("", copy), &class()) && is_copy(&claim("", copy)),
            "{copy}"
        );
    }
    assert!(!is_copy(&claim("", DOT)));
    for (metadata, spec) in [
        ("", ""),
        (", annotations: {dotmesh.io/volume: db}", ""),
        (
            "",
            ", dataSourceRef: {apiGroup: other.example.com, kind: VolumeSnapshot, name: x}",
        ),
        (", deletionTimestamp: '2026-01-01T00:00:00Z'", DOT),
        ("", &format!("{DOT}, volumeName: pvc-1")),
    ] {
        assert!(!is_served(&claim(metadata, spec), &class()), "{metadata} {spec}");
    }
    let foreign = serde_yaml::from_str("{metadata: {name: dotmesh}, provisioner: other.example.com}").unwrap();
    assert!(!is_served(&claim("", DOT), &foreign));
}

#[test]
fn a_claim_is_read_whole() {
    let annotations = ", annotations: {dotmesh.io/volume: cache, volume.kubernetes.io/selected-node: n1}";
    let spec = format!("{DOT}{SIZE}, accessModes: [ReadWriteOnce]");
    let request = validate(&claim(annotations, &spec), &class()).unwrap();
    assert_eq!(request.source, Source::Dot("shop".to_owned()));
    assert_eq!(request.volume.as_ref().map(|name| name.as_str()), Some("cache"));
    assert_eq!(request.selected_node.as_deref(), Some("n1"));
    assert_eq!(request.size_bytes, 1 << 30);
    assert_eq!(request.class.reclaim_policy, "Delete");
    for mode in ["ReadWriteOncePod", "ReadOnlyMany"] {
        let spec = format!("{DOT}{SIZE}, accessModes: [{mode}]");
        let request = validate(&claim("", &spec), &class()).unwrap();
        assert_eq!(request.access_modes, [mode]);
    }
}

#[test]
fn annotations_say_what_a_data_source_would() {
    let source = |annotations: &str| {
        let request = validate(&claim(&format!(", annotations: {{{annotations}}}"), SIZE), &class());
        request.unwrap().source
    };
    let branch = |dot: Option<&str>| Source::Branch {
        name: "try".to_owned(),
        dot: dot.map(str::to_owned),
    };
    assert_eq!(source("dotmesh.io/dot: shop"), Source::Dot("shop".to_owned()));
    assert_eq!(source("dotmesh.io/branch: try"), branch(None));
    assert_eq!(
        source("dotmesh.io/branch: try, dotmesh.io/dot: shop"),
        branch(Some("shop"))
    );
}

#[test]
fn a_volume_is_shared_when_the_annotation_says_so() {
    let shared = |text: &str| {
        let annotations = format!(", annotations: {{dotmesh.io/shared: '{text}'}}");
        validate(&claim(&annotations, &format!("{DOT}{SIZE}")), &class()).map(|request| request.shared)
    };
    assert_eq!(shared("true"), Ok(true));
    assert_eq!(shared("false"), Ok(false));
    assert!(shared("yes").is_err());
}

#[test]
fn a_claim_asks_for_files_or_a_device_and_its_class_for_a_filesystem() {
    let format = |mode: &str, class: &str| {
        let class = serde_yaml::from_str(class).unwrap();
        let request = validate(&claim("", &format!("{DOT}{SIZE}{mode}")), &class);
        request.map(|request| request.format).map_err(|error| error.to_string())
    };
    let of =
        |parameters: &str| format!("{{metadata: {{name: c}}, provisioner: {DRIVER}, parameters: {{{parameters}}}}}");
    let (plain, ext4) = (of(""), of("csi.storage.k8s.io/fstype: ext4"));
    assert_eq!(format("", &plain), Ok(None));
    assert_eq!(format(", volumeMode: Filesystem", &ext4), Ok(Some(VolumeFormat::Ext4)));
    assert_eq!(format(", volumeMode: Block", &ext4), Ok(Some(VolumeFormat::Block)));
    let refused = format("", &of("csi.storage.k8s.io/fstype: btrfs")).unwrap_err();
    assert!(refused.contains("zfs, ext4 or xfs"), "{refused}");
}

#[test]
fn what_cannot_be_served_is_told_with_its_remedy() {
    let said = |metadata: &str, spec: &str| {
        let error = validate(&claim(metadata, spec), &class()).unwrap_err();
        format!("{}: {error}", error.reason())
    };
    let of = |kind: &str, more: &str| format!(", dataSourceRef: {{apiGroup: dotmesh.io, kind: {kind}, name: x{more}}}");
    insta::assert_snapshot!(
        [
            said("", &format!("{}{SIZE}", of("Pool", ""))),
            said("", &format!("{}{SIZE}", of("dot", ""))),
            said(
                "",
                &format!(", dataSourceRef: {{apiGroup: dotmesh.io, kind: Dot, name: ../x}}{SIZE}")
            ),
            said(", annotations: {dotmesh.io/dot: Shop}", SIZE),
            said(", annotations: {dotmesh.io/branch: feature/x}", SIZE),
            said(", annotations: {dotmesh.io/dot: ''}", SIZE),
            said(", annotations: {dotmesh.io/dot: other}", &format!("{DOT}{SIZE}")),
            said(
                ", annotations: {dotmesh.io/dot: other}",
                &format!(", dataSourceRef: {{apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: x}}{SIZE}"),
            ),
            said(", annotations: {dotmesh.io/shared: 'yes'}", &format!("{DOT}{SIZE}")),
            said(
                ", annotations: {dotmesh.io/shared: 'true'}",
                &format!("{DOT}{SIZE}, accessModes: [ReadWriteOncePod]"),
            ),
            said("", &format!("{}{SIZE}", of("Dot", ", namespace: other"))),
            said("", &format!("{DOT}{SIZE}, volumeMode: Tape")),
            said("", &format!("{DOT}{SIZE}, accessModes: [ReadWriteMany]")),
            said(", annotations: {dotmesh.io/volume: PG_Data}", &format!("{DOT}{SIZE}")),
            said(", annotations: {dotmesh.io/volume: ../x}", &format!("{DOT}{SIZE}")),
            said("", DOT),
            said("", &format!("{DOT}, resources: {{requests: {{storage: '0'}}}}")),
            said("", &format!("{DOT}, resources: {{requests: {{storage: '-1Gi'}}}}")),
            said("", &format!("{DOT}, resources: {{requests: {{storage: 900Ei}}}}")),
        ]
        .join("\n")
    );
}
