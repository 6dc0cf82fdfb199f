//! Claims that are copies: of what a VolumeSnapshot stands for, and of what another claim has.

use std::time::Duration;

use serde_json::json;

use super::{Foreign, Step, Until, Workload, claim, commit, delete, end, gone, pod, ready, shop, workload};

/// Makes a claim in a namespace that is a copy of a VolumeSnapshot or of a claim.
fn copy_in(namespace: &str, name: &str, kind: &str, source: &str) -> Step {
    let mut step = claim(name, None, None);
    if let Step::Claim(claim) = &mut step {
        claim.metadata.namespace = Some(namespace.to_owned());
        let group = (kind == "VolumeSnapshot").then_some("snapshot.storage.k8s.io");
        let source = json!({ "apiGroup": group, "kind": kind, "name": source });
        if let Some(spec) = &mut claim.spec {
            spec.data_source_ref = serde_json::from_value(source).ok();
        }
    }
    step
}

/// Makes a claim that is a copy of a VolumeSnapshot or of a claim.
pub fn copy(name: &str, kind: &str, source: &str) -> Step {
    copy_in("dev", name, kind, source)
}

fn goes(claim: &str) -> Vec<Step> {
    vec![
        delete("PersistentVolumeClaim", claim),
        gone("PersistentVolumeClaim", claim),
        Step::Quiet,
    ]
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "a claim is cloned and both go",
            [
                vec![claim("plain", None, None)],
                pod("app", &["plain"]).to_vec(),
                vec![copy("copy", "PersistentVolumeClaim", "plain")],
                pod("other", &["copy"]).to_vec(),
                end("app").to_vec(),
                goes("plain"),
                end("other").to_vec(),
                goes("copy"),
            ],
        ),
        workload(
            "a clone goes before what it came from, and one that is being made",
            [
                vec![claim("plain", None, None)],
                pod("app", &["plain"]).to_vec(),
                vec![copy("copy", "PersistentVolumeClaim", "plain")],
                pod("other", &["copy"]).to_vec(),
                end("other").to_vec(),
                goes("copy"),
                vec![copy("late", "PersistentVolumeClaim", "plain")],
                goes("late"),
            ],
        ),
        workload(
            "a volume is restored from a VolumeSnapshot",
            [
                shop(),
                vec![
                    commit("first", "shop"),
                    ready("Commit", "first"),
                    copy("then", "VolumeSnapshot", "nightly"),
                    Step::Foreign(Foreign::VolumeSnapshot("dev", "nightly", "first", "db")),
                ],
                pod("look", &["then"]).to_vec(),
                vec![
                    delete("Commit", "first"),
                    gone("Commit", "first"),
                    commit("after", "shop"),
                    ready("Commit", "after"),
                ],
                end("look").to_vec(),
                goes("then"),
            ],
        ),
        workload(
            "what a volume was restored from goes as a whole",
            [
                shop(),
                vec![
                    commit("first", "shop"),
                    ready("Commit", "first"),
                    Step::Foreign(Foreign::VolumeSnapshot("dev", "nightly", "first", "db")),
                    copy("then", "VolumeSnapshot", "nightly"),
                ],
                pod("look", &["then"]).to_vec(),
                end("app").to_vec(),
                goes("db"),
                goes("cache"),
                vec![delete("Dot", "shop"), gone("Dot", "shop"), Step::Quiet],
                end("look").to_vec(),
                pod("again", &["then"]).to_vec(),
            ],
        ),
        workload(
            "a VolumeSnapshot of another namespace gives nothing",
            [
                shop(),
                vec![
                    commit("first", "shop"),
                    ready("Commit", "first"),
                    Step::Foreign(Foreign::VolumeSnapshot("prod", "nightly", "first", "db")),
                    copy_in("prod", "theirs", "VolumeSnapshot", "nightly"),
                    Step::Wait(Duration::from_secs(30)),
                    Step::Quiet,
                ],
            ],
        ),
        workload(
            "a Dot begins with Commits of others",
            [
                shop(),
                vec![
                    super::imports::forking("fork", "first"),
                    Step::Until(Until::NotReady(
                        "Dot",
                        "fork".to_owned(),
                        dotmesh_crds::Reason::CommitNotFound,
                    )),
                    commit("first", "shop"),
                    ready("Dot", "fork"),
                    claim("forked", Some(("Dot", "fork")), Some("db")),
                ],
                pod("look", &["forked"]).to_vec(),
            ],
        ),
    ]
}
