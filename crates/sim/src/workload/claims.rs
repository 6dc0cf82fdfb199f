//! Volumes by each kind of claim.

use super::{Step, Workload, branch, claim, commit, dot, end, pod, ready, shop, volume, workload};

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
                vec![super::delete("PersistentVolumeClaim", "plain"), Step::Quiet],
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
    ]
}
