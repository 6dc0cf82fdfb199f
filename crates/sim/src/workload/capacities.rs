//! What the scheduler is told of the Pools, while Pools and StorageClasses come, grow and go.

use std::time::Duration;

use super::pools::pool;
use super::{Step, Until, Workload, claim_of_class, commit, delete, dot_of_class, end, gone, pod, ready, workload};

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "a claim that fits nowhere yet",
            [
                vec![pool("fast", "fast", "fast.img"), wide("wide", "fast", "30Gi")],
                vec![Step::RunPod("waits", vec!["wide".to_owned()], 1)],
                // Another one does not wait for it.
                vec![claim_of_class("fast", "quick", None, &[])],
                pod("app", &["quick"]).to_vec(),
                vec![Step::GrowPool("fast", "40Gi"), Step::Until(Until::Runs("waits"))],
                vec![Step::CommitOfClaim("kept", "wide"), ready("Commit", "kept")],
            ],
        ),
        workload(
            "StorageClasses and Pools come and go",
            [
                vec![pool("fast", "fast", "fast.img"), Step::Class("own", "fast")],
                vec![claim_of_class("own", "quick", None, &[])],
                pod("app", &["quick"]).to_vec(),
                vec![Step::SpoilCapacities, delete("StorageClass", "fast")],
                end("app").to_vec(),
                vec![delete("PersistentVolumeClaim", "quick"), Step::Quiet],
                vec![
                    delete("Pool", "fast"),
                    gone("Pool", "fast"),
                    Step::RestartOperator(true),
                ],
                vec![Step::SpoilCapacities],
            ],
        ),
        workload(
            "StorageClasses come while the leader changes",
            [
                vec![pool("fast", "fast", "fast.img"), ready("Pool", "fast")],
                vec![
                    Step::FreezeLeader,
                    Step::Class("own", "fast"),
                    delete("StorageClass", "keep"),
                ],
                vec![Step::Wait(Duration::from_secs(40)), Step::Mend],
                vec![
                    dot_of_class("fast", "quick", &["data"]),
                    claim_of_class("own", "data", Some(("Dot", "quick")), &[]),
                ],
                pod("app", &["data"]).to_vec(),
                vec![commit("one", "quick"), ready("Commit", "one")],
            ],
        )
        .with_replicas(2),
        workload(
            "two nodes and one Pool of a class",
            [
                vec![pool("fast", "fast", "fast.img"), Step::Class("own", "fast")],
                vec![
                    claim_of_class("own", "quick", None, &[]),
                    claim_of_class("dotmesh", "slow", None, &[]),
                ],
                vec![Step::RunPod("app", vec!["quick".to_owned()], 1)],
                vec![Step::RunPod("other", vec!["slow".to_owned()], 2)],
                vec![Step::Until(Until::Runs("app")), Step::Until(Until::Runs("other"))],
                vec![Step::CommitOfClaim("kept", "quick"), ready("Commit", "kept")],
            ],
        )
        .on_nodes(2),
    ]
}

/// A plain claim that asks for so much.
fn wide(name: &str, class: &str, size: &str) -> Step {
    let mut step = claim_of_class(class, name, None, &[]);
    if let Step::Claim(claim) = &mut step {
        let resources = claim.spec.as_mut().and_then(|spec| spec.resources.as_mut());
        let requests = resources.and_then(|resources| resources.requests.as_mut());
        if let Some(storage) = requests.and_then(|requests| requests.get_mut("storage")) {
            size.clone_into(&mut storage.0);
        }
    }
    step
}
