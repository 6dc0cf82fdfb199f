//! Data of claims of other drivers becomes a Dot's.

use dotmesh_crds::dot::{CommitVolumeRef, DotSpec, DotVolume, VolumeImport, ZfsSnapshot};
use dotmesh_crds::{Dot, Reason};

use super::{Foreign, Step, Until, Workload, claim, commit, delete, end, gone, pod, ready, volume, workload};
use crate::kubernetes::importer::TORN;

/// Dot `shop` with volumes `db`, from this claim, and `cache`.
fn importing(source: &str) -> Step {
    beginning_with(VolumeImport {
        persistent_volume_claim: Some(source.to_owned()),
        ..VolumeImport::default()
    })
}

/// Dot `shop` with volumes `db`, from this snapshot of Pool `n1`, and `cache`.
fn adopting(name: &str) -> Step {
    beginning_with(VolumeImport {
        zfs_snapshot: Some(ZfsSnapshot {
            pool: "n1".to_owned(),
            name: name.to_owned(),
        }),
        ..VolumeImport::default()
    })
}

/// Dot `name` with volumes `db`, from that of this Commit, and `cache`.
pub(super) fn forking(name: &str, commit: &str) -> Step {
    let mut step = beginning_with(VolumeImport {
        commit: Some(CommitVolumeRef {
            name: commit.to_owned(),
            volume: None,
        }),
        ..VolumeImport::default()
    });
    if let Step::Dot(dot) = &mut step {
        dot.metadata.name = Some(name.to_owned());
    }
    step
}

fn beginning_with(import: VolumeImport) -> Step {
    let db = DotVolume {
        import_from: Some(import),
        ..volume("db")
    };
    let spec = DotSpec {
        volumes: Some(vec![db, volume("cache")]),
        ..DotSpec::default()
    };
    let mut dot = Dot::new("shop", spec);
    dot.metadata.namespace = Some("dev".to_owned());
    Step::Dot(Box::new(dot))
}

fn not_ready(reason: Reason) -> Step {
    Step::Until(Until::NotReady("Dot", "shop".to_owned(), reason))
}

fn refused() -> Step {
    Step::Until(Until::NotReady("Branch", "shop-main".to_owned(), Reason::Invalid))
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "a claim's data is imported",
            [
                vec![
                    importing("old"),
                    not_ready(Reason::ClaimNotFound),
                    Step::Foreign(Foreign::Pod("writer", "old")),
                    Step::Foreign(Foreign::Claim("old")),
                    claim("db", Some(("Dot", "shop")), None),
                    claim("cache", Some(("Dot", "shop")), None),
                    Step::RunPod("app", vec!["db".to_owned(), "cache".to_owned()], 1),
                    not_ready(Reason::InUse),
                    Step::Foreign(Foreign::EndPod("writer")),
                    Step::Until(Until::Runs("app")),
                    Step::Write("app"),
                ],
                vec![ready("Dot", "shop"), commit("after", "shop"), ready("Commit", "after")],
            ],
        ),
        workload(
            "an import fails once",
            [
                vec![
                    Step::Foreign(Foreign::Claim(TORN)),
                    importing(TORN),
                    ready("Dot", "shop"),
                ],
                vec![claim("db", Some(("Dot", "shop")), None)],
                pod("app", &["db"]).to_vec(),
            ],
        ),
        workload(
            "somebody else's snapshot is adopted",
            [
                vec![
                    adopting("dotmesh/old@move"),
                    claim("db", Some(("Dot", "shop")), None),
                    claim("cache", Some(("Dot", "shop")), None),
                    Step::RunPod("app", vec!["db".to_owned(), "cache".to_owned()], 1),
                    refused(),
                    Step::Foreign(Foreign::Snapshot("dotmesh/old@move", "dev/shop/db")),
                    Step::Until(Until::Runs("app")),
                    Step::Write("app"),
                ],
                vec![commit("after", "shop"), ready("Commit", "after")],
                end("app").to_vec(),
                ["db", "cache"]
                    .map(|name| delete("PersistentVolumeClaim", name))
                    .to_vec(),
                vec![
                    delete("Dot", "shop"),
                    gone("Dot", "shop"),
                    adopting("dotmesh/old@move"),
                    ready("Dot", "shop"),
                ],
            ],
        ),
        workload(
            "a snapshot for another volume is not adopted",
            [vec![
                ready("Pool", "n1"),
                Step::Foreign(Foreign::Snapshot("dotmesh/old@move", "dev/other/db")),
                adopting("dotmesh/old@move"),
                refused(),
                delete("Dot", "shop"),
                gone("Dot", "shop"),
            ]],
        ),
        workload(
            "a Dot goes while it imports",
            [
                vec![
                    Step::Foreign(Foreign::Claim("old")),
                    importing("old"),
                    not_ready(Reason::Importing),
                    delete("Dot", "shop"),
                    gone("Dot", "shop"),
                    importing("old"),
                    ready("Dot", "shop"),
                ],
                vec![claim("db", Some(("Dot", "shop")), None)],
                pod("app", &["db"]).to_vec(),
            ],
        ),
    ]
}
