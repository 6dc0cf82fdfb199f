//! Programs, nodes and pools that go and come back while things happen.

use super::{Step, Workload, branch, commit, delete, ready, shop, workload};

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "csi-node restarts",
            [
                shop(),
                vec![commit("one", "shop"), Step::RestartNode, commit("two", "shop")],
                vec![ready("Commit", "one"), ready("Commit", "two")],
            ],
        ),
        workload(
            "the node goes down",
            [
                shop(),
                vec![commit("one", "shop"), Step::Reboot, commit("two", "shop")],
                vec![ready("Commit", "one"), ready("Commit", "two")],
            ],
        ),
        workload(
            "the operator restarts",
            [
                shop(),
                vec![
                    commit("one", "shop"),
                    Step::RestartOperator(false),
                    branch("try", "shop", "one"),
                ],
                vec![ready("Branch", "try"), Step::RestartOperator(true)],
                vec![delete("Branch", "try"), Step::RestartOperator(true), Step::Quiet],
            ],
        ),
        workload(
            "the pool goes and comes back",
            [
                shop(),
                vec![
                    commit("one", "shop"),
                    ready("Commit", "one"),
                    Step::PoolThere(false),
                    commit("two", "shop"),
                    delete("Commit", "one"),
                    Step::Quiet,
                    Step::PoolThere(true),
                    ready("Commit", "two"),
                    super::gone("Commit", "one"),
                ],
            ],
        ),
        workload(
            "others use the pool too",
            [
                shop(),
                vec![Step::ForeignDataset, commit("one", "shop"), ready("Commit", "one")],
                vec![
                    branch("try", "shop", "HEAD"),
                    delete("Commit", "one"),
                    ready("Branch", "try"),
                ],
            ],
        ),
    ]
}
