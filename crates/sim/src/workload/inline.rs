//! Volumes that stand in their pods' specs: branches of a commit that go with the pod.

use super::{Step, Until, Workload, commit, delete, end, gone, ready, shop, workload};

/// A pod looks at volume `db` of a Commit, and writes to its branch of it.
fn looks(pod: &'static str, commit: &'static str) -> [Step; 3] {
    [
        Step::RunInlinePod(pod, "db", commit),
        Step::Until(Until::Runs(pod)),
        Step::Write(pod),
    ]
}

fn committed() -> Vec<Step> {
    let mut steps = shop();
    steps.extend([commit("first", "shop"), ready("Commit", "first")]);
    steps
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "a look at a commit",
            [committed(), looks("look", "first").to_vec(), end("look").to_vec()],
        ),
        workload(
            "a look that outlives its commit and a restart",
            [
                committed(),
                looks("look", "first").to_vec(),
                vec![
                    delete("Commit", "first"),
                    gone("Commit", "first"),
                    Step::RestartNode,
                    Step::Quiet,
                    Step::Write("look"),
                    Step::Reboot,
                    Step::Until(Until::Runs("look")),
                ],
            ],
        ),
        workload(
            "two looks, and one that never begins",
            [
                committed(),
                vec![Step::RunInlinePod("early", "db", "none")],
                looks("look", "first").to_vec(),
                looks("another", "first").to_vec(),
                vec![Step::EndPod("early"), Step::Until(Until::Ended("early"))],
                end("look").to_vec(),
                vec![Step::Quiet, delete("Dot", "shop")],
                end("another").to_vec(),
                end("app").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "db"),
                    delete("PersistentVolumeClaim", "cache"),
                    gone("Dot", "shop"),
                ],
            ],
        ),
    ]
}
