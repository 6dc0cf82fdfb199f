//! Machines with two pools: `dotmesh`, which each gets, and one of class `fast` that a person asks for.

use std::time::Duration;

use dotmesh_crds::pool::PoolFile;
use dotmesh_crds::{Pool, PoolSpec, Reason};

use super::{
    Step, Until, Workload, branch, claim, claim_of_class, commit, delete, dot_of_class, end, gone, pod, ready, shop,
    workload,
};
use crate::machine::FAST;

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "two pools",
            [
                vec![pool("fast", "fast", "fast.img")],
                shop(),
                quick(),
                vec![commit("one", "shop"), commit("two", "quick")],
                vec![ready("Commit", "one"), ready("Commit", "two"), Step::Reboot],
                vec![branch("try", "quick", "two"), ready("Branch", "try")],
                vec![delete("Commit", "two"), delete("Branch", "try"), gone("Branch", "try")],
                vec![commit("three", "quick"), commit("four", "shop")],
                vec![ready("Commit", "three"), ready("Commit", "four")],
            ],
        ),
        workload(
            "one of two pools goes away",
            [
                vec![pool("fast", "fast", "fast.img")],
                shop(),
                quick(),
                vec![commit("two", "quick"), ready("Commit", "two")],
                vec![
                    Step::PoolThere(FAST, false),
                    commit("three", "quick"),
                    delete("Commit", "two"),
                ],
                // The other goes on as if nothing were the matter, also when csi-node has forgotten everything.
                vec![commit("one", "shop"), ready("Commit", "one"), Step::RestartNode],
                end("app").to_vec(),
                pod("again", &["db", "cache"]).to_vec(),
                vec![branch("try", "shop", "one"), ready("Branch", "try")],
                vec![Step::Wait(Duration::from_secs(200)), Step::PoolThere(FAST, true)],
                vec![ready("Commit", "three"), gone("Commit", "two")],
            ],
        ),
        workload(
            "plain claims of two classes",
            [
                vec![pool("fast", "fast", "fast.img")],
                vec![claim("slow", None, None), claim_of_class("fast", "quick", None, &[])],
                pod("app", &["slow", "quick"]).to_vec(),
                vec![Step::CommitOfClaim("kept", "quick"), ready("Commit", "kept")],
                end("app").to_vec(),
                vec![delete("PersistentVolumeClaim", "slow"), Step::Quiet],
            ],
        ),
        workload(
            "a Dot for a class that is nowhere",
            [
                vec![
                    dot_of_class("fast", "quick", &["db"]),
                    claim("db", Some(("Dot", "quick")), None),
                    dot_of_class("none", "never", &["db"]),
                    claim("no", Some(("Dot", "never")), None),
                ],
                vec![Step::RunPod("app", vec!["db".to_owned()], 1)],
                vec![Step::RunPod("waits", vec!["no".to_owned()], 1)],
                vec![not_ready("Dot", "quick", Reason::PoolUnavailable)],
                vec![not_ready("Dot", "never", Reason::PoolUnavailable)],
                vec![pool("fast", "fast", "fast.img"), Step::Until(Until::Runs("app"))],
                vec![commit("one", "quick"), ready("Commit", "one")],
                end("waits").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "no"),
                    delete("Dot", "never"),
                    gone("Dot", "never"),
                ],
            ],
        ),
        workload(
            "a second Pool of one class",
            [
                vec![pool("fast", "fast", "fast.img"), ready("Pool", "fast")],
                vec![pool("faster", "fast", "faster.img"), pool("same", "other", "fast.img")],
                vec![not_ready("Pool", "faster", Reason::Conflict)],
                vec![not_ready("Pool", "same", Reason::Conflict)],
                quick(),
                vec![commit("one", "quick"), ready("Commit", "one")],
                vec![delete("Pool", "faster"), gone("Pool", "faster")],
                vec![delete("Pool", "same"), gone("Pool", "same")],
            ],
        ),
    ]
}

/// Makes a Pool of a class in a file of the first machine.
pub(super) fn pool(name: &str, class: &str, file: &str) -> Step {
    let spec = PoolSpec {
        node_name: "n1".to_owned(),
        class: class.to_owned(),
        file: Some(PoolFile {
            path: format!("/var/lib/dotmesh/{file}"),
            size: "20Gi".to_owned(),
        }),
        devices: None,
        existing: None,
    };
    Step::Pool(Box::new(Pool::new(name, spec)))
}

/// Dot `quick` of class `fast`, on which a pod runs.
fn quick() -> Vec<Step> {
    let mut steps = vec![
        dot_of_class("fast", "quick", &["data"]),
        claim("data", Some(("Dot", "quick")), None),
    ];
    steps.extend(pod("quick", &["data"]));
    steps
}

fn not_ready(kind: &'static str, name: &str, reason: Reason) -> Step {
    Step::Until(Until::NotReady(kind, name.to_owned(), reason))
}
