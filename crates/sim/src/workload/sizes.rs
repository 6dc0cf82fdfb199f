//! Volumes that become larger while they are used.

use std::time::Duration;

use dotmesh_crds::dot::DotVolume;
use dotmesh_crds::zfs::ZfsProperties;

use super::{
    Step, Until, Workload, branch, claim, claim_of_class, commit, delete, dot, end, gone, pod, ready, shop, workload,
};

/// A claim asks for more.
fn resize(claim: &'static str, size: &'static str) -> Step {
    Step::Resize(claim, size)
}

/// Waits until a claim's volume has that size.
fn grown(claim: &'static str, size: &'static str) -> Step {
    Step::Until(Until::Grown(claim, size))
}

fn volume(name: &str, size: &str) -> DotVolume {
    DotVolume {
        name: name.to_owned(),
        size: size.to_owned(),
        ..DotVolume::default()
    }
}

/// A volume whose data is kept in this way.
fn kept(name: &str, compression: &str, recordsize: &str) -> DotVolume {
    DotVolume {
        zfs: Some(ZfsProperties {
            compression: Some(compression.to_owned()),
            recordsize: Some(recordsize.to_owned()),
            sync: Some("disabled".to_owned()).filter(|_| compression == "zstd"),
            ..ZfsProperties::default()
        }),
        ..volume(name, "1Gi")
    }
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "a claim grows",
            [
                shop(),
                vec![claim("plain", None, None)],
                pod("other", &["plain"]).to_vec(),
                vec![resize("db", "2Gi"), resize("plain", "3Gi")],
                vec![grown("db", "2Gi"), grown("plain", "3Gi")],
                vec![Step::Write("app"), resize("db", "4Gi"), grown("db", "4Gi")],
            ],
        ),
        workload(
            "a claim grows while a branch is made",
            [
                shop(),
                vec![commit("first", "shop"), ready("Commit", "first")],
                vec![resize("db", "2Gi"), branch("try", "shop", "first")],
                vec![claim("tried", Some(("Branch", "try")), Some("db"))],
                pod("trial", &["tried"]).to_vec(),
                vec![grown("db", "2Gi"), resize("tried", "3Gi"), grown("tried", "3Gi")],
                vec![branch("late", "shop", "first"), ready("Branch", "late")],
            ],
        ),
        workload(
            "claims of a Commit and shared ones grow",
            [
                shop(),
                vec![commit("first", "shop")],
                vec![
                    claim("seen", Some(("Commit", "first")), Some("db")),
                    claim_of_class(
                        "dotmesh",
                        "one",
                        Some(("Dot", "other")),
                        &[("dotmesh.io/shared", "true")],
                    ),
                    claim_of_class(
                        "dotmesh",
                        "two",
                        Some(("Dot", "other")),
                        &[("dotmesh.io/shared", "true")],
                    ),
                    dot("other", &["files"]),
                ],
                pod("viewer", &["seen"]).to_vec(),
                pod("both", &["one", "two"]).to_vec(),
                vec![resize("seen", "2Gi"), resize("one", "2Gi")],
                // One after the other, or the first would have what the second asks for.
                vec![grown("seen", "2Gi"), grown("one", "2Gi")],
                vec![resize("two", "3Gi"), grown("two", "3Gi")],
            ],
        ),
        workload(
            "a Dot's volumes grow",
            [
                shop(),
                vec![commit("first", "shop"), branch("try", "shop", "first")],
                vec![Step::Volumes("shop", vec![volume("db", "3Gi"), volume("cache", "1Gi")])],
                vec![commit("second", "shop"), ready("Branch", "try")],
                // It is larger than that already, and then says so.
                vec![resize("db", "2Gi"), grown("db", "3Gi")],
            ],
        ),
        workload(
            "a Dot gets a larger volume and one more",
            [
                shop(),
                vec![commit("first", "shop"), ready("Commit", "first")],
                vec![branch("try", "shop", "first"), resize("db", "4Gi")],
                vec![Step::Volumes(
                    "shop",
                    vec![volume("db", "1Gi"), volume("cache", "2Gi"), volume("index", "1Gi")],
                )],
                vec![grown("db", "4Gi"), Step::RestartOperator(true)],
                vec![claim("index", Some(("Dot", "shop")), None)],
                pod("search", &["index"]).to_vec(),
                vec![ready("Branch", "try")],
            ],
        ),
        workload(
            "a Dot's data is kept in another way",
            [
                shop(),
                vec![commit("first", "shop"), branch("try", "shop", "first")],
                vec![Step::Volumes(
                    "shop",
                    vec![kept("db", "zstd", "16Ki"), kept("cache", "off", "8Ki")],
                )],
                vec![Step::Write("app"), commit("second", "shop"), ready("Branch", "try")],
                vec![Step::Volumes(
                    "shop",
                    vec![kept("db", "lz4", "16Ki"), kept("cache", "off", "1Mi")],
                )],
                vec![branch("late", "shop", "second"), ready("Branch", "late")],
            ],
        ),
        workload(
            "a claim asks for more than there is, and then for less",
            [
                shop(),
                vec![resize("db", "100Ti"), Step::Wait(Duration::from_secs(10))],
                vec![resize("db", "2Gi"), grown("db", "2Gi"), ready("Dot", "shop")],
            ],
        ),
        workload(
            "a grown claim goes and comes again",
            [
                shop(),
                vec![resize("db", "4Gi"), grown("db", "4Gi")],
                end("app").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "db"),
                    gone("PersistentVolumeClaim", "db"),
                    Step::Quiet,
                    claim("db", Some(("Dot", "shop")), None),
                ],
                pod("again", &["db"]).to_vec(),
                vec![grown("db", "4Gi")],
            ],
        ),
        workload(
            "claims grow while the leader changes",
            [
                shop(),
                vec![commit("first", "shop"), branch("try", "shop", "first")],
                vec![resize("db", "2Gi"), Step::FreezeLeader, resize("cache", "2Gi")],
                vec![Step::Wait(Duration::from_secs(40)), Step::Mend],
                vec![grown("db", "2Gi"), grown("cache", "2Gi"), ready("Branch", "try")],
            ],
        )
        .with_replicas(2),
    ]
}
