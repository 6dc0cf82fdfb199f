//! CSI standing alone over a pool, without Kubernetes; and the standard conformance program against it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use dotmesh_csi_proto::csi::controller_client::ControllerClient;
use dotmesh_csi_proto::csi::identity_client::IdentityClient;
use dotmesh_csi_proto::csi::node_client::NodeClient;
use dotmesh_csi_proto::csi::volume_capability::{AccessType, BlockVolume};
use dotmesh_csi_proto::csi::{
    CapacityRange, ControllerExpandVolumeRequest, CreateVolumeRequest, DeleteVolumeRequest, GetPluginInfoRequest,
    NodeGetInfoRequest, NodeGetVolumeStatsRequest,
};
use dotmesh_model::handle::Handle;
use tonic::Code;

use crate::machine::{Machine, SIZE, capability};

/// What is said of the conformance program, and held to by its runs.
const CONFORMANCE: &str = include_str!("../../../docs/conformance.md");

pub(crate) fn create(name: &str, size: u64) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.into(),
        capacity_range: Some(CapacityRange {
            required_bytes: size.try_into().unwrap(),
            limit_bytes: 0,
        }),
        volume_capabilities: vec![capability()],
        ..CreateVolumeRequest::default()
    }
}

/// Writes a new file of so many bytes that do not compress, each MiB of it durable before the next.
fn fill(path: &Path, bytes: u64) -> std::io::Result<()> {
    let mut random = vec![0u8; 1 << 20];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    let mut file = std::fs::File::create(path)?;
    (0..bytes >> 20).try_for_each(|_| {
        file.write_all(&random)?;
        file.sync_all()
    })
}

#[tokio::test]
async fn a_volume_lives_without_kubernetes() {
    let machine = Machine::with_pool().await;
    let mut controller = ControllerClient::new(machine.csi().await);
    let mut node = NodeClient::new(machine.csi().await);
    let info = node.node_get_info(NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.node_id, "node-1");
    let volume = controller
        .create_volume(create("v1", SIZE))
        .await
        .unwrap()
        .into_inner()
        .volume
        .unwrap();
    let again = controller
        .create_volume(create("v1", SIZE))
        .await
        .unwrap()
        .into_inner()
        .volume
        .unwrap();
    assert_eq!(volume, again);
    let other = controller.create_volume(create("v1", 2 * SIZE)).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists);
    let mut block = create("v1", SIZE);
    block.volume_capabilities[0].access_type = Some(AccessType::Block(BlockVolume {}));
    let refused = controller.create_volume(block).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    let huge = controller.create_volume(create("v3", 1 << 50)).await.unwrap_err();
    assert_eq!(huge.code(), Code::ResourceExhausted);

    let handle: Handle = volume.volume_id.parse().unwrap();
    let (first, second) = (machine.target("a"), machine.target("b"));
    machine.publish(handle, &first).await.unwrap();
    machine.publish(handle, &first).await.unwrap();
    std::fs::write(first.join("file"), "data").unwrap();
    machine.publish(handle, &second).await.unwrap();
    assert_eq!(std::fs::read_to_string(second.join("file")).unwrap(), "data");
    let stats = NodeGetVolumeStatsRequest {
        volume_id: volume.volume_id.clone(),
        volume_path: first.to_string_lossy().into_owned(),
        ..NodeGetVolumeStatsRequest::default()
    };
    let usage = node.node_get_volume_stats(stats).await.unwrap().into_inner().usage;
    assert!(
        usage[0].total <= i64::try_from(SIZE).unwrap() && usage[0].total > 0,
        "{usage:?}"
    );

    let expand = |volume_id: &str, required: u64, limit: u64| ControllerExpandVolumeRequest {
        volume_id: volume_id.into(),
        capacity_range: Some(CapacityRange {
            required_bytes: required.try_into().unwrap(),
            limit_bytes: limit.try_into().unwrap(),
        }),
        ..ControllerExpandVolumeRequest::default()
    };
    let full = fill(&first.join("more"), 2 * SIZE).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::QuotaExceeded, "{full}");
    for (required, limit, size) in [(SIZE / 2, 0, SIZE), (2 * SIZE, 0, 2 * SIZE), (SIZE, 0, 2 * SIZE)] {
        let grown = controller
            .controller_expand_volume(expand(&volume.volume_id, required, limit))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(grown.capacity_bytes, i64::try_from(size).unwrap(), "{required}");
        assert!(!grown.node_expansion_required);
    }
    fill(&first.join("more"), SIZE + SIZE / 4).unwrap();
    let stats = NodeGetVolumeStatsRequest {
        volume_id: volume.volume_id.clone(),
        volume_path: first.to_string_lossy().into_owned(),
        ..NodeGetVolumeStatsRequest::default()
    };
    let usage = node.node_get_volume_stats(stats).await.unwrap().into_inner().usage;
    assert!(usage[0].total > i64::try_from(SIZE).unwrap(), "{usage:?}");
    for (id, required, limit, code) in [
        (volume.volume_id.as_str(), SIZE / 2, SIZE, Code::OutOfRange),
        (volume.volume_id.as_str(), 2 * SIZE, SIZE, Code::InvalidArgument),
        (volume.volume_id.as_str(), 1 << 50, 0, Code::ResourceExhausted),
        ("nonsense", SIZE, 0, Code::NotFound),
    ] {
        let request = expand(id, required, limit);
        let refused = controller.controller_expand_volume(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
    }

    let delete = |volume_id: &str| DeleteVolumeRequest {
        volume_id: volume_id.into(),
        ..DeleteVolumeRequest::default()
    };
    let in_use = controller.delete_volume(delete(&volume.volume_id)).await.unwrap_err();
    assert_eq!(in_use.code(), Code::FailedPrecondition);
    machine.unpublish(handle, &first).await.unwrap();
    machine.unpublish(handle, &second).await.unwrap();
    for id in [volume.volume_id.as_str(), volume.volume_id.as_str(), "nonsense"] {
        controller.delete_volume(delete(id)).await.unwrap();
    }
    machine.wait_empty().await;
    let gone = machine.publish(handle, &first).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn the_conformance_program_finds_nothing() {
    conformance("mount", &[]).await;
}

#[tokio::test]
async fn the_conformance_program_finds_nothing_about_what_is_alpha() {
    conformance("mount", ALPHA).await;
}

#[tokio::test]
async fn the_conformance_program_finds_nothing_about_block_devices() {
    conformance("block", &[]).await;
}

#[tokio::test]
async fn the_conformance_program_finds_nothing_about_block_devices_and_what_is_alpha() {
    conformance("block", ALPHA).await;
}

/// Switches on what is alpha in CSI 1.13.
const ALPHA: &[&str] = &["--csi-alpha"];

async fn conformance(access_type: &str, flags: &'static [&'static str]) {
    let machine = Machine::with_pool_and(flags).await;
    let info = IdentityClient::new(machine.csi().await)
        .get_plugin_info(GetPluginInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.name, "csi.dotmesh.io");
    // It makes the folders, but not what they lie in.
    std::fs::create_dir(machine.folder.join("sanity")).unwrap();
    let report = machine.folder.join("sanity/report.json");
    // A volume's attributes, which every volume of either kind has.
    let attributes = machine.folder.join("sanity/attributes.yaml");
    std::fs::write(&attributes, "compression: lz4\n").unwrap();
    let program = std::env::var("DOTMESH_CSI_SANITY").expect("DOTMESH_CSI_SANITY names the conformance program");
    let output = tokio::process::Command::new(program)
        .arg(format!("--csi.endpoint=unix://{}", machine.csi_socket().display()))
        .arg(format!(
            "--csi.mountdir={}",
            machine.folder.join("sanity/mount").display()
        ))
        .arg(format!(
            "--csi.stagingdir={}",
            machine.folder.join("sanity/staging").display()
        ))
        .arg(format!("--csi.testvolumeaccesstype={access_type}"))
        .arg(format!("--csi.testvolumemutableparameters={}", attributes.display()))
        .arg("--csi.testvolumesize=67108864")
        .arg("--csi.testvolumeexpandsize=134217728")
        .arg("--ginkgo.no-color")
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        failures(&report),
        if flags == ALPHA { vec![WRONG_ITSELF] } else { Vec::new() },
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    compare_with_document(&[&[access_type], flags].concat().join(" and "), &report);
    machine.wait_empty().await;
}

