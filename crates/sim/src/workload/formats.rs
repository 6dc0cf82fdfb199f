//! Dots whose volumes are filesystems on block devices of ZFS, and such devices.

use dotmesh_crds::Dot;
use dotmesh_crds::DotSpec;
use dotmesh_crds::dot::DotVolume;
use dotmesh_crds::format::words_of;
use dotmesh_model::format::VolumeFormat;

use super::{Step, Undo, Until, Workload, branch, claim, commit, delete, end, gone, pod, ready, workload};

/// A claim of a block device.
fn device(name: &str, source: (&str, &str), volume: &str) -> Step {
    let mut step = claim(name, Some(source), Some(volume));
    if let Step::Claim(claim) = &mut step {
        claim.spec.get_or_insert_default().volume_mode = Some("Block".to_owned());
    }
    step
}

/// Dot `all` with a volume of each format, called as that, and a pod that uses them.
fn all_formats() -> Vec<Step> {
    let listed = VolumeFormat::ALL.map(|format| {
        let (volume_mode, fs_type) = words_of(format);
        DotVolume {
            name: format.to_string(),
            size: "1Gi".to_owned(),
            volume_mode,
            fs_type,
            zfs: None,
            import_from: None,
        }
    });
    let spec = DotSpec {
        volumes: Some(listed.into()),
        ..DotSpec::default()
    };
    let mut dot = Dot::new("all", spec);
    dot.metadata.namespace = Some("dev".to_owned());
    let source = ("Dot", "all");
    let mut steps = vec![Step::Dot(Box::new(dot))];
    steps.extend(["zfs", "ext4", "xfs"].map(|volume| claim(volume, Some(source), Some(volume))));
    steps.push(device("raw", source, "block"));
    steps.extend(pod("app", &["zfs", "ext4", "xfs", "raw"]));
    steps
}

/// The claims of [`all_formats`].
const FORMATS: [&str; 4] = ["zfs", "ext4", "xfs", "raw"];

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    let (of_branch, source) = (("Branch", "try"), ("Dot", "all"));
    vec![
        workload(
            "volumes of every format are committed and branched",
            [
                all_formats(),
                vec![Step::Write("app"), commit("first", "all"), ready("Commit", "first")],
                vec![
                    Step::Write("app"),
                    branch("try", "all", "first"),
                    ready("Branch", "try"),
                ],
                vec![
                    claim("tried", Some(of_branch), Some("xfs")),
                    device("bits", of_branch, "block"),
                ],
                pod("trial", &["tried", "bits"]).to_vec(),
                vec![Step::Write("trial"), Step::Write("app"), commit("second", "all")],
                vec![ready("Commit", "second")],
            ],
        ),
        workload(
            "volumes of every format grow and go",
            [
                all_formats(),
                vec![commit("first", "all"), ready("Commit", "first")],
                vec![
                    branch("try", "all", "first"),
                    Step::Resize("ext4", "2Gi"),
                    Step::Resize("raw", "2Gi"),
                ],
                vec![
                    Step::Until(Until::Grown("ext4", "2Gi")),
                    Step::Until(Until::Grown("raw", "2Gi")),
                ],
                vec![ready("Branch", "try"), delete("Dot", "all")],
                end("app").to_vec(),
                FORMATS.map(|name| delete("PersistentVolumeClaim", name)).to_vec(),
                vec![gone("Dot", "all")],
            ],
        ),
        workload(
            "a Dot of every format is restored",
            [
                all_formats(),
                vec![Step::Write("app"), commit("first", "all"), ready("Commit", "first")],
                end("app").to_vec(),
                FORMATS.map(|name| delete("PersistentVolumeClaim", name)).to_vec(),
                vec![
                    delete("Dot", "all"),
                    gone("Dot", "all"),
                    Step::Undo(Undo::Restore("all", "all")),
                    ready("Dot", "all"),
                ],
                vec![claim("xfs", Some(source), Some("xfs")), device("raw", source, "block")],
                pod("again", &["xfs", "raw"]).to_vec(),
                vec![Step::Write("again"), commit("second", "all"), ready("Commit", "second")],
            ],
        )
        .with_grace(86_400),
    ]
}
