//! Volumes by each kind of claim.

use std::time::Duration;

use super::{
    Step, Until, Workload, annotated, branch, claim, claim_of_class, commit, delete, dot, end, gone, pod, ready, shop,
    volume, workload,
};

/// Makes a claim for volume `db` of a Commit, of the class that retains volumes.
fn kept_claim_of_commit(name: &str, commit: &str) -> Step {
    claim_of_class("keep", name, Some(("Commit", commit)), &[("dotmesh.io/volume", "db")])
}

/// A claim goes whose volume is retained, until somebody removes that by hand.
fn goes_and_later_its_volume(claim: &'static str) -> [Step; 5] {
    [
        delete("PersistentVolumeClaim", claim),
        gone("PersistentVolumeClaim", claim),
        Step::Quiet,
        Step::RemoveVolumeOf(claim),
        Step::Quiet,
    ]
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload("claims of a Dot", [shop(), vec![ready("Dot", "shop")]]),
        workload(
            "an open list",
            [
                vec![dot("open", &[]), claim("one", Some(("Dot", "open")), None)],
                pod("app", &["one"]).to_vec(),
                vec![claim("two", Some(("Dot", "open")), Some("other"))],
                pod("second", &["two"]).to_vec(),
                vec![ready("Dot", "open")],
            ],
        ),
        workload(
            "a plain claim",
            [vec![claim("plain", None, None)], pod("app", &["plain"]).to_vec()],
        ),
        workload(
            "a plain claim goes",
            [
                vec![claim("plain", None, None)],
                pod("app", &["plain"]).to_vec(),
                end("app").to_vec(),
                vec![delete("PersistentVolumeClaim", "plain"), Step::Quiet],
            ],
        ),
        workload(
            "a claim of a Branch",
            [
                shop(),
                vec![
                    commit("first", "shop"),
                    branch("try", "shop", "first"),
                    claim("tried", Some(("Branch", "try")), Some("db")),
                ],
                pod("trial", &["tried"]).to_vec(),
                vec![ready("Branch", "try")],
            ],
        ),
        workload(
            "a volume more",
            [
                shop(),
                vec![
                    Step::Volumes("shop", vec![volume("db"), volume("cache"), volume("index")]),
                    claim("index", Some(("Dot", "shop")), None),
                ],
                pod("search", &["index"]).to_vec(),
                vec![commit("after", "shop"), ready("Commit", "after")],
            ],
        ),
        workload(
            "claims by annotations",
            [
                vec![
                    dot("shop", &["db", "cache"]),
                    annotated("db", &[("dotmesh.io/dot", "shop")]),
                ],
                pod("app", &["db"]).to_vec(),
                vec![
                    commit("first", "shop"),
                    branch("try", "shop", "first"),
                    annotated(
                        "tried",
                        &[
                            ("dotmesh.io/dot", "shop"),
                            ("dotmesh.io/branch", "try"),
                            ("dotmesh.io/volume", "db"),
                        ],
                    ),
                ],
                pod("trial", &["tried"]).to_vec(),
                vec![ready("Branch", "try")],
            ],
        ),
        workload(
            "a shared volume",
            [
                vec![
                    dot("shop", &["db"]),
                    claim_of_class(
                        "dotmesh",
                        "one",
                        Some(("Dot", "shop")),
                        &[("dotmesh.io/shared", "true")],
                    ),
                    claim_of_class(
                        "dotmesh",
                        "two",
                        Some(("Dot", "shop")),
                        &[("dotmesh.io/shared", "true")],
                    ),
                ],
                vec![
                    Step::RunPod("first", vec!["one".to_owned()], 1),
                    Step::RunPod("second", vec!["two".to_owned()], 1),
                    Step::Until(Until::Runs("first")),
                    Step::Until(Until::Runs("second")),
                    Step::Write("first"),
                ],
                // This one says nothing of sharing, and waits for ever.
                vec![claim("three", Some(("Dot", "shop")), None), Step::Quiet],
                end("first").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "one"),
                    Step::Quiet,
                    ready("Dot", "shop"),
                ],
            ],
        ),
        workload(
            "a kept volume is removed after its claim came again",
            [
                vec![
                    dot("shop", &["db"]),
                    claim_of_class("keep", "db", Some(("Dot", "shop")), &[]),
                ],
                pod("app", &["db"]).to_vec(),
                end("app").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "db"),
                    gone("PersistentVolumeClaim", "db"),
                    // Another claim of that name, which waits for the volume of the first.
                    claim("db", Some(("Dot", "shop")), None),
                    Step::Quiet,
                    Step::RemoveVolumeOf("db"),
                ],
                pod("again", &["db"]).to_vec(),
                vec![ready("Dot", "shop")],
            ],
        ),
        workload(
            "a claim of a Commit",
            [
                shop(),
                vec![
                    // Before its Commit is there.
                    claim("seen", Some(("Commit", "first")), Some("db")),
                    commit("first", "shop"),
                ],
                pod("viewer", &["seen"]).to_vec(),
                end("viewer").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "seen"),
                    gone("PersistentVolumeClaim", "seen"),
                    Step::Quiet,
                    ready("Commit", "first"),
                ],
            ],
        ),
        workload(
            "a claim of a Commit is kept",
            [
                shop(),
                vec![commit("first", "shop"), kept_claim_of_commit("kept", "first")],
                pod("viewer", &["kept"]).to_vec(),
                end("viewer").to_vec(),
                goes_and_later_its_volume("kept").to_vec(),
            ],
        ),
        workload(
            "claims of a Commit are made together, and one is kept",
            [
                shop(),
                vec![
                    commit("first", "shop"),
                    ready("Commit", "first"),
                    kept_claim_of_commit("kept", "first"),
                    claim("other", Some(("Commit", "first")), Some("cache")),
                ],
                pod("viewer", &["kept", "other"]).to_vec(),
                // Longer than a stopped replica stays so: what it still writes must not undo what another recorded.
                vec![Step::Wait(Duration::from_secs(40))],
                end("viewer").to_vec(),
                goes_and_later_its_volume("kept").to_vec(),
            ],
        )
        .with_replicas(2),
    ]
}