/// A test of csi-sanity 5.6 that fails for each driver that tells where a snapshot is usable: it compares the message with
/// one that was sent before, and with it how many bytes that took, which Go's protobuf notes in it.
const WRONG_ITSELF: &str = "should succeed when creating a snapshot with accessibility requirements";

/// A test of the conformance program, as its report has it.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    failure: Option<Reason>,
}

/// Why it failed, or was skipped.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reason {
    message: String,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Spec>,
}

fn specs(report: &Path) -> Vec<Spec> {
    let suites: Vec<Suite> = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    suites.into_iter().flat_map(|suite| suite.spec_reports).collect()
}

/// The tests that neither passed nor were skipped, and what failed around them; nothing ran: that, too.
fn failures(report: &Path) -> Vec<String> {
    let specs = specs(report);
    if specs.is_empty() {
        return vec!["no test ran".to_owned()];
    }
    let is_fine = |spec: &Spec| ["passed", "skipped", "pending"].contains(&spec.state.as_str());
    let failed = specs.into_iter().filter(|spec| !is_fine(spec));
    failed.map(|spec| spec.leaf_node_text).collect()
}

/// The document says how many tests pass, and why each of the others does not apply: no more and no less.
fn compare_with_document(how: &str, report: &Path) {
    let specs: Vec<Spec> = specs(report)
        .into_iter()
        .filter(|spec| spec.leaf_node_type == "It")
        .collect();
    let passed = specs.iter().filter(|spec| spec.state == "passed").count();
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for spec in specs.iter().filter(|spec| spec.state == "skipped") {
        let why = spec.failure.as_ref().map_or("", |reason| &reason.message);
        *skipped.entry(why).or_default() += 1;
    }
    let all: usize = skipped.values().sum();
    let said = format!("With access type {how}: {passed} pass, {all} do not apply.");
    println!("{said}");
    let rows = skipped.iter().map(|(why, tests)| format!("| {why} | {tests} | "));
    let unlisted: Vec<String> = rows.filter(|row| !CONFORMANCE.contains(row)).collect();
    assert!(
        unlisted.is_empty(),
        "docs/conformance.md does not say why these do not apply: {unlisted:#?}"
    );
    assert!(CONFORMANCE.contains(&said), "docs/conformance.md is to say: {said}");
}
